//! What convolutional networks are made of: products, what scales and shifts channels, windows, and how exporters put them together.

use crate::graph::{Build, Known, Vocabulary};
use twnc_ir::{
    Binary, Conv, Dim, ElementType, Geometry, Op, Pad, PadMode, Pool, ReduceKind, Slice, Tensor, Unary,
    ValueId,
};

impl Build {
    /// Weights of floats, as they are or behind a multiplication and a transpose of constants; of one or two magnitudes; or ternary, with a scale.
    pub(super) fn weight(&mut self, shape: &[usize]) -> (ValueId, Option<ValueId>) {
        let trits = self.tensor(ElementType::Ternary, shape);
        let levels = |low: f32, high: f32| {
            let level = |&t: &i8| if t < 0 { -low } else { f32::from(t) * high };
            let elements = trits.as_ternary().unwrap_or_default().iter().map(level).collect();
            Tensor::from_f32(shape.to_vec(), elements)
        };
        match self.random.below(5) {
            0 => {
                let scale = self.floats(&[], 0.05, 0.6);
                (self.constant(trits), Some(self.constant(scale)))
            }
            1 => {
                let weight = levels(0.25, 0.25).unwrap_or_else(|_| trits.clone());
                (self.constant(weight), None)
            }
            2 => {
                let weight = levels(0.25, 0.5).unwrap_or_else(|_| trits.clone());
                (self.constant(weight), None)
            }
            3 => {
                let turned: Vec<usize> = shape.iter().rev().copied().collect();
                let (stored, step) = (self.floats(&turned, -1.0, 1.0), Tensor::scalar(0.5));
                let operands = [self.constant(stored), self.constant(step)];
                let perm = (0..shape.len()).rev().collect();
                let value = self.node(Op::Binary(Binary::Mul), &operands);
                match value.and_then(|value| self.node(Op::Transpose { perm }, &[value])) {
                    Some(weight) => (weight, None),
                    None => (self.constant(trits), None),
                }
            }
            _ => {
                let weight = self.floats(shape, -0.5, 0.5);
                (self.constant(weight), None)
            }
        }
    }

    pub(super) fn scaled(&mut self, product: ValueId, scale: Option<ValueId>, growth: u8) -> Option<()> {
        let id = match scale {
            Some(scale) => self.node(Op::Binary(Binary::Mul), &[product, scale])?,
            None => product,
        };
        self.push(id, false, growth + 1);
        Some(())
    }

    pub(super) fn image(&mut self) -> Option<Known> {
        let x = self.pick(|build, x| {
            let ty = build.graph.graph().ty(x.id);
            ty.element == ElementType::F32 && (3..=5).contains(&ty.rank()) && ty.shape[1].as_size().is_some()
        })?;
        self.bounded(x)
    }

    pub(super) fn geometry(&mut self, sizes: &[usize], kernel: &[usize]) -> Geometry {
        // No window of padding alone.
        let pads = |build: &mut Build| kernel.iter().map(|&k| build.within(0, (k - 1).min(2))).collect();
        let (pads_begin, pads_end) = (pads(self), pads(self));
        let dilations =
            kernel.iter().zip(sizes).map(|(&k, &n)| if (k - 1) * 2 < n { self.within(1, 2) } else { 1 });
        let dilations = dilations.collect();
        Geometry {
            strides: kernel.iter().map(|_| self.within(1, 3)).collect(),
            dilations,
            pads_begin,
            pads_end,
        }
    }

    pub(super) fn kernel(&mut self, sizes: &[usize]) -> Vec<usize> {
        sizes.iter().map(|&n| self.within(1, n.min(4))).collect()
    }

    pub(super) fn convolution(&mut self) -> Option<()> {
        let x = self.image()?;
        let sizes = self.sizes(x.id);
        let (channels, spatial) = (sizes[1], &sizes[2..]);
        let groups = if self.random.below(4) == 0 { channels } else { 1 };
        let (kernel, geometry, outputs) = if self.random.below(3) == 0 {
            // What keeps its shape can be added to what else does: shortcuts, and sums of products.
            let half = self.within(0, 1);
            let pads = vec![half; spatial.len()];
            let unit = Geometry::unit(spatial.len());
            let geometry = Geometry { pads_begin: pads.clone(), pads_end: pads, ..unit };
            (vec![1 + 2 * half; spatial.len()], geometry, channels)
        } else {
            let kernel = self.kernel(spatial);
            let outputs = if groups > 1 { groups * self.within(1, 2) } else { self.within(1, 12) };
            let geometry = self.geometry(spatial, &kernel);
            (kernel, geometry, outputs)
        };
        let (weight, scale) = self.weight(&[&[outputs, channels / groups], &kernel[..]].concat());
        let product = self.node(Op::Conv(Conv { geometry, groups }), &[x.id, weight])?;
        self.scaled(product, scale, x.growth)
    }

