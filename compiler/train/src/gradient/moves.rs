//! Movement of data: every element of the result is one of the operand, or a number that fills.
//!
//! Where elements go is asked of the reference evaluator once, on whole numbers that count them.

use super::operator::{Gradients, Operator};
use rayon::prelude::*;
use std::collections::BTreeMap;
use twnc_ir::{Data, GraphBuilder, Op, Pad, PadMode, Tensor, evaluate};

const PIECE: usize = 1 << 14;
/// In the place of an index: a number that fills.
const FILL: u32 = u32::MAX;

/// Takes elements along a way that is known in advance.
pub struct Move {
    /// For each element of the result, which of the operand it is.
    from: Vec<u32>,
    /// For each element of the operand, where it went; `None` where one may have gone to several places.
    to: Option<Vec<u32>>,
    fill: f32,
}

impl Move {
    /// For an operator of one operand of this shape (and constants behind it). The message says why it does not run.
    pub fn new(op: &Op, shape: &[usize], constants: &[Tensor]) -> Result<Move, String> {
        let count: usize = shape.iter().product();
        let last = i32::try_from(count).map_err(|_| format!("{count} elements are too many"))?;
        let counting =
            Tensor::new(shape.to_vec(), Data::I32((0..last).collect())).map_err(|e| e.to_string())?;
        let (op, fill) = match op {
            Op::Pad(Pad { begin, end, mode: PadMode::Constant(fill) }) => {
                let mode = PadMode::Constant(-1.0);
                (Op::Pad(Pad { begin: begin.clone(), end: end.clone(), mode }), *fill)
            }
            op => (op.clone(), 0.0),
        };
        let mut build = GraphBuilder::new("move");
        let mut operands = vec![build.input("x", counting.ty())];
        operands.extend(constants.iter().map(|tensor| build.constant(tensor.clone(), "")));
        let y = build.node(op, &operands, "").map_err(|e| e.to_string())?;
        build.output("y", y);
        let inputs = BTreeMap::from([("x".to_owned(), counting)]);
        let outputs = evaluate(&build.finish(), &inputs).map_err(|e| e.to_string())?;
        let Some(Data::I32(moved)) = outputs.get("y").map(Tensor::data) else {
            return Err("its result is of another element type".to_owned());
        };
        let from: Vec<u32> = moved.iter().map(|&i| u32::try_from(i).unwrap_or(FILL)).collect();
        let mut to = vec![FILL; count];
        let mut once = true;
        for (place, &i) in from.iter().enumerate().filter(|(_, i)| **i != FILL) {
            once &= to[i as usize] == FILL;
            to[i as usize] = place as u32;
        }
        Ok(Move { from, to: once.then_some(to), fill })
    }
}

impl Operator for Move {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let (x, fill) = (x[0], self.fill);
        y.par_chunks_mut(PIECE).zip(self.from.par_chunks(PIECE)).for_each(|(y, from)| {
            y.iter_mut().zip(from).for_each(|(y, &i)| *y = x.get(i as usize).copied().unwrap_or(fill));
        });
    }

    fn backward(&mut self, _: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        match &self.to {
            Some(to) => {
                let Some((dx, fresh)) = dx.place(0) else { return };
                dx.par_chunks_mut(PIECE).zip(to.par_chunks(PIECE)).for_each(|(dx, to)| {
                    let d = |&i: &u32| dy.get(i as usize).copied().unwrap_or(0.0);
                    match fresh {
                        true => dx.iter_mut().zip(to).for_each(|(dx, i)| *dx = d(i)),
                        false => dx.iter_mut().zip(to).for_each(|(dx, i)| *dx += d(i)),
                    }
                });
            }
            None => {
                let Some(dx) = dx.of(0) else { return };
                self.from.iter().zip(dy).filter(|(i, _)| **i != FILL).for_each(|(&i, d)| dx[i as usize] += d)
            }
        }
    }
}

/// Operands one after the other along an axis.
pub struct Concat {
    /// Of each operand, the elements that lie together.
    pub runs: Vec<usize>,
}

impl Operator for Concat {
    fn forward(&mut self, x: &[&[f32]], y: &mut [f32]) {
        let row: usize = self.runs.iter().sum();
        for (i, row) in y.chunks_mut(row.max(1)).enumerate() {
            let mut rest = row;
            for (x, &run) in x.iter().zip(&self.runs) {
                let (part, behind) = rest.split_at_mut(run);
                part.copy_from_slice(&x[i * run..(i + 1) * run]);
                rest = behind;
            }
        }
    }

    fn backward(&mut self, _: &[&[f32]], _: &[f32], dy: &[f32], dx: &mut Gradients<'_>) {
        let row: usize = self.runs.iter().sum();
        let mut start = 0;
        for (operand, &run) in self.runs.iter().enumerate() {
            if run > 0
                && let Some((dx, fresh)) = dx.place(operand)
            {
                for (dx, dy) in dx.chunks_mut(run).zip(dy.chunks(row)) {
                    match fresh {
                        true => dx.copy_from_slice(&dy[start..start + run]),
                        false => super::vectors::add(dx, &dy[start..start + run]),
                    }
                }
            }
            start += run;
        }
    }
}
