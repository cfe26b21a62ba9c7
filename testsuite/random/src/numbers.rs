//! Seeded random numbers for weights, shapes and mutations. Integer arithmetic and exact float operations only, so that a seed gives the
//! same numbers on every machine, which `ln` and `cos` of a platform's own libm would not.

use twnc_ir::Tensor;

/// SplitMix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The numbers of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    /// Below `bound`, which is not 0; as good as uniform where that is small.
    pub fn below(&mut self, bound: usize) -> usize {
        (self.bits() % bound as u64) as usize
    }

    /// In `from..=to`.
    pub fn within(&mut self, from: usize, to: usize) -> usize {
        from + self.below(to - from + 1)
    }

    /// Uniform in `low..high`.
    pub fn uniform(&mut self, low: f32, high: f32) -> f32 {
        let unit = (self.bits() >> 40) as f32 / (1u32 << 24) as f32;
        low + (high - low) * unit
    }

    /// Close to normal, with mean 0 and the given standard deviation: twelve uniform numbers have a variance of
    /// 1/12 each, and their sum a bell shape out to ±6 deviations.
    pub fn normal(&mut self, deviation: f32) -> f32 {
        let sum: u64 = (0..3).map(|_| sum_of_lanes(self.bits())).sum();
        let centred = sum as f32 - 12.0 * f32::from(u16::MAX) / 2.0;
        centred / 65_536.0 * deviation
    }

    /// So many numbers, uniform in `low..high`.
    pub fn floats(&mut self, count: usize, low: f32, high: f32) -> Vec<f32> {
        (0..count).map(|_| self.uniform(low, high)).collect()
    }

    /// So many of -1, 0 and 1.
    pub fn trits(&mut self, count: usize) -> Vec<i8> {
        (0..count).map(|_| self.below(3) as i8 - 1).collect()
    }

    /// A tensor of floats, uniform in -1..1.
    pub fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let elements = self.floats(shape.iter().product(), -1.0, 1.0);
        Tensor::from_f32(shape.to_vec(), elements)
            .unwrap_or_else(|error| unreachable!("as many as the shape says: {error}"))
    }

    /// Any number of 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut bits = self.0;
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }
}

/// The sum of the four 16-bit numbers in a word.
fn sum_of_lanes(word: u64) -> u64 {
    (0..4).map(|lane| (word >> (16 * lane)) & 0xffff).sum()
}

#[cfg(test)]
mod tests {
    use super::Random;

    #[test]
    fn normal_numbers_have_the_deviation_asked_for() {
        let mut random = Random::new(1);
        let sample: Vec<f64> = (0..100_000).map(|_| f64::from(random.normal(3.0))).collect();
        let mean = sample.iter().sum::<f64>() / sample.len() as f64;
        let variance = sample.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / sample.len() as f64;
        assert!(mean.abs() < 0.05, "mean {mean}");
        assert!((variance.sqrt() - 3.0).abs() < 0.05, "deviation {}", variance.sqrt());
    }

    #[test]
    fn uniform_numbers_fill_their_range() {
        let mut random = Random::new(2);
        let sample: Vec<f32> = (0..10_000).map(|_| random.uniform(-1.0, 3.0)).collect();
        assert!(sample.iter().all(|x| (-1.0..3.0).contains(x)));
        assert!(sample.iter().any(|x| *x < -0.99) && sample.iter().any(|x| *x > 2.99));
    }
}