    /// By one constant, or by one for each element along an axis, which lies anywhere; in networks it is that of the channels.
    pub(super) fn scale_or_bias(&mut self) -> Option<()> {
        let x = self.float()?;
        let sizes = self.shape(x.id);
        let mut shape = vec![];
        if self.yes() && !sizes.is_empty() {
            let axis = match self.vocabulary {
                Vocabulary::Networks => 1,
                Vocabulary::All => self.random.below(sizes.len()),
            };
            shape = vec![1; sizes.len() - axis];
            shape[0] = sizes[axis].as_size()?;
        }
        let f = self.of(&[Binary::Mul, Binary::Mul, Binary::Add, Binary::Sub, Binary::Div]);
        let tensor = match f {
            Binary::Div => self.floats(&shape, 0.5, 2.0),
            _ => self.floats(&shape, -1.5, 1.5),
        };
        let c = self.constant(tensor);
        let operands = if f != Binary::Div && self.yes() { [c, x.id] } else { [x.id, c] };
        let id = self.node(Op::Binary(f), &operands)?;
        self.push(id, false, x.growth + 1);
        Some(())
    }

    pub(super) fn batch_norm(&mut self) -> Option<()> {
        let x = self.pick(|build, x| {
            let ty = build.graph.graph().ty(x.id);
            ty.element == ElementType::F32 && ty.rank() >= 2 && ty.shape[1].as_size().is_some()
        })?;
        let x = self.bounded(x)?;
        let channels = self.shape(x.id)[1].as_size()?;
        let mut operands = vec![x.id];
        // Negative factors too: rows flip their signs.
        for (low, high) in [(-1.5, 1.5), (-1.0, 1.0), (-1.0, 1.0), (0.25, 2.0)] {
            let parameter = self.floats(&[channels], low, high);
            operands.push(self.constant(parameter));
        }
        let id = self.node(Op::BatchNorm { epsilon: 1e-3 }, &operands)?;
        self.push(id, false, x.growth + 1);
        Some(())
    }

    pub(super) fn pool(&mut self) -> Option<()> {
        let x = self.image()?;
        let sizes = self.sizes(x.id);
        let kernel = self.kernel(&sizes[2..]);
        let geometry = Geometry { dilations: vec![1; kernel.len()], ..self.geometry(&sizes[2..], &kernel) };
        let pool = Pool { kernel, geometry, ceil: self.yes() };
        let (op, exact) = match self.random.below(3) {
            0 => (Op::AveragePool { pool, count_padding: self.yes() }, false),
            _ => (Op::MaxPool(pool), x.exact),
        };
        let id = self.node(op, &[x.id])?;
        self.push(id, exact, x.growth);
        Some(())
    }

    /// Half of the channels of each of two values, in either order, as they are or behind a function: parts of others' memory.
    pub(super) fn halves(&mut self) -> Option<()> {
        let x = self.image()?;
        let shape = self.shape(x.id);
        let y =
            self.pick(|build, y| build.element(y.id) == ElementType::F32 && build.shape(y.id) == shape)?;
        let half = self.sizes(x.id)[1] / 2;
        let mut parts = vec![];
        for whole in [x.id, y.id] {
            let start = self.of(&[0, half]).into();
            let part = Op::Slice(Slice { axis: 1, start, size: half.into(), step: 1 });
            let part = self.node(part, &[whole])?;
            parts.push(if self.yes() { part } else { self.node(Op::Unary(Unary::Tanh), &[part])? });
        }
        let id = self.node(Op::Concat { axis: 1 }, &parts)?;
        self.push(id, false, x.growth.max(y.growth));
        Some(())
    }

    /// What other frameworks do with channels last: a scale, a bias, a function and a pad between two transposes.
    pub(super) fn channels_last(&mut self) -> Option<()> {
        let x =
            self.pick(|build, x| build.element(x.id) == ElementType::F32 && build.shape(x.id).len() == 4)?;
        let x = self.bounded(x)?;
        let channels = self.shape(x.id)[1].as_size()?;
        let mut id = self.node(Op::Transpose { perm: vec![0, 2, 3, 1] }, &[x.id])?;
        for f in [Binary::Sub, Binary::Mul] {
            let each = self.floats(&[channels], -1.5, 1.5);
            let each = self.constant(each);
            id = self.node(Op::Binary(f), &[id, each])?;
        }
        id = self.node(Op::Unary(Unary::Relu), &[id])?;
        let mode = self.of(&[PadMode::Edge, PadMode::Constant(0.0)]);
        let pad = Pad { begin: vec![0, 1, 0, 0], end: vec![0, 0, 2, 0], mode };
        id = self.node(Op::Pad(pad), &[id])?;
        id = self.node(Op::Transpose { perm: vec![0, 3, 1, 2] }, &[id])?;
        self.push(id, false, x.growth + 1);
        Some(())
    }

    /// What a network of images ends with, for the latest of them: its mean or all of it, in a linear layer with a norm or a bias.
    pub(super) fn head(&mut self) -> Option<()> {
        let x = self.image()?;
        let shape = self.shape(x.id);
        let flat = Dim::product(&shape[1..]).filter(|size| size.as_size().is_some_and(|n| n <= 200));
        let flat = match flat.filter(|_| self.yes()) {
            Some(size) => self.node(Op::Reshape { shape: vec![shape[0].clone(), size] }, &[x.id])?,
            None => {
                let mean = Op::Reduce { kind: ReduceKind::Mean, axes: vec![2, 3], keep_dims: false };
                self.node(mean, &[x.id])?
            }
        };
        let inner = self.shape(flat)[1].as_size()?;
        let outputs = self.within(1, 10);
        let (weight, scale) = self.weight(&[inner, outputs]);
        let product = self.node(Op::MatMul, &[flat, weight])?;
        self.scaled(product, scale, x.growth)?;
        if self.yes() { self.batch_norm() } else { self.scale_or_bias() }
    }
}
