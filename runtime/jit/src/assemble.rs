//! An assembler for functions with vectors of 256 bits, for x86-64 with AVX2 and FMA, or of 512 bits, with AVX-512 (F, BW, DQ, VL).
//!
//! Functions follow the System V calling convention and use only registers that it does not preserve, or save them. A function is
//! written once: vector registers go by number, and the width says which registers and encodings that means.

mod masks;

pub(crate) use masks::{MASKS, Mask};

use iced_x86::IcedError;
use iced_x86::code_asm::*;
use std::ops::{Deref, DerefMut};

/// How an emitter ends.
pub(crate) type Emitted = Result<(), IcedError>;

/// Machine code, or why there is none; nothing if Cranelift is to make it.
pub(crate) type Assembled = Option<Result<Vec<u8>, String>>;

/// The function that `emit` writes, if vectors of `bytes` are this module's. The upper parts of the registers are cleared
/// before it returns, for the sake of code that knows only the lower ones.
pub(crate) fn assemble(bytes: usize, emit: impl FnOnce(&mut Assembler) -> Emitted) -> Assembled {
    let width = match bytes {
        32 => Width::Bits256,
        64 => Width::Bits512,
        _ => return None,
    };
    let assemble = || {
        let mut assembler = Assembler { code: CodeAssembler::new(64)?, width };
        emit(&mut assembler)?;
        assembler.vzeroupper()?;
        assembler.ret()?;
        assembler.code.assemble(0)
    };
    Some(assemble().map_err(|error| error.to_string()))
}

#[derive(Clone, Copy)]
enum Width {
    Bits256,
    Bits512,
}

/// Scalar instructions by name, and those on vectors of the function's width.
pub(crate) struct Assembler {
    code: CodeAssembler,
    width: Width,
}

impl Deref for Assembler {
    type Target = CodeAssembler;

    fn deref(&self) -> &CodeAssembler {
        &self.code
    }
}

impl DerefMut for Assembler {
    fn deref_mut(&mut self) -> &mut CodeAssembler {
        &mut self.code
    }
}

/// Vector registers of 256 bits.
const YMM: [AsmRegisterYmm; 16] =
    [ymm0, ymm1, ymm2, ymm3, ymm4, ymm5, ymm6, ymm7, ymm8, ymm9, ymm10, ymm11, ymm12, ymm13, ymm14, ymm15];

/// Vector registers of 512 bits.
const ZMM: [AsmRegisterZmm; 32] = [
    zmm0, zmm1, zmm2, zmm3, zmm4, zmm5, zmm6, zmm7, zmm8, zmm9, zmm10, zmm11, zmm12, zmm13, zmm14, zmm15,
    zmm16, zmm17, zmm18, zmm19, zmm20, zmm21, zmm22, zmm23, zmm24, zmm25, zmm26, zmm27, zmm28, zmm29, zmm30,
    zmm31,
];

/// The lower parts of the first vector registers.
const XMM: [AsmRegisterXmm; 16] =
    [xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7, xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];

/// An operand of an instruction at a width: a vector register by its number (`v`), or memory (`m`) or a
/// constant (`i`) as it is.
macro_rules! operand {
    ($registers:ident v $operand:ident) => {
        $registers[$operand]
    };
    ($registers:ident $kind:ident $operand:ident) => {
        $operand
    };
}

/// The type of an operand.
macro_rules! operand_type {
    (v) => {
        usize
    };
    (m) => {
        AsmMemoryOperand
    };
    (i) => {
        u32
    };
}

