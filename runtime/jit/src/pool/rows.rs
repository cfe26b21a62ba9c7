//! Windows row by row: a vertical pass over whole rows, then a horizontal one over what it left.

use super::Fold;
use crate::compile::Code;
use crate::loops::{LANES, Part, VECTOR, bytes, count, load, run, splat_from};
use cranelift_codegen::ir::{InstBuilder, Value, types};
use cranelift_frontend::FunctionBuilder;

/// `vertical(source, column, numbers, rows, row_bytes)`: each number of `column` becomes the maximum or sum of `rows`
/// numbers at `source`, `row_bytes` apart. There are at least `lanes` numbers.
#[derive(Debug)]
pub(super) struct Vertical {
    pub fold: Fold,
    pub lanes: usize,
}

/// The type of [`Vertical`]'s function.
pub(super) type VerticalFunction = unsafe extern "C" fn(*const f32, *mut f32, usize, usize, usize);

/// `horizontal(column, output, numbers, taps, tap_bytes, divisors)`: output `x` becomes the maximum or mean of `taps`
/// numbers at `column[x * stride]`, `tap_bytes` apart. A maximum does not read `divisors`; `unrolled` says how many taps
/// there are, if they are few. There are at least `lanes` outputs.
#[derive(Debug)]
pub(super) struct Horizontal {
    pub fold: Fold,
    pub lanes: usize,
    pub stride: usize,
    pub unrolled: Option<usize>,
}

/// The type of [`Horizontal`]'s function.
pub(super) type HorizontalFunction =
    unsafe extern "C" fn(*const f32, *mut f32, usize, usize, usize, *const f32);

impl Code for Vertical {
    fn parameters(&self) -> usize {
        5
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[source, column, numbers, rows, row_bytes] = arguments else { return };
        run(b, numbers, &[(source, 4), (column, 4)], |b, part, addresses| {
            let &[source, column] = addresses else { return };
            let start = self.fold.start(b);
            let end = count(b, rows, &[source, start], |b, state| {
                let value = part.load(b, state[0]);
                let value = self.fold.next(b, state[1], value);
                vec![b.ins().iadd(state[0], row_bytes), value]
            });
            part.store(b, end[1], column);
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        super::wide::vertical(self)
    }
}

impl Code for Horizontal {
    fn parameters(&self) -> usize {
        6
    }

    fn emit(&self, b: &mut FunctionBuilder<'_>, arguments: &[Value]) {
        let &[column, output, numbers, taps, tap_bytes, divisors] = arguments else { return };
        let Horizontal { fold, stride, unrolled, .. } = *self;
        let mean = fold == Fold::Sum;
        let streams = [(column, stride * 4), (output, 4), (divisors, usize::from(mean) * 4)];
        run(b, numbers, &streams, |b, part, addresses| {
            let &[column, output, divisors] = addresses else { return };
            let mut state = vec![column, fold.start(b)];
            let tap = |b: &mut FunctionBuilder<'_>, state: &[Value]| {
                let value = load_apart(b, part, state[0], stride);
                let value = fold.next(b, state[1], value);
                vec![b.ins().iadd(state[0], tap_bytes), value]
            };
            match unrolled {
                Some(taps) => (0..taps).for_each(|_| state = tap(b, &state)),
                None => state = count(b, taps, &state, tap),
            }
            let mut value = state[1];
            if mean {
                let divisor = part.load(b, divisors);
                value = b.ins().fdiv(value, divisor);
            }
            part.store(b, value, output);
        });
    }

    #[cfg(all(target_arch = "x86_64", unix))]
    fn assemble(&self) -> Option<Result<Vec<u8>, String>> {
        super::wide::horizontal(self)
    }
}

/// Numbers that are `stride` apart.
fn load_apart(b: &mut FunctionBuilder<'_>, part: Part, address: Value, stride: usize) -> Value {
    match (part, stride) {
        (Part::Single, _) | (_, 1) => part.load(b, address),
        // Every second of eight; the last of them is read and not used.
        (Part::Vector, 2) => {
            let (low, high) = (load(b, types::F32X4, address, 0), load(b, types::F32X4, address, VECTOR));
            let (low, high) = (bytes(b, low, types::I8X16), bytes(b, high, types::I8X16));
            let lanes: Vec<u8> =
                (0..LANES as u8).flat_map(|lane| (0..4).map(move |byte| lane * 8 + byte)).collect();
            let mask = b.func.dfg.immediates.push(lanes.into());
            let value = b.ins().shuffle(low, high, mask);
            bytes(b, value, types::F32X4)
        }
        (Part::Vector, _) => {
            let mut value = splat_from(b, address);
            for lane in 1..LANES {
                let number = load(b, types::F32, address, lane * stride * 4);
                value = b.ins().insertlane(value, number, lane as u8);
            }
            value
        }
    }
}
