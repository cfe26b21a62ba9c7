//! Tiles of float products for x86-64 with fused multiply-adds, with vectors of 256 or 512 bits.

use super::product::Tile;
use crate::assemble::{Assembled, assemble};
use iced_x86::code_asm::*;

/// [`Tile`]: sums in the first registers, then columns of the panel, then an element of the left matrix.
pub(crate) fn tile(code: &Tile) -> Assembled {
    let Tile { lanes, rows, vectors } = *code;
    assemble(lanes * 4, |a| {
        let (left, left_row, right, right_row, inner, out) = (rdi, rsi, rdx, rcx, r8, r9);
        let (out_row, three, other) = (r10, r11, rax);
        let (columns, factor, vector) = (rows * vectors, (rows + 1) * vectors, a.vector());
        let (mut next, mut end) = (a.create_label(), a.create_label());
        a.mov(out_row, qword_ptr(rsp + 8))?;
        // Rows 3 to 5 are addressed from row 3.
        a.lea(three, qword_ptr(left_row + left_row * 2))?;
        a.add(three, left)?;
        (0..rows * vectors).try_for_each(|sum| a.clear(sum))?;
        a.test(inner, inner)?;
        a.jz(end)?;
        a.set_label(&mut next)?;
        for i in 0..vectors {
            a.load(columns + i, ptr(right + i * vector))?;
        }
        for row in 0..rows {
            let base = if row < 3 { left } else { three };
            match row % 3 {
                0 => a.broadcast_f32(factor, ptr(base))?,
                1 => a.broadcast_f32(factor, ptr(base + left_row))?,
                _ => a.broadcast_f32(factor, ptr(base + left_row * 2))?,
            }
            for i in 0..vectors {
                a.multiply_add_f32(row * vectors + i, factor, columns + i)?;
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
            for i in 0..vectors {
                a.store(ptr(other + i * vector), row * vectors + i)?;
            }
            a.add(other, out_row)?;
        }
        Ok(())
    })
}
