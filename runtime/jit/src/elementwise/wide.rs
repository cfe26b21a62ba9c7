//! Vectors of 256 or 512 bits, for x86-64.
//!
//! Numbers of an expression, and places for values that have no register, are on the stack.

use super::registers::{Expression, Home, Number, Schedule, Source, Step};
use super::{Compare, One, Two};
use crate::assemble::{Assembler, Emitted, Mask, Operand};
use iced_x86::code_asm::*;

/// Which numbers of a vector are meant.
pub(crate) const MASK: usize = 14;
/// For an operation that takes several instructions.
const SPARE: usize = 15;
/// Values are in these, and in those from 16 on where there are such.
const REGISTERS: std::ops::Range<usize> = 0..14;
/// The most bytes of the stack: no page is passed over.
const MOST_BYTES: usize = 4096 - 256;

/// Code for an expression, and where on the stack its numbers are.
pub(crate) struct Vectorised {
    /// For two vectors together, and for one alone.
    schedules: [Schedule; 2],
    numbers: Vec<Number>,
    slots: usize,
}

/// How many vectors [`Vectorised::emit`] computes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Together {
    Two,
    One,
}

impl Together {
    pub fn count(self) -> usize {
        match self {
            Together::Two => 2,
            Together::One => 1,
        }
    }
}

impl Vectorised {
    /// With vectors of so many bytes; none where the stack would be taken by more than a page.
    ///
    /// Registers below `kept` are left alone.
    pub fn new(expression: &Expression, vector: usize, kept: usize) -> Option<Vectorised> {
        let registers: Vec<usize> = match vector {
            64 => REGISTERS.chain(16..32).skip(kept).collect(),
            _ => REGISTERS.skip(kept).collect(),
        };
        let two = expression.schedule(2, &registers)?;
        let one = expression.schedule(1, &registers)?;
        let slots = two.slots.max(one.slots);
        let fits = (expression.numbers.len() + slots) * vector <= MOST_BYTES;
        fits.then(|| Vectorised { schedules: [two, one], numbers: expression.numbers.clone(), slots })
    }

    /// Takes room on the stack, and fills it. `inputs` points to addresses of inputs. Changes `rax` and vector register 0; `rbp`, which
    /// has been saved, is where the stack was.
    pub fn begin(&self, a: &mut Assembler, inputs: AsmRegister64) -> Emitted {
        let vector = a.vector();
        a.mov(rbp, rsp)?;
        a.sub(rsp, ((self.numbers.len() + self.slots) * vector) as i32)?;
        a.and(rsp, -64)?;
        for (i, number) in self.numbers.iter().enumerate() {
            match *number {
                Number::Bits(bits) => a.splat(0, bits)?,
                Number::Still(input) => {
                    a.mov(rax, qword_ptr(inputs + 8 * input))?;
                    a.broadcast_f32(0, dword_ptr(rax))?;
                }
            }
            a.store(ptr(rsp + i * vector), 0)?;
        }
        Ok(())
    }

    /// Gives the stack back.
    pub fn end(&self, a: &mut Assembler) -> Emitted {
        a.mov(rsp, rbp)
    }

    /// One or two vectors; the registers of the results. `input` loads an input of a vector into a register.
    pub fn emit(
        &self,
        a: &mut Assembler,
        together: Together,
        mut input: impl FnMut(&mut Assembler, usize, usize, usize) -> Emitted,
    ) -> Result<&[usize], IcedError> {
        let schedule = &self.schedules[2 - together.count()];
        let vector = a.vector();
        let memory = |home: Home| match home {
            Home::Number(number) => rsp + number * vector,
            Home::Slot(slot) => rsp + (self.numbers.len() + slot) * vector,
        };
        let operand = |source: Source| match source {
            Source::Register(register) => Operand::Register(register),
            Source::Memory(home) => Operand::Memory(ptr(memory(home))),
        };
        for step in &schedule.steps {
            match *step {
                Step::Input { to, vector, input: number } => input(a, to, vector, number)?,
                Step::Load { to, from } => a.load(to, ptr(memory(from)))?,
                Step::Save { slot, from } => a.store(ptr(memory(Home::Slot(slot))), from)?,
                Step::One { operation, to, x } => one(a, operation, to, x)?,
                Step::Two { operation, to, a: first, b } => two(a, operation, to, first, operand(b))?,
                Step::Compare { compare, a: first, b } => {
                    let predicate = match compare {
                        Compare::Less => LESS,
                        Compare::Greater => GREATER,
                        Compare::Equal => EQUAL,
                    };
                    a.compare_f32(SPARE, first, operand(b), predicate)?;
                }
                Step::Choose { to, yes, no } => a.choose_compared(to, operand(yes), no, SPARE)?,
                Step::AtLeast { to, bound, x } => a.larger_f32(to, bound, operand(x))?,
                Step::AtMost { to, bound, x } => a.smaller_f32(to, bound, operand(x))?,
            }
        }
        Ok(&schedule.results)
    }
}

