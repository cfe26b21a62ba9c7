//! Maps and pools against the interpreter of programs, and functions without an exact definition against f64.

mod fenced;
mod random;

use fenced::{Edge, jits};
use proptest::prelude::*;
use std::collections::HashMap;
use twnc_jit::{Kernel, MapSpec, PoolSpec, Source};
use twnc_program::interpret::{self, Functions, Operands, View, ViewMut};
use twnc_program::scalar::{Binary, Unary};
use twnc_program::step::{Epilogue, Map, MapInstruction, Move, MoveKind, Pool, PoolKind, Quantize};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantData, ConstantId, Dim, ElementType, Operand, Port, Program, Step,
    StepKind, Window,
};

/// What a kernel gives, at both ends of pages.
fn execute(kernel: &dyn Kernel, inputs: &[&[f32]], residual: Option<&[f32]>) -> Vec<f32> {
    let inputs: Vec<View<'_>> = inputs.iter().map(|&elements| View::F32(elements)).collect();
    let [output, again] = [Edge::Start, Edge::End]
        .map(|edge| fenced::execute(&"a step", kernel, &inputs, residual, 1, edge)[0].f32().to_vec());
    assert_same(&output, &again);
    output
}

/// The step's result by the interpreter; buffer `i` is input `i`, the last buffer is the output, and constants are lists.
fn interpret(shapes: &[Vec<usize>], constants: &[&[f32]], step: StepKind, inputs: &[&[f32]]) -> Vec<f32> {
    struct Inputs<'a>(HashMap<BufferId, &'a [f32]>);
    impl Operands for Inputs<'_> {
        fn buffer(&self, id: BufferId) -> View<'_> {
            View::F32(self.0[&id])
        }
    }
    let id = |i: usize| BufferId(i as u32);
    let shape = |shape: &Vec<usize>| shape.iter().map(|&n| Dim::Fixed(n as i64)).collect();
    let port = |i| Port { name: format!("{i}"), buffer: id(i) };
    let last = shapes.len() - 1;
    let program = Program {
        name: "one step".into(),
        symbols: vec![],
        buffers: shapes.iter().map(|s| Buffer { element: ElementType::F32, shape: shape(s) }).collect(),
        constants: constants.iter().map(|list| constant(list)).collect(),
        steps: vec![Step { name: "step".into(), kind: step }],
        inputs: (0..last).map(port).collect(),
        outputs: vec![port(last)],
    };
    program.validate().expect("a valid program");
    let resolved = program.resolve(&shapes[..last]).expect("the shapes fit");
    let mut output = vec![0.0; shapes[last].iter().product()];
    let operands = Inputs((0..last).map(|i| (id(i), inputs[i])).collect());
    let mut outputs = [ViewMut::F32(&mut output)];
    interpret::run_step(
        &program,
        &resolved,
        &program.steps[0],
        &operands,
        &mut outputs,
        &Functions::default(),
    )
    .expect("the step runs");
    output
}

fn constant(list: &[f32]) -> Constant {
    Constant { name: String::new(), shape: vec![list.len()], data: ConstantData::F32(list.into()) }
}

/// Numbers of all kinds, some special.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let special = [0.0, -0.0, f32::INFINITY, f32::NEG_INFINITY, f32::NAN, 1e-40, 3.0e38, 1.0, -1.0];
    let mut state = seed;
    (0..count)
        .map(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let bits = (state >> 33) as usize;
            if bits.is_multiple_of(16) { special[bits / 16 % special.len()] } else { bits as f32 / 2e8 - 5.0 }
        })
        .collect()
}

fn assert_same(got: &[f32], want: &[f32]) {
    assert_eq!(got.len(), want.len());
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        assert!(g.to_bits() == w.to_bits() || (g.is_nan() && w.is_nan()), "element {i}: {g:e}, not {w:e}");
    }
}

