//! Functions of one number and of two.

use super::operator::{Gradients, Operator};
use super::product::broadcast_index;
use super::vectors::{flush, sum, vectors};
use rayon::prelude::*;
use twnc_ir::{Binary, Unary};

/// Numbers that are one piece of work.
pub const PIECE: usize = 1 << 14;
/// So many results that read one number are worth a loop of their own.
const RUN: usize = 32;

/// A function of one number.
pub struct Map(pub Unary);

/// A function of two numbers; how each operand is broadcast.
pub struct Zip {
    function: Binary,
    operands: [Spread; 2],
}

/// How a tensor is broadcast over a result.
#[derive(Debug)]
enum Spread {
    /// It has the result's shape.
    Same,
    /// Element `i` of the result reads element `i / inner % size`.
    Repeat { size: usize, inner: usize },
    /// Whatever it is: the element that each of the result reads.
    Indexed(Vec<u32>),
}

fn map(x: &[f32], y: &mut [f32], f: impl Fn(f32) -> f32 + Sync) {
    let pieces = y.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE));
    pieces.for_each(|(y, x)| vectors(|| y.iter_mut().zip(x).for_each(|(y, &x)| *y = f(x))));
}

/// `dx += dy·f(x, y)`; of a fresh gradient, `dx = dy·f(x, y)`.
fn chain(
    x: &[f32],
    y: &[f32],
    dy: &[f32],
    (dx, fresh): (&mut [f32], bool),
    f: impl Fn(f32, f32) -> f32 + Sync,
) {
    let pieces =
        dx.par_chunks_mut(PIECE).zip(x.par_chunks(PIECE)).zip(y.par_chunks(PIECE)).zip(dy.par_chunks(PIECE));
    pieces.for_each(|(((dx, x), y), dy)| {
        let numbers = dx.iter_mut().zip(x).zip(y).zip(dy);
        let d = |x: f32, y: f32, dy: f32| flush(dy * f(x, y));
        vectors(|| match fresh {
            true => numbers.for_each(|(((dx, &x), &y), &dy)| *dx = d(x, y, dy)),
            false => numbers.for_each(|(((dx, &x), &y), &dy)| *dx += d(x, y, dy)),
        });
    });
}

fn sigmoid(x: f32) -> f32 {
    1.0 / (1.0 + (-x).exp())
}

fn hard_sigmoid(x: f32, alpha: f32, beta: f32) -> f32 {
    (alpha * x + beta).clamp(0.0, 1.0)
}

impl Map {
    /// Whether the derivative is 0 wherever there is one, so that nothing is learnt through it.
    pub fn is_flat(function: Unary) -> bool {
        matches!(function, Unary::Floor | Unary::Round)
    }
}

