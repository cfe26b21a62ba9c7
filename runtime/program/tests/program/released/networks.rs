//! The networks whose files are kept: between them they have every step, every field and every code of the format.
//!
//! All but `functions` compute numbers that are exact or rounded where the steps define it: inputs and weights are small multiples of powers of two. A new version of
//! the format may add to them; files of versions before stay as they are.

use crate::single::{constant, dense, f32s, i64s, ternary, window};
use twnc_program::interpret::Tensor;
use twnc_program::scalar::{Binary, Unary};
use twnc_program::step::{
    Accumulate, Attribute, Cast, Combine, Contraction, Conv, Cumulative, Custom, Dims, Epilogue, Iota, Map,
    MapInstruction, MatMul, Move, MoveKind, PadMode, Plane, Pool, PoolKind, Quantize, Reduce, ReduceKind,
    Scatter, Softmax, Term, TopK,
};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantData, ConstantId, Dim, ElementType, Operand, Port, Program, Step,
    StepKind, SymbolId, Window,
};

/// A network of the kept files, with inputs for it.
pub struct Network {
    pub program: Program,
    pub inputs: Vec<Tensor>,
    /// Whether every path must compute its outputs to the bit.
    pub exact: bool,
}

/// All of them.
pub fn networks() -> Vec<Network> {
    vec![windows(), matrices(), moves(), functions(), custom()]
}

const N: Dim = Dim::Symbol(SymbolId(0));
const F32: ElementType = ElementType::F32;
const I64: ElementType = ElementType::I64;

/// Small multiples of 1/4, of both signs.
fn quarters(shape: &[usize]) -> Tensor {
    let count: usize = shape.iter().product();
    f32s(shape, &(0..count).map(|i| (i * 7 % 13) as f32 / 4.0 - 1.5).collect::<Vec<_>>())
}

impl Network {
    fn new(name: &str) -> Network {
        let program = Program { name: name.into(), symbols: vec!["N".into()], ..Program::default() };
        Network { program, inputs: vec![], exact: true }
    }

    fn buffer(&mut self, element: ElementType, shape: &[Dim]) -> BufferId {
        self.program.buffers.push(Buffer { element, shape: shape.to_vec() });
        BufferId(self.program.buffers.len() as u32 - 1)
    }

    /// An input whose first size is open.
    fn input(&mut self, name: &str, tensor: Tensor) -> BufferId {
        let mut shape: Vec<Dim> = tensor.shape.iter().map(|&n| Dim::from(n)).collect();
        shape[0] = N;
        let buffer = self.buffer(tensor.data.view().element(), &shape);
        self.program.inputs.push(Port { name: name.into(), buffer });
        self.inputs.push(tensor);
        buffer
    }

    fn constant(&mut self, constant: Constant) -> ConstantId {
        self.program.constants.push(constant);
        ConstantId(self.program.constants.len() as u32 - 1)
    }

    /// Multiples of 1/4.
    fn floats(&mut self, shape: &[usize]) -> ConstantId {
        let count: usize = shape.iter().product();
        self.constant(dense(shape, &(0..count).map(|i| (i * 5 % 7) as f32 / 4.0 - 0.5).collect::<Vec<_>>()))
    }

    fn trits(&mut self, shape: &[usize]) -> ConstantId {
        let count: usize = shape.iter().product();
        self.constant(ternary(shape, &(0..count).map(|i| (i * i % 7 % 3) as i8 - 1).collect::<Vec<_>>()))
    }

    /// A step whose results are outputs under its name, the second with a 2 behind it.
    fn step<const OUTPUTS: usize>(
        &mut self,
        name: &str,
        outputs: [(ElementType, &[Dim]); OUTPUTS],
        kind: impl FnOnce([BufferId; OUTPUTS]) -> StepKind,
    ) -> [BufferId; OUTPUTS] {
        let mut number = 0;
        let buffers = outputs.map(|(element, shape)| {
            let buffer = self.buffer(element, shape);
            number += 1;
            let name = if number == 1 { name.to_owned() } else { format!("{name}{number}") };
            self.program.outputs.push(Port { name, buffer });
            buffer
        });
        self.program.steps.push(Step { name: name.into(), kind: kind(buffers) });
        buffers
    }

