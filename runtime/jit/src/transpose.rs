//! Transposing matrices: rows of a matrix product become planes, and planes of sums rows.

use crate::compile::{Compiler, Function};
use crate::error::JitError;
use crate::machine::Isa;
use std::mem::size_of;
use std::sync::Arc;

/// Rows and columns that generated code transposes at once.
const BLOCK: usize = 8;

/// Transposes matrices of numbers of 2 or 4 bytes, by generated code where there is any.
pub(crate) struct Transposer {
    blocks: Option<Arc<Function>>,
    /// Of a number that the function is for.
    bytes: usize,
}

/// `blocks(source, target, blocks, source_step, target_step)`
///
/// Of eight rows, `source_step` bytes apart, each block of eight columns becomes eight rows, `target_step` bytes apart, of eight columns.
#[derive(Debug)]
struct Blocks {
    /// Of a number.
    bytes: usize,
}

/// The type of [`Blocks`]'s function.
type BlocksFunction = unsafe extern "C" fn(*const u8, *mut u8, usize, usize, usize);

impl Transposer {
    /// For matrices of `T`.
    pub fn new<T>(compiler: &Compiler, isa: Isa) -> Result<Transposer, JitError> {
        let bytes = size_of::<T>();
        #[cfg(all(target_arch = "x86_64", unix))]
        let assemble = wide::blocks;
        #[cfg(not(all(target_arch = "x86_64", unix)))]
        let assemble = |_: &Blocks| None;
        let code = Blocks { bytes };
        let blocks = match isa {
            Isa::Portable => None,
            Isa::Avx2 | Isa::Avx512 => Some(compiler.assembled(&code, || assemble(&code))?),
        };
        Ok(Transposer { blocks, bytes })
    }

    /// The functions that it calls.
    pub fn functions(&self) -> Vec<Arc<Function>> {
        self.blocks.iter().cloned().collect()
    }

    /// Row `r`, column `c` of the target becomes row `c`, column `r` of the source, which has `rows` rows of `columns`, `step` numbers apart; those of
    /// the target are `target_step` apart.
    ///
    /// # Safety
    /// All these places can be read, or written, and nobody else accesses those that are written.
    pub unsafe fn transpose<T: Copy>(
        &self,
        [rows, columns]: [usize; 2],
        source: *const T,
        step: usize,
        target: *mut T,
        target_step: usize,
    ) {
        if rows == target_step && columns >= BLOCK {
            // SAFETY: the caller's promise: so many rows of the source, and as many times their columns one behind the other.
            unsafe {
                match rows {
                    2 => return interleave::<T, 2>(source, step, target, columns),
                    3 => return interleave::<T, 3>(source, step, target, columns),
                    4 => return interleave::<T, 4>(source, step, target, columns),
                    _ => {}
                }
            }
        }
        let whole = match &self.blocks {
            Some(function) if size_of::<T>() == self.bytes => {
                let (rows, blocks) = (rows / BLOCK * BLOCK, columns / BLOCK);
                // SAFETY: the function was emitted for exactly this type; `entry()` is its start.
                let transpose = unsafe { std::mem::transmute::<*const u8, BlocksFunction>(function.entry()) };
                for row in (0..rows).step_by(BLOCK).filter(|_| blocks > 0) {
                    let (from, to) = (source.wrapping_add(row * step), target.wrapping_add(row));
                    // SAFETY: whole blocks of what the caller gave over.
                    unsafe {
                        let steps = [step, target_step].map(|step| step * self.bytes);
                        transpose(from.cast(), to.cast(), blocks, steps[0], steps[1]);
                    }
                }
                [rows, blocks * BLOCK]
            }
            _ => [0, 0],
        };
        // What is left, in parts that keep both sides in the first-level cache; of few columns, each in one go.
        let part = if columns < BLOCK { rows.max(1) } else { BLOCK };
        for first in (0..rows).step_by(part) {
            let (end, done) = ((first + part).min(rows), if first < whole[0] { whole[1] } else { 0 });
            for column in done..columns {
                for row in first..end {
                    // SAFETY: a place of the source and one of the target.
                    unsafe {
                        let number = source.wrapping_add(row * step + column).read();
                        target.wrapping_add(column * target_step + row).write(number);
                    }
                }
            }
        }
    }
}

/// The numbers of a few rows, `step` numbers apart, in turns.
///
/// # Safety
/// As [`Transposer::transpose`], of rows whose numbers in the target leave nothing out.
unsafe fn interleave<T: Copy, const ROWS: usize>(
    source: *const T,
    step: usize,
    target: *mut T,
    columns: usize,
) {
    // SAFETY: the caller's promise.
    let (rows, target) = unsafe {
        let row = |row| std::slice::from_raw_parts(source.add(row * step), columns);
        (std::array::from_fn::<_, ROWS, _>(row), std::slice::from_raw_parts_mut(target, columns * ROWS))
    };
    for (column, numbers) in target.as_chunks_mut::<ROWS>().0.iter_mut().enumerate() {
        for (number, row) in numbers.iter_mut().zip(&rows) {
            *number = row[column];
        }
    }
}

/// For x86-64.
#[cfg(all(target_arch = "x86_64", unix))]
mod wide {
    use super::{BLOCK, Blocks};
    use crate::assemble::{Assembled, Assembler, Emitted, assemble};
    use iced_x86::code_asm::*;

