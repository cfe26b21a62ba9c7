//! Sums over the rows of a layer, from which everything that is solved follows: `XᵀX`, `XᵀY` and their like.
//!
//! They are added up piece by piece: products of some thousand rows in f32, their sum in f64. Memory is that of the sums, K·(K + M)
//! numbers of 8 bytes for each group of K inputs and M outputs, and of one piece's rows.

use crate::parallel;
use crate::part::part;
use ndarray::linalg::general_mat_mul;
use ndarray::{Array2, ArrayView2, ArrayViewMut2, Axis};

/// Rows of `XᵀX` that one thread adds to at a time.
const PANEL: usize = 96;

/// Of one group of channels.
#[derive(Clone, Debug)]
pub(crate) struct Moments {
    /// How many rows.
    pub rows: f64,
    /// `XᵀX`, its lower triangle: K x K.
    pub xx: Array2<f64>,
    /// `XᵀY`: K x M.
    pub xy: Array2<f64>,
    /// Sums of the columns of X.
    pub x: Vec<f64>,
    /// Sums of the columns of Y.
    pub y: Vec<f64>,
    /// Sums of squares of the columns of Y.
    pub yy: Vec<f64>,
}

impl Moments {
    /// Of no rows yet.
    pub fn new(inputs: usize, outputs: usize) -> Moments {
        Moments {
            rows: 0.0,
            xx: Array2::zeros((inputs, inputs)),
            xy: Array2::zeros((inputs, outputs)),
            x: vec![0.0; inputs],
            y: vec![0.0; outputs],
            yy: vec![0.0; outputs],
        }
    }

    /// What they take, in bytes.
    pub fn bytes(inputs: usize, outputs: usize) -> usize {
        inputs.saturating_mul(inputs.saturating_add(outputs)).saturating_mul(size_of::<f64>())
    }

    /// Those of some channels alone.
    pub fn channels(&self, channels: &[usize]) -> Moments {
        let of = |values: &[f64]| channels.iter().map(|&channel| values[channel]).collect();
        Moments {
            rows: self.rows,
            xx: self.xx.clone(),
            xy: self.xy.select(Axis(1), channels),
            x: self.x.clone(),
            y: of(&self.y),
            yy: of(&self.yy),
        }
    }

    /// Adds those of other rows.
    pub fn join(&mut self, other: &Moments) {
        let add = |a: &mut Vec<f64>, b: &[f64]| a.iter_mut().zip(b).for_each(|(a, b)| *a += b);
        self.rows += other.rows;
        self.xx += &other.xx;
        self.xy += &other.xy;
        add(&mut self.x, &other.x);
        add(&mut self.y, &other.y);
        add(&mut self.yy, &other.yy);
    }

    /// Forgets what came of Y.
    pub fn forget_outputs(&mut self) {
        self.xy.fill(0.0);
        self.y.fill(0.0);
        self.yy.fill(0.0);
    }
}

/// Adds rows to the moments of each group: X of the group, Y of all. With `outputs_only`, X has been added before.
pub(crate) fn add(groups: &mut [Moments], x: &[Array2<f32>], y: ArrayView2<'_, f32>, outputs_only: bool) {
    let single = groups.len() == 1;
    let pieces: Vec<(usize, &mut Moments)> = groups.iter_mut().enumerate().collect();
    let each = |group: usize, moments: &mut Moments| {
        let outputs = moments.y.len();
        let (x, y) = (x[group].view(), part(y, 0..y.nrows(), group * outputs..(group + 1) * outputs));
        for (j, column) in y.columns().into_iter().enumerate() {
            moments.y[j] += column.iter().map(|&v| f64::from(v)).sum::<f64>();
            moments.yy[j] += column.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>();
        }
        if !outputs_only {
            moments.rows += x.nrows() as f64;
            for row in x.rows() {
                moments.x.iter_mut().zip(row).for_each(|(sum, &v)| *sum += f64::from(v));
            }
        }
        let xx: Vec<_> = moments.xx.axis_chunks_iter_mut(Axis(0), PANEL).collect();
        let xy = moments.xy.axis_chunks_iter_mut(Axis(0), PANEL);
        let panels: Vec<_> = xx.into_iter().zip(xy).collect();
        let panel = |i: usize, (mut xx, mut xy): (ArrayViewMut2<'_, f64>, ArrayViewMut2<'_, f64>)| {
            let first = i * PANEL;
            let (rows, last) = (xx.nrows(), first + xx.nrows());
            let left = part(x, 0..x.nrows(), first..last);
            accumulate(left, y, &mut xy);
            if !outputs_only {
                accumulate(left, part(x, 0..x.nrows(), 0..last), &mut part(xx.view_mut(), 0..rows, 0..last));
            }
        };
        if single {
            parallel::map(panels, panel);
        } else {
            panels.into_iter().enumerate().for_each(|(i, piece)| panel(i, piece));
        }
    };
    if single {
        pieces.into_iter().for_each(|(group, moments)| each(group, moments));
    } else {
        parallel::map(pieces, |_, (group, moments)| each(group, moments));
    }
}

/// `sum += aᵀ·b`
fn accumulate(a: ArrayView2<'_, f32>, b: ArrayView2<'_, f32>, sum: &mut ArrayViewMut2<'_, f64>) {
    let mut product = Array2::<f32>::zeros(sum.raw_dim());
    general_mat_mul(1.0, &a.t(), &b, 0.0, &mut product);
    sum.zip_mut_with(&product, |sum, &p| *sum += f64::from(p));
}
