//! The threshold rules against their definitions.

use crate::oracle::normal;
use proptest::prelude::*;
use twnc_passes::threshold::{Rounded, exact, squared_error, twn};
use twnc_random::Random;

/// The least `‖W - αT‖²` over all T and all α ≥ 0.
fn least_error(weights: &[f32]) -> f64 {
    let squares: f64 = weights.iter().map(|&w| f64::from(w).powi(2)).sum();
    let gain = |code: u32| {
        let trits = (0..weights.len()).map(|i| f64::from(code / 3u32.pow(i as u32) % 3) - 1.0);
        let (mut along, mut count) = (0.0, 0.0);
        for (&w, t) in weights.iter().zip(trits) {
            along += f64::from(w) * t;
            count += t * t;
        }
        if count == 0.0 || along < 0.0 { 0.0 } else { along * along / count }
    };
    squares - (0..3u32.pow(weights.len() as u32)).map(gain).fold(0.0, f64::max)
}

fn weights() -> impl Strategy<Value = Vec<f32>> {
    let some_equal = prop_oneof![-1.0f32..1.0, (-3i8..=3).prop_map(|n| f32::from(n) * 0.25)];
    prop::collection::vec(some_equal, 1..8)
}

proptest! {
    #[test]
    fn exact_is_optimal(w in weights()) {
        let rounded = exact(&w);
        let (error, least) = (squared_error(&w, &rounded), least_error(&w));
        prop_assert!((error - least).abs() <= 1e-6 * (1.0 + least), "{error} against {least}: {rounded:?}");
    }

    #[test]
    fn both_follow_their_threshold(w in weights()) {
        for rounded in [twn(&w), exact(&w)] {
            let selected: Vec<f64> =
                w.iter().map(|x| f64::from(x.abs())).filter(|&x| x > rounded.delta).collect();
            let trits = w.iter().map(|&x| if f64::from(x.abs()) > rounded.delta { x.signum() as i8 } else { 0 });
            prop_assert_eq!(&rounded.trits, &trits.collect::<Vec<_>>());
            let mean = selected.iter().sum::<f64>() / selected.len() as f64;
            let alpha = if selected.is_empty() { 1.0 } else { mean as f32 };
            prop_assert_eq!(rounded.alpha, alpha);
        }
    }
}

#[test]
fn corner_cases_are_finite() {
    let subnormal = f32::from_bits(1);
    type Case = (&'static str, Vec<f32>, Vec<i8>, f32);
    let cases: [Case; 6] = [
        ("empty", vec![], vec![], 1.0),
        ("all zero", vec![0.0, -0.0, 0.0], vec![0, 0, 0], 1.0),
        ("all equal", vec![0.5, -0.5, 0.5], vec![1, -1, 1], 0.5),
        ("one", vec![-3.0], vec![-1], 3.0),
        ("largest", vec![f32::MAX, -f32::MAX, 0.0], vec![1, -1, 0], f32::MAX),
        ("smallest", vec![subnormal, -subnormal, subnormal], vec![1, -1, 1], subnormal),
    ];
    for (name, weights, trits, alpha) in cases {
        for Rounded { trits: t, alpha: a, delta } in [twn(&weights), exact(&weights)] {
            assert_eq!((t, a), (trits.clone(), alpha), "{name}");
            assert!(delta.is_finite(), "{name}");
        }
    }
}

/// One weight of 3 gains 9, and so do all four together: 6²/4.
#[test]
fn of_equal_thresholds_the_one_that_selects_fewest() {
    let rounded = exact(&[3.0, 1.0, -1.0, 1.0]);
    assert_eq!((rounded.trits, rounded.alpha, rounded.delta), (vec![1, 0, 0, 0], 3.0, 1.0));
}

#[test]
fn gaussian_weights_lose_what_theory_says() {
    let mut random = Random::new(7);
    let weights: Vec<f32> = (0..400_000).map(|_| normal(&mut random)).collect();
    let squares: f64 = weights.iter().map(|&w| f64::from(w).powi(2)).sum();
    let (twn, exact) = (twn(&weights), exact(&weights));
    let error = |rounded: &Rounded| squared_error(&weights, rounded) / squares;
    let zeros = exact.trits.iter().filter(|t| **t == 0).count() as f64 / weights.len() as f64;
    assert!((error(&twn) - 0.192).abs() < 0.002, "{}", error(&twn));
    assert!((error(&exact) - 0.190).abs() < 0.002, "{}", error(&exact));
    assert!((zeros - 0.46).abs() < 0.01, "{zeros}");
}
