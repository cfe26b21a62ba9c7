//! What sessions promise beside results: bounds on memory, shared plans, honest reports, and runs that do not disturb each other.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use twnc_program::interpret::{CustomFunction, Functions, View, ViewMut};
use twnc_program::step::{
    Accumulate, Attribute, Contraction, Custom, Epilogue, Map, MapInstruction, Move, MoveKind, Plane, Term,
};
use twnc_program::{
    Buffer, BufferId, Constant, ConstantData, ConstantId, Dim, ElementType, Operand, Port, Program, Step,
    StepKind, SymbolId, Trits, Window, scalar::Unary,
};
use twnc_runtime::{Backend, Error, Input, Isa, Module, Output, OutputMut, Session, SessionOptions};

const N: Dim = Dim::Symbol(SymbolId(0));

fn b(id: u32) -> BufferId {
    BufferId(id)
}

/// A program of these steps, with input `x` in buffer 0 and an output for every other buffer.
fn module(shapes: &[&[Dim]], constants: Vec<Constant>, steps: Vec<StepKind>, functions: Functions) -> Module {
    let open = shapes.iter().any(|shape| shape.contains(&N));
    let port = |name: String, id| Port { name, buffer: b(id) };
    let program = Program {
        name: "test".into(),
        symbols: if open { vec!["N".into()] } else { vec![] },
        buffers: shapes
            .iter()
            .map(|shape| Buffer { element: ElementType::F32, shape: shape.to_vec() })
            .collect(),
        constants,
        steps: steps.into_iter().map(|kind| Step { name: "layer".into(), kind }).collect(),
        inputs: vec![port("x".into(), 0)],
        outputs: (1..shapes.len() as u32).map(|id| port(format!("y{id}"), id)).collect(),
    };
    Module::new(program, functions).expect("the program is valid")
}

fn constant(shape: &[usize], data: ConstantData) -> Constant {
    Constant { name: String::new(), shape: shape.to_vec(), data }
}

/// `[1]` to `[size]`.
fn broadcast(size: i64) -> Module {
    let step = Move { kind: MoveKind::Broadcast, inputs: vec![Operand::Buffer(b(0))], output: b(1) };
    module(&[&[Dim::Fixed(1)], &[Dim::Fixed(size)]], vec![], vec![StepKind::Move(step)], Functions::default())
}

/// `[N,2,8,8]` to `[N,4,8,8]` by `planes` ternary convolutions of one input, then relu.
fn convolution(planes: usize) -> Module {
    let trits: Vec<i8> = (0..72).map(|i| (i * 5 % 3) as i8 - 1).collect();
    let window = Window {
        kernel: vec![3; 2],
        strides: vec![1; 2],
        dilations: vec![1; 2],
        pads_begin: vec![1; 2],
        pads_end: vec![1; 2],
    };
    let plane =
        Plane { input: b(0), weight: ConstantId(0), contraction: Contraction::Window { window, groups: 1 } };
    let term = Term { planes: vec![plane], parts: 1, scale: None, input_scale: None };
    let sum = Accumulate { terms: vec![term; planes], epilogue: Epilogue::default(), output: b(1) };
    let code = vec![MapInstruction::Unary(Unary::Relu, 0)];
    let relu = Map { inputs: vec![Operand::Buffer(b(1))], code, output: b(2) };
    let shape = |channels| [N, Dim::Fixed(channels), Dim::Fixed(8), Dim::Fixed(8)];
    module(
        &[&shape(2), &shape(4), &shape(4)],
        vec![constant(&[4, 2, 3, 3], ConstantData::Ternary(Trits::pack(&trits).expect("trits")))],
        vec![StepKind::Accumulate(sum), StepKind::Map(relu)],
        Functions::default(),
    )
}

fn image(samples: usize) -> ndarray::Array4<f32> {
    ndarray::Array4::from_shape_fn((samples, 2, 8, 8), |(n, c, y, x)| {
        ((n * 131 + c * 37 + y * 11 + x * 7) % 23) as f32 / 7.0 - 1.5
    })
}

fn bits(outputs: &[(String, Output)]) -> Vec<u32> {
    let floats = outputs.iter().flat_map(|(_, output)| match output {
        Output::F32(array) => array.iter().map(|x| x.to_bits()).collect::<Vec<_>>(),
        other => panic!("{other:?}"),
    });
    floats.collect()
}

