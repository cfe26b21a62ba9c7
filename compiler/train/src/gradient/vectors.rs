//! Loops over runs of numbers, compiled for the vectors that the processor has. The same operations in the same order on any: so the same bits.

/// Runs a loop compiled for the vectors that this processor has. It does the same operations in the same order as any other.
#[inline(always)]
pub fn vectors<R>(work: impl FnOnce() -> R) -> R {
    pulp::Arch::new().dispatch(work)
}

/// A derivative below this is 0.
const NOTHING: f32 = 1e-24;

/// A derivative of a function that saturates. Products of such numbers would be subnormal, with which processors compute a hundred times slower.
#[inline(always)]
pub fn flush(d: f32) -> f32 {
    if d.abs() < NOTHING { 0.0 } else { d }
}

/// `a += b`.
pub fn add(a: &mut [f32], b: &[f32]) {
    vectors(|| a.iter_mut().zip(b).for_each(|(a, &b)| *a += b));
}

/// The sum of products, so many at a time that they are taken in vectors.
pub fn dot(a: &[f32], b: &[f32]) -> f32 {
    const LANES: usize = 16;
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0f32; LANES];
    vectors(|| {
        for (a, b) in a.iter().zip(b) {
            for k in 0..LANES {
                lanes[k] += a[k] * b[k];
            }
        }
    });
    lanes.iter().sum::<f32>() + a_rest.iter().zip(b_rest).map(|(a, b)| a * b).sum::<f32>()
}

/// The sum of numbers, so many partial sums at a time that they are taken in vectors.
pub fn sum(row: &[f32]) -> f64 {
    const LANES: usize = 8;
    let (parts, rest) = row.as_chunks::<LANES>();
    let mut lanes = [0.0f64; LANES];
    vectors(|| parts.iter().for_each(|part| (0..LANES).for_each(|k| lanes[k] += f64::from(part[k]))));
    lanes.iter().sum::<f64>() + rest.iter().map(|&x| f64::from(x)).sum::<f64>()
}

/// `a += factor·b`.
pub fn add_scaled(a: &mut [f32], factor: f32, b: &[f32]) {
    vectors(|| a.iter_mut().zip(b).for_each(|(a, &b)| *a += factor * b));
}