    fn moved(&mut self, name: &str, kind: MoveKind, inputs: &[Operand], shape: &[Dim]) {
        let element = match inputs[0] {
            Operand::Buffer(id) => self.program.buffers[id.index()].element,
            Operand::Constant(id) => self.program.constants[id.index()].element(),
        };
        let inputs = inputs.to_vec();
        self.step(name, [(element, shape)], |[output]| StepKind::Move(Move { kind, inputs, output }));
    }
}

fn sizes(sizes: &[usize]) -> Vec<Dim> {
    sizes.iter().map(|&n| Dim::from(n)).collect()
}

/// `[N, sizes...]`.
fn batch(rest: &[usize]) -> Vec<Dim> {
    [vec![N], sizes(rest)].concat()
}

/// Everything that slides over an image: ternary sums of several planes and terms, in parts and of integers; float convolutions; pools.
fn windows() -> Network {
    let mut net = Network::new("windows");
    let image = net.input("image", quarters(&[2, 4, 5, 5]));
    let same = batch(&[4, 5, 5]);
    let code = vec![MapInstruction::Unary(Unary::Relu, 0)];
    let inputs = vec![Operand::Buffer(image)];
    let [positive] =
        net.step("positive", [(F32, &same)], |[output]| StepKind::Map(Map { inputs, code, output }));
    let quantize = |net: &mut Network, name: &str, input, bits, signed, scale| {
        net.step(name, [(ElementType::I16, &batch(&[4, 5, 5])), (F32, &[N])], |outputs| {
            StepKind::Quantize(Quantize { input, bits, signed, scale, outputs })
        })
    };
    let [signed, signed_scale] = quantize(&mut net, "signed", image, 8, true, None);
    let [unsigned, unsigned_scale] = quantize(&mut net, "unsigned", positive, 4, false, Some(0.25));

    let padded = Window { pads_begin: vec![1; 2], pads_end: vec![1; 2], ..window(&[3, 3]) };
    let plane = |net: &mut Network, input, window: &Window, groups: usize| {
        let shape = [&[4, 4 / groups], &window.kernel[..]].concat();
        let contraction = Contraction::Window { window: window.clone(), groups };
        Plane { input, weight: net.trits(&shape), contraction }
    };
    let planes = vec![plane(&mut net, image, &padded, 1), plane(&mut net, positive, &window(&[1, 1]), 2)];
    let floats = Term { planes, parts: 1, scale: Some(net.floats(&[4])), input_scale: None };
    let of_integers = |net: &mut Network, input, input_scale| {
        let (planes, scale) = (vec![plane(net, input, &padded, 1)], Some(net.floats(&[1])));
        Term { planes, parts: 1, scale, input_scale: Some(input_scale) }
    };
    let terms = vec![
        floats,
        of_integers(&mut net, signed, signed_scale),
        of_integers(&mut net, unsigned, unsigned_scale),
    ];
    let activation = Some(Unary::LeakyRelu { slope: 0.25 });
    let epilogue = Epilogue { bias: Some(net.floats(&[4])), residual: Some(image), activation };
    net.step("terms", [(F32, &same)], |[output]| {
        StepKind::Accumulate(Accumulate { terms, epilogue, output })
    });

    let strided = Window { strides: vec![2, 1], dilations: vec![1, 2], ..padded.clone() };
    let contraction = Contraction::Window { window: strided.clone(), groups: 2 };
    let planes = vec![Plane { input: image, weight: net.trits(&[6, 2, 3, 3]), contraction }];
    let terms = vec![Term { planes, parts: 2, scale: Some(net.floats(&[6])), input_scale: None }];
    let epilogue = Epilogue::default();
    net.step("parts", [(F32, &batch(&[3, 3, 3]))], |[output]| {
        StepKind::Accumulate(Accumulate { terms, epilogue, output })
    });

    let weight = Operand::Constant(net.floats(&[6, 2, 3, 3]));
    let activation = Some(Unary::Clip { min: -1.0, max: 6.0 });
    let epilogue = Epilogue { bias: Some(net.floats(&[6])), residual: None, activation };
    let conv = |[output]: [BufferId; 1]| {
        StepKind::Conv(Conv { input: positive, weight, window: strided, groups: 2, epilogue, output })
    };
    net.step("conv", [(F32, &batch(&[6, 3, 3]))], conv);

    // Of 1, 2 or 4 elements, so that the means are exact.
    let halves = Window { strides: vec![2; 2], pads_begin: vec![1; 2], ..window(&[2, 2]) };
    let mean = |count_padding| PoolKind::Average { count_padding };
    let kinds = [("largest", PoolKind::Max), ("mean", mean(false)), ("mean of all", mean(true))];
    for (name, kind) in kinds {
        let scale = (kind != PoolKind::Max).then(|| net.floats(&[4]));
        let bias = (kind == PoolKind::Max).then(|| net.floats(&[4]));
        let epilogue = Epilogue { bias, residual: None, activation: Some(Unary::Neg) };
        let (window, ceil) = (halves.clone(), kind == PoolKind::Max);
        net.step(name, [(F32, &batch(&[4, 3, 3]))], |[output]| {
            StepKind::Pool(Pool { kind, input: positive, window, ceil, scale, epilogue, output })
        });
    }
    net
}

