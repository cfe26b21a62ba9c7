//! The kinds of layer that generated code is made for, each a program of a step or two with shapes drawn at random.

use crate::draw::{Agreement, Case, Draft, Random};
use crate::{check, check_sums};
use twnc_program::scalar::{Binary, Unary};
use twnc_program::step::{
    Accumulate, Contraction, Conv, Epilogue, Map, MapInstruction, MatMul, Move, MoveKind, Plane, Pool,
    PoolKind, Softmax, Term,
};
use twnc_program::{BufferId, Operand, StepKind, Window};

/// Shallow layers have no tables.
const TABLES: &[&str] = &["tables of rows", "tables of bands", "flat tables", "shifted rows"];

/// A test for each family: what layers it draws, and the kernels of which such layers take one or another by portable code.
macro_rules! families {
    ($check:expr => $($name:ident: $takes:expr, $draw:expr;)*) => {
        $(#[test]
        fn $name() {
            $check(stringify!($name), $takes, $draw);
        })*
    };
}

families! { check_sums =>
    windows_of_three: TABLES, |r, integers| sums(r, three, integers);
    strides: TABLES, |r, integers| sums(r, strided, integers);
    dilations: TABLES, |r, integers| sums(r, dilated, integers);
    first_layers: TABLES, |r, integers| sums(r, first, integers);
    pointwise_layers: TABLES, |r, integers| sums(r, pointwise, integers);
    windows_of_one_axis: TABLES, |r, integers| sums(r, one_axis, integers);
    groups: TABLES, |r, integers| sums(r, grouped, integers);
    depthwise_layers: &["shifted rows"], |r, integers| sums(r, depthwise, integers);
    few_rows: &["scalar tables"], |r, integers| rows(r, 3, integers);
    many_rows: TABLES, |r, integers| rows(r, 70, integers);
    planes_of_one_sum: TABLES, planes;
    terms_with_factors: TABLES, terms;
    parts_of_channels: TABLES, parts;
    pooled_sums: &["pooled in bands"], pooled;
}

families! { check =>
    float_convolutions: &["im2col"], convolution;
    float_products: &["products"], product;
    exact_maps: &["map"], exact_map;
    maps_of_other_functions: &["map"], other_map;
    softmaxes: &["softmax"], softmax;
    transposes: &["transpose"], transpose;
    maxima: &["rows, then windows"], |r| pool(r, PoolKind::Max, 5);
    maxima_of_small_windows: &["windows in registers"], |r| pool(r, PoolKind::Max, 2);
    means: &["rows, then windows"], |r| mean(r, 5);
    means_of_small_windows: &["windows in registers"], |r| mean(r, 2);
    rounding: &["quantize"], quantize;
}

/// A product by a window: what it reads, and the shape of its weight.
struct Layer {
    input: Vec<usize>,
    weight: Vec<usize>,
    window: Window,
    groups: usize,
}

impl Layer {
    /// A layer by windows of some taps over an image, with as much padding as leaves a place for them.
    fn of(
        r: &mut Random,
        image: &[usize],
        [inputs, outputs, groups]: [usize; 3],
        taps: &[[usize; 3]],
    ) -> Layer {
        let [kernel, strides, dilations] =
            [0, 1, 2].map(|i| taps.iter().map(|tap| tap[i]).collect::<Vec<_>>());
        let reach = |axis: usize| (kernel[axis] - 1) * dilations[axis] + 1;
        let (mut pads_begin, mut pads_end) = (vec![], vec![]);
        for (axis, &size) in image.iter().enumerate() {
            let least = reach(axis).saturating_sub(size).div_ceil(2);
            pads_begin.push(r.of(least, least.max(reach(axis) / 2)));
            pads_end.push(r.of(least, least.max(reach(axis) / 2)));
        }
        let input = [&[r.of(1, 2), inputs * groups], image].concat();
        let weight = [&[outputs * groups, inputs], &kernel[..]].concat();
        Layer { input, weight, window: Window { kernel, strides, dilations, pads_begin, pads_end }, groups }
    }

    fn output(&self) -> Vec<usize> {
        let axes = 0..self.window.rank();
        let sizes =
            axes.map(|axis| self.window.output_size(axis, self.input[axis + 2], false).expect("it fits"));
        [self.input[0], self.weight[0]].into_iter().chain(sizes).collect()
    }

