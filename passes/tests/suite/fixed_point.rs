//! Layers that sum whole numbers: which are unsigned, which stay float, and how far the result is from that of floats.

use crate::oracle::{Outcome, outputs, run};
use proptest::prelude::*;
use twnc_ir::{Conv, CustomRegistry, Data, Dim, Geometry, Graph, GraphBuilder, Op, Tensor, TensorType, text};
use twnc_passes::{Activations, Options, default_pipeline};
use twnc_random::Random;

fn options(activation_bits: usize) -> Options {
    Options { activations: Activations::Int, activation_bits, ..Options::default() }
}

fn fix_point(graph: &mut Graph, bits: usize) -> Outcome {
    run(graph, &["fix_point"], &options(bits))
}

#[test]
fn what_is_not_negative_is_unsigned() {
    // How the layer's input comes from %0, which has both signs, %1, which has none, and %2, which is u8.
    let unsigned = [
        "relu(%0)",
        "abs(%0)",
        "sqrt(%0)",
        "exp(%0)",
        "sigmoid(%0)",
        "hard_sigmoid(%0) {alpha=0.2, beta=0.5}",
        "softmax(%0) {axes=[1]}",
        "clip(%0) {min=0.0, max=6.0}",
        "clip(%0) {min=0.0, max=NaN}",
        "clip(%1) {min=-1.0, max=6.0}",
        "clip(%1) {min=NaN, max=6.0}",
        "leaky_relu(%1) {slope=-0.5}",
        "hard_swish(%1)",
        "tanh(%1)",
        "erf(%1)",
        "add(%1, %1)",
        "mul(%1, %1)",
        "min(%1, %1)",
        "max(%0, %1)",
        "prelu(%1, %0)",
        "max_pool(%1) {kernel=[1,1]}",
        "average_pool(%1) {kernel=[1,1], count_padding=true}",
        "reduce_sum(%1) {axes=[3], keep_dims=true} : f32[N,2,3,1]",
        "reduce_mean(%1) {axes=[3], keep_dims=true} : f32[N,2,3,1]",
        "reshape(%1) {shape=[N,2,9,1]} : f32[N,2,9,1]",
        "transpose(%1) {perm=[0,1,3,2]}",
        "concat(%1, %1) {axis=2} : f32[N,2,6,3]",
        "slice(%1) {axis=2, start=0, size=1} : f32[N,2,1,3]",
        "pad(%1) {begin=[0,0,1,0], end=[0,0,0,0], value=0.5} : f32[N,2,4,3]",
        "pad(%1) {begin=[0,0,1,0], end=[0,0,0,0], mode=edge} : f32[N,2,4,3]",
        "broadcast(%1) {shape=[N,2,3,3]}",
        "gather(%1, %3) {axis=2} : f32[N,2,1,3]",
        "cast(%2) {to=f32}",
        "const f32[1,2,1,2] [0.0, 1.0, NaN, inf]",
    ];
    let signed = [
        "neg(%1)",
        "log(%1)",
        "reciprocal(%1)",
        "hard_swish(%0)",
        "leaky_relu(%0) {slope=0.5}",
        "tanh(%0)",
        "clip(%0) {min=-1.0, max=6.0}",
        "clip(%0) {min=NaN, max=6.0}",
        "clip(%1) {min=0.0, max=-1.0}",
        "add(%0, %1)",
        "mul(%0, %1)",
        "min(%0, %1)",
        "max(%0, %0)",
        "sub(%1, %1)",
        "div(%1, %1)",
        "pow(%1, %1)",
        "prelu(%0, %1)",
        "max_pool(%0) {kernel=[1,1]}",
        "reduce_max(%0) {axes=[3], keep_dims=true} : f32[N,2,3,1]",
        "concat(%1, %0) {axis=2} : f32[N,2,6,3]",
        "pad(%1) {begin=[0,0,1,0], end=[0,0,0,0], value=-0.5} : f32[N,2,4,3]",
        "pad(%0) {begin=[0,0,1,0], end=[0,0,0,0], value=0.5} : f32[N,2,4,3]",
        "batch_norm(%1, %4, %4, %4, %4) {epsilon=1e-5}",
        "conv(%1, %5)",
        "matmul(%1, %6)",
        "const f32[1,2,1,1] [1.0, -1e-45]",
    ];
    for (node, sign) in
        unsigned.iter().map(|node| (node, "unsigned")).chain(signed.iter().map(|node| (node, "signed")))
    {
        let node = match node {
            node if node.contains(" : ") || node.starts_with("const") => (*node).to_owned(),
            node => format!("{node} : f32[N,2,3,3]"),
        };
        let source = format!(
            r#"graph "g" (%0 "x": f32[N,2,3,3], %2 "image": u8[N,2,3,3]) -> (%9 "y") {{
                 %1 = relu(%0) : f32[N,2,3,3]
                 %3 = const i64[1] [0]
                 %4 = const f32[2] [1.0, 1.0]
                 %5 = const f32[2,2,1,1] [1.0, 1.0, 1.0, 1.0]
                 %6 = const f32[3,3] [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0]
                 %7 = {node}
                 %8 = const ternary[1,2,1,1] [1, -1]
                 %9 = conv(%7, %8) "layer" : f32[S,1,H,W]
               }}"#
        );
        let mut graph =
            text::parse(&source, &CustomRegistry::default()).unwrap_or_else(|e| panic!("{node}: {e}"));
        let lines = fix_point(&mut graph, 8).lines();
        let expected = format!("fix_point: layer: sums {sign} numbers of 8 bits\n");
        assert!(lines.ends_with(&expected), "{node}: {lines}");
    }
}