fn assert_transposed(shape: &[usize], perm: &[usize], seed: u64) {
    let moved: Vec<usize> = perm.iter().map(|&axis| shape[axis]).collect();
    let x = numbers(seed, shape.iter().product());
    let input = Operand::Buffer(BufferId(0));
    let kind = MoveKind::Transpose { perm: perm.to_vec() };
    let step = StepKind::Move(Move { kind, inputs: vec![input], output: BufferId(1) });
    let want = interpret(&[shape.to_vec(), moved], &[], step, &[&x]);
    for jit in jits() {
        assert_same(&execute(&jit.transpose(shape, perm).expect("a permutation"), &[&x], None), &want);
    }
}

#[test]
fn transposes_of_long_rows_move_every_element() {
    assert_transposed(&[2, 5000], &[1, 0], 1);
    assert_transposed(&[5000, 3], &[1, 0], 2);
    assert_transposed(&[2, 3, 4099], &[0, 2, 1], 3);
}

fn exact_unary() -> impl Strategy<Value = Unary> {
    prop_oneof![
        Just(Unary::Relu),
        Just(Unary::LeakyRelu { slope: 0.1 }),
        Just(Unary::Clip { min: -1.0, max: 2.5 }),
        Just(Unary::Clip { min: 1.0, max: -1.0 }),
        Just(Unary::HardSigmoid { alpha: 0.2, beta: 0.5 }),
        Just(Unary::HardSwish),
        Just(Unary::Neg),
        Just(Unary::Abs),
        Just(Unary::Sqrt),
        Just(Unary::Reciprocal),
        Just(Unary::Floor),
        Just(Unary::Round),
    ]
}

fn inexact_unary() -> impl Strategy<Value = Unary> {
    let functions = [Unary::Exp, Unary::Log, Unary::Tanh, Unary::Sigmoid, Unary::Erf].map(Just);
    prop_oneof![exact_unary(), prop::strategy::Union::new(functions)]
}

fn binary() -> impl Strategy<Value = Binary> {
    use Binary::{Add, Div, Equal, Keep, Less, Max, Min, Mul, PRelu, Sub};
    prop::sample::select(vec![Add, Sub, Mul, Div, Min, Max, PRelu, Less, Equal, Keep])
}

/// Shapes of inputs that broadcast to the shape that comes last, and code for them.
fn maps() -> impl Strategy<Value = (Vec<Vec<usize>>, Vec<MapInstruction>, u64)> {
    let output = prop::collection::vec(0..=9usize, 0..=4);
    let input = (prop::collection::vec(any::<bool>(), 4), 0..=4usize);
    let instruction = (exact_unary(), binary(), any::<bool>(), any::<u16>(), any::<u16>());
    (output, prop::collection::vec(input, 1..=4), prop::collection::vec(instruction, 1..=6), any::<u64>())
        .prop_map(|(output, inputs, instructions, seed)| {
            let mut shapes: Vec<Vec<usize>> = inputs
                .into_iter()
                .map(|(ones, skip)| {
                    let sizes = output.iter().zip(ones).skip(skip.min(output.len()));
                    sizes.map(|(&size, one)| if one { 1 } else { size }).collect()
                })
                .collect();
            let count = shapes.len() as u16;
            let code = (count..)
                .zip(instructions)
                .map(|(values, (f, g, unary, a, b))| match unary {
                    true => MapInstruction::Unary(f, a % values),
                    false => MapInstruction::Binary(g, a % values, b % values),
                })
                .collect();
            shapes.push(output);
            (shapes, code, seed)
        })
}

fn pools() -> impl Strategy<Value = (Vec<usize>, Window, bool, PoolKind, u64)> {
    let kind = prop_oneof![
        Just(PoolKind::Max),
        Just(PoolKind::Average { count_padding: true }),
        Just(PoolKind::Average { count_padding: false }),
    ];
    (1..=2usize).prop_flat_map(move |rank| {
        let list = move |range: std::ops::RangeInclusive<usize>| prop::collection::vec(range, rank);
        let wide = (list(1..=9), list(1..=4), list(1..=3), list(0..=3), list(0..=3));
        // Those that networks have, which are folded in registers.
        let usual = (list(1..=3), list(1..=2), list(1..=1), list(0..=1), list(0..=1));
        let window = prop_oneof![wide, usual];
        (0..=2usize, 0..=3usize, list(0..=70), window, any::<bool>(), kind.clone(), any::<u64>()).prop_map(
            |(n, c, size, (kernel, strides, dilations, pads_begin, pads_end), ceil, kind, seed)| {
                let window = Window { kernel, strides, dilations, pads_begin, pads_end };
                ([&[n, c], &size[..]].concat(), window, ceil, kind, seed)
            },
        )
    })
}