    fn contraction(&self) -> Contraction {
        Contraction::Window { window: self.window.clone(), groups: self.groups }
    }

    /// Products of a sum.
    fn depth(&self) -> usize {
        self.weight[1..].iter().product()
    }
}

fn three(r: &mut Random) -> Layer {
    let (image, channels) = ([r.of(3, 20), r.of(3, 24)], [r.of(4, 24), r.of(8, 48), 1]);
    Layer::of(r, &image, channels, &[[3, 1, 1]; 2])
}

fn strided(r: &mut Random) -> Layer {
    let (image, channels) = ([r.of(3, 30), r.of(3, 40)], [r.of(4, 40), r.of(8, 64), 1]);
    let taps = [(); 2].map(|()| [r.of(1, 4), r.of(2, 3), 1]);
    Layer::of(r, &image, channels, &taps)
}

fn dilated(r: &mut Random) -> Layer {
    let (image, channels) = ([r.of(5, 24), r.of(5, 24)], [r.of(4, 24), r.of(8, 48), 1]);
    let taps = [(); 2].map(|()| [r.of(2, 3), r.of(1, 2), r.of(2, 3)]);
    Layer::of(r, &image, channels, &taps)
}

fn first(r: &mut Random) -> Layer {
    let (image, channels) = ([r.of(12, 44), r.of(12, 44)], [r.of(1, 3), r.of(8, 40), 1]);
    let (kernel, stride) = (r.of(5, 7), r.of(1, 2));
    Layer::of(r, &image, channels, &[[kernel, stride, 1]; 2])
}

fn pointwise(r: &mut Random) -> Layer {
    let (image, channels) = ([r.of(1, 24), r.of(1, 24)], [r.of(4, 40), r.of(8, 40), 1]);
    Layer { window: window(1, 1, 0), ..Layer::of(r, &image, channels, &[[1, 1, 1]; 2]) }
}

fn one_axis(r: &mut Random) -> Layer {
    let (image, channels) = ([r.of(4, 300)], [r.of(4, 32), r.of(8, 48), 1]);
    let tap = [r.of(1, 7), r.of(1, 2), r.of(1, 2)];
    Layer::of(r, &image, channels, &[tap])
}

fn grouped(r: &mut Random) -> Layer {
    let (image, channels) = ([r.of(3, 24), r.of(3, 24)], [r.of(4, 16), r.of(8, 24), r.of(2, 4)]);
    let kernel = r.of(1, 3);
    Layer::of(r, &image, channels, &[[kernel, 1, 1]; 2])
}

fn depthwise(r: &mut Random) -> Layer {
    let (image, channels) = ([r.of(3, 40), r.of(3, 50)], [1, r.of(1, 2), r.of(2, 20)]);
    let (kernel, stride) = (r.of(2, 5), r.of(1, 2));
    Layer::of(r, &image, channels, &[[kernel, stride, 1]; 2])
}

/// A square window over two axes.
fn window(kernel: usize, stride: usize, pad: usize) -> Window {
    let two = |n| vec![n; 2];
    let (kernel, strides, dilations) = (two(kernel), two(stride), two(1));
    Window { kernel, strides, dilations, pads_begin: two(pad), pads_end: two(pad) }
}

/// What a plane reads, in integers or as it is, and the scales of its samples.
fn source(d: &mut Draft<'_>, shape: &[usize], integers: bool) -> (BufferId, Option<BufferId>) {
    let input = d.input(shape, false);
    match integers {
        true => {
            let [q, scale] = d.quantized(input, shape);
            (q, Some(scale))
        }
        false => (input, None),
    }
}

/// A case that ends with an accumulation of so many terms for each output.
fn accumulation(
    mut d: Draft<'_>,
    terms: Vec<Term>,
    shape: &[usize],
    channels: usize,
    depth: usize,
    integers: bool,
) -> Case {
    let epilogue = d.epilogue(shape, channels);
    let output = d.f32(shape);
    d.push(StepKind::Accumulate(Accumulate { terms, epilogue, output }));
    d.end(&[output], agreement(integers, depth))
}

