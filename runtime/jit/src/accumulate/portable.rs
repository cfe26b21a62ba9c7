//! The functions of accumulate kernels by Cranelift, with vectors of 128 bits.

use super::code::{
    Accumulate, AccumulateScalars, Build, BuildScalars, Into, SCALAR_OUTPUTS, SCALAR_TABLE, Source, Widen,
};
use super::pattern::{Patterns, Sum};
#[cfg(all(target_arch = "x86_64", unix))]
use super::wide;
use crate::compile::Code;
use crate::loops::{VECTOR, count, flags, load, store, zero};
use crate::machine::Element;
use cranelift_codegen::ir::{InstBuilder, Type, Value, types};
use cranelift_frontend::FunctionBuilder;

impl Code for Build {
    fn parameters(&self) -> usize {
        6
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let Build { element, group, entry, pitch, source, .. } = *self;
        debug_assert_eq!(source, Source::Whole, "vectors of 128 bits have no masks");
        let bytes = element.bytes();
        let patterns = Patterns::new(group);
        let &[table, source, members, rows, source_row, _] = arguments else { return };
        let vectors = b.ins().iconst(types::I64, self.vectors() as i64);
        let offsets: Vec<Value> = (0..group).map(|j| load(b, types::I64, members, j * 8)).collect();
        let sources: Vec<Value> = offsets.iter().map(|&o| b.ins().iadd(source, o)).collect();
        let zero = b.ins().iconst(types::I64, 0);
        count(b, rows, &[table, zero], |b, state| {
            let (table, row) = (state[0], state[1]);
            count(b, vectors, &[table, row], |b, state| {
                let (to, at) = (state[0], state[1]);
                let values: Vec<Value> = sources
                    .iter()
                    .map(|&s| {
                        let address = b.ins().iadd(s, at);
                        load(b, vector(element), address, 0)
                    })
                    .collect();
                let mut sums: Vec<Value> = Vec::new();
                for (number, sum) in (1..).zip(patterns.sums()) {
                    let value = extend(b, element, sum, &sums, &values);
                    store(b, value, to, number * entry * bytes);
                    sums.push(value);
                }
                vec![b.ins().iadd_imm_s(to, VECTOR as i64), b.ins().iadd_imm_s(at, VECTOR as i64)]
            });
            vec![b.ins().iadd_imm_s(table, (pitch * bytes) as i64), b.ins().iadd(row, source_row)]
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide::build(self)
    }
}

impl Code for Accumulate {
    fn parameters(&self) -> usize {
        5
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[table, sums, mut stream, counts, totals] = arguments else { return };
        let (element, places) = (self.tile.element, self.tile.offsets());
        for class in 0..=self.lookups {
            let outputs = b.ins().uload32(flags(), counts, (class * 4) as i32);
            let end = count(b, outputs, &[stream], |b, state| {
                let stream = state[0];
                let offset = b.ins().uload32(flags(), stream, 0);
                let sums = b.ins().iadd(sums, offset);
                let twice = b.ins().ishl_imm_u(offset, 1);
                let totals = b.ins().iadd(totals, twice);
                let sum = |b: &mut FunctionBuilder<'_>, v| match self.fresh {
                    true => zero(b, vector(element)),
                    false => load(b, vector(element), sums, v * VECTOR),
                };
                let mut registers: Vec<Value> = (0..places.len()).map(|v| sum(b, v)).collect();
                for lookup in 0..self.lookups {
                    let offset = b.ins().uload16(types::I64, flags(), stream, (4 + lookup * 2) as i32);
                    let entry = b.ins().iadd(table, offset);
                    for (sum, &place) in registers.iter_mut().zip(&places) {
                        let value = load(b, vector(element), entry, place);
                        *sum = add(b, element, lookup < self.lookups - class, *sum, value);
                    }
                }
                for (v, &sum) in registers.iter().enumerate() {
                    match self.into {
                        Into::Sums => store(b, sum, sums, v * VECTOR),
                        Into::Totals { fresh } => widen(b, sum, fresh, totals, 2 * v * VECTOR),
                    }
                }
                vec![b.ins().iadd_imm_s(stream, self.stride() as i64)]
            });
            stream = end[0];
        }
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide::accumulate(self)
    }
}

impl Code for Widen {
    fn parameters(&self) -> usize {
        3
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[sums, totals, vectors] = arguments else { return };
        count(b, vectors, &[sums, totals], |b, state| {
            let (sums, totals) = (state[0], state[1]);
            let value = load(b, types::I16X8, sums, 0);
            widen(b, value, false, totals, 0);
            vec![b.ins().iadd_imm_s(sums, VECTOR as i64), b.ins().iadd_imm_s(totals, 2 * VECTOR as i64)]
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        wide::widen(self)
    }
}

/// Adds a vector of i16 to two of i32, or makes them of it if they are `fresh`.
fn widen(b: &mut FunctionBuilder<'_>, value: Value, fresh: bool, totals: Value, at: usize) {
    let halves = [b.ins().swiden_low(value), b.ins().swiden_high(value)];
    for (i, half) in halves.into_iter().enumerate() {
        let at = at + i * VECTOR;
        let total = match fresh {
            true => half,
            false => {
                let total = load(b, types::I32X4, totals, at);
                b.ins().iadd(total, half)
            }
        };
        store(b, total, totals, at);
    }
}

impl Code for BuildScalars {
    fn parameters(&self) -> usize {
        3
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let BuildScalars { element, group } = *self;
        let patterns = Patterns::new(group);
        let &[tables, inputs, groups] = arguments else { return };
        let zero = match element {
            Element::F32 => b.ins().f32const(0.0),
            Element::I16 => b.ins().iconst(types::I32, 0),
        };
        count(b, groups, &[tables, inputs], |b, state| {
            let (table, inputs) = (state[0], state[1]);
            store(b, zero, table, 0);
            let member = |b: &mut FunctionBuilder<'_>, j: usize| match element {
                Element::F32 => load(b, types::F32, inputs, j * 4),
                Element::I16 => b.ins().sload16(types::I32, flags(), inputs, (j * 2) as i32),
            };
            let values: Vec<Value> = (0..group).map(|j| member(b, j)).collect();
            let mut sums: Vec<Value> = Vec::new();
            for (number, sum) in (1..).zip(patterns.sums()) {
                let value = extend(b, element, sum, &sums, &values);
                store(b, value, table, number * 4);
                let negative = match element {
                    Element::F32 => b.ins().fneg(value),
                    Element::I16 => b.ins().ineg(value),
                };
                store(b, negative, table, (patterns.entries() - 1 + number) * 4);
                sums.push(value);
            }
            vec![
                b.ins().iadd_imm_s(table, SCALAR_TABLE as i64 * 4),
                b.ins().iadd_imm_s(inputs, (group * element.bytes()) as i64),
            ]
        });
    }
}

impl Code for AccumulateScalars {
    fn parameters(&self) -> usize {
        5
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[tables, sums, indices, chunks, groups] = arguments else { return };
        let element = self.element;
        let wide = match element {
            Element::F32 => types::F32,
            Element::I16 => types::I32,
        };
        count(b, chunks, &[sums, indices], |b, state| {
            let (sums, indices) = (state[0], state[1]);
            let mut start = vec![tables, indices];
            start.extend((0..SCALAR_OUTPUTS).map(|i| load(b, wide, sums, i * 4)));
            let end = count(b, groups, &start, |b, state| {
                let (table, indices) = (state[0], state[1]);
                let mut next = vec![
                    b.ins().iadd_imm_s(table, SCALAR_TABLE as i64 * 4),
                    b.ins().iadd_imm_s(indices, SCALAR_OUTPUTS as i64),
                ];
                for (i, &sum) in state[2..].iter().enumerate() {
                    let index = b.ins().uload8(types::I64, flags(), indices, i as i32);
                    let offset = b.ins().ishl_imm_u(index, 2);
                    let address = b.ins().iadd(table, offset);
                    let value = load(b, wide, address, 0);
                    next.push(add(b, element, true, sum, value));
                }
                next
            });
            for (i, &sum) in end[2..].iter().enumerate() {
                store(b, sum, sums, i * 4);
            }
            vec![b.ins().iadd_imm_s(sums, SCALAR_OUTPUTS as i64 * 4), end[1]]
        });
    }
}

/// The value of a sum from earlier sums and the members.
fn extend(
    b: &mut FunctionBuilder<'_>,
    element: Element,
    sum: &Sum,
    sums: &[Value],
    members: &[Value],
) -> Value {
    let member = members[sum.member];
    sum.parent.map_or(member, |p| add(b, element, !sum.negative, sums[p - 1], member))
}

/// `a + b` or `a - b`, of single numbers too.
fn add(b: &mut FunctionBuilder<'_>, element: Element, plus: bool, x: Value, y: Value) -> Value {
    match (element, plus) {
        (Element::F32, true) => b.ins().fadd(x, y),
        (Element::F32, false) => b.ins().fsub(x, y),
        (Element::I16, true) => b.ins().iadd(x, y),
        (Element::I16, false) => b.ins().isub(x, y),
    }
}

/// The type of a vector.
fn vector(element: Element) -> Type {
    match element {
        Element::F32 => types::F32X4,
        Element::I16 => types::I16X8,
    }
}
