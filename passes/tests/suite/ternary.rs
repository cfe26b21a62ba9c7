//! Which layers become ternary, what is said about those that do not, and what the ternary ones compute.

use crate::oracle::{assert_same, normal, outputs, run};
use twnc_ir::{
    Conv, CountingCost, Dim, Geometry, Graph, GraphBuilder, NodeId, Op, Pass, PassContext, RemarkKind,
    Tensor, TensorType, Topic, Unary,
};
use twnc_passes::{Mode, Options, Scale, Ternarise, Threshold, default_pipeline};
use twnc_random::Random;

/// `conv` layers of 3x3 kernels one behind the other, named `layer0`, `layer1`, ... with these weights.
fn convolutions(weights: &[(Vec<usize>, Vec<f32>)]) -> Graph {
    let mut build = GraphBuilder::new("net");
    let channels = weights[0].0[1];
    let shape = vec![Dim::symbol("N"), Dim::from(channels), Dim::from(8), Dim::from(8)];
    let mut x = build.input("x", TensorType::f32(shape));
    for (i, (shape, weight)) in weights.iter().enumerate() {
        let w = build.constant(Tensor::from_f32(shape.clone(), weight.clone()).unwrap(), &format!("w{i}"));
        let conv = Conv { geometry: Geometry::unit(2), groups: 1 };
        x = build.node(Op::Conv(conv), &[x, w], &format!("layer{i}")).unwrap();
        x = build.node(Op::Unary(Unary::Relu), &[x], "").unwrap();
    }
    build.output("y", x);
    build.finish()
}

/// A layer `[N,K] x [K,M]` named `linear`.
fn linear(shape: [usize; 2], weight: Vec<f32>) -> Graph {
    let mut build = GraphBuilder::new("net");
    let x = build.input("x", TensorType::f32(vec![Dim::symbol("N"), Dim::from(shape[0])]));
    let w = build.constant(Tensor::from_f32(shape.to_vec(), weight).unwrap(), "w");
    let y = build.node(Op::MatMul, &[x, w], "linear").unwrap();
    build.output("y", y);
    build.finish()
}

fn random(seed: u64, len: usize) -> Vec<f32> {
    let mut random = Random::new(seed);
    (0..len).map(|_| normal(&mut random)).collect()
}

/// `scale(element, sign)·{-1,0,1}`
fn ternary(seed: u64, len: usize, scale: impl Fn(usize, i8) -> f32) -> Vec<f32> {
    let mut random = Random::new(seed);
    random.trits(len).into_iter().enumerate().map(|(i, t)| f32::from(t) * scale(i, t)).collect()
}

fn products(graph: &Graph) -> Vec<NodeId> {
    let all = graph.order().unwrap().into_iter();
    all.filter(|&id| matches!(graph.node(id).op, Op::Conv(_) | Op::MatMul)).collect()
}

/// The T of every product that has one.
fn trits(graph: &Graph) -> Vec<Vec<i8>> {
    let weight = |id: &NodeId| graph.constant(graph.node(*id).operands[1]).and_then(|w| w.as_ternary());
    products(graph).iter().filter_map(weight).map(<[i8]>::to_vec).collect()
}

#[test]
fn weights_that_are_ternary_are_taken_over() {
    let conv = |weight| convolutions(&[(vec![4, 2, 3, 3], weight)]);
    let wobble = |i: usize| 0.3 * (1.0 + 4e-7 * (i % 3) as f32);
    let cases = [
        ("one scale", 1, conv(ternary(1, 72, |_, _| 0.25))),
        ("one scale", 1, conv(ternary(2, 72, |i, _| wobble(i)))),
        ("a scale per channel", 1, conv(ternary(3, 72, |i, _| 0.1 + (i / 18) as f32))),
        ("a scale per channel", 1, linear([16, 5], ternary(4, 80, |i, _| 0.1 + (i % 5) as f32))),
        ("two scales, one for each sign", 2, conv(ternary(5, 72, |_, t| if t < 0 { 0.7 } else { 0.2 }))),
        ("a scale for each 9 weights of a channel", 1, conv(ternary(7, 72, |i, _| 0.1 + (i / 9) as f32))),
        (
            "a scale for each 8 weights of a channel",
            1,
            linear([32, 5], ternary(8, 160, |i, _| 0.1 + (i / 40 * 5 + i % 5) as f32)),
        ),
        (
            "two scales per channel, one for each sign",
            2,
            conv(ternary(6, 72, |i, t| f32::from(2 + t) * (1 + i / 18) as f32)),
        ),
    ];
    for (form, planes, graph) in cases {
        let mut after = graph.clone();
        let outcome = run(&mut after, &["detect_ternary"], &Options::default());
        let message = &outcome.remarks[0].message;
        assert!(message.starts_with(&format!("is ternary already: {form}, ")), "{form}: {message}");
        assert_eq!(trits(&after).len(), planes, "{form}");
        assert_same(&graph, &after);
    }
}