#[test]
fn sums_that_need_more_than_32_bits_stay_float() {
    let linear = |inputs: usize| {
        let mut build = GraphBuilder::new("g");
        let x = build.input("x", TensorType::f32(vec![Dim::symbol("N"), Dim::from(inputs)]));
        let trits = Tensor::new(vec![inputs, 1], Data::Ternary(vec![-1; inputs].into())).unwrap();
        let w = build.constant(trits, "w");
        let y = build.node(Op::MatMul, &[x, w], "linear").unwrap();
        build.output("y", y);
        build.finish()
    };
    // 2047 · 1,049,088 = 2^31 - 512
    let cases = [
        (12, 1_049_088, "sums signed numbers of 12 bits"),
        (12, 1_049_089, "sums floats: its sums could reach 2147485183, beyond 32 bits"),
        (11, 1_049_089, "sums signed numbers of 11 bits"),
    ];
    for (bits, inputs, remark) in cases {
        let mut graph = linear(inputs);
        assert_eq!(fix_point(&mut graph, bits).lines(), format!("fix_point: linear: {remark}\n"));
    }
}

#[test]
fn convolutions_in_groups_stay_float_where_few_weights_read_a_number() {
    // Of each of two channels as many outputs: output channels in all, extent of the kernel, stride.
    let cases = [
        (2, 5, 1, false),
        (62, 1, 1, false),
        (64, 1, 1, true),
        (64, 1, 2, false),
        (8, 3, 1, true),
        (32, 3, 2, true),
        (8, 3, 2, false),
    ];
    for (channels, kernel, stride, whole) in cases {
        let mut build = GraphBuilder::new("g");
        let shape = vec![Dim::symbol("N"), Dim::from(2), Dim::from(9), Dim::from(9)];
        let x = build.input("x", TensorType::f32(shape));
        let shape = vec![channels, 1, kernel, kernel];
        let trits = vec![1; channels * kernel * kernel];
        let w = build.constant(Tensor::new(shape, Data::Ternary(trits.into())).unwrap(), "w");
        let geometry = Geometry { strides: vec![stride; 2], ..Geometry::unit(2) };
        let y = build.node(Op::Conv(Conv { geometry, groups: 2 }), &[x, w], "conv").unwrap();
        build.output("y", y);
        let lines = fix_point(&mut build.finish(), 8).lines();
        let expected = if whole { "sums signed numbers" } else { "few of its weights read each number" };
        assert!(lines.contains(expected), "{channels} of {kernel}, stride {stride}: {lines}");
    }
}

