//! The functions of accumulate kernels for x86-64, with vectors of 256 or 512 bits.
//!
//! Registers are assigned by hand, those of vectors by number, sums from 0 upwards.

use super::code::{Accumulate, Build, Into, READ_BEHIND, Second, Source, Widen};
use super::pattern::Patterns;
use crate::assemble::{Assembled, Assembler, Emitted, assemble};
use crate::machine::Element;
use iced_x86::code_asm::*;

/// Registers that no sums are in: for the mask of what is loaded, and for the second half of the numbers of which every second is meant.
const CHOSEN: usize = 14;
const OTHER: usize = 15;

/// Numbers of a masked row that are part of a vector: in which half of the numbers between which a stride chooses, how many bytes they are from the
/// member's place and their masks from its masks, and whether others are in that half already.
struct Piece {
    half: usize,
    at: i32,
    mask: i32,
    beside: bool,
}

/// What the vector `v` of those that are made together, each of so many bytes, is made of.
fn pieces(source: Source, v: usize, vector: i32) -> Vec<Piece> {
    let Source::Masked { step, second } = source else { return vec![] };
    let halves = (0..step).flat_map(|half| {
        let at = (v * step + half) as i32 * vector;
        let first = Piece { half, at, mask: at, beside: false };
        let second = second.map(|Second { apart, masks }| Piece {
            half,
            at: at + apart * 4,
            mask: at + masks * 4,
            beside: true,
        });
        std::iter::once(first).chain(second)
    });
    halves.collect()
}