impl Operator for Map {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let x = x[0];
        match self.0 {
            Unary::Relu => map(x, y, |x| if x < 0.0 { 0.0 } else { x }),
            Unary::LeakyRelu { slope } => map(x, y, |x| if x < 0.0 { slope * x } else { x }),
            Unary::Clip { min, max } => map(x, y, |x| {
                let x = if x < min { min } else { x };
                if x > max { max } else { x }
            }),
            Unary::HardSigmoid { alpha, beta } => map(x, y, |x| hard_sigmoid(x, alpha, beta)),
            Unary::HardSwish => map(x, y, |x| x * hard_sigmoid(x, 1.0 / 6.0, 0.5)),
            Unary::Neg => map(x, y, |x| -x),
            Unary::Abs => map(x, y, f32::abs),
            Unary::Sqrt => map(x, y, f32::sqrt),
            Unary::Reciprocal => map(x, y, f32::recip),
            Unary::Sigmoid => map(x, y, sigmoid),
            Unary::Tanh => map(x, y, f32::tanh),
            Unary::Exp => map(x, y, f32::exp),
            Unary::Log => map(x, y, f32::ln),
            Unary::Erf => map(x, y, libm::erff),
            Unary::Sin => map(x, y, f32::sin),
            Unary::Cos => map(x, y, f32::cos),
            Unary::Atan => map(x, y, f32::atan),
            Unary::Floor => map(x, y, f32::floor),
            Unary::Round => map(x, y, f32::round_ties_even),
        }
    }

    fn backward(&mut self, x: &[&[f32]], y: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let x = x[0];
        if Map::is_flat(self.0) {
            return;
        }
        let Some(dx) = dx.place(0) else { return };
        let step = |inside: bool| f32::from(u8::from(inside));
        match self.0 {
            Unary::Relu => chain(x, y, dy, dx, |x, _| step(x > 0.0)),
            Unary::LeakyRelu { slope } => chain(x, y, dy, dx, |x, _| if x < 0.0 { slope } else { 1.0 }),
            // As PyTorch's `clamp`: a bound itself lets the gradient through.
            Unary::Clip { min, max } => chain(x, y, dy, dx, |x, _| step(!(x < min || x > max))),
            Unary::HardSigmoid { alpha, .. } => {
                chain(x, y, dy, dx, |_, y| if y > 0.0 && y < 1.0 { alpha } else { 0.0 });
            }
            Unary::HardSwish => chain(x, y, dy, dx, |x, _| match x {
                x if x <= -3.0 => 0.0,
                x if x >= 3.0 => 1.0,
                x => x / 3.0 + 0.5,
            }),
            Unary::Neg => chain(x, y, dy, dx, |_, _| -1.0),
            Unary::Abs => chain(x, y, dy, dx, |x, _| step(x > 0.0) - step(x < 0.0)),
            Unary::Sqrt => chain(x, y, dy, dx, |_, y| 0.5 / y),
            Unary::Reciprocal => chain(x, y, dy, dx, |_, y| -y * y),
            Unary::Sigmoid => chain(x, y, dy, dx, |_, y| y * (1.0 - y)),
            Unary::Tanh => chain(x, y, dy, dx, |_, y| 1.0 - y * y),
            Unary::Exp => chain(x, y, dy, dx, |_, y| y),
            Unary::Log => chain(x, y, dy, dx, |x, _| 1.0 / x),
            Unary::Erf => chain(x, y, dy, dx, |x, _| std::f32::consts::FRAC_2_SQRT_PI * (-x * x).exp()),
            Unary::Sin => chain(x, y, dy, dx, |x, _| x.cos()),
            Unary::Cos => chain(x, y, dy, dx, |x, _| -x.sin()),
            Unary::Atan => chain(x, y, dy, dx, |x, _| 1.0 / (1.0 + x * x)),
            Unary::Floor | Unary::Round => {}
        }
    }
}

impl Spread {
    fn new(own: &[usize], result: &[usize]) -> Spread {
        if own == result {
            return Spread::Same;
        }
        // The axes, from the last, along which it is there: repeated behind them and before them?
        let mut own: Vec<usize> = own.to_vec();
        own.splice(0..0, std::iter::repeat_n(1, result.len() - own.len()));
        let there = |axis: &usize| own[*axis] != 1;
        let (first, last) = ((0..own.len()).find(there), (0..own.len()).rev().find(there));
        let (Some(first), Some(last)) = (first, last) else { return Spread::Repeat { size: 1, inner: 1 } };
        if own[first..=last] == result[first..=last] {
            let inner = result[last + 1..].iter().product::<usize>().max(1);
            return Spread::Repeat { size: own[first..=last].iter().product::<usize>().max(1), inner };
        }
        let count = result.iter().product();
        Spread::Indexed((0..count).map(|i| broadcast_index(i, result, &own) as u32).collect())
    }

    /// Whether elements of the result that follow each other read one number for a while, or numbers that follow each other.
    fn is_run(&self) -> bool {
        match *self {
            Spread::Same | Spread::Repeat { size: 1, .. } => true,
            Spread::Repeat { inner, .. } => inner >= RUN,
            Spread::Indexed(_) => false,
        }
    }

    /// The numbers that some elements of the result read, from `start` on.
    fn read(&self, x: &[f32], start: usize, into: &mut [f32]) {
        match self {
            Spread::Same => into.copy_from_slice(&x[start..start + into.len()]),
            Spread::Repeat { size: 1, .. } => into.fill(x[0]),
            &Spread::Repeat { size, inner } => {
                let (mut at, mut i) = (0, start);
                while at < into.len() {
                    let run = (inner - i % inner).min(into.len() - at);
                    match inner {
                        1 => {
                            let first = i % size;
                            let run = (size - first).min(into.len() - at);
                            into[at..at + run].copy_from_slice(&x[first..first + run]);
                            (at, i) = (at + run, i + run);
                            continue;
                        }
                        _ => into[at..at + run].fill(x[i / inner % size]),
                    }
                    (at, i) = (at + run, i + run);
                }
            }
            Spread::Indexed(map) => {
                let end = start + into.len();
                into.iter_mut().zip(&map[start..end]).for_each(|(y, &i)| *y = x[i as usize]);
            }
        }
    }

