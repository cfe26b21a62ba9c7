//! Rounding to ternary: for weights W, the threshold Δ, the scale α and T in {-1, 0, +1} that make `‖W - αT‖²` small.
//!
//! `T_i = sign(W_i)` where `|W_i| > Δ` (strictly), else 0, and α is the mean of the selected `|W_i|`: the least-squares scale
//! for that T. Li, Zhang, Liu, *Ternary Weight Networks*, arXiv 1605.04711, equations 3 to 6. All arithmetic is in f64 and
//! α is rounded to f32 once. Weights must be finite; a NaN is never selected.

/// Weights, rounded.
#[derive(Clone, Debug, PartialEq)]
pub struct Rounded {
    /// The threshold.
    pub delta: f64,
    /// The scale; finite and positive. Where T is zero every scale is as good, and it is 1.
    pub alpha: f32,
    /// T.
    pub trits: Vec<i8>,
}

/// The paper's closed form, Δ = 0.7·mean|W|.
///
/// ```
/// let rounded = twnc_passes::threshold::twn(&[0.9, -1.1, 0.1, 0.0]);
/// assert_eq!((rounded.trits, rounded.alpha), (vec![1, -1, 0, 0], 1.0));
/// ```
pub fn twn(weights: &[f32]) -> Rounded {
    let sum: f64 = weights.iter().map(|w| f64::from(w.abs())).sum();
    select(weights, 0.7 * sum / weights.len().max(1) as f64)
}

/// The optimum over all Δ: with magnitudes sorted downwards and prefix sums `S_k`, the k that maximises `S_k²/k`; the fewest
/// weights among equals. O(n log n).
pub fn exact(weights: &[f32]) -> Rounded {
    let mut magnitudes: Vec<f64> = weights.iter().map(|w| f64::from(w.abs())).collect();
    magnitudes.sort_unstable_by(|a, b| b.total_cmp(a));
    let (mut sum, mut best, mut delta) = (0.0, 0.0, 0.0);
    for (i, &magnitude) in magnitudes.iter().enumerate() {
        sum += magnitude;
        // Equal magnitudes are selected together: S_k²/k has no maximum inside a run of them.
        let next = magnitudes.get(i + 1).copied().unwrap_or(0.0);
        let gain = sum * sum / (i + 1) as f64;
        if next < magnitude && gain > best {
            (best, delta) = (gain, next);
        }
    }
    select(weights, delta)
}

/// `‖W - αT‖²`
pub fn squared_error(weights: &[f32], rounded: &Rounded) -> f64 {
    let alpha = f64::from(rounded.alpha);
    let errors = weights.iter().zip(&rounded.trits).map(|(&w, &t)| f64::from(w) - alpha * f64::from(t));
    errors.map(|e| e * e).sum()
}

fn select(weights: &[f32], delta: f64) -> Rounded {
    let trit = |&w: &f32| if f64::from(w.abs()) > delta { w.signum() as i8 } else { 0 };
    let trits: Vec<i8> = weights.iter().map(trit).collect();
    let selected = weights.iter().zip(&trits).filter(|&(_, &t)| t != 0);
    let (sum, count) = selected.fold((0.0, 0u64), |(sum, n), (&w, _)| (sum + f64::from(w.abs()), n + 1));
    let alpha = if count == 0 { 1.0 } else { (sum / count as f64) as f32 };
    Rounded { delta, alpha, trits }
}