fn agreement(integers: bool, terms: usize) -> Agreement {
    if integers { Agreement::Bits } else { Agreement::Sums { terms } }
}

/// A layer of one plane.
fn sums(random: &mut Random, layer: fn(&mut Random) -> Layer, integers: bool) -> Case {
    let layer = layer(random);
    let mut d = Draft::new(random);
    let (input, input_scale) = source(&mut d, &layer.input, integers);
    let planes = vec![Plane { input, weight: d.trits(&layer.weight), contraction: layer.contraction() }];
    let term = Term { planes, parts: 1, scale: d.scale(layer.weight[0]), input_scale };
    accumulation(d, vec![term], &layer.output(), layer.weight[0], layer.depth(), integers)
}

/// A product of at most so many rows.
fn rows(random: &mut Random, most: usize, integers: bool) -> Case {
    let (rows, depth, outputs) = (random.of(most.div_ceil(4), most), random.of(5, 200), random.of(8, 90));
    let mut d = Draft::new(random);
    let (input, input_scale) = source(&mut d, &[rows, depth], integers);
    let planes = vec![Plane { input, weight: d.trits(&[depth, outputs]), contraction: Contraction::MatMul }];
    let term = Term { planes, parts: 1, scale: d.scale(outputs), input_scale };
    accumulation(d, vec![term], &[rows, outputs], outputs, depth, integers)
}

/// Planes that make one sum: of one input, whose integers have one scale.
fn planes(random: &mut Random, integers: bool) -> Case {
    let (layer, count) = (three(random), random.of(2, 3));
    let mut d = Draft::new(random);
    let (input, input_scale) = source(&mut d, &layer.input, integers);
    let plane =
        |d: &mut Draft<'_>| Plane { input, weight: d.trits(&layer.weight), contraction: layer.contraction() };
    let planes = (0..count).map(|_| plane(&mut d)).collect();
    let term = Term { planes, parts: 1, scale: d.scale(layer.weight[0]), input_scale };
    accumulation(d, vec![term], &layer.output(), layer.weight[0], layer.depth() * count, integers)
}

/// A layer and a strided shortcut beside it, of another input, with factors of their own.
fn terms(random: &mut Random, integers: bool) -> Case {
    let mut layer = three(random);
    layer.window = window(3, 1, 1);
    let (output, stride, inputs) = (layer.output(), random.of(1, 2), random.of(4, 12));
    let side = |size: usize| (size - 1) * stride + 1;
    let shortcut = [output[0], inputs, side(output[2]), side(output[3])];
    let mut d = Draft::new(random);
    let mut term = |shape: &[usize], weight: &[usize], contraction: Contraction| {
        let (input, input_scale) = source(&mut d, shape, integers);
        let planes = vec![Plane { input, weight: d.trits(weight), contraction }];
        Term { planes, parts: 1, scale: d.scale(weight[0]), input_scale }
    };
    let across = Contraction::Window { window: window(1, stride, 0), groups: 1 };
    let terms = vec![
        term(&layer.input, &layer.weight, layer.contraction()),
        term(&shortcut, &[output[1], inputs, 1, 1], across),
    ];
    accumulation(d, terms, &output, output[1], layer.depth() + inputs, integers)
}

/// A layer whose input channels are in parts with factors of their own.
fn parts(random: &mut Random, integers: bool) -> Case {
    let (layer, parts) = (three(random), random.of(2, 4));
    let mut d = Draft::new(random);
    let [samples, channels, height, width] = layer.input[..] else { unreachable!("an image") };
    let (input, input_scale) = source(&mut d, &[samples, channels * parts, height, width], integers);
    let outputs = layer.weight[0];
    let weight = [&[outputs * parts], &layer.weight[1..]].concat();
    let contraction = Contraction::Window { window: layer.window.clone(), groups: parts };
    let planes = vec![Plane { input, weight: d.trits(&weight), contraction }];
    let term = Term { planes, parts, scale: d.scale(outputs * parts), input_scale };
    accumulation(d, vec![term], &layer.output(), outputs, layer.depth() * parts, integers)
}

