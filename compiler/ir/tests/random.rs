//! Small random graphs of every operator: the verifier accepts them, their text reads back, and the evaluator never panics.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use twnc_ir::{
    Attribute, Attributes, Binary, Combine, Conv, CustomCall, CustomOperator, CustomRegistry, Data, Dim,
    ElementType, Geometry, Graph, GraphBuilder, Op, Pad, PadMode, Pool, Quantize, ReduceKind, Slice, Tensor,
    TensorType, Unary, ValueId, evaluate, text, verify,
};

const SYMBOLS: [&str; 5] = ["N", "H", "two words", "min", ""];

/// Numbers from which a graph is made, one for each decision; when they are used up, the rest are 0.
struct Choices<'a>(&'a [u16]);

impl Choices<'_> {
    fn below(&mut self, n: usize) -> usize {
        let Some((&first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        usize::from(first) % n.max(1)
    }

    fn yes(&mut self) -> bool {
        self.below(2) == 1
    }

    fn of<T: Clone>(&mut self, list: &[T]) -> T {
        list[self.below(list.len())].clone()
    }

    fn list<T>(&mut self, n: usize, mut each: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..n).map(|_| each(self)).collect()
    }

    /// Fewer than `n`.
    fn few<T>(&mut self, n: usize, each: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let few = self.below(n);
        self.list(few, each)
    }

    fn float(&mut self) -> f32 {
        self.of(&[0.0, -0.0, 1.0, -2.5, 0.1, 1e-45, f32::MAX, f32::NAN, f32::INFINITY, f32::NEG_INFINITY])
    }

    fn integer(&mut self) -> i64 {
        self.of(&[0, 1, -1, 2, 3, 100, -129, i64::MAX, i64::MIN])
    }

    fn text(&mut self) -> String {
        self.of(&["", "conv1", "a \"b\"\\", "line\nbreak\r\t\0", "// no comment", "日本\u{7f}\u{2028}"])
            .to_owned()
    }

    fn size(&mut self) -> Dim {
        let symbol = Dim::symbol(self.of(&SYMBOLS));
        let (one, two) = (Dim::from(1), Dim::from(2));
        let open = match self.below(8) {
            0 => Some(symbol.clone()),
            1 => symbol.checked_add(&one),
            2 => symbol.checked_add(&one).and_then(|dim| dim.floor_div(&two)),
            3 => symbol.checked_mul(&two),
            4 => symbol.minimum(&Dim::from(3)),
            5 => symbol.checked_sub(&one).and_then(|dim| dim.maximum(&two)),
            _ => None,
        };
        open.unwrap_or_else(|| Dim::from(self.below(4)))
    }

    fn geometry(&mut self, rank: usize) -> Geometry {
        // Beside what is usual, what overflows somewhere.
        let far = [1 << 40, (1 << 62) - 1, i64::MAX as usize - 1, i64::MAX as usize];
        let mut number =
            |usual: &[usize]| self.list(rank, |c| if c.below(50) == 0 { c.of(&far) } else { c.of(usual) });
        Geometry {
            strides: number(&[1, 1, 2, 3]),
            dilations: number(&[1, 1, 2]),
            pads_begin: number(&[0, 0, 1, 2]),
            pads_end: number(&[0, 0, 1, 2]),
        }
    }

    fn tensor(&mut self, element: ElementType, shape: Vec<usize>) -> Tensor {
        let n = shape.iter().product();
        let data = match element {
            ElementType::F32 => Data::F32(self.list(n, Self::float).into()),
            ElementType::I8 => Data::I8(self.list(n, |c| c.integer() as i8).into()),
            ElementType::U8 => Data::U8(self.list(n, |c| c.integer() as u8).into()),
            ElementType::I16 => Data::I16(self.list(n, |c| c.integer() as i16).into()),
            ElementType::I32 => Data::I32(self.list(n, |c| c.integer() as i32).into()),
            ElementType::I64 => Data::I64(self.list(n, Self::integer).into()),
            ElementType::Bool => Data::Bool(self.list(n, Self::yes).into()),
            ElementType::Ternary => Data::Ternary(self.list(n, |c| c.of(&[-1, 0, 1])).into()),
        };
        Tensor::new(shape, data).unwrap()
    }

    /// Any element type that is not ternary, f32 most often.
    fn element(&mut self) -> ElementType {
        if self.below(3) > 0 { ElementType::F32 } else { ElementType::ALL[self.below(7)].0 }
    }

    fn unary(&mut self) -> Unary {
        match self.below(14) {
            0 => Unary::Relu,
            1 => Unary::LeakyRelu { slope: self.float() },
            2 => Unary::Clip { min: self.float(), max: self.float() },
            3 => Unary::HardSigmoid { alpha: self.float(), beta: self.float() },
            _ => self.of(&[
                Unary::HardSwish,
                Unary::Neg,
                Unary::Abs,
                Unary::Sqrt,
                Unary::Reciprocal,
                Unary::Sigmoid,
                Unary::Tanh,
                Unary::Exp,
                Unary::Log,
                Unary::Erf,
                Unary::Sin,
                Unary::Cos,
                Unary::Atan,
                Unary::Floor,
                Unary::Round,
            ]),
        }
    }

    /// An operator and what it reads: `values`, and constants that it needs.
    fn node(&mut self, build: &mut GraphBuilder, values: &[ValueId]) -> (Op, Vec<ValueId>) {
        let x = self.of(values);
        let shape = build.graph().ty(x).shape.clone();
        let (rank, spatial) = (shape.len(), shape.len().saturating_sub(2));
        let axis = self.below(rank);
        let mut axes = [vec![axis], self.few(2, |c| c.below(rank))].concat();
        axes.sort_unstable();
        axes.dedup();
        match self.below(25) {
            0 => (Op::Dims(self.list(2, Self::size)), vec![]),
            1 | 2 => {
                let channels = shape.get(1).and_then(small).unwrap_or(2);
                let groups = if self.yes() { channels.max(1) } else { 1 };
                let kernel = self.list(spatial, |c| 1 + c.below(3));
                let weight = [vec![groups, channels / groups], kernel].concat();
                let weight = self.weight(build, weight);
                (Op::Conv(Conv { geometry: self.geometry(spatial), groups }), vec![x, weight])
            }
            3 | 4 => {
                let inner = shape.last().and_then(small).unwrap_or(2);
                let weight = self.weight(build, vec![inner, 2]);
                (Op::MatMul, vec![x, weight])
            }
            5 => (Op::Unary(self.unary()), vec![x]),
            6 | 7 => {
                let other = if self.yes() { x } else { self.of(values) };
                (Op::Binary(self.of(&Binary::ALL)), vec![x, other])
            }
            8 => {
                let channels = shape.get(1).and_then(small).unwrap_or(1);
                let parameters = self.list(4, |c| {
                    let tensor = c.tensor(ElementType::F32, vec![channels]);
                    build.constant(tensor, "")
                });
                (Op::BatchNorm { epsilon: self.float() }, [vec![x], parameters].concat())
            }
            9 | 10 => {
                let kernel = self.list(spatial, |c| 1 + c.below(3));
                let pool = Pool { kernel, geometry: self.geometry(spatial), ceil: self.yes() };
                let average = Op::AveragePool { pool: pool.clone(), count_padding: self.yes() };
                (if self.yes() { average } else { Op::MaxPool(pool) }, vec![x])
            }
            11 => {
                let kind = self.of(&ReduceKind::ALL).0;
                (Op::Reduce { kind, axes, keep_dims: self.yes() }, vec![x])
            }
            12 => (Op::Softmax { axes }, vec![x]),
            13 => {
                let flat = Dim::product(&shape).map_or(vec![], |n| vec![n]);
                (
                    Op::Reshape { shape: if self.yes() { flat } else { vec![self.size(), self.size()] } },
                    vec![x],
                )
            }
            14 => (Op::Transpose { perm: (0..rank).map(|i| (i + axis) % rank).collect() }, vec![x]),
            15 => (Op::Concat { axis }, [vec![x], self.few(2, |_| x)].concat()),
            16 | 17 => {
                let step = self.of(&[1, 1, 2, -1]);
                let (start, size) = (self.size(), self.size());
                (Op::Slice(Slice { axis, start, size, step }), vec![x])
            }
            18 => {
                let value = self.float();
                let mode = self.of(&[PadMode::Constant(value), PadMode::Reflect, PadMode::Edge]);
                let (begin, end) = (self.list(rank, |c| c.below(3)), self.list(rank, |c| c.below(3)));
                (Op::Pad(Pad { begin, end, mode }), vec![x])
            }
            19 => (Op::Broadcast { shape: [vec![self.size()], shape].concat() }, vec![x]),
            20 if self.yes() => {
                let element = self.of(&[ElementType::I64, ElementType::I32]);
                let indices = self.tensor(element, vec![2]);
                (Op::Gather { axis }, vec![x, build.constant(indices, "indices")])
            }
            20 => (Op::Cast { to: self.element() }, vec![x]),
            21 => {
                let scale = if self.yes() { Some(self.float()) } else { None };
                let bits = 1 + self.below(13);
                (Op::Quantize(Quantize { bits, signed: self.yes(), scale }), vec![x])
            }
            22 if self.yes() => (Op::Iota { size: self.size() }, vec![]),
            22 => {
                let combine = self.of(&Combine::ALL).0;
                (Op::Cumulative { combine, axis }, vec![x])
            }
            23 if self.yes() => (Op::TopK { axis, k: self.size(), largest: self.yes() }, vec![x]),
            23 => {
                let combine = if self.yes() { Some(self.of(&Combine::ALL).0) } else { None };
                let element = self.of(&[ElementType::I64, ElementType::I32]);
                let indices = self.list(2, |c| c.below(4) as i64 - 1);
                let indices = match element {
                    ElementType::I32 => Data::I32(indices.iter().map(|&n| n as i32).collect()),
                    _ => Data::I64(indices.into()),
                };
                let indices = build.constant(Tensor::new(vec![2], indices).unwrap(), "rows");
                let mut row: Option<Vec<usize>> = shape.iter().skip(1).map(small).collect();
                row.get_or_insert_default().insert(0, 2);
                let updates = self.tensor(build.graph().ty(x).element, row.unwrap_or_default());
                (Op::Scatter { combine }, vec![x, indices, build.constant(updates, "updates")])
            }
            _ => {
                let attributes = [
                    ("int".into(), Attribute::Int(self.integer())),
                    (self.text(), Attribute::Float(self.float())),
                    ("string".into(), Attribute::String(self.text())),
                    ("ints".into(), Attribute::Ints(self.few(3, Self::integer))),
                    ("two words".into(), Attribute::Floats(self.few(3, Self::float))),
                ];
                let chosen = attributes.into_iter().filter(|_| self.yes()).collect();
                (Op::Custom(CustomCall { operator: Arc::new(Twice), attributes: chosen }), vec![x])
            }
        }
    }

    fn weight(&mut self, build: &mut GraphBuilder, shape: Vec<usize>) -> ValueId {
        let element = if self.yes() { ElementType::Ternary } else { ElementType::F32 };
        let tensor = self.tensor(element, shape);
        build.constant(tensor, &self.text())
    }

    fn graph(&mut self) -> Graph {
        let mut build = GraphBuilder::new(&self.text());
        // Nobody reads it, but it tells the evaluator what the symbols are.
        build.input("symbols", TensorType::f32(SYMBOLS.map(Dim::symbol).into()));
        let mut values = vec![];
        for i in 0..1 + self.below(3) {
            let rank = self.of(&[0, 1, 2, 3, 4, 4, 5]);
            let ty = TensorType::new(self.element(), self.list(rank, Self::size));
            values.push(build.input(&format!("{}{i}", self.text()), ty));
        }
        for _ in 0..self.below(12) {
            if self.below(8) == 0 {
                let (element, rank) = (self.element(), self.below(3));
                let shape = self.list(rank, |c| c.below(6));
                let tensor = self.tensor(element, shape);
                values.push(build.constant(tensor, &self.text()));
            }
            let (op, operands) = self.node(&mut build, &values);
            // What does not type is left out; the constants made for it stay, dead.
            if let Ok(results) = build.nodes(op, &operands, &self.text()) {
                values.extend(results);
            }
        }
        for i in 0..self.below(4) {
            build.output(&format!("{i}{}", self.text()), self.of(&values));
        }
        build.finish()
    }
}