/// Methods that emit an instruction each, by the names that it has with 256 and with 512 bits.
macro_rules! instructions {
    ($($(#[$doc:meta])* $name:ident($($operand:ident: $kind:tt),*) = $narrow:ident | $wide:ident;)*) => {
        impl Assembler {
            $(
                $(#[$doc])*
                pub fn $name(&mut self, $($operand: operand_type!($kind)),*) -> Emitted {
                    match self.width {
                        Width::Bits256 => self.code.$narrow($(operand!(YMM $kind $operand)),*),
                        Width::Bits512 => self.code.$wide($(operand!(ZMM $kind $operand)),*),
                    }
                }
            )*
        }
    };
}

instructions! {
    /// `to = memory`, at any address.
    load(to: v, memory: m) = vmovups | vmovups;
    /// `memory = from`, at any address.
    store(memory: m, from: v) = vmovups | vmovups;
    /// Every lane of `to` becomes the f32 at `memory`.
    broadcast_f32(to: v, memory: m) = vbroadcastss | vbroadcastss;
    /// The larger of `a` and `b`, of i32.
    larger_i32(to: v, a: v, b: v) = vpmaxsd | vpmaxsd;
    /// In each part of 128 bits: two lanes of f32 of `a`, then two of `b`, where two bits of `lanes` say which.
    choose_lanes(to: v, a: v, b: v, lanes: i) = vshufps | vshufps;
    /// `to = from`.
    copy(to: v, from: v) = vmovaps | vmovaps;
    /// f32 of i32, rounded.
    i32_to_f32(to: v, from: v) = vcvtdq2ps | vcvtdq2ps;
    /// The nearest i32 of f32, of two the even one.
    nearest_i32(to: v, from: v) = vcvtps2dq | vcvtps2dq;
    /// Every lane of `to` becomes the i16 at `memory`.
    broadcast_i16(to: v, memory: m) = vpbroadcastw | vpbroadcastw;
    /// `to = a + b`, of i8.
    add_i8(to: v, a: v, b: v) = vpaddb | vpaddb;
    /// `to = a - b`, of i8.
    subtract_i8(to: v, a: v, b: v) = vpsubb | vpsubb;
    /// The square root, of f32.
    root_f32(to: v, from: v) = vsqrtps | vsqrtps;
    /// `to = a << bits`, of u32.
    shift_left_u32(to: v, a: v, bits: i) = vpslld | vpslld;
    /// `to = a >> bits`, of i32.
    shift_right_i32(to: v, a: v, bits: i) = vpsrad | vpsrad;
    /// `to = a >> bits`, of u32.
    shift_right_u32(to: v, a: v, bits: i) = vpsrld | vpsrld;
    /// `to = a >> bits`, of u16.
    shift_right_u16(to: v, a: v, bits: i) = vpsrlw | vpsrlw;
    /// `to = a << bits`, of u16.
    shift_left_u16(to: v, a: v, bits: i) = vpsllw | vpsllw;
    /// Each byte of `to` becomes the byte of its 16 bytes of `table` that the byte of `index`, at most 15, says.
    look_up_bytes(to: v, table: v, index: v) = vpshufb | vpshufb;
}

/// A vector register, by its number, or memory.
#[derive(Clone, Copy)]
pub(crate) enum Operand {
    Register(usize),
    Memory(AsmMemoryOperand),
}

impl From<usize> for Operand {
    fn from(register: usize) -> Operand {
        Operand::Register(register)
    }
}

impl From<AsmMemoryOperand> for Operand {
    fn from(memory: AsmMemoryOperand) -> Operand {
        Operand::Memory(memory)
    }
}

/// Methods that emit an instruction each, whose last operand is a register or memory.
macro_rules! instructions_of_either {
    ($($(#[$doc:meta])* $name:ident = $narrow:ident | $wide:ident;)*) => {
        impl Assembler {
            $(
                $(#[$doc])*
                pub fn $name(&mut self, to: usize, a: usize, b: impl Into<Operand>) -> Emitted {
                    match (self.width, b.into()) {
                        (Width::Bits256, Operand::Register(b)) => self.code.$narrow(YMM[to], YMM[a], YMM[b]),
                        (Width::Bits256, Operand::Memory(b)) => self.code.$narrow(YMM[to], YMM[a], b),
                        (Width::Bits512, Operand::Register(b)) => self.code.$wide(ZMM[to], ZMM[a], ZMM[b]),
                        (Width::Bits512, Operand::Memory(b)) => self.code.$wide(ZMM[to], ZMM[a], b),
                    }
                }
            )*
        }
    };
}

instructions_of_either! {
    /// `to = a + b`, of f32.
    add_f32 = vaddps | vaddps;
    /// `to = a - b`, of f32.
    subtract_f32 = vsubps | vsubps;
    /// `to = a * b`, of f32.
    multiply_f32 = vmulps | vmulps;
    /// `to += a * b`, of f32, rounded once.
    multiply_add_f32 = vfmadd231ps | vfmadd231ps;
    /// `to = a / b`, of f32.
    divide_f32 = vdivps | vdivps;
    /// The larger of `a` and `b`, of f32; `b` if either is NaN or both are equal.
    larger_f32 = vmaxps | vmaxps;
    /// The smaller of `a` and `b`, of f32; `b` if either is NaN or both are equal.
    smaller_f32 = vminps | vminps;
    /// `to = a + b`, of i32.
    add_i32 = vpaddd | vpaddd;
    /// `to = a - b`, of i32.
    subtract_i32 = vpsubd | vpsubd;
    /// `to = a + b`, of i16.
    add_i16 = vpaddw | vpaddw;
    /// `to = a - b`, of i16.
    subtract_i16 = vpsubw | vpsubw;
    /// `to = a & b`, of all bits.
    and_bits = vpand | vpandd;
    /// `to = a | b`, of all bits.
    or_bits = vpor | vpord;
    /// `to = a ^ b`, of all bits.
    exclusive_or = vpxor | vpxord;
}

impl Assembler {
    /// Bytes of a vector.
    pub fn vector(&self) -> usize {
        match self.width {
            Width::Bits256 => 32,
            Width::Bits512 => 64,
        }
    }

    /// `to = 0`.
    pub fn clear(&mut self, to: usize) -> Emitted {
        self.exclusive_or(to, to, to)
    }

    /// `to` becomes the i16 at `memory`, half as many bytes as a vector has, as i32.
    pub fn load_i16_as_i32(&mut self, to: usize, memory: AsmMemoryOperand) -> Emitted {
        match self.width {
            Width::Bits256 => self.code.vpmovsxwd(YMM[to], xmmword_ptr(memory)),
            Width::Bits512 => self.code.vpmovsxwd(ZMM[to], ymmword_ptr(memory)),
        }
    }

    /// Says for [`Self::choose_compared`], in register `mask` or `k2`, where a comparison of f32 holds: `predicate` is that of the instruction.
    pub fn compare_f32(&mut self, mask: usize, a: usize, b: Operand, predicate: u32) -> Emitted {
        match (self.width, b) {
            (Width::Bits256, Operand::Register(b)) => self.code.vcmpps(YMM[mask], YMM[a], YMM[b], predicate),
            (Width::Bits256, Operand::Memory(b)) => {
                self.code.vcmpps(YMM[mask], YMM[a], ymmword_ptr(b), predicate)
            }
            (Width::Bits512, Operand::Register(b)) => self.code.vcmpps(k2, ZMM[a], ZMM[b], predicate),
            (Width::Bits512, Operand::Memory(b)) => self.code.vcmpps(k2, ZMM[a], zmmword_ptr(b), predicate),
        }
    }

    /// `yes` where what was compared last holds, `no` elsewhere.
    pub fn choose_compared(&mut self, to: usize, yes: Operand, no: usize, mask: usize) -> Emitted {
        match (self.width, yes) {
            (Width::Bits256, Operand::Register(yes)) => {
                self.code.vblendvps(YMM[to], YMM[no], YMM[yes], YMM[mask])
            }
            (Width::Bits256, Operand::Memory(yes)) => {
                self.code.vblendvps(YMM[to], YMM[no], ymmword_ptr(yes), YMM[mask])
            }
            (Width::Bits512, Operand::Register(yes)) => self.code.vblendmps(ZMM[to].k2(), ZMM[no], ZMM[yes]),
            (Width::Bits512, Operand::Memory(yes)) => {
                self.code.vblendmps(ZMM[to].k2(), ZMM[no], zmmword_ptr(yes))
            }
        }
    }

    /// Each lane of `to`, an index, becomes the f32 with its lowest bits as the number: of the 8 in `table`, or with vectors of
    /// 512 bits of the 32 in `table` and the register after it.
    pub fn look_up_f32(&mut self, to: usize, table: usize) -> Emitted {
        match self.width {
            Width::Bits256 => self.code.vpermps(YMM[to], YMM[to], YMM[table]),
            Width::Bits512 => self.code.vpermi2ps(ZMM[to], ZMM[table], ZMM[table + 1]),
        }
    }

    /// Each lane of `to`, an index, becomes the i16 of the 32 in `table` with its lowest bits as the number. Only with
    /// vectors of 512 bits.
    pub fn look_up_i16(&mut self, to: usize, table: usize) -> Emitted {
        self.code.vpermw(ZMM[to], ZMM[to], ZMM[table])
    }

    /// Both halves of `to` become its words, all below 256, as bytes. Only with vectors of 256 bits.
    pub fn narrow_to_both_halves(&mut self, to: usize) -> Emitted {
        self.code.vpackuswb(YMM[to], YMM[to], YMM[to])?;
        self.code.vpermq(YMM[to], YMM[to], 0b10_00_10_00)
    }

    /// Every lane of `to` becomes the 32 bits of `bits`; `eax` is overwritten.
    pub fn splat(&mut self, to: usize, bits: u32) -> Emitted {
        self.code.mov(eax, bits)?;
        match self.width {
            Width::Bits256 => {
                self.code.vmovd(XMM[to], eax)?;
                self.code.vpbroadcastd(YMM[to], XMM[to])
            }
            Width::Bits512 => self.code.vpbroadcastd(ZMM[to], eax),
        }
    }

    /// `to = from`, of f32, but 0 where that is NaN; `spare` or a mask is overwritten.
    pub fn zero_where_nan(&mut self, to: usize, from: usize, spare: usize) -> Emitted {
        /// The predicate of a comparison: neither is NaN.
        const ORDERED: u32 = 7;
        match self.width {
            Width::Bits256 => {
                self.code.vcmpps(YMM[spare], YMM[from], YMM[from], ORDERED)?;
                self.code.vandps(YMM[to], YMM[from], YMM[spare])
            }
            Width::Bits512 => {
                self.code.vcmpps(k1, ZMM[from], ZMM[from], ORDERED)?;
                self.code.vmovaps(ZMM[to].k1().z(), ZMM[from])
            }
        }
    }

    /// Stores 16 i32 that are i16 as i16: those of register `first`, and of `second` if a vector has but 8.
    pub fn store_i16(&mut self, memory: AsmMemoryOperand, first: usize, second: usize) -> Emitted {
        match self.width {
            Width::Bits256 => {
                self.code.vpackssdw(YMM[first], YMM[first], YMM[second])?;
                // Quarters of both by turns: 0, 2, 1, 3 in order.
                self.code.vpermq(YMM[first], YMM[first], 0b11_01_10_00)?;
                self.code.vmovups(memory, YMM[first])
            }
            Width::Bits512 => self.code.vpmovdw(memory, ZMM[first]),
        }
    }

    /// The first i32 of a vector.
    pub fn first_i32(&mut self, to: AsmRegister32, from: usize) -> Emitted {
        self.code.vmovd(to, XMM[from])
    }

    /// `to`, one of the first 16 registers, becomes the first (0) or second (1) half of the i16 in `from`, as f32.
    pub fn half_to_f32(&mut self, to: usize, from: usize, half: usize) -> Emitted {
        match self.width {
            Width::Bits256 => {
                self.code.vextracti128(XMM[to], YMM[from], half as i32)?;
                self.code.vpmovsxwd(YMM[to], XMM[to])?;
                self.code.vcvtdq2ps(YMM[to], YMM[to])
            }
            Width::Bits512 => {
                self.code.vextracti64x4(YMM[to], ZMM[from], half as i32)?;
                self.code.vpmovsxwd(ZMM[to], YMM[to])?;
                self.code.vcvtdq2ps(ZMM[to], ZMM[to])
            }
        }
    }

    /// Says how many numbers [`Self::store_first`] will store where it does not store a whole vector. Changes `rax` and `k1`.
    pub fn choose_first(&mut self, numbers: usize) -> Emitted {
        match self.width {
            Width::Bits256 => Ok(()),
            Width::Bits512 => {
                self.code.mov(rax, (1u64 << numbers) - 1)?;
                self.code.kmovq(k1, rax)
            }
        }
    }

    /// Stores the first `numbers` numbers of `bytes` (2 or 4) bytes of a vector: all, or as many as were chosen. Changes `temporary`,
    /// one of the first 16 registers.
    pub fn store_first(
        &mut self,
        base: AsmRegister64,
        at: usize,
        from: usize,
        numbers: usize,
        bytes: usize,
        temporary: usize,
    ) -> Emitted {
        let mut left = numbers * bytes;
        if left == self.vector() {
            return self.store(ptr(base + at), from);
        }
        if let Width::Bits512 = self.width {
            let memory = zmmword_ptr(base + at).k1();
            return match bytes {
                2 => self.code.vmovdqu16(memory, ZMM[from]),
                _ => self.code.vmovups(memory, ZMM[from]),
            };
        }
        // What is left is in the lowest bytes of `rest`; the largest power of two that fits goes first.
        let (mut rest, mut at) = (XMM[from], at);
        while left > 0 {
            let size = 1 << left.min(16).ilog2();
            match size {
                16 => self.code.vmovups(xmmword_ptr(base + at), rest)?,
                8 => self.code.vmovq(qword_ptr(base + at), rest)?,
                4 => self.code.vmovd(dword_ptr(base + at), rest)?,
                _ => self.code.vpextrw(word_ptr(base + at), rest, 0)?,
            }
            (left, at) = (left - size, at + size);
            if left > 0 {
                match size {
                    16 => self.code.vextracti128(XMM[temporary], YMM[from], 1)?,
                    _ => self.code.vpsrldq(XMM[temporary], rest, size as i32)?,
                }
                rest = XMM[temporary];
            }
        }
        Ok(())
    }

    /// `to` becomes every second lane of the f32 of `first`, then of `second`: lanes 0, 2, 4 and so on.
    pub fn every_second(&mut self, to: usize, first: usize, second: usize) -> Emitted {
        self.choose_lanes(to, first, second, EVENS)?;
        self.put_in_order(to)
    }

    /// What has come of [`Assembler::choose_lanes`], in order: what is of the first register before what is of the second.
    pub fn put_in_order(&mut self, to: usize) -> Emitted {
        // Quarters of both by turns: 0, 2, 1, 3 in order.
        const ORDER: i32 = 0b11_01_10_00;
        match self.width {
            Width::Bits256 => self.code.vpermpd(YMM[to], YMM[to], ORDER),
            Width::Bits512 => {
                self.code.vpermpd(ZMM[to], ZMM[to], ORDER)?;
                self.code.vshuff64x2(ZMM[to], ZMM[to], ZMM[to], ORDER)
            }
        }
    }
}

/// For [`Assembler::choose_lanes`]: lanes 0 and 2 of both registers, lanes 1 and 3 of both, and lanes 0 and 2 of the first, 1 and 3 of the second.
pub(crate) const EVENS: u32 = 0b10_00_10_00;
pub(crate) const ODDS: u32 = 0b11_01_11_01;
pub(crate) const EVENS_AND_ODDS: u32 = 0b11_01_10_00;
