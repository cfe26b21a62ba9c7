//! Seeded synthetic inputs, for measurements where there are no real ones. Whoever shows what comes of them says so.

use ndarray::{ArrayD, IxDyn};
use twnc_runtime::{ElementType, Module, Output, Size};

/// Inputs of these shapes: f32 is normal with mean 0 and deviation 1, integers are 0 (a valid index everywhere), booleans true.
pub fn inputs(module: &Module, shapes: &[Vec<usize>], seed: u64) -> Vec<(String, Output)> {
    let mut random = Random(seed);
    let named = module.inputs().into_iter().zip(shapes);
    named
        .map(|(port, shape)| {
            let value = match port.element {
                ElementType::F32 => Output::F32(ArrayD::from_shape_simple_fn(IxDyn(shape), || random.normal())),
                ElementType::Bool => Output::Bool(ArrayD::from_elem(IxDyn(shape), true)),
                element => Output::zeros(element, shape).unwrap_or_else(|| Output::F32(ArrayD::zeros(IxDyn(shape)))),
            };
            (port.name, value)
        })
        .collect()
}

/// The shapes of a module's inputs with `open` for every open size, but those that `dims` names.
pub fn shapes(module: &Module, open: usize, dims: &[(String, i64)]) -> Vec<Vec<usize>> {
    let size = |size: &Size| match size {
        Size::Fixed(n) => *n,
        Size::Open(name) => {
            let given = dims.iter().find(|(dim, _)| dim == name).and_then(|(_, n)| usize::try_from(*n).ok());
            given.unwrap_or(open)
        }
        Size::Computed => open,
    };
    module.inputs().iter().map(|port| port.shape.iter().map(size).collect()).collect()
}

/// SplitMix64 (Steele, Lea, Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// In 0..1, never 0.
    fn unit(&mut self) -> f64 {
        ((self.next() >> 11) + 1) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller's transform.
    fn normal(&mut self) -> f32 {
        let radius = (-2.0 * self.unit().ln()).sqrt();
        (radius * (std::f64::consts::TAU * self.unit()).cos()) as f32
    }
}
