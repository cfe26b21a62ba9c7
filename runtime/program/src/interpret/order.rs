//! Scattered rows, running sums, the largest elements.

use super::{Context, RunError, View, ViewMut};
use crate::step::{Combine, Cumulative, Scatter, TopK};
use std::cmp::Ordering;

/// Runs `$body` with the elements of a view and an output of one type, as `$x` and `$out`; other types are a caller's mistake.
macro_rules! of_numbers {
    ($cx:expr, $view:expr, $output:expr, |$x:ident, $out:ident| $body:expr) => {
        match ($view, $output) {
            (View::F32($x), ViewMut::F32($out)) => $body,
            (View::I64($x), ViewMut::I64($out)) => $body,
            (View::I32($x), ViewMut::I32($out)) => $body,
            _ => return Err($cx.wrong_buffer("numbers of its output's type")),
        }
    };
}

pub(super) fn scatter(cx: &Context<'_>, step: &Scatter, output: &mut ViewMut<'_>) -> Result<(), RunError> {
    let (data, updates) = (cx.view(step.data)?, cx.view(step.updates)?);
    let combine = step.combine;
    macro_rules! replace {
        ($($variant:ident),*) => {
            match (data, updates, output) {
                (View::F32(from), View::F32(with), ViewMut::F32(out)) => {
                    place(cx, step, from, with, out, |a, b| Some(combine?.binary().apply(a, b)))
                }
                (View::I64(from), View::I64(with), ViewMut::I64(out)) => {
                    place(cx, step, from, with, out, |a, b| combine?.binary().apply_integer(a, b))
                }
                (View::I32(from), View::I32(with), ViewMut::I32(out)) => place(cx, step, from, with, out, |a, b| {
                    combine?.binary().apply_integer(i64::from(a), i64::from(b)).map(|n| n as i32)
                }),
                $((View::$variant(from), View::$variant(with), ViewMut::$variant(out)) => {
                    place(cx, step, from, with, out, |_, _| None)
                })*
                _ => Err(cx.wrong_buffer("of its output's type")),
            }
        };
    }
    replace!(I8, U8, I16, Bool)
}

/// `combine` gives what two elements become; nothing where the second replaces the first.
fn place<T: Copy>(
    cx: &Context<'_>,
    step: &Scatter,
    from: &[T],
    with: &[T],
    out: &mut [T],
    combine: impl Fn(T, T) -> Option<T>,
) -> Result<(), RunError> {
    let shape = cx.shapes.of(step.output);
    if out.len() != from.len() || out.len() != shape.iter().product::<usize>() {
        return Err(cx.wrong_buffer("of its shape's size"));
    }
    out.copy_from_slice(from);
    let (size, row) = (shape[0], shape[1..].iter().product::<usize>());
    let indices = cx.view(step.indices)?;
    for i in 0..indices.len() {
        let index = match indices {
            View::I64(v) => v[i],
            View::I32(v) => i64::from(v[i]),
            _ => return Err(cx.wrong_buffer("i32 or i64 indices")),
        };
        let from_end = if index < 0 { index.saturating_add(size as i64) } else { index };
        let Some(place) = usize::try_from(from_end).ok().filter(|&place| place < size) else {
            return Err(RunError::Index { step: cx.step.name.clone(), index, size });
        };
        for (to, &x) in out[place * row..][..row].iter_mut().zip(&with[i * row..][..row]) {
            *to = combine(*to, x).unwrap_or(x);
        }
    }
    Ok(())
}

pub(super) fn cumulative(
    cx: &Context<'_>,
    step: &Cumulative,
    output: &mut ViewMut<'_>,
) -> Result<(), RunError> {
    let view = cx.view(step.input)?;
    let shape = cx.shapes.of(step.output);
    let (line, product) = (Line::of(shape, step.axis), step.combine == Combine::Mul);
    let fits = |len: usize| len == view.len() && len == shape.iter().product::<usize>();
    match (view, output) {
        (View::F32(x), ViewMut::F32(out)) if fits(out.len()) => line.each(|at| {
            let mut running = if product { 1f64 } else { 0.0 };
            for i in at.places() {
                let element = f64::from(x[i]);
                running = if product { running * element } else { running + element };
                out[i] = running as f32;
            }
        }),
        (View::I64(x), ViewMut::I64(out)) if fits(out.len()) => line.each(|at| {
            let mut running = i64::from(product);
            for i in at.places() {
                running = if product { running.wrapping_mul(x[i]) } else { running.wrapping_add(x[i]) };
                out[i] = running;
            }
        }),
        (View::I32(x), ViewMut::I32(out)) if fits(out.len()) => line.each(|at| {
            let mut running = i32::from(product);
            for i in at.places() {
                running = if product { running.wrapping_mul(x[i]) } else { running.wrapping_add(x[i]) };
                out[i] = running;
            }
        }),
        _ => return Err(cx.wrong_buffer("numbers of its output's type and size")),
    }
    Ok(())
}

