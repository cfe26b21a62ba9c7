//! The cost model counts a graph, `twnc_program::operations` the program that it is lowered to. Where both count the same they agree.

use crate::networks::shared;
use twnc::{Compiled, Compiler};
use twnc_ir::steps::Steps;
use twnc_ir::{Binary, CountingCost, CustomRegistry, Flow, Graph, Op, Unary, node_cost, text};
use twnc_passes::{Activations, Options, Scale};
use twnc_program::step::MoveKind;
use twnc_program::{Operations, Program, StepKind, operations};

/// Multiplications and additions of a graph, open sizes as 1.
fn of_graph(graph: &Graph) -> (u64, u64) {
    let cost =
        graph.node_ids().map(|id| node_cost(&CountingCost, graph, graph.node(id))).sum::<twnc_ir::Cost>();
    (cost.multiplications, cost.additions)
}

/// Multiplications and additions of a program, open sizes as 1.
fn of_program(program: &Program) -> (u64, u64) {
    program.validate().unwrap();
    let size = |dim: &twnc_program::Dim| match dim {
        twnc_program::Dim::Fixed(n) => *n as usize,
        _ => 1,
    };
    let inputs = program
        .inputs
        .iter()
        .map(|port| program.buffers[port.buffer.index()].shape.iter().map(size).collect());
    let shapes = program.resolve(&inputs.collect::<Vec<_>>()).unwrap();
    let total: Operations = program.steps.iter().map(|step| operations::count(program, &shapes, step)).sum();
    (total.multiplications(), total.additions())
}

/// What is one step in the count of costs is one in the program, beside those that give a constant a buffer or another shape.
pub fn assert_steps(what: &str, compiled: &Compiled) {
    let (graph, steps) = (&compiled.graph, &compiled.program.steps);
    let counted = Flow::of(graph).unwrap().cost(&CountingCost).steps as usize;
    let reshapes = steps
        .iter()
        .filter(|step| matches!(&step.kind, StepKind::Move(step) if step.kind == MoveKind::Reshape));
    let order = graph.order().unwrap();
    // A reshape that is part of a layer is no step.
    let joined: Vec<_> = Steps::of(graph, &order).layers.into_iter().flat_map(|layer| layer.nodes).collect();
    let alone = order.iter().filter(|id| !joined.contains(id));
    let nodes = alone.filter(|&&id| matches!(graph.node(id).op, Op::Reshape { .. }));
    assert_eq!(counted + reshapes.count() - nodes.count(), steps.len(), "{what}");
}

#[test]
fn costs_have_the_steps_of_the_program() {
    for model in ["models/lenet5_twn.onnx", "models/lenet5_float.onnx"] {
        for activations in [Activations::F32, Activations::Int] {
            let compiler = Compiler::builder().activations(activations).build().unwrap();
            let compiled = compiler.compile_file(shared(model)).unwrap();
            assert_steps(&format!("{model} with {activations:?}"), &compiled);
        }
    }
    for entry in shared("cases").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let source = std::fs::read_to_string(&path).unwrap();
        let graph = text::parse(&source, &CustomRegistry::default()).unwrap();
        let compiled = Compiler::builder().build().unwrap().compile(graph, &mut |_, _| {}).unwrap();
        assert_steps(&path.display().to_string(), &compiled);
    }
}

#[test]
fn lenet5_costs_what_its_program_does() {
    for model in ["models/lenet5_twn.onnx", "models/lenet5_float.onnx"] {
        let all = [Activations::F32, Activations::Int].map(|a| [(a, Scale::Layer), (a, Scale::Group(64))]);
        for (activations, scale) in all.into_iter().flatten() {
            let passes = Options { activations, scale, ..Options::default() };
            let compiler = Compiler::builder().passes(passes).build().unwrap();
            let compiled = compiler.compile_file(shared(model)).unwrap();
            assert_steps(&format!("{model} with {activations:?} and {scale:?}"), &compiled);
            let counted = of_program(&compiled.program);
            assert_eq!(of_graph(&compiled.graph), counted, "{model} with {activations:?}");
            assert!(counted.0 > 0 && counted.0 < counted.1, "{model} with {activations:?}: {counted:?}");
        }
    }
}