    /// [`Blocks`].
    pub(super) fn blocks(code: &Blocks) -> Assembled {
        let block = match code.bytes {
            2 => narrow,
            4 => wide,
            _ => return None,
        };
        assemble(32, |a| {
            let (source, target, blocks, step, target_step) = (rdi, rsi, rdx, rcx, r8);
            let mut next = a.create_label();
            a.lea(r11, ptr(step + step * 2))?;
            a.lea(rax, ptr(target_step + target_step * 2))?;
            a.set_label(&mut next)?;
            a.lea(r9, ptr(source + step * 4))?;
            a.lea(r10, ptr(target + target_step * 4))?;
            // A row, of all or of the last four, in the source or the target.
            let row = |[upper, lower]: [AsmRegister64; 2], step: AsmRegister64, three: AsmRegister64| {
                move |number: usize| {
                    let base = if number < 4 { upper } else { lower };
                    match number % 4 {
                        0 => base + 0,
                        1 => base + step,
                        2 => base + step * 2,
                        _ => base + three,
                    }
                }
            };
            block(a, &row([source, r9], step, r11), &row([target, r10], target_step, rax))?;
            a.add(source, (BLOCK * code.bytes) as i32)?;
            a.lea(target, ptr(target + target_step * 8))?;
            a.dec(blocks)?;
            a.jnz(next)
        })
    }

    /// Where a row of a block is.
    type Row<'a> = &'a dyn Fn(usize) -> AsmMemoryOperand;

    /// A block of numbers of 4 bytes: its left half, then its right half.
    fn wide(a: &mut Assembler, source: Row<'_>, target: Row<'_>) -> Emitted {
        let rows = [ymm0, ymm1, ymm2, ymm3];
        let lower = [xmm0, xmm1, xmm2, xmm3];
        let pairs = [ymm4, ymm5, ymm6, ymm7];
        for half in 0..2 {
            // In the lower parts rows 0 to 3, in the upper ones rows 4 to 7.
            for number in 0..4 {
                a.vmovups(lower[number], xmmword_ptr(source(number) + 16 * half))?;
                let below = xmmword_ptr(source(number + 4) + 16 * half);
                a.vinsertf128(rows[number], rows[number], below, 1)?;
            }
            a.vunpcklps(pairs[0], rows[0], rows[1])?;
            a.vunpckhps(pairs[1], rows[0], rows[1])?;
            a.vunpcklps(pairs[2], rows[2], rows[3])?;
            a.vunpckhps(pairs[3], rows[2], rows[3])?;
            // Of two pairs, the lower halves of both, or the upper ones.
            a.vshufps(rows[0], pairs[0], pairs[2], 0x44)?;
            a.vshufps(rows[1], pairs[0], pairs[2], 0xEE)?;
            a.vshufps(rows[2], pairs[1], pairs[3], 0x44)?;
            a.vshufps(rows[3], pairs[1], pairs[3], 0xEE)?;
            for (number, column) in rows.into_iter().enumerate() {
                a.vmovups(ymmword_ptr(target(4 * half + number)), column)?;
            }
        }
        Ok(())
    }

    /// A block of numbers of 2 bytes: pairs of them, fours, eights.
    fn narrow(a: &mut Assembler, source: Row<'_>, target: Row<'_>) -> Emitted {
        let rows = [xmm0, xmm1, xmm2, xmm3, xmm4, xmm5, xmm6, xmm7];
        let others = [xmm8, xmm9, xmm10, xmm11, xmm12, xmm13, xmm14, xmm15];
        for (number, &register) in rows.iter().enumerate() {
            a.vmovups(register, xmmword_ptr(source(number)))?;
        }
        for pair in 0..4 {
            let [first, second] = [rows[2 * pair], rows[2 * pair + 1]];
            a.vpunpcklwd(others[2 * pair], first, second)?;
            a.vpunpckhwd(others[2 * pair + 1], first, second)?;
        }
        for (four, half) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            let [first, second] = [others[4 * four + half], others[4 * four + half + 2]];
            a.vpunpckldq(rows[4 * four + 2 * half], first, second)?;
            a.vpunpckhdq(rows[4 * four + 2 * half + 1], first, second)?;
        }
        for column in 0..4 {
            let [first, second] = [rows[column], rows[column + 4]];
            a.vpunpcklqdq(others[2 * column], first, second)?;
            a.vpunpckhqdq(others[2 * column + 1], first, second)?;
        }
        for (number, column) in others.into_iter().enumerate() {
            a.vmovups(xmmword_ptr(target(number)), column)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_number_finds_its_place(rows in 0..40usize, columns in 0..40usize, more in 0..9usize) {
            let (step, target_step) = (columns + more, rows + more);
            let source: Vec<u32> = (0..(rows * step) as u32).collect();
            let narrow: Vec<u16> = source.iter().map(|&number| number as u16).collect();
            for isa in Isa::available() {
                let compiler = Compiler::new().unwrap();
                let transposer = Transposer::new::<u32>(&compiler, isa).unwrap();
                let of_narrow = Transposer::new::<u16>(&compiler, isa).unwrap();
                let mut target = vec![u32::MAX; columns * target_step];
                let mut narrow_target = vec![u16::MAX; columns * target_step];
                // SAFETY: rows and columns of these vectors.
                unsafe {
                    let size = [rows, columns];
                    transposer.transpose(size, source.as_ptr(), step, target.as_mut_ptr(), target_step);
                    of_narrow.transpose(size, narrow.as_ptr(), step, narrow_target.as_mut_ptr(), target_step);
                }
                let place = |i: usize| (i / target_step.max(1), i % target_step.max(1));
                for (i, (&number, &narrow)) in target.iter().zip(&narrow_target).enumerate() {
                    let (row, column) = place(i);
                    let want = if column < rows { (column * step + row) as u32 } else { u32::MAX };
                    prop_assert_eq!((number, narrow), (want, want as u16));
                }
            }
        }
    }
}
