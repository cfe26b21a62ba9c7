//! Which numbers of a vector instructions are about: masks, in vector registers of 256 bits or in mask registers.

use super::{Assembler, Emitted, Width, YMM, ZMM};
use iced_x86::IcedError;
use iced_x86::code_asm::*;
use std::mem::offset_of;

/// Which numbers of 32 bits of a vector an instruction is about.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Mask {
    All,
    /// Those chosen by [`Assembler::first`] with this register.
    In(usize),
}

/// What [`Assembler::first`] reads: masks for vectors of 512 bits, by the number of lanes; then a window of lanes for 256.
pub(crate) static MASKS: ([u16; 32], [i32; 16]) = {
    let (mut masks, mut lanes) = ([0; 32], [0; 16]);
    let mut i = 0;
    while i < 32 {
        masks[i] = if i < 16 { (1 << i) - 1 } else { u16::MAX };
        i += 1;
    }
    i = 0;
    while i < 8 {
        lanes[i] = -1;
        i += 1;
    }
    (masks, lanes)
};

impl Assembler {
    /// Chooses the first `count` numbers of 32 bits, of a vector's at most. `masks` points to [`MASKS`]; `count`, `k1` or register
    /// `mask` are changed.
    pub fn first(&mut self, mask: usize, count: AsmRegister64, masks: AsmRegister64) -> Emitted {
        match self.width {
            Width::Bits256 => {
                let end = offset_of!(([u16; 32], [i32; 16]), 1) + 32;
                self.code.neg(count)?;
                self.code.vmovups(YMM[mask], ymmword_ptr(masks + count * 4 + end))
            }
            Width::Bits512 => self.code.kmovw(k1, word_ptr(masks + count * 2)),
        }
    }

    /// Chooses the numbers of 32 bits where those at `memory` are negative; `k1` or register `mask` are changed.
    pub fn choose(&mut self, mask: usize, memory: AsmMemoryOperand) -> Result<Mask, IcedError> {
        self.load(mask, memory)?;
        if let Width::Bits512 = self.width {
            self.code.vpmovd2m(k1, ZMM[mask])?;
        }
        Ok(Mask::In(mask))
    }

    /// `to` becomes the chosen numbers at `memory`, and 0 where others are, which are not read.
    pub fn load_masked(&mut self, to: usize, memory: AsmMemoryOperand, mask: Mask) -> Emitted {
        match (self.width, mask) {
            (_, Mask::All) => self.load(to, memory),
            (Width::Bits256, Mask::In(mask)) => self.code.vmaskmovps(YMM[to], YMM[mask], ymmword_ptr(memory)),
            (Width::Bits512, Mask::In(_)) => self.code.vmovups(ZMM[to].k1().z(), zmmword_ptr(memory)),
        }
    }

    /// The chosen numbers at `memory` take their places in `to`, where there is 0; the others are not read. The mask's register is changed.
    pub fn load_beside(&mut self, to: usize, memory: AsmMemoryOperand, mask: Mask) -> Emitted {
        match (self.width, mask) {
            (_, Mask::All) => self.load(to, memory),
            (Width::Bits256, Mask::In(mask)) => {
                self.code.vmaskmovps(YMM[mask], YMM[mask], ymmword_ptr(memory))?;
                self.code.vorps(YMM[to], YMM[to], YMM[mask])
            }
            (Width::Bits512, Mask::In(_)) => self.code.vmovups(ZMM[to].k1(), zmmword_ptr(memory)),
        }
    }

    /// Numbers of `x` that are not chosen become 0.
    pub fn keep(&mut self, x: usize, mask: Mask) -> Emitted {
        match (self.width, mask) {
            (_, Mask::All) => Ok(()),
            (Width::Bits256, Mask::In(mask)) => self.and_bits(x, x, mask),
            (Width::Bits512, Mask::In(_)) => self.code.vmovaps(ZMM[x].k1().z(), ZMM[x]),
        }
    }

    /// Stores the chosen numbers.
    pub fn store_masked(&mut self, memory: AsmMemoryOperand, from: usize, mask: Mask) -> Emitted {
        match (self.width, mask) {
            (_, Mask::All) => self.store(memory, from),
            (Width::Bits256, Mask::In(mask)) => {
                self.code.vmaskmovps(ymmword_ptr(memory), YMM[mask], YMM[from])
            }
            (Width::Bits512, Mask::In(_)) => self.code.vmovups(zmmword_ptr(memory).k1(), ZMM[from]),
        }
    }

    /// `to` becomes as many i16 at `memory` as i32: the chosen ones; with vectors of 256 bits the others too.
    pub fn load_masked_i16_as_i32(&mut self, to: usize, memory: AsmMemoryOperand, mask: Mask) -> Emitted {
        match (self.width, mask) {
            (Width::Bits512, Mask::In(_)) => self.code.vpmovsxwd(ZMM[to].k1().z(), ymmword_ptr(memory)),
            _ => self.load_i16_as_i32(to, memory),
        }
    }

    /// Keeps what was chosen last, under a number below [`Self::most_kept`].
    pub fn keep_chosen(&mut self, number: usize) -> Emitted {
        self.code.kmovw([k2, k3, k4, k5, k6, k7][number], k1)
    }

    /// As [`Self::load_masked`], or if it is `beside` as [`Self::load_beside`], of the numbers that were kept so.
    pub fn load_kept(&mut self, to: usize, memory: AsmMemoryOperand, number: usize, beside: bool) -> Emitted {
        let to = ZMM[to];
        let to = [to.k2(), to.k3(), to.k4(), to.k5(), to.k6(), to.k7()][number];
        self.code.vmovups(if beside { to } else { to.z() }, zmmword_ptr(memory))
    }

    /// How many choices can be kept: none with vectors of 256 bits.
    pub fn most_kept(&self) -> usize {
        match self.width {
            Width::Bits256 => 0,
            Width::Bits512 => 6,
        }
    }
}