    /// Adds numbers of the result's shape to the elements that they come of; fresh ones are written.
    fn gather(&self, d: &[f32], (dx, fresh): (&mut [f32], bool)) {
        match self {
            Spread::Same => {
                dx.par_chunks_mut(PIECE).zip(d.par_chunks(PIECE)).for_each(|(x, d)| match fresh {
                    true => x.copy_from_slice(d),
                    false => super::vectors::add(x, d),
                });
            }
            &Spread::Repeat { size, inner } if inner > 1 || size == 1 => {
                dx.par_iter_mut().enumerate().for_each(|(i, dx)| {
                    let block = |block| <[f32]>::get(block, i * inner..(i + 1) * inner);
                    let d = d.chunks(size * inner).filter_map(block).map(sum).sum::<f64>() as f32;
                    *dx = if fresh { d } else { *dx + d };
                });
            }
            spread => {
                if fresh {
                    dx.fill(0.0);
                }
                match spread {
                    &Spread::Repeat { size, .. } => {
                        d.chunks(size).for_each(|row| super::vectors::add(dx, row));
                    }
                    Spread::Indexed(map) => d.iter().zip(map).for_each(|(d, &i)| dx[i as usize] += d),
                    Spread::Same => {}
                }
            }
        }
    }
}

/// What a run of results reads of an operand.
#[derive(Clone, Copy)]
enum Side<'s> {
    Each(&'s [f32]),
    One(f32),
}

impl Zip {
    pub fn new(function: Binary, a: &[usize], b: &[usize], y: &[usize]) -> Zip {
        Zip { function, operands: [Spread::new(a, y), Spread::new(b, y)] }
    }

    /// `out = f(a, b)`.
    fn map(&self, x: &[&[f32]], out: &mut [f32], f: impl Fn(f32, f32) -> f32 + Sync) {
        self.runs(x, out, |a, b, out, _| {
            vectors(|| match (a, b) {
                (Side::Each(a), Side::Each(b)) => {
                    out.iter_mut().zip(a).zip(b).for_each(|((out, &a), &b)| *out = f(a, b));
                }
                (Side::Each(a), Side::One(b)) => {
                    out.iter_mut().zip(a).for_each(|(out, &a)| *out = f(a, b));
                }
                (Side::One(a), Side::Each(b)) => {
                    out.iter_mut().zip(b).for_each(|(out, &b)| *out = f(a, b));
                }
                (Side::One(a), Side::One(b)) => out.fill(f(a, b)),
            });
        });
    }

    /// `out = f(a, b, d)`.
    fn chain(&self, x: &[&[f32]], d: &[f32], out: &mut [f32], f: impl Fn(f32, f32, f32) -> f32 + Sync) {
        self.runs(x, out, |a, b, out, start| {
            let numbers = out.iter_mut().zip(&d[start..]);
            vectors(|| match (a, b) {
                (Side::Each(a), Side::Each(b)) => {
                    numbers.zip(a).zip(b).for_each(|(((out, &d), &a), &b)| *out = f(a, b, d));
                }
                (Side::Each(a), Side::One(b)) => {
                    numbers.zip(a).for_each(|((out, &d), &a)| *out = f(a, b, d));
                }
                (Side::One(a), Side::Each(b)) => {
                    numbers.zip(b).for_each(|((out, &d), &b)| *out = f(a, b, d));
                }
                (Side::One(a), Side::One(b)) => numbers.for_each(|(out, &d)| *out = f(a, b, d)),
            });
        });
    }

    /// Walks runs of the result: what each reads of either operand, its place, and where it starts.
    fn runs(
        &self,
        x: &[&[f32]],
        out: &mut [f32],
        run: impl Fn(Side<'_>, Side<'_>, &mut [f32], usize) + Sync,
    ) {
        let pieces = out.par_chunks_mut(PIECE).enumerate();
        pieces.for_each_init(<[Vec<f32>; 2]>::default, |read, (i, out)| {
            let start = i * PIECE;
            for ((read, spread), x) in read.iter_mut().zip(&self.operands).zip(x) {
                if !spread.is_run() {
                    read.resize(out.len(), 0.0);
                    spread.read(x, start, read);
                }
            }
            let length = out.len();
            let side = |operand: usize, at: usize| {
                let rest = length - at;
                match self.operands[operand] {
                    Spread::Same => (Side::Each(&x[operand][start + at..]), rest),
                    Spread::Repeat { size: 1, .. } => (Side::One(x[operand][0]), rest),
                    Spread::Repeat { size, inner } if inner >= RUN => {
                        let i = start + at;
                        (Side::One(x[operand][i / inner % size]), rest.min(inner - i % inner))
                    }
                    _ => (Side::Each(&read[operand][at..]), rest),
                }
            };
            let mut at = 0;
            while at < length {
                let ((a, of_a), (b, of_b)) = (side(0, at), side(1, at));
                let next = at + of_a.min(of_b);
                run(a, b, &mut out[at..next], start + at);
                at = next;
            }
        });
    }
}