/// [`Build`]: for each vector, members in the first registers, then a sum for each depth of the walk over patterns.
///
/// Of vectors of 256 bits two are made at a time where registers allow, since stores of one cache line that follow each other go there
/// together.
pub(crate) fn build(code: &Build) -> Assembled {
    let Build { element, lanes, group, entry, pitch, source: from } = *code;
    let bytes = element.bytes();
    let patterns = Patterns::new(group);
    let registers = 2 * group - 1;
    let together = if lanes * bytes == 32 && 2 * registers <= CHOSEN { 2 } else { 1 };
    let (turns, rest) = (code.vectors() / together, code.vectors() % together);
    assemble(lanes * bytes, |a| {
        let (table, source, members, rows, source_row, masks, mask) = (rdi, rsi, rdx, rcx, r8, r14, r15);
        let sources = &[rax, r9, r10, r11, rbx][..group];
        let (to, at, left) = (rbp, r12, r13);
        let saved = [rbx, rbp, r12, r13, r14, r15];
        saved.iter().try_for_each(|&register| a.push(register))?;
        a.mov(masks, r9)?;
        for (j, &register) in sources.iter().enumerate() {
            a.mov(register, qword_ptr(members + j * 8))?;
            a.add(register, source)?;
        }
        let vector = a.vector();
        let pieces = |v: usize| pieces(from, v, vector as i32);
        let step = if let Source::Masked { step, .. } = from { step } else { 1 };
        let masks_of = |a: &mut Assembler, member: usize| -> Emitted {
            a.mov(mask, qword_ptr(members + (group + member) * 8))?;
            a.add(mask, masks)
        };
        // Masks of the only vector of every row.
        let kept = code.vectors() == 1 && group * pieces(0).len() <= a.most_kept();
        let number = |member: usize, piece: usize| member * pieces(0).len() + piece;
        if kept && from != Source::Whole {
            for member in 0..group {
                masks_of(a, member)?;
                for (i, piece) in pieces(0).iter().enumerate() {
                    a.choose(CHOSEN, mask + piece.mask)?;
                    a.keep_chosen(number(member, i))?;
                }
            }
        }
        let sums = |a: &mut Assembler, vectors: usize| -> Emitted {
            for (member, &register) in sources.iter().enumerate() {
                if from != Source::Whole && !kept {
                    masks_of(a, member)?;
                }
                for v in 0..vectors {
                    let to = v * registers + member;
                    if from == Source::Whole {
                        a.load(to, ptr(register + at + v * vector))?;
                        continue;
                    }
                    for (i, piece) in pieces(v).into_iter().enumerate() {
                        let (to, there) =
                            (if piece.half == 0 { to } else { OTHER }, register + at * step + piece.at);
                        if kept {
                            a.load_kept(to, there, number(member, i), piece.beside)?;
                            continue;
                        }
                        let chosen = a.choose(CHOSEN, mask + at * step + piece.mask)?;
                        match piece.beside {
                            false => a.load_masked(to, there, chosen)?,
                            true => a.load_beside(to, there, chosen)?,
                        }
                    }
                    if step == 2 {
                        a.every_second(to, to, OTHER)?;
                    }
                    // What the next region to the right reads of the row.
                    if v + 1 == vectors {
                        a.prefetcht0(byte_ptr(register + at * step + v * step * vector + 64))?;
                    }
                }
            }
            // By number of the sum: the register that it is in, which its siblings take over.
            let mut places: Vec<usize> = Vec::new();
            for (number, sum) in (1..).zip(patterns.sums()) {
                let parent = sum.parent.map(|parent| places[parent - 1]);
                let place = match parent {
                    None => sum.member,
                    Some(parent) if parent < group => group,
                    Some(parent) => parent + 1,
                };
                for first in (0..vectors).map(|v| v * registers) {
                    let Some(parent) = parent.map(|parent| first + parent) else { break };
                    let (place, member) = (first + place, first + sum.member);
                    match (element, sum.negative) {
                        (Element::F32, true) => a.subtract_f32(place, parent, member)?,
                        (Element::F32, false) => a.add_f32(place, parent, member)?,
                        (Element::I16, true) => a.subtract_i16(place, parent, member)?,
                        (Element::I16, false) => a.add_i16(place, parent, member)?,
                    }
                }
                places.push(place);
                let entry = to + number * entry * bytes;
                (0..vectors).try_for_each(|v| a.store(ptr(entry + v * vector), v * registers + place))?;
            }
            a.add(to, (vectors * vector) as i32)?;
            a.add(at, (vectors * vector) as i32)
        };
        let (mut row, mut turn) = (a.create_label(), a.create_label());
        a.set_label(&mut row)?;
        a.mov(to, table)?;
        a.xor(at, at)?;
        if turns > 0 {
            a.mov(r13d, turns as u32)?;
            a.set_label(&mut turn)?;
            sums(a, together)?;
            a.dec(left)?;
            a.jnz(turn)?;
        }
        if rest > 0 {
            sums(a, rest)?;
        }
        a.add(table, (pitch * bytes) as i32)?;
        sources.iter().try_for_each(|&register| a.add(register, source_row))?;
        a.dec(rows)?;
        a.jnz(row)?;
        saved.iter().rev().try_for_each(|&register| a.pop(register))
    })
}