/// Products of matrices, and what goes along an axis.
fn matrices() -> Network {
    let mut net = Network::new("matrices");
    let shift = net.input("shift", quarters(&[2, 3, 4]));
    let rows = net.input("rows", quarters(&[2, 3, 8]));
    let product = |net: &mut Network, input, shape: &[usize]| Plane {
        input,
        weight: net.trits(shape),
        contraction: Contraction::MatMul,
    };
    let outputs: [(ElementType, &[Dim]); 2] = [(ElementType::I16, &batch(&[3, 8])), (F32, &[N])];
    let [integers, input_scale] = net.step("integers", outputs, |outputs| {
        StepKind::Quantize(Quantize { input: rows, bits: 12, signed: true, scale: None, outputs })
    });
    for (name, input, input_scale) in [("floats", rows, None), ("exact", integers, Some(input_scale))] {
        let (planes, scale) = (vec![product(&mut net, input, &[8, 5])], Some(net.floats(&[5])));
        let terms = vec![Term { planes, parts: 1, scale, input_scale }];
        let epilogue = Epilogue { bias: Some(net.floats(&[5])), ..Epilogue::default() };
        net.step(name, [(F32, &batch(&[3, 5]))], |[output]| {
            StepKind::Accumulate(Accumulate { terms, epilogue, output })
        });
    }
    net.moved("split", MoveKind::Reshape, &[Operand::Buffer(rows)], &batch(&[3, 2, 1, 4]));
    let split = BufferId(net.program.buffers.len() as u32 - 1);
    let (planes, scale) = (vec![product(&mut net, split, &[2, 4, 5])], Some(net.floats(&[10])));
    let terms = vec![Term { planes, parts: 2, scale, input_scale: None }];
    net.step("parts", [(F32, &batch(&[3, 5]))], |[output]| {
        StepKind::Accumulate(Accumulate { terms, epilogue: Epilogue::default(), output })
    });

    let (left, right) = (Operand::Buffer(rows), Operand::Constant(net.floats(&[8, 4])));
    let epilogue =
        Epilogue { bias: Some(net.floats(&[4])), residual: Some(shift), activation: Some(Unary::Relu) };
    net.step("matmul", [(F32, &batch(&[3, 4]))], |[output]| {
        StepKind::MatMul(MatMul { left, right, epilogue, output })
    });
    for (name, kind) in [
        ("sum", ReduceKind::Sum),
        ("mean", ReduceKind::Mean),
        ("max", ReduceKind::Max),
        ("min", ReduceKind::Min),
    ] {
        net.step(name, [(F32, &batch(&[3]))], |[output]| {
            StepKind::Reduce(Reduce { kind, input: rows, axes: vec![2], output })
        });
    }
    let kept = batch(&[3, 3]);
    for (name, largest) in [("largest", true), ("smallest", false)] {
        net.step(name, [(F32, &kept), (I64, &kept)], |outputs| {
            StepKind::TopK(TopK { input: left, axis: 2, largest, outputs })
        });
    }
    for (name, combine, axis) in [("sums", Combine::Add, 1), ("products", Combine::Mul, 2)] {
        net.step(name, [(F32, &batch(&[3, 8]))], |[output]| {
            StepKind::Cumulative(Cumulative { combine, input: left, axis, output })
        });
    }
    net
}