#[test]
fn weights_that_are_not_ternary_by_design_are_left() {
    let conv = |weight| convolutions(&[(vec![4, 2, 3, 3], weight)]);
    let spoilt = |by: f32| {
        let mut w = ternary(1, 72, |_, _| 0.25);
        let at = w.iter().position(|&x| x != 0.0).unwrap();
        w[at] *= 1.0 + by;
        w
    };
    let five_levels = ternary(1, 72, |i, _| if i % 2 == 0 { 0.25 } else { 0.5 });
    let swap = (0..36).map(|i| f32::from(u8::from(i % 6 == 5 - i / 6))).collect();
    let one_per_channel = (0..80).map(|i| if i % 8 == 0 { (i as f32 - 35.0) * 0.1 } else { 0.0 }).collect();
    let edges = vec![1.0, 0.0, -1.0, 1.0, 0.0, -1.0, 1.0, 0.0, -1.0];
    let mut with_nan = ternary(1, 72, |_, _| 0.25);
    with_nan[3] = f32::NAN;
    let cases = [
        ("random", conv(random(1, 72)), None),
        ("one weight off", conv(spoilt(1e-4)), None),
        ("five levels", conv(five_levels), None),
        ("a NaN", conv(with_nan), None),
        (
            "an edge detector",
            convolutions(&[(vec![1, 1, 3, 3], edges)]),
            Some("9 weights do not tell a ternary layer from a fixed filter"),
        ),
        (
            "a channel swap",
            convolutions(&[(vec![6, 6, 1, 1], swap)]),
            Some("all its weights have one sign, as a fixed filter's"),
        ),
        (
            "one weight a channel",
            convolutions(&[(vec![10, 8, 1, 1], one_per_channel)]),
            Some("10 non-zero weights are too few to read 10 scales off them"),
        ),
    ];
    for (name, graph, reason) in cases {
        let mut after = graph.clone();
        let outcome = run(&mut after, &["detect_ternary"], &Options::default());
        assert_eq!((outcome.edits, trits(&after).len()), (0, 0), "{name}");
        let messages: Vec<_> = outcome.remarks.iter().map(|r| r.message.clone()).collect();
        let expected = reason.map(|reason| format!("not taken as ternary: {reason}"));
        assert_eq!(messages, expected.into_iter().collect::<Vec<_>>(), "{name}");
    }
}

#[test]
fn rounded_layers_compute_with_the_scaled_trits() {
    for (threshold, scale) in [
        (Threshold::Twn, Scale::Layer),
        (Threshold::Twn, Scale::Channel),
        (Threshold::Exact, Scale::Layer),
        (Threshold::Exact, Scale::Channel),
    ] {
        let rule = if threshold == Threshold::Twn {
            twnc_passes::threshold::twn
        } else {
            twnc_passes::threshold::exact
        };
        let scaled = |w: &[f32]| -> Vec<f32> {
            let rounded = rule(w);
            rounded.trits.iter().map(|&t| rounded.alpha * f32::from(t)).collect()
        };
        let options = Options { threshold, scale, ..Options::default() };

        let weight = random(3, 72);
        let rows = if scale == Scale::Layer { 72 } else { 18 };
        let expected: Vec<f32> = weight.chunks(rows).flat_map(scaled).collect();
        let mut graph = convolutions(&[(vec![4, 2, 3, 3], weight)]);
        run(&mut graph, &[], &options);
        assert_same(&convolutions(&[(vec![4, 2, 3, 3], expected)]), &graph);

        let weight = random(4, 30);
        let mut expected = scaled(&weight);
        if scale == Scale::Channel {
            for m in 0..5 {
                let column: Vec<f32> = weight.iter().skip(m).step_by(5).copied().collect();
                scaled(&column).into_iter().enumerate().for_each(|(k, w)| expected[5 * k + m] = w);
            }
        }
        let mut graph = linear([6, 5], weight);
        run(&mut graph, &[], &options);
        assert_same(&linear([6, 5], expected), &graph);
    }
}