/// A large layer with a pool behind it, which alone reads it.
fn pooled(random: &mut Random, integers: bool) -> Case {
    // Long rows are not cut into bands, and 1 MB of sums is what the two are one kernel from.
    let image = [random.of(30, 60), random.of(100, 160)];
    let outputs = (1_usize << 18).div_ceil(image[0] * image[1]);
    let mut layer = Layer::of(random, &image, [1, outputs, 1], &[[5, 1, 1]; 2]);
    (layer.window, layer.input[0]) = (window(5, 1, 2), 1);
    let behind = window(random.of(2, 3), 2, random.of(0, 1));
    let mut d = Draft::new(random);
    let (input, input_scale) = source(&mut d, &layer.input, integers);
    let planes = vec![Plane { input, weight: d.trits(&layer.weight), contraction: layer.contraction() }];
    let terms = vec![Term { planes, parts: 1, scale: d.scale(outputs), input_scale }];
    let epilogue = Epilogue { bias: Some(d.floats(&[outputs])), ..Epilogue::default() };
    let sums = d.f32(&layer.output());
    d.push(StepKind::Accumulate(Accumulate { terms, epilogue, output: sums }));
    let [height, width] = [0, 1].map(|axis| behind.output_size(axis, image[axis], false).expect("it fits"));
    let output = d.f32(&[1, outputs, height, width]);
    d.push(StepKind::Pool(Pool {
        kind: PoolKind::Max,
        input: sums,
        window: behind,
        ceil: false,
        scale: None,
        epilogue: Epilogue::default(),
        output,
    }));
    d.end(&[output], agreement(integers, layer.depth()))
}

/// A convolution whose weights are floats, constant or not.
fn convolution(random: &mut Random) -> Case {
    let layer = [three, strided, grouped, one_axis][random.of(0, 3)](random);
    let (shape, channels) = (layer.output(), layer.weight[0]);
    let mut d = Draft::new(random);
    let input = d.input(&layer.input, false);
    let weight = operand(&mut d, &layer.weight);
    let (epilogue, output) = (d.epilogue(&shape, channels), d.f32(&shape));
    let terms = layer.depth();
    let Layer { window, groups, .. } = layer;
    d.push(StepKind::Conv(Conv { input, weight, window, groups, epilogue, output }));
    d.end(&[output], Agreement::Sums { terms })
}

/// A constant or an input.
fn operand(d: &mut Draft<'_>, shape: &[usize]) -> Operand {
    match d.random.flip() {
        true => Operand::Constant(d.floats(shape)),
        false => Operand::Buffer(d.input(shape, false)),
    }
}

/// A product of float matrices, the right one of which may be shared.
fn product(random: &mut Random) -> Case {
    let [matrices, rows, inner, columns] =
        [(1, 3), (1, 30), (1, 90), (1, 60)].map(|(low, high)| random.of(low, high));
    let shared = random.flip();
    let mut d = Draft::new(random);
    let left = Operand::Buffer(d.input(&[matrices, rows, inner], false));
    let right = operand(&mut d, &[if shared { 1 } else { matrices }, inner, columns]);
    let shape = [matrices, rows, columns];
    let (epilogue, output) = (d.epilogue(&shape, columns), d.f32(&shape));
    d.push(StepKind::MatMul(MatMul { left, right, epilogue, output }));
    d.end(&[output], Agreement::Sums { terms: inner })
}

/// A map of up to three inputs that broadcast, by code of so many instructions.
fn map(
    random: &mut Random,
    count: usize,
    any: bool,
    instruction: fn(&mut Random, u16) -> MapInstruction,
) -> Case {
    let shape: Vec<usize> = (0..random.of(1, 4)).map(|_| random.of(1, 9)).collect();
    let mut d = Draft::new(random);
    let inputs: Vec<Operand> = (0..d.random.of(1, 3))
        .map(|i| {
            let axis = |&size: &usize| if i > 0 && d.random.flip() { 1 } else { size };
            let own: Vec<usize> = shape.iter().map(axis).collect();
            Operand::Buffer(d.input(&own, any))
        })
        .collect();
    let values = inputs.len() as u16;
    let code = (0..count as u16).map(|i| instruction(d.random, values + i)).collect();
    let output = d.f32(&shape);
    d.push(StepKind::Map(Map { inputs, code, output }));
    d.end(&[output], if any { Agreement::Bits } else { Agreement::Units(5) })
}