fn run(session: &Session, x: &ndarray::Array4<f32>) -> Vec<u32> {
    bits(&session.run(&[("x", x.view())]).expect("a run"))
}

#[test]
fn tensors_larger_than_memory_are_refused() {
    let x = ndarray::Array1::<f32>::ones(1);
    let inputs = [("x", Input::from(x.view()))];
    for size in [1 << 40, 1 << 58] {
        let module = broadcast(size);
        let session = module.session(SessionOptions::default()).expect("a session");
        let error = session.run(&inputs).expect_err("more than the default limit");
        assert!(matches!(error, Error::Memory { needed, .. } if needed >= 4 << 40), "{size}: {error}");
        let error = session.plan(&[vec![1]]).expect_err("more than the default limit");
        assert!(matches!(error, Error::Memory { .. }), "{size}: {error}");
    }
    // Without a limit the system's refusal is an error too.
    let session =
        broadcast(1 << 58).session(SessionOptions::default().max_memory(usize::MAX)).expect("a session");
    let error = session.run(&inputs).expect_err("more than an address space");
    assert!(matches!(error, Error::Allocation { bytes } if bytes >= 1 << 60), "{error}");
}

#[test]
fn the_limit_counts_tensors_scratch_and_outputs() {
    let x = image(1);
    let needed = |backend: Backend, threads: usize, into: bool| {
        let options = SessionOptions::default().backend(backend).threads(threads).max_memory(1);
        let limited = |limit| {
            let session = convolution(1).session(options.clone().max_memory(limit)).expect("a session");
            if !into {
                return session.run(&[("x", x.view())]).map(drop);
            }
            let mut y = [ndarray::Array4::<f32>::zeros((1, 4, 8, 8)), ndarray::Array4::zeros((1, 4, 8, 8))];
            let mut y: Vec<_> = y.iter_mut().map(|y| OutputMut::from(y.view_mut())).collect();
            session.run_into(&[("x", x.view())], &mut y)
        };
        // An error names what is needed as far as it is known then: the tensors, the scratch memory, the outputs.
        let mut limit = 1;
        while let Err(error) = limited(limit) {
            let Error::Memory { needed, limit: named } = error else { panic!("{error}") };
            assert!(named == limit && needed > limit, "{error}");
            limit = needed;
        }
        assert!(matches!(limited(limit - 1), Err(Error::Memory { .. })));
        limit
    };
    // Two outputs [1,4,8,8] of f32; the input's place is the second output's.
    let (tensors, outputs) = (2 * 1024, 2 * 1024);
    assert_eq!(needed(Backend::Interpreter, 1, true), tensors);
    assert_eq!(needed(Backend::Interpreter, 1, false), tensors + outputs);
    let scratch = needed(Isa::Portable.into(), 1, true) - tensors;
    assert!(scratch > 0);
    // Of several threads each has a page more, which nobody uses.
    assert_eq!(needed(Isa::Portable.into(), 3, true), tensors + 3 * (scratch + 4096));
    assert_eq!(needed(Isa::Portable.into(), 1, false), tensors + scratch + outputs);
}

#[test]
fn more_threads_than_any_machine_has_are_refused() {
    for threads in [1025, usize::MAX] {
        let options = SessionOptions::default().threads(threads);
        let error = convolution(1).session(options).expect_err("too many");
        assert!(
            matches!(&error, Error::Threads(_)) && error.to_string().contains("1024 is the most"),
            "{error}"
        );
    }
}

#[test]
fn four_threads_and_two_shapes_are_as_one_alone() {
    for (backend, threads) in
        [(Backend::Interpreter, 1), (Isa::Portable.into(), 1), (Isa::Portable.into(), 2)]
    {
        let options = SessionOptions::default().backend(backend).threads(threads);
        let expected = [1, 5].map(|samples| {
            let alone = convolution(2).session(options.clone()).expect("a session");
            run(&alone, &image(samples))
        });
        let session = convolution(2).session(options).expect("a session");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let (session, expected) = (&session, &expected);
                scope.spawn(move || {
                    for round in 0..30 {
                        let which = (thread + round) % 2;
                        let found = run(session, &image([1, 5][which]));
                        assert_eq!(found, expected[which], "{backend:?}, {threads} threads, round {round}");
                    }
                });
            }
        });
    }
}