#[test]
fn groups_of_weights_have_scales_of_their_own() {
    let scaled = |w: &[f32]| -> Vec<f32> {
        let rounded = twnc_passes::threshold::twn(w);
        rounded.trits.iter().map(|&t| rounded.alpha * f32::from(t)).collect()
    };
    // Of 6 input channels of 9 weights, 2 have 20 weights at most; of 12 inputs, 4 are the most up to 5 that divide them.
    let weight = random(5, 4 * 6 * 9);
    let expected = weight.chunks(18).flat_map(scaled).collect();
    let options = |most| Options { scale: Scale::Group(most), ..Options::default() };
    let mut graph = convolutions(&[(vec![4, 6, 3, 3], weight)]);
    let outcome = run(&mut graph, &[], &options(20));
    assert!(outcome.lines().contains("3 scales for each channel, of 18 weights"), "{}", outcome.lines());
    assert_same(&convolutions(&[(vec![4, 6, 3, 3], expected)]), &graph);

    let weight = random(6, 12 * 5);
    let mut expected = vec![0.0; 60];
    for (m, part) in (0..5).flat_map(|m| (0..3).map(move |part| (m, part))) {
        let at = |k: usize| 5 * (4 * part + k) + m;
        let group: Vec<f32> = (0..4).map(|k| weight[at(k)]).collect();
        scaled(&group).into_iter().enumerate().for_each(|(k, w)| expected[at(k)] = w);
    }
    let mut graph = linear([12, 5], weight);
    run(&mut graph, &[], &options(5));
    assert_same(&linear([12, 5], expected), &graph);

    // One input channel has more weights; a convolution in groups has a scale for each channel.
    let mut whole = convolutions(&[(vec![4, 1, 3, 3], random(7, 36))]);
    assert!(!run(&mut whole, &["ternarise"], &options(4)).lines().contains("scales for each"));
    let refused = default_pipeline(&options(0)).err().expect("no weight, no scale");
    assert_eq!(refused.to_string(), "a group of 0 weights has no scale; give it one weight or more");
}

#[test]
fn every_decision_is_a_remark() {
    let wide = |seed| (vec![4, 4, 3, 3], random(seed, 144));
    let already = (vec![4, 4, 3, 3], ternary(1, 144, |_, _| 0.25));
    let zeros = already.1.iter().filter(|w| **w == 0.0).count();
    let share = 100.0 * zeros as f64 / 144.0;
    let detected = format!("detect_ternary: layer0: is ternary already: one scale, {share:.1}% zeros\n");
    let made = |seed: u64, layer: usize, threshold: Threshold, scale: Scale| {
        let options = Options { ternarise: Mode::All, threshold, scale, ..Options::default() };
        let mut graph = convolutions(&[wide(seed)]);
        run(&mut graph, &["ternarise"], &options).lines().replace("layer0", &format!("layer{layer}"))
    };
    let with = |ternarise, keep: &[&str]| Options {
        ternarise,
        keep: keep.iter().map(|&k| k.to_owned()).collect(),
        ..Options::default()
    };
    let half = convolutions(&[already.clone(), wide(2)]);
    let third = convolutions(&[already, wide(2), wide(3)]);
    let (second, last) = (made(2, 1, Threshold::Twn, Scale::Layer), made(3, 2, Threshold::Twn, Scale::Layer));
    assert!(second.contains("made ternary: ") && second.contains("% zeros, relative squared error 0."));
    let cases = [
        (
            &half,
            with(Mode::Auto, &[]),
            format!(
                "{detected}ternarise: layer1: kept float: 50% of the network's weights are ternary already\n"
            ),
        ),
        (&half, with(Mode::All, &[]), format!("{detected}{second}")),
        (&third, with(Mode::Auto, &[]), format!("{detected}{second}{last}")),
        (
            &third,
            with(Mode::All, &["*2"]),
            format!("{detected}ternarise: layer2: kept float: `*2` is to be kept\n{second}"),
        ),
        (
            &half,
            with(Mode::Detected, &[]),
            format!("{detected}ternarise: layer1: kept float: its weight is not ternary already\n"),
        ),
        (
            &half,
            with(Mode::Detected, &["layer[0-9]", "first"]),
            "ternarise: first: matches no convolution or linear layer that could be kept float\n\
             ternarise: layer0: kept float: `layer[0-9]` is to be kept\n\
             ternarise: layer1: kept float: `layer[0-9]` is to be kept\n"
                .to_owned(),
        ),
        (
            &third,
            with(Mode::All, &["kind:first", "kind:last", "kind:depthwise"]),
            "ternarise: kind:depthwise: matches no convolution or linear layer that could be kept float\n\
             ternarise: layer0: kept float: `kind:first` is to be kept\n\
             ternarise: layer2: kept float: `kind:last` is to be kept\n"
                .to_owned()
                + &second,
        ),
        (&half, with(Mode::None, &[]), String::new()),
    ];
    for (i, (graph, options, expected)) in cases.into_iter().enumerate() {
        let mut outcome = run(&mut graph.clone(), &[], &options);
        outcome.remarks.retain(|remark| remark.topic != Topic::Folding);
        assert_eq!(outcome.lines(), expected, "case {i}");
    }
}