impl Operator for Zip {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let total = |a: f32, b: f32, less: bool| match () {
            () if a.is_nan() || b.is_nan() => f32::NAN,
            () if (a.total_cmp(&b).is_lt()) == less => a,
            () => b,
        };
        let step = |is: bool| f32::from(u8::from(is));
        match self.function {
            Binary::Add => self.map(x, y, |a, b| a + b),
            Binary::Sub => self.map(x, y, |a, b| a - b),
            Binary::Mul => self.map(x, y, |a, b| a * b),
            Binary::Div => self.map(x, y, |a, b| a / b),
            Binary::Min => self.map(x, y, |a, b| total(a, b, true)),
            Binary::Max => self.map(x, y, |a, b| total(a, b, false)),
            Binary::Pow => self.map(x, y, |a, b| f64::from(a).powf(f64::from(b)) as f32),
            Binary::PRelu => self.map(x, y, |a, b| if a < 0.0 { b * a } else { a }),
            Binary::Less => self.map(x, y, |a, b| step(a < b)),
            Binary::Equal => self.map(x, y, |a, b| step(a == b)),
            Binary::Keep => self.map(x, y, |a, b| if b != 0.0 { a } else { 0.0 }),
        }
    }

    fn backward(&mut self, x: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let mut scratch = vec![];
        for (side, spread) in self.operands.iter().enumerate() {
            match (self.function, side) {
                (Binary::Keep, 1) | (Binary::Less | Binary::Equal, _) => {}
                (Binary::Add, _) | (Binary::Sub, 0) => {
                    if let Some(place) = dx.place(side) {
                        spread.gather(dy, place);
                    }
                }
                _ => match (dx.place(side), spread) {
                    (Some((dx, true)), Spread::Same) => self.derivative(side, x, dy, dx),
                    (Some(place), _) => {
                        scratch.resize(dy.len(), 0.0);
                        self.derivative(side, x, dy, &mut scratch);
                        spread.gather(&scratch, place);
                    }
                    (None, _) => {}
                },
            }
        }
    }
}

impl Zip {
    /// `out = d·∂f/∂a` or `d·∂f/∂b`, of each result.
    fn derivative(&self, side: usize, x: &[&[f32]], d: &[f32], out: &mut [f32]) {
        let step = |is: bool| f32::from(u8::from(is));
        // Of equals, each has half.
        let less = |a: f32, b: f32| if a == b { 0.5 } else { f32::from(u8::from(a < b)) };
        match (self.function, side) {
            (Binary::Sub, 1) => self.chain(x, d, out, |_, _, d| -d),
            (Binary::Mul, 0) => self.chain(x, d, out, |_, b, d| d * b),
            (Binary::Mul, _) => self.chain(x, d, out, |a, _, d| d * a),
            (Binary::Div, 0) => self.chain(x, d, out, |_, b, d| d / b),
            (Binary::Div, _) => self.chain(x, d, out, |a, b, d| -d * a / (b * b)),
            (Binary::Min, 0) | (Binary::Max, 1) => self.chain(x, d, out, |a, b, d| d * less(a, b)),
            (Binary::Min | Binary::Max, _) => self.chain(x, d, out, |a, b, d| d * less(b, a)),
            (Binary::Pow, 0) => self.chain(x, d, out, |a, b, d| {
                if b == 0.0 { 0.0 } else { d * b * f64::from(a).powf(f64::from(b) - 1.0) as f32 }
            }),
            (Binary::Pow, _) => self.chain(x, d, out, |a, b, d| {
                let (a, b) = (f64::from(a), f64::from(b));
                if a <= 0.0 { 0.0 } else { d * (a.powf(b) * a.ln()) as f32 }
            }),
            (Binary::PRelu, 0) => self.chain(x, d, out, |a, b, d| if a < 0.0 { d * b } else { d }),
            (Binary::PRelu, _) => self.chain(x, d, out, |a, _, d| if a < 0.0 { d * a } else { 0.0 }),
            (Binary::Keep, _) => self.chain(x, d, out, |_, b, d| d * step(b != 0.0)),
            (Binary::Add | Binary::Sub, _) => out.copy_from_slice(d),
            (Binary::Less | Binary::Equal, _) => out.fill(0.0),
        }
    }
}