proptest! {
    #![proptest_config(random::cases(300))]

    #[test]
    fn maps_give_the_interpreter_s_bits((shapes, code, seed) in maps()) {
        let count = shapes.len() - 1;
        let data: Vec<Vec<f32>> =
            (0..count).map(|i| numbers(seed ^ i as u64, shapes[i].iter().product())).collect();
        let inputs: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
        let sources = (0..count).map(|i| (&shapes[i][..], Source::Input(i))).collect();
        let spec = MapSpec { output: &shapes[count], inputs: sources, code: &code };
        let operands = (0..count).map(|i| Operand::Buffer(BufferId(i as u32))).collect();
        let step = StepKind::Map(Map { inputs: operands, code: code.clone(), output: BufferId(count as u32) });
        let want = interpret(&shapes, &[], step, &inputs);
        for jit in jits() {
            let kernel = jit.map(&spec).expect("the map is supported");
            assert_same(&execute(&kernel, &inputs, None), &want);
        }
    }

    /// Functions without an exact definition have the same bits by every kind of code, alone and in long expressions.
    #[test]
    fn maps_give_the_same_bits_by_every_kind_of_code(
        sizes in (1..4usize, 1..100usize),
        code in prop::collection::vec((inexact_unary(), binary(), any::<bool>(), any::<u16>(), any::<u16>()), 1..12),
        seed: u64,
    ) {
        let (rows, length) = sizes;
        let instruction = |(values, (f, g, unary, a, b)): (u16, (Unary, Binary, bool, u16, u16))| match unary {
            true => MapInstruction::Unary(f, a % values),
            false => MapInstruction::Binary(g, a % values, b % values),
        };
        let code: Vec<MapInstruction> = (3..).zip(code).map(instruction).collect();
        let shapes = [vec![rows, length], vec![length], vec![rows, 1]];
        let data: Vec<Vec<f32>> =
            (0..).zip(&shapes).map(|(i, shape)| numbers(seed ^ i, shape.iter().product())).collect();
        let inputs: Vec<&[f32]> = data.iter().map(Vec::as_slice).collect();
        let sources = shapes.iter().enumerate().map(|(i, shape)| (&shape[..], Source::Input(i))).collect();
        let spec = MapSpec { output: &shapes[0], inputs: sources, code: &code };
        let all: Vec<Vec<f32>> = jits().iter().map(|jit| execute(&jit.map(&spec).unwrap(), &inputs, None)).collect();
        all.iter().for_each(|got| assert_same(got, &all[0]));
    }

    #[test]
    fn transposes_move_every_element(
        axes in prop::collection::vec((0..=11usize, any::<u16>()), 0..=5),
        seed: u64,
    ) {
        let shape: Vec<usize> = axes.iter().map(|(size, _)| *size).collect();
        let mut perm: Vec<usize> = (0..shape.len()).collect();
        perm.sort_by_key(|&axis| axes[axis].1);
        assert_transposed(&shape, &perm, seed);
    }

    /// Exponentials are off by about a unit in the last place, their sum and its inverse by less.
    #[test]
    fn softmax_is_near_f64(
        rows in 0..5usize,
        length in prop_oneof![9 => 1..150usize, 1 => 1..20_000usize],
        scale in prop::sample::select(vec![0.1f32, 1.0, 30.0]),
        special: bool,
        seed: u64,
    ) {
        let mut x = numbers(seed, rows * length);
        x.iter_mut().filter(|x| !special && !x.is_finite()).for_each(|x| *x = 0.25);
        x.iter_mut().filter(|x| x.abs() < 1e30).for_each(|x| *x *= scale);
        for jit in jits() {
            let kernel = jit.softmax(&[rows, length, 1], &[1, 2]).expect("the innermost axes");
            let got = execute(&kernel, &[&x], None);
            prop_assert_eq!(got.len(), x.len());
            for (x, got) in x.chunks(length).zip(got.chunks(length)) {
                let largest = x.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                let exp: Vec<f64> = x.iter().map(|&x| f64::from(x - largest).exp()).collect();
                let sum: f64 = exp.iter().sum();
                for (exp, &got) in exp.iter().zip(got) {
                    prop_assert!(ulps(got, exp / sum) <= 6.0, "{got:e}, not {:e}", exp / sum);
                }
            }
        }
    }

    #[test]
    fn pools_agree_with_the_interpreter(
        (input, window, ceil, kind, seed) in pools(),
        scales in prop::option::of(any::<bool>()),
        bias: bool,
        residual: bool,
        activation in prop::option::of(exact_unary().prop_filter("an activation", |f| f.is_activation())),
    ) {
        let sizes: Option<Vec<usize>> =
            (0..window.rank()).map(|axis| window.output_size(axis, input[axis + 2], ceil)).collect();
        prop_assume!(sizes.is_some());
        let output = [&input[..2], &sizes.unwrap_or_default()[..]].concat();
        // Sums of infinities depend on the order; the largest does not, but for the sign of a zero.
        let mut data = numbers(seed, input.iter().product());
        // A mean is off by its rounding, which some functions make any error of.
        let steep = |f: &Unary| matches!(f, Unary::Sqrt | Unary::Reciprocal | Unary::Floor | Unary::Round);
        let activation = activation.filter(|f| kind == PoolKind::Max || !steep(f));
        if kind != PoolKind::Max {
            data.iter_mut().filter(|x| x.abs() > 1e30 || x.is_nan()).for_each(|x| *x = 0.5);
        }
        let small = |seed, count| numbers(seed, count).iter().map(|x| x.clamp(-4.0, 4.0)).collect::<Vec<f32>>();
        let scale = scales.map(|one| small(seed ^ 1, if one { 1 } else { input[1] }));
        let bias = bias.then(|| small(seed ^ 2, input[1]));
        let residual = residual.then(|| small(seed ^ 3, output.iter().product()));
        let constants: Vec<&[f32]> = scale.iter().chain(&bias).map(Vec::as_slice).collect();
        let buffers: Vec<Vec<usize>> = match residual {
            Some(_) => vec![input.clone(), output.clone(), output.clone()],
            None => vec![input.clone(), output.clone()],
        };
        let inputs: Vec<&[f32]> = [Some(&data), residual.as_ref()].into_iter().flatten().map(Vec::as_slice).collect();
        let step = StepKind::Pool(Pool {
            kind,
            input: BufferId(0),
            window: window.clone(),
            ceil,
            scale: scale.as_ref().map(|_| ConstantId(0)),
            epilogue: Epilogue {
                bias: bias.as_ref().map(|_| ConstantId(u32::from(scale.is_some()))),
                residual: residual.as_ref().map(|_| BufferId(1)),
                activation,
            },
            output: BufferId(buffers.len() as u32 - 1),
        });
        let want = interpret(&buffers, &constants, step, &inputs);
        let epilogue = twnc_jit::Epilogue {
            scale: scale.clone(),
            bias: bias.clone(),
            residual: residual.is_some(),
            activation,
            ..twnc_jit::Epilogue::default()
        };
        let spec = PoolSpec { kind, input: &input, output: &output, window: &window, epilogue };
        for jit in jits() {
            let got = execute(&jit.pool(&spec).expect("the pool is supported"), &[&data], residual.as_deref());
            if kind == PoolKind::Max {
                for (i, (g, w)) in got.iter().zip(&want).enumerate() {
                    prop_assert!(g == w || (g.is_nan() && w.is_nan()), "element {i}: {g:e}, not {w:e}");
                }
                continue;
            }
            for (g, w) in got.iter().zip(&want) {
                prop_assert!((g - w).abs() <= 1e-4 || (g.is_nan() && w.is_nan()), "{g} is not {w}");
            }
        }
    }
}