#[test]
fn one_scale_for_channels_of_many_sizes_is_a_warning() {
    let spread = |spread: fn(usize) -> f32| {
        let weight = random(1, 16 * 72).into_iter().enumerate().map(|(i, w)| w * spread(i / 72));
        convolutions(&[(vec![16, 8, 3, 3], weight.collect())])
    };
    let warnings = |mut graph: Graph, scale| {
        let outcome = run(&mut graph, &["ternarise"], &Options { scale, ..Options::default() });
        outcome.remarks.into_iter().filter(|r| r.kind == RemarkKind::Warning).count()
    };
    assert_eq!(warnings(spread(|_| 1.0), Scale::Layer), 0);
    assert_eq!(warnings(spread(|m| 0.1 + m as f32), Scale::Layer), 1);
    assert_eq!(warnings(spread(|m| 0.1 + m as f32), Scale::Channel), 0);
}

#[test]
fn products_without_a_constant_matrix_stay_float() {
    let mut build = GraphBuilder::new("net");
    let square = TensorType::f32(vec![Dim::from(4), Dim::from(4)]);
    let (a, b) = (build.input("a", square.clone()), build.input("b", square));
    let image = build.input("image", TensorType::f32([1, 2, 5, 5].map(Dim::from).to_vec()));
    let kernel = build.input("kernel", TensorType::f32([3, 2, 3, 3].map(Dim::from).to_vec()));
    let w = build.constant(Tensor::from_f32(vec![4, 4], random(1, 16)).unwrap(), "w");
    let stack = build.constant(Tensor::from_f32(vec![2, 4, 4], random(2, 32)).unwrap(), "stack");
    let empty = build.constant(Tensor::from_f32(vec![4, 0], vec![]).unwrap(), "empty");
    let conv = Conv { geometry: Geometry::unit(2), groups: 1 };
    let nodes = [
        ("attention", Op::MatMul, [a, b]),
        ("left", Op::MatMul, [w, b]),
        ("batched", Op::MatMul, [a, stack]),
        ("dynamic", Op::Conv(conv), [image, kernel]),
        ("nothing", Op::MatMul, [a, empty]),
    ];
    for (name, op, operands) in nodes {
        let value = build.node(op, &operands, name).unwrap();
        build.output(name, value);
    }
    let mut graph = build.finish();
    let outcome = run(&mut graph, &["ternarise"], &Options::default());
    assert_eq!(
        outcome.lines(),
        "ternarise: attention: kept float: it multiplies two activations\n\
         ternarise: left: kept float: its constant is the left operand\n\
         ternarise: batched: kept float: its weight is not a matrix\n\
         ternarise: dynamic: kept float: its weight is not constant\n\
         ternarise: nothing: kept float: its weight is empty\n"
    );
    assert!(outcome.remarks.iter().all(|r| r.kind == RemarkKind::Missed));
    assert_eq!(outcome.edits, 0);
}

