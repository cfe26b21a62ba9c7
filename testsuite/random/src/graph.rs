//! Makes a graph of a seed: inputs, then nodes that read a few of the latest values, then outputs.

use crate::Random;
use std::collections::BTreeMap;
use twnc_ir::{Data, Dim, ElementType, Graph, GraphBuilder, Op, Tensor, TensorType, Unary, ValueId};

/// A graph, and tensors for its inputs.
#[derive(Clone, Debug)]
pub struct Sample {
    /// The graph.
    pub graph: Graph,
    /// By the inputs' names.
    pub inputs: BTreeMap<String, Tensor>,
}

/// Which operators a graph is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Vocabulary {
    /// All that there are.
    All,
    /// Those of convolutional networks: products, what scales and shifts channels, functions, pools, and how these are joined.
    Networks,
}

/// What the generator knows of a value.
#[derive(Clone, Copy)]
pub(super) struct Known {
    pub(super) id: ValueId,
    /// Whether every way of computing it gives the same bits, so that what jumps (rounding, comparing, sorting) may read it.
    pub(super) exact: bool,
    /// How often it was multiplied or summed since it was last bounded.
    pub(super) growth: u8,
}

/// A graph in the making.
pub(super) struct Build {
    pub(super) random: Random,
    pub(super) graph: GraphBuilder,
    /// What open sizes are when the graph is run.
    pub(super) symbols: BTreeMap<&'static str, i64>,
    pub(super) values: Vec<Known>,
    pub(super) vocabulary: Vocabulary,
    nodes: usize,
}

/// The most elements of a value.
const MOST_ELEMENTS: usize = 4_000;

/// The graph of a seed.
pub fn graph(seed: u64, vocabulary: Vocabulary) -> Sample {
    let mut random = Random::new(seed);
    let mut size = || random.within(1, 9) as i64;
    let symbols = BTreeMap::from([("N", size() % 3 + 1), ("H", size()), ("W", size())]);
    let graph = GraphBuilder::new("random");
    let mut build = Build { random, graph, symbols, values: vec![], vocabulary, nodes: 0 };
    let inputs = build.inputs();
    for _ in 0..build.within(2, 15) {
        build.grow();
    }
    if vocabulary == Vocabulary::Networks {
        build.head();
    }
    build.outputs();
    Sample { graph: build.graph.finish(), inputs }
}

