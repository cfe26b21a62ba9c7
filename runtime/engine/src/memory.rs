//! How much memory a run may take, and how it is taken: counted before, and refused with an error, never with an abort.

use crate::error::Error;
use bytemuck::Zeroable;
use std::sync::OnceLock;

/// The limit where the system does not say how much memory there is.
const UNKNOWN: u64 = 16 << 30;

/// The limit of a session that sets none, in bytes: three quarters of the machine's memory, or of what the process's control group may have if
/// that is less (Linux); 16 GiB where neither is known.
pub(crate) fn default_limit() -> usize {
    static LIMIT: OnceLock<usize> = OnceLock::new();
    *LIMIT.get_or_init(|| {
        let read = |path| std::fs::read_to_string(path).unwrap_or_default();
        limit_of(&read("/proc/meminfo"), &read("/sys/fs/cgroup/memory.max"))
    })
}

/// The default limit, given the contents of `/proc/meminfo` and of the control group's `memory.max`; empty if there is no such file.
fn limit_of(meminfo: &str, group: &str) -> usize {
    let total = meminfo.lines().find_map(|line| {
        let kilobytes = line.strip_prefix("MemTotal:")?.trim().strip_suffix("kB")?;
        kilobytes.trim().parse::<u64>().ok()?.checked_mul(1024)
    });
    let group = group.trim().parse::<u64>().ok();
    let limit = total.into_iter().chain(group).min().map_or(UNKNOWN, |bytes| bytes / 4 * 3);
    usize::try_from(limit).unwrap_or(usize::MAX)
}

/// Whether a run may take `needed` bytes.
///
/// # Errors
/// [`Error::Memory`] if `needed` bytes are more than `limit`.
pub(crate) fn check(needed: usize, limit: usize) -> Result<(), Error> {
    if needed > limit { Err(Error::Memory { needed, limit }) } else { Ok(()) }
}

/// `count` zeros on the heap.
///
/// # Errors
/// [`Error::Allocation`] if there is not so much memory.
pub(crate) fn zeroed<T: Zeroable>(count: usize) -> Result<Box<[T]>, Error> {
    bytemuck::allocation::try_zeroed_slice_box(count)
        .map_err(|()| Error::Allocation { bytes: count.saturating_mul(size_of::<T>()) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let meminfo = "MemTotal:        8000 kB\nMemFree:         100 kB\n";
        let table = [
            (meminfo, "", 6_144_000),
            (meminfo, "max\n", 6_144_000),
            (meminfo, "4000\n", 3000),
            (meminfo, "9999999999\n", 6_144_000),
            ("", "4000", 3000),
            ("", "", 16 << 30),
            ("MemTotal: a lot", "", 16 << 30),
        ];
        for (meminfo, group, limit) in table {
            assert_eq!(limit_of(meminfo, group), limit, "{meminfo:?} {group:?}");
        }
        assert!(default_limit() < usize::MAX);
    }

    #[test]
    fn what_there_is_no_memory_for() {
        assert_eq!(zeroed::<u32>(3).map(|zeros| zeros.to_vec()).ok(), Some(vec![0; 3]));
        for count in [1 << 58, usize::MAX / 4, usize::MAX] {
            assert!(matches!(zeroed::<u32>(count), Err(Error::Allocation { .. })), "{count}");
        }
    }
}