/// [`Accumulate`]. The addresses of entries are made some lookups ahead: of what is ready a core takes the oldest first, and an address that waits
/// behind additions holds up those that wait for it.
pub(crate) fn accumulate(code: &Accumulate) -> Assembled {
    let Accumulate { tile, lookups, fresh, into } = *code;
    assemble(tile.lanes * tile.element.bytes(), |a| {
        let (table, sums, stream, counts) = (rdi, rsi, rdx, rcx);
        let (sum, totals, total) = (r8, r10, r9);
        // Where the entries of an output's first lookups are, and of the others in turns.
        let first = [(r12, r12d), (r13, r13d), (r14, r14d)];
        let turns = [(r9, r9d), (r11, r11d), (rbx, ebx), (rbp, ebp)];
        let ahead = first.len();
        debug_assert_eq!(2 + ahead, READ_BEHIND);
        let saved = [rbx, rbp, r12, r13, r14];
        let place = |lookup: usize| match lookup.checked_sub(ahead) {
            None => first[lookup],
            Some(later) => turns[later % turns.len()],
        };
        // Those that are at some bytes of the stream.
        let address = |a: &mut Assembler, lookup: usize, at: usize| -> Emitted {
            let (entry, offset) = place(lookup);
            a.movzx(offset, word_ptr(stream + (at + 4 + lookup * 2)))?;
            a.add(entry, table)
        };
        // Whether the first entries of an output are not needed any more when those of the next are found.
        let across = lookups >= 2 * ahead;
        saved.iter().try_for_each(|&register| a.push(register))?;
        a.mov(totals, r8)?;
        let places = tile.offsets();
        let vector = a.vector();
        if across {
            (0..ahead).try_for_each(|lookup| address(a, lookup, 0))?;
        }
        for class in 0..=lookups {
            let (mut output, mut next) = (a.create_label(), a.create_label());
            a.mov(eax, dword_ptr(counts + class * 4))?;
            a.test(eax, eax)?;
            a.jz(next)?;
            a.set_label(&mut output)?;
            a.mov(r8d, dword_ptr(stream))?;
            a.add(sum, sums)?;
            for v in 0..places.len() {
                match fresh {
                    true => a.clear(v)?,
                    false => a.load(v, ptr(sum + v * vector))?,
                }
            }
            if !across {
                (0..ahead.min(lookups)).try_for_each(|lookup| address(a, lookup, 0))?;
            }
            for lookup in 0..lookups {
                match (lookup + ahead).checked_sub(lookups) {
                    None => address(a, lookup + ahead, 0)?,
                    Some(next) if across => address(a, next, code.stride())?,
                    Some(_) => {}
                }
                let (entry, _) = place(lookup);
                for (v, &place) in places.iter().enumerate() {
                    let entry = ptr(entry + place);
                    add(a, tile.element, lookup < lookups - class, v, entry)?;
                }
            }
            match into {
                Into::Sums => (0..places.len()).try_for_each(|v| a.store(ptr(sum + v * vector), v))?,
                Into::Totals { fresh } => {
                    a.mov(r9d, dword_ptr(stream))?;
                    a.lea(total, ptr(totals + total * 2))?;
                    for v in 0..places.len() {
                        // All registers may hold sums: each becomes its halves, one after the other, by way of the stack, where
                        // nobody else writes below its end.
                        a.store(ptr(rsp - vector as i32), v)?;
                        for half in [0, 1] {
                            a.load_i16_as_i32(v, rsp + (half * vector / 2) as i32 - vector as i32)?;
                            let at = 2 * v * vector + half * vector;
                            if !fresh {
                                a.add_i32(v, v, ptr(total + at))?;
                            }
                            a.store(ptr(total + at), v)?;
                        }
                    }
                }
            }
            a.add(stream, code.stride() as i32)?;
            a.dec(eax)?;
            a.jnz(output)?;
            a.set_label(&mut next)?;
            // A label stands before an instruction.
            a.nop()?;
        }
        saved.iter().rev().try_for_each(|&register| a.pop(register))
    })
}

/// [`Widen`].
pub(crate) fn widen(code: &Widen) -> Assembled {
    assemble(code.lanes * Element::I16.bytes(), |a| {
        let (sums, totals, vectors) = (rdi, rsi, rdx);
        let (halves, vector) = ([0, 1], a.vector());
        let (mut next, mut end) = (a.create_label(), a.create_label());
        a.test(vectors, vectors)?;
        a.jz(end)?;
        a.set_label(&mut next)?;
        for half in halves {
            a.load_i16_as_i32(half, sums + half * vector / 2)?;
            a.add_i32(half, half, ptr(totals + half * vector))?;
            a.store(ptr(totals + half * vector), half)?;
        }
        a.add(sums, vector as i32)?;
        a.add(totals, 2 * vector as i32)?;
        a.dec(vectors)?;
        a.jnz(next)?;
        a.set_label(&mut end)
    })
}

/// `sum += value` or `sum -= value`.
fn add(a: &mut Assembler, element: Element, plus: bool, sum: usize, value: AsmMemoryOperand) -> Emitted {
    match (element, plus) {
        (Element::F32, true) => a.add_f32(sum, sum, value),
        (Element::F32, false) => a.subtract_f32(sum, sum, value),
        (Element::I16, true) => a.add_i16(sum, sum, value),
        (Element::I16, false) => a.subtract_i16(sum, sum, value),
    }
}
