//! Executable memory that is never writable and executable at once.
//!
//! A [`CodeArena`] is filled while it is writable and unreachable as code, is then made executable for good, and is
//! unmapped when dropped. It holds no pointer to anything else, so it is `Send` and `Sync` like any immutable bytes.

use memmap2::{Mmap, MmapMut};
use std::io;

/// Sealed machine code of one or more functions.
pub struct CodeArena {
    map: Mmap,
    len: usize,
}

impl CodeArena {
    /// Copies `code` into fresh memory and seals it: readable and executable, no longer writable.
    ///
    /// # Errors
    /// What the operating system answers; a policy against executable memory shows here.
    pub fn seal(code: &[u8]) -> io::Result<CodeArena> {
        let mut map = MmapMut::map_anon(code.len().max(1))?;
        map[..code.len()].copy_from_slice(code);
        let arena = CodeArena { map: map.make_exec()?, len: code.len() };
        make_coherent(&arena)?;
        Ok(arena)
    }

    /// The sealed bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.map[..self.len]
    }
}

/// Instruction caches of other processors follow stores by themselves.
#[cfg(not(target_arch = "aarch64"))]
fn make_coherent(_: &CodeArena) -> io::Result<()> {
    Ok(())
}

/// Makes what was written through the data cache visible to instruction fetches of every core.
#[cfg(target_arch = "aarch64")]
fn make_coherent(arena: &CodeArena) -> io::Result<()> {
    let bytes = arena.bytes();
    // SAFETY: the range is the live mapping of `arena`.
    unsafe { wasmtime_internal_jit_icache_coherence::clear_cache(bytes.as_ptr().cast(), bytes.len()) }
        .and_then(|()| wasmtime_internal_jit_icache_coherence::pipeline_flush_mt())
        .map_err(|e| io::Error::other(e.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holds_what_it_was_given() {
        for code in [&[][..], &[0xC3], &[0x90; 5000]] {
            assert_eq!(CodeArena::seal(code).unwrap().bytes(), code);
        }
    }
}