#[test]
fn small_graphs_cost_what_their_programs_do() {
    // The image has 72 elements.
    let cases: &[(&str, (u64, u64))] = &[
        ("%9 = batch_norm(%0, %16, %16, %16, %16) {epsilon=1e-5} : f32[N,2,6,6]", (3 * 72, 3 * 72)),
        ("%9 = batch_norm(%0, %2, %2, %2, %2) {epsilon=1e-5} : f32[N,2,6,6]", (3 * 72, 3 * 72)),
        ("%9 = hard_swish(%0) : f32[N,2,6,6]", (2 * 72, 3 * 72)),
        ("%9 = softmax(%0) {axes=[1]} : f32[N,2,6,6]", (2 * 72, 3 * 72)),
        ("%9 = max_pool(%0) {kernel=[3,3]} : f32[N,2,4,4]", (0, 9 * 32)),
        ("%9 = average_pool(%0) {kernel=[3,3]} : f32[N,2,4,4]", (32, 9 * 32)),
        ("%9 = reduce_mean(%0) {axes=[2,3]} : f32[N,2]", (2, 72)),
        ("%9 = reduce_sum(%0) {axes=[2,3]} : f32[N,2]", (0, 72)),
        ("%9 = reduce_max(%0) {axes=[1], keep_dims=true} : f32[N,1,6,6]", (0, 72)),
        ("%9 = conv(%0, %11) : f32[N,4,5,5]", (0, 25 * 4)),
        ("%9 = conv(%0, %12) : f32[N,2,6,6]", (36 * 4, 36 * 4)),
        ("%9 = conv(%0, %13) {groups=2} : f32[N,4,6,6]", (36 * 4, 36 * 4)),
        ("%9 = matmul(%3, %4) : f32[2,7,3]", (2 * 7 * 5 * 3, 2 * 7 * 5 * 3)),
        ("%9 = matmul(%3, %5) : f32[2,7,3]", (2 * 7 * 5 * 3, 2 * 7 * 5 * 3)),
        ("%9 = matmul(%6, %4) : f32[2,7,3]", (2 * 7 * 5 * 3, 2 * 7 * 5 * 3)),
        ("%9 = transpose(%0) {perm=[0,1,3,2]} : f32[N,2,6,6]", (0, 0)),
        ("%9, %20 = quantize(%0) {bits=8} : i16[N,2,6,6], f32[N,1,1,1]", (72, 72)),
        ("%9, %20 = quantize(%0) {bits=8, scale=0.5} : i16[N,2,6,6], f32[N,1,1,1]", (72, 0)),
        // A layer of whole numbers, whose factor is a product for each of 4 channels.
        (
            "%20, %21 = quantize(%0) {bits=8} : i16[N,2,6,6], f32[N,1,1,1]\n%22 = conv(%20, %11) : i32[N,4,5,5]\n%23 = cast(%22) {to=f32} : f32[N,4,5,5]\n%24 = mul(%21, %17) : f32[N,4,1,1]\n%9 = mul(%23, %24) : f32[N,4,5,5]",
            (72 + 4 + 100, 72 + 25 * 4),
        ),
        // A layer with all of its epilogue.
        (
            "%20 = conv(%0, %12) : f32[N,2,6,6]\n%21 = add(%20, %10) : f32[N,2,6,6]\n%22 = add(%21, %0) : f32[N,2,6,6]\n%9 = clip(%22) {min=0.0, max=6.0} : f32[N,2,6,6]",
            (36 * 4, 36 * 4 + 4 * 72),
        ),
        // Two terms.
        (
            "%20 = conv(%0, %11) : f32[N,4,5,5]\n%21 = mul(%20, %14) : f32[N,4,5,5]\n%22 = conv(%0, %15) : f32[N,4,5,5]\n%23 = mul(%22, %14) : f32[N,4,5,5]\n%9 = add(%21, %23) : f32[N,4,5,5]",
            (2 * 100, 25 * 4 + 25 * 2 + 100),
        ),
    ];
    for (nodes, expected) in cases {
        let graph = graph(nodes);
        let program = twnc_lower::lower(&graph).unwrap_or_else(|e| panic!("{nodes}: {e}"));
        assert_eq!((of_graph(&graph), of_program(&program)), (*expected, *expected), "{nodes}");
    }
}

#[test]
fn every_function_costs_what_its_map_does() {
    let unary = [
        Unary::Relu,
        Unary::LeakyRelu { slope: 0.1 },
        Unary::Clip { min: 0.0, max: 6.0 },
        Unary::HardSigmoid { alpha: 0.2, beta: 0.5 },
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
    let attributes = |f: &Unary| match f {
        Unary::LeakyRelu { .. } => "{slope=0.1} ",
        Unary::Clip { .. } => "{min=0.0, max=6.0} ",
        Unary::HardSigmoid { .. } => "{alpha=0.2, beta=0.5} ",
        _ => "",
    };
    let unary = unary.iter().map(|f| format!("%9 = {}(%0) {}: f32[N,2,6,6]", f.mnemonic(), attributes(f)));
    let binary = Binary::ALL.iter().map(|f| format!("%9 = {}(%0, %0) : f32[N,2,6,6]", f.mnemonic()));
    for node in unary.chain(binary) {
        let graph = graph(&node);
        let program = twnc_lower::lower(&graph).unwrap();
        assert_eq!(of_graph(&graph), of_program(&program), "{node}");
        assert_ne!(of_graph(&graph), (0, 0), "{node}");
    }
}

/// A graph that ends with `%9`.
fn graph(nodes: &str) -> Graph {
    let zeros = |n: usize| ", 0".repeat(n);
    let (first, second) = (format!("[1, -1, 1{}, 1]", zeros(28)), format!("[1{}, -1]", zeros(30)));
    let source = format!(
        r#"graph "g" (
             %0 "image": f32[N,2,6,6], %2 "open": f32[2], %3 "matrices": f32[2,7,5], %4 "weights": f32[2,5,3],
             %5 "weight": f32[5,3], %6 "matrix": f32[7,5]
           ) -> (%9 "y") {{
             %10 = const f32[2,1,1] [0.5, 0.25]
             %11 = const ternary[4,2,2,2] {first}
             %12 = const f32[2,2,1,1] [1.0, 2.0, 3.0, 4.0]
             %13 = const f32[4,1,1,1] [1.0, 2.0, 3.0, 4.0]
             %14 = const f32[] [0.5]
             %15 = const ternary[4,2,2,2] {second}
             %16 = const f32[2] [0.5, 0.25]
             %17 = const f32[4,1,1] [0.5, 0.25, 1.0, 2.0]
             {nodes}
           }}"#
    );
    text::parse(&source, &CustomRegistry::default()).unwrap_or_else(|e| panic!("{nodes}: {e}"))
}