/// A loop over the numbers of a run, from where `index` says: two vectors a turn, then one, the last of which may be a part. `left`, `count` and what
/// [`Assembler::first`] changes are changed.
pub(crate) fn run(
    a: &mut Assembler,
    [index, left, count, masks]: [AsmRegister64; 4],
    mut turn: impl FnMut(&mut Assembler, Together, Mask) -> Emitted,
) -> Emitted {
    let lanes = (a.vector() / 4) as i32;
    let two = 2 * lanes;
    let [mut pairs, mut rest, mut single, mut done] = [(); 4].map(|()| a.create_label());
    a.sub(left, two)?;
    a.jl(rest)?;
    a.set_label(&mut pairs)?;
    turn(a, Together::Two, Mask::All)?;
    a.add(index, two)?;
    a.sub(left, two)?;
    a.jge(pairs)?;
    a.set_label(&mut rest)?;
    a.add(left, two)?;
    a.jz(done)?;
    a.set_label(&mut single)?;
    a.mov(count, i64::from(lanes))?;
    a.cmp(left, count)?;
    a.cmovl(count, left)?;
    a.first(MASK, count, masks)?;
    turn(a, Together::One, Mask::In(MASK))?;
    a.add(index, lanes)?;
    a.sub(left, lanes)?;
    a.jg(single)?;
    a.set_label(&mut done)?;
    // A label stands before an instruction.
    a.nop()
}

/// Predicates of comparisons: none holds of NaN, and none signals.
const EQUAL: u32 = 0;
const LESS: u32 = 0x11;
const GREATER: u32 = 0x1E;

fn one(a: &mut Assembler, operation: One, to: usize, x: usize) -> Emitted {
    match operation {
        One::Root => a.root_f32(to, x),
        One::FromIntegers => a.i32_to_f32(to, x),
        One::Left(bits) => a.shift_left_u32(to, x, bits),
        One::Right(bits) => a.shift_right_u32(to, x, bits),
        One::RightSigned(bits) => a.shift_right_i32(to, x, bits),
    }
}

fn two(a: &mut Assembler, operation: Two, to: usize, first: usize, second: Operand) -> Emitted {
    match operation {
        Two::Add => a.add_f32(to, first, second),
        Two::Subtract => a.subtract_f32(to, first, second),
        Two::Multiply => a.multiply_f32(to, first, second),
        Two::Divide => a.divide_f32(to, first, second),
        Two::And => a.and_bits(to, first, second),
        Two::Or => a.or_bits(to, first, second),
        Two::Differ => a.exclusive_or(to, first, second),
        Two::AddIntegers => a.add_i32(to, first, second),
        Two::SubtractIntegers => a.subtract_i32(to, first, second),
        Two::Smaller => {
            let second = match second {
                Operand::Register(second) => second,
                Operand::Memory(memory) => {
                    a.load(to, memory)?;
                    to
                }
            };
            // Where either is NaN or both are zeros, the instruction takes its second operand: together the bits of both.
            a.smaller_f32(SPARE, first, second)?;
            a.smaller_f32(to, second, first)?;
            a.or_bits(to, to, SPARE)
        }
    }
}