fn softmax(random: &mut Random) -> Case {
    let shape = [random.of(1, 20), random.of(1, 9), random.of(1, 60)];
    let axes = (random.of(1, 2)..3).collect();
    let mut d = Draft::new(random);
    let (input, output) = (d.input(&shape, false), d.f32(&shape));
    d.push(StepKind::Softmax(Softmax { input, axes, output }));
    d.end(&[output], Agreement::Units(6))
}

fn transpose(random: &mut Random) -> Case {
    let shape: Vec<usize> = (0..random.of(1, 4)).map(|_| random.of(1, 20)).collect();
    let mut perm: Vec<usize> = (0..shape.len()).collect();
    (1..perm.len()).for_each(|last| perm.swap(last, random.of(0, last)));
    let moved: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
    let mut d = Draft::new(random);
    let (input, output) = (d.input(&shape, true), d.f32(&moved));
    let kind = MoveKind::Transpose { perm };
    d.push(StepKind::Move(Move { kind, inputs: vec![Operand::Buffer(input)], output }));
    d.end(&[output], Agreement::Bits)
}

fn exact_map(random: &mut Random) -> Case {
    use {Binary as B, Unary as U};
    let count = random.of(1, 6);
    map(random, count, true, |r, values| {
        let unary = [
            U::Relu,
            U::LeakyRelu { slope: 0.1 },
            U::Clip { min: -1.0, max: 2.5 },
            U::HardSigmoid { alpha: 0.2, beta: 0.5 },
            U::HardSwish,
            U::Neg,
            U::Abs,
            U::Sqrt,
            U::Reciprocal,
            U::Floor,
            U::Round,
        ];
        let binary = [B::Add, B::Sub, B::Mul, B::Div, B::Min, B::Max, B::PRelu, B::Less, B::Equal, B::Keep];
        let [a, b] = [(); 2].map(|()| r.of(0, usize::from(values) - 1) as u16);
        match r.flip() {
            true => MapInstruction::Unary(unary[r.of(0, unary.len() - 1)], a),
            false => MapInstruction::Binary(binary[r.of(0, binary.len() - 1)], a, b),
        }
    })
}

fn other_map(random: &mut Random) -> Case {
    map(random, 1, false, |r, _| {
        let functions = [Unary::Exp, Unary::Log, Unary::Tanh, Unary::Sigmoid, Unary::Erf];
        MapInstruction::Unary(functions[r.of(0, 4)], 0)
    })
}

fn mean(random: &mut Random, most: usize) -> Case {
    let count_padding = random.flip();
    pool(random, PoolKind::Average { count_padding }, most)
}

/// A pool of windows of up to so many taps a side; small ones have no padding.
fn pool(random: &mut Random, kind: PoolKind, most: usize) -> Case {
    let (small, image) = (most < 3, [random.of(8, 40), random.of(8, 40)]);
    let taps =
        [(); 2].map(|()| [random.of(1, most), random.of(1, 2), if small { 1 } else { random.of(1, 2) }]);
    let channels = random.of(1, 6);
    let mut layer = Layer::of(random, &image, [channels, 1, 1], &taps);
    if small {
        (layer.window.pads_begin, layer.window.pads_end) = (vec![0; 2], vec![0; 2]);
    }
    layer.weight[0] = channels;
    let shape = layer.output();
    let mut d = Draft::new(random);
    let input = d.input(&layer.input, kind == PoolKind::Max);
    let (scale, epilogue, output) = (d.scale(channels), d.epilogue(&shape, channels), d.f32(&shape));
    let window = layer.window.clone();
    let terms = window.kernel.iter().product();
    d.push(StepKind::Pool(Pool { kind, input, window, ceil: false, scale, epilogue, output }));
    d.end(&[output], if kind == PoolKind::Max { Agreement::Numbers } else { Agreement::Sums { terms } })
}

fn quantize(random: &mut Random) -> Case {
    let shape: Vec<usize> = (0..random.of(1, 3)).map(|_| random.of(1, 40)).collect();
    let mut d = Draft::new(random);
    let input = d.input(&shape, true);
    let outputs = d.quantized(input, &shape);
    d.end(&outputs, Agreement::Bits)
}