#[test]
fn a_value_is_quantised_once() {
    let source = |quantised: &str| {
        format!(
            r#"graph "g" (%0 "x": f32[N,2]) -> (%9 "y") {{
                 %1 = const ternary[2,1] [1, -1]
                 {quantised}
                 %4 = matmul(%0, %1) "again" : f32[N,1]
                 %9 = add(%4, %3) : f32[N,1]
               }}"#
        )
    };
    let cases = [
        ("%3 = matmul(%0, %1) \"other\" : f32[N,1]", 1),
        ("%2, %3 = quantize(%0) {bits=8, signed=true} : i16[N,2], f32[N,1]", 1),
        ("%2, %3 = quantize(%0) {bits=8} : i16[N,2], f32[N,1]", 2),
        ("%2, %3 = quantize(%0) {bits=8, signed=true, scale=0.5} : i16[N,2], f32[N,1]", 2),
    ];
    for (quantised, count) in cases {
        let mut graph = text::parse(&source(quantised), &CustomRegistry::default()).unwrap();
        fix_point(&mut graph, 8);
        let found = graph.node_ids().filter(|&id| matches!(graph.node(id).op, Op::Quantize(_))).count();
        assert_eq!(found, count, "{quantised}");
        assert_eq!(fix_point(&mut graph, 8).edits, 0, "{quantised}");
    }
}

#[test]
fn it_runs_when_asked_for_and_with_bits_that_there_are() {
    // What stands before the pass that is the last of all.
    let before_last = |options: &Options| {
        let pipeline = default_pipeline(options);
        pipeline
            .map(|p| p.entries().iter().nth_back(1).unwrap().pass.name().to_owned())
            .map_err(|e| e.to_string())
    };
    assert_eq!(before_last(&Options::default()), Ok("sub_pixel".to_owned()));
    for (bits, expected) in [
        (3, Err("3 bits of an activation are not possible; choose from 4 to 12")),
        (4, Ok("fix_point")),
        (12, Ok("fix_point")),
        (13, Err("13 bits of an activation are not possible; choose from 4 to 12")),
    ] {
        assert_eq!(before_last(&options(bits)), expected.map(str::to_owned).map_err(str::to_owned));
    }
}

proptest! {
    /// Each of the n numbers of a sum is off by half a step at most.
    #[test]
    fn a_sum_is_off_by_half_a_step_for_each_number(seed: u64, bits in 4usize..=12, scaled: bool, relu: bool) {
        let mut random = Random::new(seed);
        let mut build = GraphBuilder::new("g");
        let mut x = build.input("x", TensorType::f32([2, 3, 5, 5].map(Dim::from).to_vec()));
        if relu {
            x = build.node(Op::Unary(twnc_ir::Unary::Relu), &[x], "").unwrap();
        }
        build.output("input", x);
        let trits = random.trits(4 * 3 * 9);
        let w = build.constant(Tensor::new(vec![4, 3, 3, 3], Data::Ternary(trits.into())).unwrap(), "w");
        let mut y = build.node(Op::Conv(Conv { geometry: Geometry::unit(2), groups: 1 }), &[x, w], "layer").unwrap();
        let alpha = random.floats(4, 0.5, 2.0);
        if scaled {
            let alpha = build.constant(Tensor::from_f32(vec![4, 1, 1], alpha).unwrap(), "alpha");
            y = build.node(Op::Binary(twnc_ir::Binary::Mul), &[y, alpha], "layer").unwrap();
        }
        build.output("y", y);
        let float = build.finish();
        let mut whole = float.clone();
        fix_point(&mut whole, bits);
        let (expected, found) = (outputs(&float, seed), outputs(&whole, seed));
        let input = expected["input"].as_f32().unwrap();
        let top = (1 << (bits - usize::from(!relu))) - 1;
        for sample in 0..2 {
            let largest = input[75 * sample..75 * (sample + 1)].iter().fold(0f32, |m, x| m.max(x.abs()));
            let bound = 2.0 * 27.0 * 0.5 * largest / top as f32 + 1e-4;
            let part = |t: &Tensor| t.as_f32().unwrap()[36 * sample..36 * (sample + 1)].to_vec();
            for (e, f) in part(&expected["y"]).iter().zip(part(&found["y"])) {
                prop_assert!((e - f).abs() <= bound, "{f}, not {e}, is off by more than {bound}");
            }
        }
    }
}