proptest! {
    #![proptest_config(random::cases(300))]

    #[test]
    fn quantising_gives_the_interpreter_s_bits(
        // A long sample is measured in parts, which threads share.
        shape in prop_oneof![
            3 => prop::collection::vec(0..=40usize, 1..=3),
            1 => (1..=3usize, 0..=40_000usize).prop_map(|(samples, size)| vec![samples, size]),
        ],
        threads in 1..=3usize,
        bits in 2..=12u32,
        signed: bool,
        scale in prop::option::of(1e-3..2.0f32),
        seed: u64,
        finite: bool,
    ) {
        let [input, integers, scales] = [0, 1, 2].map(BufferId);
        let step = Quantize { input, bits, signed, scale, outputs: [integers, scales] };
        let count = shape.iter().product();
        let mut x = numbers(seed, count);
        if !finite {
            // Samples without a scale: all that is finite in them is 0.
            x.iter_mut().filter(|x| x.is_finite()).for_each(|x| *x = 0.0f32.copysign(*x));
        }
        for (jit, edge) in jits().iter().flat_map(|jit| [(jit, Edge::Start), (jit, Edge::End)]) {
            let kernel = jit.quantize(&step, &shape, None, false).expect("the step is supported");
            let outputs = fenced::execute(&step, &kernel, &[View::F32(&x)], None, threads, edge);
            let (q, s) = (outputs[0].i16(), outputs[1].f32());
            for (i, &scale) in s.iter().enumerate() {
                let size = count / shape[0];
                let sample = &x[i * size..][..size];
                let largest = sample.iter().map(|&x| step.magnitude(x)).fold(0.0, f32::max);
                prop_assert_eq!(scale.to_bits(), step.scale_of(largest).to_bits());
                let inverse = Quantize::inverse(scale);
                for (&x, &q) in sample.iter().zip(&q[i * size..]) {
                    prop_assert_eq!(q, step.round(x, inverse), "{} with {}", x, inverse);
                }
            }
        }
    }
}