/// Everything that moves, converts or makes elements, constants of every type, and sizes that are expressions.
fn moves() -> Network {
    let mut net = Network::new("moves");
    let which = Operand::Buffer(net.input("which", i64s(&[2], &[1, -1])));
    let x = Operand::Buffer(net.input("x", quarters(&[2, 2, 3])));
    let boxed = |dim: Dim| Box::new(dim);
    let twice = Dim::Mul(boxed(Dim::Fixed(2)), boxed(N));
    net.moved("reshape", MoveKind::Reshape, &[x], &[twice.clone(), Dim::Fixed(3)]);
    net.moved("transpose", MoveKind::Transpose { perm: vec![0, 2, 1] }, &[x], &batch(&[3, 2]));
    net.moved("concat", MoveKind::Concat { axis: 1 }, &[x, x], &batch(&[4, 3]));
    let last = Dim::Min(boxed(Dim::Fixed(2)), boxed(Dim::Add(boxed(N), boxed(Dim::Fixed(1)))));
    net.moved("slice", MoveKind::Slice { axis: 2, start: last.clone(), step: -2 }, &[x], &batch(&[2, 2]));
    for (name, mode) in
        [("pad", PadMode::Constant(-2.5)), ("reflect", PadMode::Reflect), ("edge", PadMode::Edge)]
    {
        let pad = MoveKind::Pad { begin: vec![0, 0, 2], end: vec![0, 1, 1], mode };
        net.moved(name, pad, &[x], &batch(&[3, 6]));
    }
    net.moved("broadcast", MoveKind::Broadcast, &[x], &[Dim::Fixed(3), N, Dim::Fixed(2), Dim::Fixed(3)]);
    let index = |name: &str, indices: &[i64]| Constant {
        name: name.into(),
        shape: vec![indices.len()],
        data: ConstantData::I64(indices.into()),
    };
    let indices = constant(net.constant(index("indices", &[2, -3, 1, 2])).0);
    net.moved("gather", MoveKind::Gather { axis: 2 }, &[x, indices], &batch(&[2, 4]));
    net.moved("samples", MoveKind::Gather { axis: 0 }, &[x, which], &batch(&[2, 3]));

    for (name, element) in
        [("to bool", ElementType::Bool), ("to i8", ElementType::I8), ("to i32", ElementType::I32)]
    {
        net.step(name, [(element, &batch(&[2, 3]))], |[output]| StepKind::Cast(Cast { input: x, output }));
    }
    let quotient = Dim::FloorDiv(boxed(twice.clone()), boxed(Dim::Fixed(3)));
    let values = vec![N, Dim::Fixed(-7), twice, last, quotient, Dim::Max(boxed(N), boxed(Dim::Fixed(5)))];
    let count = sizes(&[values.len()]);
    net.step("dims", [(I64, &count)], |[output]| StepKind::Dims(Dims { values, output }));
    net.step("iota", [(I64, &sizes(&[5]))], |[output]| StepKind::Iota(Iota { output }));

    let data = Operand::Constant(net.floats(&[4, 2]));
    let updates = Operand::Constant(net.floats(&[3, 2]));
    let indices = constant(net.constant(index("rows", &[1, -1, 1])).0);
    let combines = [None, Some(Combine::Add), Some(Combine::Mul), Some(Combine::Min), Some(Combine::Max)];
    for combine in combines {
        let name = combine.map_or("scatter".into(), |combine| format!("scatter {combine:?}").to_lowercase());
        net.step(&name, [(F32, &sizes(&[4, 2]))], |[output]| {
            StepKind::Scatter(Scatter { combine, data, indices, updates, output })
        });
    }
    let constants = [
        ("f32", ConstantData::F32([-0.0, f32::INFINITY].into())),
        ("i8", ConstantData::I8([i8::MIN, i8::MAX].into())),
        ("u8", ConstantData::U8([0, u8::MAX].into())),
        ("i16", ConstantData::I16([i16::MIN, i16::MAX].into())),
        ("i32", ConstantData::I32([i32::MIN, i32::MAX].into())),
        ("i64", ConstantData::I64([i64::MIN, i64::MAX].into())),
        ("bool", ConstantData::Bool([0, 1].into())),
    ];
    for (name, data) in constants {
        let id = net.constant(Constant { name: name.into(), shape: vec![2], data });
        net.moved(name, MoveKind::Broadcast, &[Operand::Constant(id)], &sizes(&[2, 2]));
    }
    net
}