/// The size, if it is one that constants can have here.
fn small(dim: &Dim) -> Option<usize> {
    dim.as_size().filter(|&n| n < 100)
}

/// Its operand, twice.
struct Twice;

impl CustomOperator for Twice {
    fn name(&self) -> &str {
        "test::twice \"quoted\""
    }

    fn infer(&self, _: &Attributes, operands: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        Ok([operands, operands].concat().into_iter().cloned().collect())
    }

    fn evaluate(&self, _: &Attributes, operands: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Ok([operands, operands].concat())
    }
}

fn registry() -> CustomRegistry {
    let mut registry = CustomRegistry::default();
    registry.register(Arc::new(Twice));
    registry
}

fn choices() -> impl Strategy<Value = Vec<u16>> {
    prop::collection::vec(any::<u16>(), 0..400)
}

/// A tensor for each input, with every symbol `n`.
fn inputs(graph: &Graph, n: i64, choices: &mut Choices<'_>) -> BTreeMap<String, Tensor> {
    let tensors = graph.inputs().iter().map(|port| {
        let ty = graph.ty(port.value);
        let shape = ty.shape.iter().map(|dim| dim.eval(&|_| Some(n)).unwrap() as usize).collect();
        (port.name.clone(), choices.tensor(ty.element, shape))
    });
    tensors.collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn text_reads_back(choices in choices()) {
        let graph = Choices(&choices).graph();
        verify::verify(&graph).unwrap();
        let printed = text::print_full(&graph);
        let read = text::parse(&printed, &registry());
        let read = read.unwrap_or_else(|error| panic!("{error}\n{printed}"));
        verify::verify(&read).unwrap();
        prop_assert_eq!(text::print_full(&read), printed);
        // With digests for the larger constants, against the graph.
        let short = text::print(&graph);
        let tensors = || graph.node_ids().filter_map(|id| graph.node(id).op.as_constant());
        let find = |_: &str, _: &TensorType, digest: u64| tensors().find(|t| t.digest() == digest).cloned();
        let read = text::parse_with(&short, &registry(), &find);
        prop_assert_eq!(text::print(&read.unwrap_or_else(|error| panic!("{error}\n{short}"))), short);
    }

    /// There is a value, or an error that says why not.
    #[test]
    fn the_evaluator_does_not_panic(choices in choices(), n in 1..4i64) {
        let mut choices = Choices(&choices);
        let graph = choices.graph();
        if let Ok(outputs) = evaluate(&graph, &inputs(&graph, n, &mut choices)) {
            for port in graph.outputs() {
                let (found, declared) = (outputs[&port.name].ty(), graph.ty(port.value));
                prop_assert!(found.is_consistent_with(declared), "{}: {} for {}", port.name, found, declared);
            }
        }
    }
}

/// The generator is worth something only as long as it makes every operator.
#[test]
fn every_operator_is_among_them() {
    let mut runner = TestRunner::deterministic();
    let mut words = BTreeSet::new();
    let mut values = 0;
    for _ in 0..2000 {
        let choices = choices().new_tree(&mut runner).unwrap().current();
        let mut choices = Choices(&choices);
        let graph = choices.graph();
        words.extend(graph.node_ids().map(|id| graph.node(id).op.mnemonic()));
        values += usize::from(evaluate(&graph, &inputs(&graph, 2, &mut choices)).is_ok());
    }
    assert_eq!(words.len(), 56, "{words:?}");
    assert!(values > 1000, "only {values} of 2000 graphs have a value");
}