#[test]
fn an_empty_weight_of_a_vast_shape_is_left_alone() {
    let mut build = GraphBuilder::new("net");
    let x = build.input("x", TensorType::f32(vec![Dim::symbol("N"), Dim::from(0)]));
    let w = build.constant(Tensor::from_f32(vec![0, 1 << 60], vec![]).unwrap(), "w");
    let y = build.node(Op::MatMul, &[x, w], "vast").unwrap();
    build.output("y", y);
    let mut graph = build.finish();
    let outcome = run(&mut graph, &[], &Options::default());
    assert_eq!(outcome.lines(), "ternarise: vast: kept float: its weight is empty\n");
    assert_eq!(outcome.edits, 0);
}

#[test]
fn a_weight_that_is_not_finite_is_refused_by_name() {
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let mut weight = random(1, 72);
        weight[5] = bad;
        let mut graph = convolutions(&[(vec![4, 2, 3, 3], weight)]);
        let pass = Ternarise::new(&Options::default()).unwrap();
        let error = pass.run(&mut graph, &mut PassContext::new(&CountingCost)).unwrap_err().to_string();
        let expected = format!("at `layer0`: element 5 of its weight is {bad}; mend the network");
        assert!(error.starts_with(&expected), "{error}");
    }
}

#[test]
fn a_weight_of_zeros_stays_finite() {
    for scale in [Scale::Layer, Scale::Channel] {
        let mut graph = convolutions(&[(vec![4, 2, 3, 3], vec![0.0; 72])]);
        run(&mut graph, &[], &Options { scale, ..Options::default() });
        assert_eq!(trits(&graph), [[0; 72]]);
        assert!(outputs(&graph, 0)["y"].as_f32().unwrap().iter().all(|&y| y == 0.0));
    }
}

#[test]
fn layers_that_share_a_weight_share_their_trits() {
    let mut build = GraphBuilder::new("net");
    let x = build.input("x", TensorType::f32(vec![Dim::symbol("N"), Dim::from(6)]));
    let w = build.constant(Tensor::from_f32(vec![6, 6], random(9, 36)).unwrap(), "w");
    let y = build.node(Op::MatMul, &[x, w], "first").unwrap();
    let z = build.node(Op::MatMul, &[y, w], "second").unwrap();
    build.output("z", z);
    let mut graph = build.finish();
    run(&mut graph, &["ternarise"], &Options::default());
    let weights: Vec<_> = products(&graph).iter().map(|&id| graph.node(id).operands[1]).collect();
    assert_eq!(trits(&graph).len(), 2);
    assert_eq!(weights[0], weights[1]);
}

#[test]
fn a_pattern_that_is_no_glob_or_kind_is_named() {
    let error = |keep: [&str; 2]| {
        let options = Options { keep: keep.map(str::to_owned).to_vec(), ..Options::default() };
        default_pipeline(&options).err().unwrap().to_string()
    };
    let glob = error(["*.weight", "conv["]);
    assert!(glob.starts_with("`conv[` is no pattern for layer names: "), "{glob}");
    let kind = error(["kind:first", "kind:pointwise"]);
    assert!(kind.starts_with("`kind:pointwise` is no kind of layers; there are kind:depthwise"), "{kind}");
}

#[test]
fn depthwise_layers_are_a_kind() {
    let mut build = GraphBuilder::new("depthwise");
    let mut y = build.input("x", TensorType::f32([1, 4, 8, 8].map(Dim::from).to_vec()));
    // Depthwise, with two outputs for each input; in groups of two; pointwise; in one group of one channel.
    for (name, outputs, groups, inputs) in
        [("deep", 8, 4, 4), ("grouped", 8, 4, 8), ("pointwise", 1, 1, 8), ("one", 4, 1, 1)]
    {
        let shape = [outputs, inputs / groups, 1, 1];
        let weight = random(3, shape.iter().product());
        let w = build.constant(Tensor::from_f32(shape.to_vec(), weight).unwrap(), "");
        let conv = Conv { geometry: Geometry::unit(2), groups };
        y = build.node(Op::Conv(conv), &[y, w], name).unwrap();
    }
    build.output("y", y);
    let mut graph = build.finish();
    let options = Options { ternarise: Mode::All, keep: vec!["kind:depthwise".into()], ..Options::default() };
    let remarks = run(&mut graph, &["ternarise"], &options).lines();
    let kept: Vec<&str> = remarks.lines().filter(|line| line.contains("is to be kept")).collect();
    assert_eq!(kept, ["ternarise: deep: kept float: `kind:depthwise` is to be kept"]);
}