impl Build {
    /// An image, a signal, a volume, a sequence or a vector, another of the same type, and now and then whole numbers.
    fn inputs(&mut self) -> BTreeMap<String, Tensor> {
        let open = self.random.below(2) == 0;
        let channels = self.within(1, 6);
        let side = |build: &mut Build, name: &'static str| match open {
            true => Dim::symbol(name),
            false => Dim::from(1 + build.random.below(8)),
        };
        let (height, width) = (side(self, "H"), side(self, "W"));
        let batch = Dim::symbol("N");
        let all = self.vocabulary == Vocabulary::All;
        let shape = match self.random.below(8) {
            _ if !all => vec![batch, channels.into(), height, width],
            0 => vec![batch, channels.into()],
            1 => vec![batch, height, channels.into()],
            2 => vec![batch, channels.into(), width],
            3 => vec![batch, channels.into(), Dim::from(1 + self.random.below(4)), height, width],
            _ => vec![batch, channels.into(), height, width],
        };
        let mut tensors = BTreeMap::new();
        let mut types = vec![("a", TensorType::f32(shape.clone())), ("b", TensorType::f32(shape.clone()))];
        if all && self.random.below(3) == 0 {
            // Of any type that an input has.
            let (element, _) = ElementType::ALL[self.random.below(7)];
            types.push(("c", TensorType::new(element, shape)));
        }
        for (name, ty) in types {
            let id = self.graph.input(name, ty.clone());
            self.values.push(Known { id, exact: true, growth: 0 });
            let shape = self.sizes(id);
            tensors.insert(name.to_owned(), self.tensor(ty.element, &shape));
        }
        tensors
    }

    /// The last value, and a few more, any of which may be an input. No value is given twice.
    fn outputs(&mut self) {
        let mut chosen = vec![self.values[self.values.len() - 1].id];
        for _ in 0..self.random.below(3) {
            let id = self.values[self.random.below(self.values.len())].id;
            if !chosen.contains(&id) {
                chosen.push(id);
            }
        }
        for (i, id) in chosen.into_iter().enumerate() {
            self.graph.output(&format!("y{i}"), id);
        }
    }

    /// One of the latest values, for which something holds.
    pub(super) fn pick(&mut self, holds: impl Fn(&Build, Known) -> bool) -> Option<Known> {
        // Of the latest: with older ones most of the graph would be dead.
        let mut fitting: Vec<Known> = self.values.iter().copied().filter(|&x| holds(self, x)).collect();
        let latest = fitting.split_off(fitting.len().saturating_sub(5));
        (!latest.is_empty()).then(|| latest[self.random.below(latest.len())])
    }

    /// One of the latest values of f32, bounded.
    pub(super) fn float(&mut self) -> Option<Known> {
        let x = self.pick(|build, x| build.element(x.id) == ElementType::F32)?;
        self.bounded(x)
    }

    /// The same, small enough for what multiplies and sums.
    pub(super) fn bounded(&mut self, x: Known) -> Option<Known> {
        if x.growth < 2 {
            return Some(x);
        }
        let functions = [
            Unary::Tanh,
            Unary::Sigmoid,
            Unary::Clip { min: -1.5, max: 2.0 },
            Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
        ];
        let f = functions[self.random.below(functions.len())];
        let id = self.node(Op::Unary(f), &[x.id])?;
        Some(Known { id, exact: false, growth: 0 })
    }

    /// One of the latest values whose bits are certain.
    pub(super) fn exact(&mut self, element: ElementType) -> Option<Known> {
        self.pick(|build, x| x.exact && build.element(x.id) == element)
    }

    /// A node of one result, if it types and is not too large.
    pub(super) fn node(&mut self, op: Op, operands: &[ValueId]) -> Option<ValueId> {
        self.nodes(op, operands)?.first().copied()
    }

    pub(super) fn nodes(&mut self, op: Op, operands: &[ValueId]) -> Option<Vec<ValueId>> {
        let operands_of = operands.iter().map(|&id| self.graph.graph().ty(id)).collect::<Vec<_>>();
        for ty in twnc_ir::infer(&op, &operands_of).ok()? {
            let sizes = self.evaluated(&ty.shape)?;
            if ty.rank() > 6 || sizes.contains(&0) || sizes.iter().product::<usize>() > MOST_ELEMENTS {
                return None;
            }
        }
        let name = format!("node{}", self.nodes);
        self.nodes += 1;
        self.graph.nodes(op, operands, &name).ok()
    }

    /// Adds a value to those that others read.
    pub(super) fn push(&mut self, id: ValueId, exact: bool, growth: u8) {
        self.values.push(Known { id, exact, growth });
    }

    pub(super) fn constant(&mut self, tensor: Tensor) -> ValueId {
        let name = format!("constant{}", self.nodes);
        self.nodes += 1;
        self.graph.constant(tensor, &name)
    }

    pub(super) fn element(&self, id: ValueId) -> ElementType {
        self.graph.graph().ty(id).element
    }

    pub(super) fn shape(&self, id: ValueId) -> Vec<Dim> {
        self.graph.graph().ty(id).shape.clone()
    }

    /// The sizes of a value when the graph is run.
    pub(super) fn sizes(&self, id: ValueId) -> Vec<usize> {
        self.evaluated(&self.graph.graph().ty(id).shape).unwrap_or_default()
    }

    fn evaluated(&self, shape: &[Dim]) -> Option<Vec<usize>> {
        let size = |dim: &Dim| dim.eval(&|name| self.symbols.get(name).copied());
        shape.iter().map(|dim| usize::try_from(size(dim)?).ok()).collect()
    }

    /// A number in `from..=to`.
    pub(super) fn within(&mut self, from: usize, to: usize) -> usize {
        self.random.within(from, to)
    }

    pub(super) fn yes(&mut self) -> bool {
        self.random.below(2) == 0
    }

    pub(super) fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.random.below(list.len())].clone()
    }

    /// Eighths from -2 to 2: some are equal, some are 0, some are halves.
    pub(super) fn tensor(&mut self, element: ElementType, shape: &[usize]) -> Tensor {
        let count = shape.iter().product::<usize>();
        let mut whole = |low: i64, span: usize| -> Vec<i64> {
            (0..count).map(|_| low + self.random.below(span) as i64).collect()
        };
        let data = match element {
            ElementType::F32 => Data::F32(whole(-16, 33).into_iter().map(|n| n as f32 / 8.0).collect()),
            ElementType::I8 => Data::I8(whole(-128, 256).into_iter().map(|n| n as i8).collect()),
            ElementType::U8 => Data::U8(whole(0, 256).into_iter().map(|n| n as u8).collect()),
            ElementType::I16 => Data::I16(whole(-127, 255).into_iter().map(|n| n as i16).collect()),
            ElementType::I32 => Data::I32(whole(-40, 81).into_iter().map(|n| n as i32).collect()),
            ElementType::I64 => Data::I64(whole(-40, 81).into()),
            ElementType::Bool => Data::Bool(whole(0, 2).into_iter().map(|n| n == 1).collect()),
            ElementType::Ternary => Data::Ternary(self.random.trits(count).into()),
        };
        Tensor::new(shape.to_vec(), data)
            .unwrap_or_else(|error| unreachable!("as many as the shape says: {error}"))
    }

    /// Floats that are uniform, and so not those of many.
    pub(super) fn floats(&mut self, shape: &[usize], low: f32, high: f32) -> Tensor {
        let data = Data::F32(self.random.floats(shape.iter().product(), low, high).into());
        Tensor::new(shape.to_vec(), data)
            .unwrap_or_else(|error| unreachable!("as many as the shape says: {error}"))
    }
}
