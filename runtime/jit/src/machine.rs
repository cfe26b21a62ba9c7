//! What code is generated for: the kinds of code, and which of them this machine runs.

/// A kind of generated code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Isa {
    /// Cranelift alone, 128-bit vectors.
    Portable,
    /// x86-64 with AVX2 and FMA: 256-bit vectors, but for some small functions that are as by [`Isa::Portable`].
    Avx2,
    /// x86-64 with AVX-512 (F, BW, DQ and VL): as [`Isa::Avx2`] with 512-bit vectors.
    Avx512,
}

/// The most numbers that a vector has.
pub(crate) const MAX_LANES: usize = 32;

impl Isa {
    /// Every kind, the fastest first.
    pub const ALL: [Isa; 3] = [Isa::Avx512, Isa::Avx2, Isa::Portable];

    /// The kinds that this machine runs, the fastest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        Isa::ALL.into_iter().filter(|isa| isa.is_available())
    }

    /// Whether this machine runs it.
    pub fn is_available(self) -> bool {
        match self {
            Isa::Portable => true,
            #[cfg(all(target_arch = "x86_64", unix))]
            Isa::Avx2 => {
                std::arch::is_x86_feature_detected!("avx2") && std::arch::is_x86_feature_detected!("fma")
            }
            #[cfg(all(target_arch = "x86_64", unix))]
            Isa::Avx512 => {
                std::arch::is_x86_feature_detected!("avx512f")
                    && std::arch::is_x86_feature_detected!("avx512bw")
                    && std::arch::is_x86_feature_detected!("avx512dq")
                    && std::arch::is_x86_feature_detected!("avx512vl")
            }
            #[cfg(not(all(target_arch = "x86_64", unix)))]
            Isa::Avx2 | Isa::Avx512 => false,
        }
    }

    /// The word for it, as `TWNC_ISA` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Isa::Portable => "portable",
            Isa::Avx2 => "avx2",
            Isa::Avx512 => "avx512",
        }
    }

    /// Vectors of sums that registers hold. Cranelift needs some for values on their way.
    pub(crate) fn registers(self) -> usize {
        match self {
            Isa::Portable => 14,
            Isa::Avx2 => 16,
            Isa::Avx512 => 32,
        }
    }

    /// It, and kinds of code with narrower vectors that run wherever it does and fill them better where rows are short.
    pub(crate) fn and_narrower(self) -> &'static [Isa] {
        match self {
            Isa::Portable => &[Isa::Portable],
            Isa::Avx2 => &[Isa::Avx2],
            Isa::Avx512 => &[Isa::Avx512, Isa::Avx2],
        }
    }

    /// Bytes of a vector of an accumulation.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Isa::Portable => 16,
            Isa::Avx2 => 32,
            Isa::Avx512 => 64,
        }
    }

    /// Numbers in a vector of an accumulation.
    pub(crate) fn lanes(self, element: Element) -> usize {
        self.bytes() / element.bytes()
    }
}

/// What an accumulation adds up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Element {
    F32,
    I16,
}

impl Element {
    pub(crate) const fn bytes(self) -> usize {
        match self {
            Element::F32 => 4,
            Element::I16 => 2,
        }
    }

    /// Numbers in a cache line.
    pub(crate) const fn line(self) -> usize {
        64 / self.bytes()
    }
}

/// What functions with wide vectors read of which lanes are meant; nothing where there are no such functions.
pub(crate) fn masks() -> *const u8 {
    #[cfg(all(target_arch = "x86_64", unix))]
    {
        (&raw const crate::assemble::MASKS).cast()
    }
    #[cfg(not(all(target_arch = "x86_64", unix)))]
    {
        std::ptr::null()
    }
}

/// Bytes of the first-level data cache; what is common if the processor does not say.
pub(crate) fn first_level_cache() -> usize {
    const COMMON: usize = 32 * 1024;
    static BYTES: std::sync::OnceLock<usize> = std::sync::OnceLock::new();
    *BYTES.get_or_init(|| {
        asked_for_cache().filter(|bytes| (COMMON / 2..=8 * COMMON).contains(bytes)).unwrap_or(COMMON)
    })
}

/// What the processor says of its first-level data cache.
#[cfg(target_arch = "x86_64")]
fn asked_for_cache() -> Option<usize> {
    use std::arch::x86_64::{__cpuid, __cpuid_count};
    // Caches are described by leaf 4, or by a leaf of the same form on processors that have AMD's extensions.
    let (most, most_extended) = (__cpuid(0).eax, __cpuid(0x8000_0000).eax);
    let amd = most_extended >= 0x8000_001D && __cpuid(0x8000_0001).ecx & (1 << 22) != 0;
    let leaf = match amd {
        true => 0x8000_001D,
        false if most >= 4 => 4,
        false => return None,
    };
    (0..8).map(|number| __cpuid_count(leaf, number)).take_while(|cache| cache.eax & 31 != 0).find_map(
        |cache| {
            let (kind, level) = (cache.eax & 31, cache.eax >> 5 & 7);
            let [ways, partitions, line] =
                [cache.ebx >> 22, cache.ebx >> 12 & 0x3FF, cache.ebx & 0xFFF].map(|n| n as usize + 1);
            (kind == 1 && level == 1).then(|| ways * partitions * line * (cache.ecx as usize + 1))
        },
    )
}

#[cfg(not(target_arch = "x86_64"))]
fn asked_for_cache() -> Option<usize> {
    None
}