/// Every 997th f32, and a dense stretch around the numbers that networks have.
fn many_numbers() -> Vec<f32> {
    let all = (0..=u32::MAX).step_by(997).map(f32::from_bits);
    all.chain((0..400_000).map(|i| i as f32 * 1e-4 - 20.0)).collect()
}

/// The error in units in the last place of the true value; none where that is below the normal numbers and so is `got`.
fn ulps(got: f32, want: f64) -> f64 {
    let near = want as f32;
    let tiny = near.abs() < f32::MIN_POSITIVE && got.abs() <= f32::MIN_POSITIVE;
    if tiny || got == near || (got.is_nan() && near.is_nan()) {
        return 0.0;
    }
    let unit = f64::from(near.abs().clamp(f32::MIN_POSITIVE, f32::MAX)).log2().floor() - 23.0;
    (f64::from(got) - want).abs() / unit.exp2()
}

#[test]
fn transcendental_functions_are_within_four_units() {
    let erf = |x: f64| f64::from(Unary::Erf.apply(x as f32));
    let cases: [(Unary, &dyn Fn(f64) -> f64); 5] = [
        (Unary::Exp, &f64::exp),
        (Unary::Log, &f64::ln),
        (Unary::Tanh, &f64::tanh),
        (Unary::Sigmoid, &|x| 1.0 / (1.0 + (-x).exp())),
        (Unary::Erf, &erf),
    ];
    let x = many_numbers();
    let shape = [x.len()];
    for (function, truth) in cases {
        let code = [MapInstruction::Unary(function, 0)];
        let spec = MapSpec { output: &shape, inputs: vec![(&shape, Source::Input(0))], code: &code };
        let all: Vec<Vec<f32>> =
            jits().iter().map(|jit| execute(&jit.map(&spec).expect("supported"), &[&x], None)).collect();
        let got = &all[0];
        all.iter().for_each(|other| assert_same(other, got));
        let worst = x.iter().zip(got).map(|(&x, &y)| (ulps(y, truth(f64::from(x))), x, y));
        let worst = worst.max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are numbers");
        assert!(worst.0 <= 4.0, "{function:?}({:e}) = {:e}: {} units", worst.1, worst.2, worst.0);
        println!("{function:?}: {:.2} units at {:e}", worst.0, worst.1);
    }
}