#[test]
fn reports_say_what_executes_a_step() {
    let interpreted = |planes: usize, backend: Backend| {
        let session =
            convolution(planes).session(SessionOptions::default().backend(backend)).expect("a session");
        assert_eq!(session.backend(), backend);
        assert!(session.fallback().is_none());
        session.plan(&[vec![1, 2, 8, 8]]).expect("a plan")
    };
    let report = interpreted(1, Isa::Portable.into());
    assert!(!report[0].kernel.contains("interpreter") && !report[0].functions.is_empty(), "{report:?}");
    for (planes, backend, kernel) in [
        (1, Backend::Interpreter, "interpreter"),
        (
            17,
            Isa::Portable.into(),
            "interpreter: no generated code for an accumulation of more than 16 planes",
        ),
    ] {
        let report = interpreted(planes, backend);
        assert_eq!(report.len(), 2);
        assert_eq!(report[0].kernel, kernel);
        assert!(report[0].functions.is_empty());
    }
    let report = broadcast(4).session(SessionOptions::default().backend(Isa::Portable)).expect("a session");
    let report = report.plan(&[vec![1]]).expect("a plan");
    assert_eq!(report[0].kernel, "interpreter: no generated code for broadcast");
}

#[test]
fn seventeen_planes_are_interpreted_right() {
    let x = image(2);
    let session = |backend: Backend| {
        convolution(17).session(SessionOptions::default().backend(backend)).expect("a session")
    };
    assert_eq!(
        run(&session(Isa::Portable.into()), &x)[..512],
        run(&session(Backend::Interpreter), &x)[..512]
    );
}

#[test]
fn inputs_come_in_any_order_and_number() {
    let count = 200_000;
    let port = |i: u32| Port { name: format!("x{i}"), buffer: b(i) };
    let program = Program {
        buffers: vec![Buffer { element: ElementType::F32, shape: vec![] }; count as usize],
        inputs: (0..count).map(port).collect(),
        outputs: vec![port(0), port(count - 1)],
        ..Program::default()
    };
    let few = Program {
        buffers: program.buffers[..3].to_vec(),
        inputs: program.inputs[..3].to_vec(),
        outputs: vec![port(0), port(2)],
        ..Program::default()
    };
    let elements: Vec<_> = (0..count).map(|i| ndarray::arr0(i as f32)).collect();
    for (program, order) in
        [(program, (0..count).collect()), (few.clone(), vec![0, 1, 2]), (few, vec![2, 0, 1])]
    {
        let last = order.len() as f32 - 1.0;
        let module = Module::new(program, Functions::default()).expect("the program is valid");
        let session = module.session(SessionOptions::default()).expect("a session");
        let names: Vec<_> = order.iter().map(|i| format!("x{i}")).collect();
        let inputs: Vec<_> =
            names.iter().zip(&order).map(|(name, &i)| (name.as_str(), elements[i as usize].view())).collect();
        assert_eq!(bits(&session.run(&inputs).expect("a run")), [0f32.to_bits(), last.to_bits()]);
    }
}

/// Gives its input and, in the outputs without elements, nothing.
struct Split(AtomicUsize);