pub(super) fn top_k(cx: &Context<'_>, step: &TopK, outputs: &mut [ViewMut<'_>]) -> Result<(), RunError> {
    let [values, ViewMut::I64(indices)] = outputs else {
        return Err(cx.wrong_buffer("two outputs, the second i64"));
    };
    let elements = cx.shapes.of(step.outputs[0]).iter().product::<usize>();
    let from = Line::of(cx.shape(step.input), step.axis);
    let to = Line::of(cx.shapes.of(step.outputs[0]), step.axis);
    of_numbers!(cx, cx.view(step.input)?, values, |x, out| {
        if out.len() != elements || indices.len() != elements {
            return Err(cx.wrong_buffer("of its shape's size"));
        }
        select(&from, &to, step.largest, x, out, indices);
    });
    Ok(())
}

/// What `top_k` orders.
trait Ordered: Copy {
    fn order(self, other: Self) -> Ordering;
}

impl Ordered for f32 {
    fn order(self, other: f32) -> Ordering {
        self.partial_cmp(&other).unwrap_or_else(|| self.is_nan().cmp(&other.is_nan()))
    }
}

impl Ordered for i64 {
    fn order(self, other: i64) -> Ordering {
        self.cmp(&other)
    }
}

impl Ordered for i32 {
    fn order(self, other: i32) -> Ordering {
        self.cmp(&other)
    }
}

/// The best of each line, the best first; of equal ones the earlier. `n log k` comparisons, and nothing is allocated: the best so far are a heap
/// where they are written.
fn select<T: Ordered>(from: &Line, to: &Line, largest: bool, x: &[T], out: &mut [T], indices: &mut [i64]) {
    if out.is_empty() {
        return;
    }
    let first = if largest { Ordering::Greater } else { Ordering::Less };
    for start in 0..from.lines() {
        let (source, place) = (from.at(start), to.at(start));
        let size = place.count;
        let mut heap = Heap { out, indices, place, first };
        for index in 0..source.count {
            let item = (x[source.first + index * source.stride], index as i64);
            if index < size {
                heap.rise(index, item);
            } else if heap.before(item, heap.get(0)) {
                heap.sink(0, size, item);
            }
        }
        // The last of those that are left goes behind them, until none is.
        for end in (1..size).rev() {
            let item = heap.get(end);
            heap.set(end, heap.get(0));
            heap.sink(0, end, item);
        }
    }
}

/// A line of results: elements and indices, none before what stands above it.
struct Heap<'a, T> {
    out: &'a mut [T],
    indices: &'a mut [i64],
    place: At,
    /// How an element compares to one that it goes before.
    first: Ordering,
}

impl<T: Ordered> Heap<'_, T> {
    fn before(&self, a: (T, i64), b: (T, i64)) -> bool {
        match a.0.order(b.0) {
            Ordering::Equal => a.1 < b.1,
            order => order == self.first,
        }
    }

    fn get(&self, i: usize) -> (T, i64) {
        let i = self.place.first + i * self.place.stride;
        (self.out[i], self.indices[i])
    }

    fn set(&mut self, i: usize, item: (T, i64)) {
        let i = self.place.first + i * self.place.stride;
        (self.out[i], self.indices[i]) = item;
    }

    /// Puts an item at a free place or above it.
    fn rise(&mut self, mut at: usize, item: (T, i64)) {
        while at > 0 && self.before(self.get((at - 1) / 2), item) {
            self.set(at, self.get((at - 1) / 2));
            at = (at - 1) / 2;
        }
        self.set(at, item);
    }

    /// Puts an item at a free place or below it, of a heap of `size`.
    fn sink(&mut self, mut at: usize, size: usize, item: (T, i64)) {
        while 2 * at + 1 < size {
            let mut below = 2 * at + 1;
            if below + 1 < size && self.before(self.get(below), self.get(below + 1)) {
                below += 1;
            }
            if !self.before(item, self.get(below)) {
                break;
            }
            self.set(at, self.get(below));
            at = below;
        }
        self.set(at, item);
    }
}

/// The lines of a shape along an axis.
struct Line {
    outer: usize,
    size: usize,
    inner: usize,
}

/// The places of one line's elements.
struct At {
    first: usize,
    stride: usize,
    count: usize,
}

impl Line {
    fn of(shape: &[usize], axis: usize) -> Line {
        let product = |sizes: &[usize]| sizes.iter().product();
        Line { outer: product(&shape[..axis]), size: shape[axis], inner: product(&shape[axis + 1..]) }
    }

    fn lines(&self) -> usize {
        self.outer * self.inner
    }

    fn at(&self, line: usize) -> At {
        let first = line / self.inner * self.size * self.inner + line % self.inner;
        At { first, stride: self.inner, count: self.size }
    }

    fn each(&self, mut visit: impl FnMut(At)) {
        // Of lines without elements there may be a great many.
        if self.size > 0 {
            (0..self.lines()).for_each(|line| visit(self.at(line)));
        }
    }
}

impl At {
    fn places(&self) -> impl Iterator<Item = usize> + use<> {
        let (first, stride) = (self.first, self.stride);
        (0..self.count).map(move |i| first + i * stride)
    }
}