/// Functions of numbers, one by one, and as expressions of several.
fn functions() -> Network {
    let mut net = Network { exact: false, ..Network::new("functions") };
    let k = Operand::Buffer(net.input("k", i64s(&[3], &[-3, 0, i64::MAX])));
    let x = net.input("x", quarters(&[3, 5]));
    let softmax = |[output]: [BufferId; 1]| StepKind::Softmax(Softmax { input: x, axes: vec![1], output });
    net.step("softmax", [(F32, &batch(&[5]))], softmax);
    let y = net.constant(dense(&[5], &[-0.5, 0.25, 0.0, 0.5, 1.0]));
    let (x, y) = (Operand::Buffer(x), Operand::Constant(y));
    let unary = [
        Unary::Relu,
        Unary::LeakyRelu { slope: 0.5 },
        Unary::Clip { min: -0.5, max: 1.0 },
        Unary::HardSigmoid { alpha: 0.25, beta: 0.5 },
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
    ];
    let binary = [
        Binary::Add,
        Binary::Sub,
        Binary::Mul,
        Binary::Div,
        Binary::Min,
        Binary::Max,
        Binary::Pow,
        Binary::PRelu,
        Binary::Less,
        Binary::Equal,
        Binary::Keep,
    ];
    let map = |net: &mut Network, name: &str, inputs: &[Operand], code: Vec<MapInstruction>| {
        let integers = inputs[0] == k;
        let shape = if integers { vec![N] } else { batch(&[5]) };
        let (element, inputs) = (if integers { I64 } else { F32 }, inputs.to_vec());
        net.step(name, [(element, &shape)], |[output]| StepKind::Map(Map { inputs, code, output }));
    };
    for function in unary {
        let name = format!("{function:?}").to_lowercase();
        let name = name.split(' ').next().unwrap_or_default();
        map(&mut net, name, &[x], vec![MapInstruction::Unary(function, 0)]);
    }
    for function in binary {
        let name = format!("{function:?} of two").to_lowercase();
        map(&mut net, &name, &[x, y], vec![MapInstruction::Binary(function, 0, 1)]);
    }
    let several = vec![
        MapInstruction::Binary(Binary::Sub, 0, 1),
        MapInstruction::Unary(Unary::Exp, 2),
        MapInstruction::Binary(Binary::Mul, 3, 0),
    ];
    map(&mut net, "several", &[x, y], several);
    let integers = vec![MapInstruction::Unary(Unary::Neg, 0), MapInstruction::Binary(Binary::Sub, 1, 0)];
    map(&mut net, "of integers", &[k], integers);
    net
}

/// A function of the application's, with attributes of every type, in a file without constants.
fn custom() -> Network {
    let mut net = Network::new("custom");
    let x = Operand::Buffer(net.input("x", quarters(&[2, 3])));
    let attributes = vec![
        ("float".into(), Attribute::Float(-1.5)),
        ("floats".into(), Attribute::Floats(vec![0.5, -0.0])),
        ("int".into(), Attribute::Int(-3)),
        ("ints".into(), Attribute::Ints(vec![i64::MIN, 2])),
        ("string".into(), Attribute::String("é".into())),
    ];
    let outputs: [(ElementType, &[Dim]); 2] = [(F32, &batch(&[3])), (F32, &batch(&[3]))];
    net.step("custom", outputs, |outputs| {
        let (function, inputs, outputs) = ("released::scaled".into(), vec![x], outputs.to_vec());
        StepKind::Custom(Custom { function, attributes, inputs, outputs })
    });
    net
}