impl CustomFunction for Split {
    fn run(
        &self,
        _: &[(String, Attribute)],
        inputs: &[(View<'_>, &[usize])],
        outputs: &mut [(ViewMut<'_>, &[usize])],
    ) -> Result<(), String> {
        self.0.fetch_add(1, Ordering::Relaxed);
        match (inputs, outputs) {
            (
                [(View::F32(x), _)],
                [(ViewMut::F32(y), [3]), (ViewMut::F32([]), [0]), (ViewMut::F32([]), [0, 2])],
            ) => {
                y.copy_from_slice(x);
                Ok(())
            }
            _ => Err("the buffers are not in their order".into()),
        }
    }
}

#[test]
fn outputs_without_elements_keep_their_place() {
    let split = Arc::new(Split(AtomicUsize::new(0)));
    let mut functions = Functions::default();
    functions.register("test::split", split.clone());
    let custom = Custom {
        function: "test::split".into(),
        attributes: vec![],
        inputs: vec![Operand::Buffer(b(0))],
        outputs: vec![b(1), b(2), b(3)],
    };
    let fixed = |n| Dim::Fixed(n);
    let module = module(
        &[&[fixed(3)], &[fixed(3)], &[fixed(0)], &[fixed(0), fixed(2)]],
        vec![],
        vec![StepKind::Custom(custom)],
        functions,
    );
    let session = module.session(SessionOptions::default()).expect("a session");
    let x = ndarray::arr1(&[1f32, 2., 3.]);
    let outputs = session.run(&[("x", x.view())]).expect("a run");
    assert_eq!(outputs[0].1, Output::F32(x.into_dyn()));
    assert_eq!(split.0.load(Ordering::Relaxed), 1);
}

#[test]
fn scattered_arrays_give_what_those_in_one_piece_do() {
    // Axes of the caller's arrays in another order: they cannot be read or written in place.
    let scattered = |x: &ndarray::Array4<f32>| {
        let mut other = ndarray::Array4::zeros([x.dim().3, x.dim().2, x.dim().1, x.dim().0]).reversed_axes();
        other.assign(x);
        other
    };
    for backend in Backend::available() {
        let session = convolution(1).session(SessionOptions::default().backend(backend)).expect("a session");
        let x = image(2);
        let expected: Vec<_> = session.run(&[("x", x.view())]).expect("a run");
        for input in [x.clone(), scattered(&x)] {
            let kinds =
                [ndarray::Array4::ones([2, 4, 8, 8]), scattered(&ndarray::Array4::ones([2, 4, 8, 8]))];
            for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                let (mut sums, mut relu) = (kinds[first].clone(), kinds[second].clone());
                let mut outputs = [sums.view_mut().into(), relu.view_mut().into()];
                session.run_into(&[("x", input.view())], &mut outputs).expect("a run");
                for (got, (name, expected)) in [sums, relu].into_iter().zip(&expected) {
                    assert_eq!(&Output::F32(got.into_dyn()), expected, "{name} by {}", backend.name());
                }
            }
        }
    }
}

/// A layer without input channels, behind a value without elements, gives zeros; one without output channels gives nothing; whatever runs it.
#[test]
fn values_without_elements_are_run() {
    let fixed = |sizes: &[i64]| sizes.iter().map(|&n| Dim::Fixed(n)).collect::<Vec<Dim>>();
    let layer = |weight: ConstantId, scale: Option<ConstantId>, input: u32, output: u32| {
        let contraction = Contraction::MatMul;
        let plane = Plane { input: b(input), weight, contraction };
        let term = Term { planes: vec![plane], parts: 1, scale, input_scale: None };
        StepKind::Accumulate(Accumulate {
            terms: vec![term],
            epilogue: Epilogue::default(),
            output: b(output),
        })
    };
    let trits = |shape: &[usize]| constant(shape, ConstantData::Ternary(Trits::pack(&[]).expect("trits")));
    let code = vec![MapInstruction::Unary(Unary::Relu, 0)];
    let relu = Map { inputs: vec![Operand::Buffer(b(0))], code, output: b(1) };
    let cases = [
        module(
            &[&fixed(&[2, 0]), &fixed(&[2, 0]), &fixed(&[2, 3])],
            vec![trits(&[0, 3])],
            vec![StepKind::Map(relu), layer(ConstantId(0), None, 1, 2)],
            Functions::default(),
        ),
        module(
            &[&fixed(&[2, 3]), &fixed(&[2, 0])],
            vec![trits(&[3, 0]), constant(&[0], ConstantData::F32(vec![].into()))],
            vec![layer(ConstantId(0), Some(ConstantId(1)), 0, 1)],
            Functions::default(),
        ),
    ];
    for (module, [columns, outputs]) in cases.iter().zip([[0, 3], [3, 0]]) {
        for backend in Backend::available() {
            let session = module.session(SessionOptions::default().backend(backend)).expect("a session");
            let x = ndarray::Array2::<f32>::ones((2, columns));
            let found = session.run(&[("x", Input::from(x.view()))]).expect("it runs");
            let Some(Output::F32(last)) = found.last().map(|(_, output)| output) else { panic!("{found:?}") };
            assert_eq!(last.shape(), [2, outputs], "{backend:?}");
            assert!(last.iter().all(|&y| y == 0.0), "{backend:?}");
        }
    }
}