/// Bases, and exponents, of every special kind.
const SPECIAL: [f32; 25] = [
    0.0,
    -0.0,
    1.0,
    -1.0,
    2.0,
    -2.0,
    3.0,
    -3.0,
    0.5,
    -0.5,
    0.75,
    1e-40,
    -1e-40,
    3e38,
    -3e38,
    8_388_609.0,
    16_777_216.0,
    4e9,
    1e10,
    f32::MIN_POSITIVE,
    f32::INFINITY,
    f32::NEG_INFINITY,
    f32::NAN,
    1.0 + f32::EPSILON,
    1.0 - f32::EPSILON / 2.0,
];

/// Exponents of all kinds, and of each about as many bases as reach from the least to the largest power.
fn bases_and_exponents() -> [Vec<f32>; 2] {
    let pairs = SPECIAL.into_iter().flat_map(|a| SPECIAL.map(|b| (a, b)));
    let exponents = [0.75, 0.25, -0.5, 1.0 / 3.0, 2.2, -3.7, 3.0, -2.0, 17.0, 96.3, 300.0, -1234.5];
    let sweep = exponents.into_iter().flat_map(|b: f32| {
        let reach = (160.0 / b.abs()).min(150.0);
        (0..60_000)
            .map(move |i| (2f32.powf((i as f32 / 30_000.0 - 1.0) * reach) * (1.0 + i as f32 * 1e-7), b))
    });
    let (a, b) = pairs.chain(sweep).unzip();
    [a, b]
}

/// The largest error of powers, in units in the last place; what is NaN, and signs, are right.
fn worst_power(a: &[f32], b: &[f32], exponent: Source) -> (f64, f32, f32) {
    let (shape, constant) = ([a.len()], matches!(exponent, Source::Constant(_)));
    let exponents: &[usize] = if constant { &[1] } else { &shape };
    let code = [MapInstruction::Binary(Binary::Pow, 0, 1)];
    let sources = vec![(&shape[..], Source::Input(0)), (exponents, exponent)];
    let spec = MapSpec { output: &shape, inputs: sources, code: &code };
    let inputs: &[&[f32]] = if constant { &[a] } else { &[a, b] };
    let all: Vec<Vec<f32>> =
        jits().iter().map(|jit| execute(&jit.map(&spec).expect("supported"), inputs, None)).collect();
    let got = &all[0];
    all.iter().for_each(|other| assert_same(other, got));
    let units = a.iter().zip(b).zip(got).map(|((&a, &b), &power)| {
        let want = f64::from(a).powf(f64::from(b));
        assert_eq!(power.is_nan(), want.is_nan(), "{a:e}^{b:e} = {power:e}, not {want:e}");
        let sign = power.is_nan() || power.is_sign_negative() == want.is_sign_negative();
        assert!(sign, "{a:e}^{b:e} = {power:e}, not {want:e}");
        (ulps(power, want), a, b)
    });
    units.max_by(|a, b| a.0.total_cmp(&b.0)).expect("there are numbers")
}

#[test]
fn powers_are_within_four_units() {
    let [a, b] = bases_and_exponents();
    let (units, x, y) = worst_power(&a, &b, Source::Input(1));
    println!("{units:.2} units at {x:e}^{y:e}");
    assert!(units <= 4.0, "{units} units at {x:e}^{y:e}");
}

#[test]
fn powers_of_a_known_exponent_are_within_four_units() {
    let bases: Vec<f32> = SPECIAL.into_iter().chain(many_numbers().into_iter().step_by(7)).collect();
    for exponent in (-14..=14).map(|quarters| quarters as f32 / 4.0).chain([0.3, 1e10, f32::NAN]) {
        let exponents = vec![exponent; bases.len()];
        let (units, x, _) = worst_power(&bases, &exponents, Source::Constant([exponent].into()));
        println!("{units:.2} units at {x:e}^{exponent}");
        assert!(units <= 4.0, "{units} units at {x:e}^{exponent}");
    }
}
