//! Tiles of float products for x86-64 with AVX2 and FMA.

use super::product::Tile;
use crate::assemble::{Assembled, VECTOR, YMM, assemble};
use iced_x86::code_asm::*;

/// [`Tile`]: sums in the first registers, then two columns of the panel, then an element of the left matrix.
pub(crate) fn tile(code: &Tile) -> Assembled {
    let Tile { lanes, rows } = *code;
    assemble(lanes * 4, |a| {
        let (left, left_row, right, right_row, inner, out) = (rdi, rsi, rdx, rcx, r8, r9);
        let (out_row, three, other) = (r10, r11, rax);
        let (columns, factor) = ([YMM[12], YMM[13]], YMM[14]);
        let (mut next, mut end) = (a.create_label(), a.create_label());
        a.mov(out_row, qword_ptr(rsp + 8))?;
        // Rows 3 to 5 are addressed from row 3.
        a.lea(three, qword_ptr(left_row + left_row * 2))?;
        a.add(three, left)?;
        YMM[..2 * rows].iter().try_for_each(|&sum| a.vxorps(sum, sum, sum))?;
        a.test(inner, inner)?;
        a.jz(end)?;
        a.set_label(&mut next)?;
        for (i, &column) in columns.iter().enumerate() {
            a.vmovups(column, ymmword_ptr(right + i * VECTOR))?;
        }
        for row in 0..rows {
            let base = if row < 3 { left } else { three };
            match row % 3 {
                0 => a.vbroadcastss(factor, dword_ptr(base))?,
                1 => a.vbroadcastss(factor, dword_ptr(base + left_row))?,
                _ => a.vbroadcastss(factor, dword_ptr(base + left_row * 2))?,
            }
            for (i, &column) in columns.iter().enumerate() {
                a.vfmadd231ps(YMM[2 * row + i], factor, column)?;
            }
        }
        a.add(left, 4)?;
        a.add(three, 4)?;
        a.add(right, right_row)?;
        a.dec(inner)?;
        a.jnz(next)?;
        a.set_label(&mut end)?;
        a.mov(other, out)?;
        for row in 0..rows {
            for i in 0..2 {
                a.vmovups(ymmword_ptr(other + i * VECTOR), YMM[2 * row + i])?;
            }
            a.add(other, out_row)?;
        }
        Ok(())
    })
}
