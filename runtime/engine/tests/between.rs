//! Tensors between kernels that lie as their readers want them, or are never there: a run gives what one gives that keeps all of them.

use twnc_program::interpret::{Functions, View};
use twnc_program::scalar::Unary;
use twnc_program::step::{Accumulate, Contraction, Epilogue, Plane, Pool, PoolKind, Quantize, Term};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantData, ConstantId, Dim, ElementType, Port, Program, Step, StepKind,
    Trits, Window,
};
use twnc_runtime::{Error, Isa, Module, Output, Session, SessionOptions};

const SHAPE: [usize; 4] = [2, 6, 96, 96];
const SUMS: [usize; 4] = [2, 40, 96, 96];
const POOLED: [usize; 4] = [2, 40, 48, 48];

fn window(kernel: usize, stride: usize) -> Window {
    let two = |n| vec![n; 2];
    let (kernel, strides, dilations) = (two(kernel), two(stride), two(1));
    Window { kernel, strides, dilations, pads_begin: two(1), pads_end: two(1) }
}

fn buffer(program: &mut Program, element: ElementType, shape: &[usize]) -> BufferId {
    let shape = shape.iter().map(|&n| Dim::Fixed(n as i64)).collect();
    program.buffers.push(Buffer { element, shape });
    BufferId(program.buffers.len() as u32 - 1)
}

fn push(program: &mut Program, kind: StepKind) {
    program.steps.push(Step { name: "layer".into(), kind });
}

/// Adds a convolution of 3x3 with a weight, of f32 or of integers.
fn convolution(
    program: &mut Program,
    x: BufferId,
    shapes: [&[usize]; 2],
    weight: u32,
    integers: bool,
) -> BufferId {
    let (mut input, mut input_scale) = (x, None);
    if integers {
        let q = buffer(program, ElementType::I16, shapes[0]);
        let scale = buffer(program, ElementType::F32, &[2, 1, 1, 1]);
        let quantize = Quantize { input: x, bits: 8, signed: true, scale: None, outputs: [q, scale] };
        push(program, StepKind::Quantize(quantize));
        (input, input_scale) = (q, Some(scale));
    }
    let contraction = Contraction::Window { window: window(3, 1), groups: 1 };
    let planes = vec![Plane { input, weight: ConstantId(weight), contraction }];
    let terms = vec![Term { planes, parts: 1, scale: None, input_scale }];
    let epilogue = Epilogue { activation: Some(Unary::Relu), ..Epilogue::default() };
    let output = buffer(program, ElementType::F32, shapes[1]);
    push(program, StepKind::Accumulate(Accumulate { terms, epilogue, output }));
    output
}

/// A convolution with a pool behind it, and two convolutions behind that. What is between these two may be an output as well.
fn module(integers: bool, both: bool) -> Module {
    let mut program = Program::default();
    let x = buffer(&mut program, ElementType::F32, &SHAPE);
    let sums = convolution(&mut program, x, [&SHAPE, &SUMS], 0, integers);
    let pooled = buffer(&mut program, ElementType::F32, &POOLED);
    let pool = Pool {
        kind: PoolKind::Max,
        input: sums,
        window: window(3, 2),
        ceil: false,
        scale: None,
        epilogue: Epilogue::default(),
        output: pooled,
    };
    push(&mut program, StepKind::Pool(pool));
    let between = convolution(&mut program, pooled, [&POOLED, &POOLED], 1, integers);
    let y = convolution(&mut program, between, [&POOLED, &POOLED], 1, integers);
    let constant = |shape: [usize; 4], salt: usize| {
        let count = shape.iter().product::<usize>();
        let trits: Vec<i8> = (0..count).map(|i| ((i * 5 + i * i * salt) % 3) as i8 - 1).collect();
        let data = ConstantData::Ternary(Trits::pack(&trits).expect("trits"));
        Constant { name: String::new(), shape: shape.to_vec(), data }
    };
    program.constants = vec![constant([40, 6, 3, 3], 1), constant([40, 40, 3, 3], 2)];
    program.inputs = vec![Port { name: "x".into(), buffer: x }];
    program.outputs = vec![Port { name: "y".into(), buffer: y }];
    if both {
        program.outputs.push(Port { name: "z".into(), buffer: between });
    }
    Module::new(program, Functions::default()).expect("the program is valid")
}

fn image() -> ndarray::Array4<f32> {
    let [n, c, h, w] = SHAPE;
    ndarray::Array4::from_shape_fn((n, c, h, w), |(n, c, y, x)| {
        ((n * 131 + c * 37 + y * 11 + x * 7) % 23) as f32 / 7.0 - 1.5
    })
}

/// The bits of a run's output, and of what the last step wrote when all tensors were looked at.
fn bits(session: &Session) -> [Vec<u32>; 2] {
    let image = image();
    let outputs = session.run(&[("x", image.view())]).expect("a run");
    let Output::F32(y) = &outputs[0].1 else { panic!("{:?}", outputs[0].1) };
    let (mut last, mut seen) = (vec![], 0);
    let observed = session.observe(&[("x", image.view())], &mut |_, shape, view| {
        assert_eq!(view.len(), shape.iter().product::<usize>());
        seen += 1;
        if let View::F32(elements) = view {
            last = elements.iter().map(|x| x.to_bits()).collect();
        }
    });
    observed.expect("a run");
    assert!(seen >= 3);
    [y.iter().map(|x| x.to_bits()).collect(), last]
}

#[test]
fn what_lies_between_kernels_changes_no_bit_of_the_output() {
    let mut kernels = String::new();
    for (integers, both) in [(false, false), (true, false), (true, true)] {
        let module = module(integers, both);
        for isa in Isa::available() {
            let mut results = vec![];
            for threads in [1, 2, 3] {
                let options = SessionOptions::default().backend(isa).threads(threads);
                let session = module.session(options).expect("a session");
                let plan = session.plan(&[SHAPE.to_vec()]).expect("a plan");
                plan.iter().for_each(|report| kernels += &report.kernel);
                results.extend(bits(&session));
            }
            assert!(!results[0].is_empty());
            assert!(results.iter().all(|result| *result == results[0]), "{integers} {isa:?}");
        }
    }
    assert!(kernels.contains("pooled in bands") && kernels.contains("with the next step"), "{kernels}");
    assert!(kernels.contains(", in "), "{kernels}");
}

/// The limit is the session's, the plan is the module's: one that another session made for itself does not keep a smaller limit from a plan
/// that is within it.
#[test]
fn what_lies_between_kernels_gives_way_to_a_limit() {
    let image = image();
    for isa in Isa::available() {
        let options = SessionOptions::default().backend(isa);
        let run = |module: &Module, limit: usize| {
            let session = module.session(options.clone().max_memory(limit)).expect("a session");
            session.run(&[("x", image.view())])
        };
        let least = |module: &Module| {
            let mut limit = 1;
            while let Err(error) = run(module, limit) {
                let Error::Memory { needed, .. } = error else { panic!("{error}") };
                assert!(needed > limit, "{error}");
                limit = needed;
            }
            limit
        };
        let alone = least(&module(false, true));
        let shared = module(false, true);
        let outputs = run(&shared, usize::MAX).expect("a run");
        assert_eq!(least(&shared), alone, "{isa:?}");
        assert_eq!(run(&shared, alone).expect("a run"), outputs, "{isa:?}");
    }
}
