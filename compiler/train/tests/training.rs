//! Training: to the bits where it is taken up again, and refused where samples, labels or losses do not fit.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::BTreeMap;
use twnc_ir::{
    Binary, Conv, CountingCost, Dim, Geometry, Graph, GraphBuilder, Layer, Op, Pass, PassContext, Pool,
    Tensor, TensorType, Unary, evaluate,
};
use twnc_passes::{DetectTernary, Options, Scale, Ternarise};
use twnc_train::optimiser::{Rule, Schedule};
use twnc_train::{Augment, Data, Method, Samples, TrainError, TrainOptions, Trainer};

/// Seeded numbers.
struct Random(u64);

impl Random {
    fn unit(&mut self) -> f64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn tensor(&mut self, shape: &[usize]) -> Tensor {
        let elements = (0..shape.iter().product()).map(|_| (2.0 * self.unit() - 1.0) as f32).collect();
        Tensor::from_f32(shape.to_vec(), elements).unwrap()
    }
}

fn binary(build: &mut GraphBuilder, f: Binary, a: twnc_ir::ValueId, b: Tensor) -> twnc_ir::ValueId {
    let b = build.constant(b, "");
    build.node(Op::Binary(f), &[a, b], "").unwrap()
}

/// A convolution, a batch norm, a pool and a linear layer with a bias.
fn network() -> Graph {
    let mut random = Random(1);
    let mut build = GraphBuilder::new("small");
    let shape = [1, 16, 16].map(Dim::from);
    let x = build.input("x", TensorType::f32(std::iter::once(Dim::symbol("N")).chain(shape).collect()));
    let w = build.constant(random.tensor(&[16, 1, 3, 3]), "conv.weight");
    let geometry = |strides: usize| Geometry {
        strides: vec![strides; 2],
        dilations: vec![1; 2],
        pads_begin: vec![0; 2],
        pads_end: vec![0; 2],
    };
    let y = build.node(Op::Conv(Conv { geometry: geometry(2), groups: 1 }), &[x, w], "conv").unwrap();
    let ones = |build: &mut GraphBuilder, v: f32| {
        build.constant(Tensor::from_f32(vec![16], vec![v; 16]).unwrap(), "")
    };
    let [scale, bias, mean, variance] = [1.0, 0.0, 0.0, 1.0].map(|v| ones(&mut build, v));
    let y = build.node(Op::BatchNorm { epsilon: 1e-5 }, &[y, scale, bias, mean, variance], "norm").unwrap();
    let y = build.node(Op::Unary(Unary::Relu), &[y], "").unwrap();
    let pool = Pool { kernel: vec![7, 7], geometry: geometry(1), ceil: false };
    let y = build.node(Op::AveragePool { pool, count_padding: false }, &[y], "").unwrap();
    let y = build.node(Op::Reshape { shape: vec![Dim::symbol("N"), 16.into()] }, &[y], "").unwrap();
    let w = build.constant(random.tensor(&[16, 2]), "linear.weight");
    let y = build.node(Op::MatMul, &[y, w], "linear").unwrap();
    let y = binary(&mut build, Binary::Add, y, Tensor::from_f32(vec![2], vec![0.0; 2]).unwrap());
    build.output("y", y);
    build.finish()
}

/// A convolution and a mean over its plane, flattened: in front of a softmax, or what is given; of this batch, or any.
fn flat(batch: Dim, is_softmax: bool, bias: f32) -> Graph {
    let mut random = Random(3);
    let mut build = GraphBuilder::new("flat");
    let x = build.input("x", TensorType::f32(vec![batch.clone(), 1.into(), 16.into(), 16.into()]));
    let w = build.constant(random.tensor(&[2, 1, 3, 3]), "conv.weight");
    let geometry = |n: usize| Geometry {
        strides: vec![n; 2],
        dilations: vec![1; 2],
        pads_begin: vec![0; 2],
        pads_end: vec![0; 2],
    };
    let y = build.node(Op::Conv(Conv { geometry: geometry(1), groups: 1 }), &[x, w], "conv").unwrap();
    let y = binary(&mut build, Binary::Add, y, Tensor::from_f32(vec![2, 1, 1], vec![bias; 2]).unwrap());
    let pool = Pool { kernel: vec![14, 14], geometry: geometry(1), ceil: false };
    let y = build.node(Op::AveragePool { pool, count_padding: false }, &[y], "").unwrap();
    let y = build.node(Op::Reshape { shape: vec![batch, 2.into()] }, &[y], "").unwrap();
    let y = if is_softmax { build.node(Op::Softmax { axes: vec![1] }, &[y], "").unwrap() } else { y };
    build.output("y", y);
    build.finish()
}

/// Images with stripes that lie or stand.
fn stripes(count: usize) -> Data {
    let mut random = Random(2);
    let mut elements = vec![];
    for i in 0..count {
        let phase = (random.unit() * 4.0) as usize;
        elements.extend((0..256).map(|p| {
            let along = if i % 2 == 0 { p / 16 } else { p % 16 };
            f32::from(u8::from((along + phase) % 4 < 2)) + 0.3 * random.unit() as f32
        }));
    }
    let x = Tensor::from_f32(vec![count, 1, 16, 16], elements).unwrap();
    Data { samples: Samples::new([("x".to_owned(), x)]), labels: Some((0..count).map(|i| i % 2).collect()) }
}

fn options() -> TrainOptions {
    TrainOptions {
        method: Method::Twn,
        rule: Rule::Adam,
        rate: 0.02,
        schedule: Schedule::Cosine,
        decay: 1e-4,
        epochs: 4,
        batch: 16,
        augment: Augment { flip: true, shift: 1, cutmix: false },
        seed: 7,
        fresh: false,
        temperature: 2.0,
        memory: 1 << 28,
    }
}

fn trained(data: &Data, choice: &Options, options: TrainOptions) -> (Trainer, Graph) {
    let mut trainer = Trainer::new(&network(), data, choice, options).unwrap();
    while !trainer.is_done() {
        trainer.epoch(data, None, &mut |_, _| true).unwrap().unwrap();
    }
    let graph = trainer.finish().unwrap();
    (trainer, graph)
}

/// Elements of the weights of layers.
fn weights(graph: &Graph) -> Vec<(Layer, Vec<f32>)> {
    let layers = graph.node_ids().filter_map(|id| Layer::at(graph, id)?.ok());
    layers.filter_map(|layer| Some((layer.clone(), layer.float(graph)?.to_vec()))).collect()
}

#[test]
fn every_method_learns_and_leaves_weights_of_its_kind() {
    let data = stripes(96);
    for scale in [Scale::Layer, Scale::Channel] {
        for method in [Method::Twn, Method::Bwn, Method::Ttq, Method::Float] {
            let choice = Options { scale, ..Options::default() };
            let (mut trainer, graph) =
                trained(&data, &choice, TrainOptions { method, epochs: 8, ..options() });
            let right = trainer.evaluate(&data).unwrap()[1];
            assert!(right > 0.95, "{method:?}, {scale:?}: {right}");
            for (layer, weights) in weights(&graph) {
                let rows = if scale == Scale::Layer { vec![weights] } else { layer.rows(&weights) };
                for row in rows {
                    let mut values: Vec<u32> =
                        row.iter().map(|w| w.to_bits()).filter(|b| b << 1 != 0).collect();
                    values.sort_unstable();
                    values.dedup();
                    let distinct = values.len();
                    let magnitudes: std::collections::BTreeSet<u32> =
                        values.iter().map(|b| b & !(1 << 31)).collect();
                    match method {
                        Method::Twn => assert!(magnitudes.len() <= 1, "{values:?}"),
                        Method::Bwn => assert!(magnitudes.len() == 1 && row.iter().all(|w| *w != 0.0)),
                        Method::Ttq => assert!(distinct <= 2, "{values:?}"),
                        Method::Float => assert!(distinct > 2 || row.len() < 3),
                    }
                }
            }
        }
    }
}

#[test]
fn what_twn_leaves_is_recognised_exactly() {
    let (_, mut graph) = trained(&stripes(64), &Options::default(), options());
    let before = run(&graph);
    let pass = DetectTernary::new(&Options::default()).unwrap();
    pass.run(&mut graph, &mut PassContext::new(&CountingCost)).unwrap();
    let layers: Vec<Layer> = graph.node_ids().filter_map(|id| Layer::at(&graph, id)?.ok()).collect();
    assert_eq!(layers.len(), 2);
    assert!(layers.iter().all(|layer| layer.ternary(&graph).is_some()));
    for (a, b) in before.iter().zip(run(&graph)) {
        assert!((a - b).abs() < 1e-4, "{a} and {b}");
    }
}

/// What a network gives for seeded inputs.
fn run(graph: &Graph) -> Vec<f32> {
    let inputs = BTreeMap::from([("x".to_owned(), Random(9).tensor(&[5, 1, 16, 16]))]);
    evaluate(graph, &inputs).unwrap()["y"].as_f32().unwrap().to_vec()
}

#[test]
fn the_rounding_of_a_step_is_that_of_the_compiler() {
    for scale in [Scale::Layer, Scale::Channel] {
        let choice = Options { scale, ..Options::default() };
        let graph = network();
        let options = TrainOptions { epochs: 0, ..options() };
        let (_, rounded) = trained(&stripes(32), &choice, options);
        let ternarise = Ternarise::new(&choice).unwrap();
        for ((layer, before), (_, after)) in weights(&graph).iter().zip(weights(&rounded)) {
            let rounding = ternarise.round(&graph, layer, before).unwrap();
            let rows = layer.rows(&after);
            for (i, (trits, row)) in rounding.rows.iter().zip(rows).enumerate() {
                let alpha = rounding.scales[if rounding.scales.len() == 1 { 0 } else { i }];
                for (t, w) in trits.iter().zip(row) {
                    assert!((f32::from(*t) * alpha - w).abs() <= 1e-6 * alpha, "{t}·{alpha} and {w}");
                }
            }
        }
    }
}

#[test]
fn a_training_that_is_taken_up_again_goes_to_the_same_bits() {
    for (rule, method, labels) in [
        (Rule::Adam, Method::Twn, true),
        (Rule::Sgd { momentum: 0.9 }, Method::Ttq, true),
        (Rule::Adam, Method::Bwn, false),
    ] {
        let mut data = stripes(80);
        if !labels {
            data.labels = None;
        }
        let options = TrainOptions { rule, method, ..options() };
        let (whole, expected) = trained(&data, &Options::default(), options.clone());
        let mut steps = 0;
        let mut trainer = Trainer::new(&network(), &data, &Options::default(), options.clone()).unwrap();
        while !trainer.is_done() {
            // Interrupted behind every third step, and taken up by another.
            let mut left = 3;
            let done = trainer.epoch(&data, None, &mut |_, _| {
                left -= 1;
                left >= 0
            });
            if done.unwrap().is_none() {
                let checkpoint = trainer.checkpoint();
                trainer = Trainer::new(&network(), &data, &Options::default(), options.clone()).unwrap();
                trainer.resume(&checkpoint).unwrap();
                steps += 1;
            }
        }
        assert!(steps >= 4);
        assert_eq!(trainer.history(), whole.history());
        assert_eq!(
            weights(&trainer.finish().unwrap()).iter().map(|w| &w.1).collect::<Vec<_>>(),
            weights(&expected).iter().map(|w| &w.1).collect::<Vec<_>>()
        );
    }
}

#[test]
fn checkpoints_of_other_trainings_and_damaged_ones_are_refused() {
    let data = stripes(32);
    let new = |options| Trainer::new(&network(), &data, &Options::default(), options).unwrap();
    let checkpoint = new(options()).checkpoint();
    let said = new(TrainOptions { seed: 8, ..options() }).resume(&checkpoint).unwrap_err().to_string();
    assert!(said.contains("of other work"), "{said}");
    for cut in [0, 3, 16, 40, checkpoint.len() / 2, checkpoint.len() - 1] {
        assert!(new(options()).resume(&checkpoint[..cut]).is_err(), "{cut}");
    }
    for at in (0..checkpoint.len()).step_by(97) {
        let mut bytes = checkpoint.clone();
        bytes[at] ^= 0x10;
        assert!(new(options()).resume(&bytes).is_err(), "{at}");
    }
}

#[test]
fn without_labels_the_float_network_is_the_teacher() {
    let data = Data { labels: None, ..stripes(96) };
    let mut first = Trainer::new(&network(), &data, &Options::default(), options()).unwrap();
    let before = first.evaluate(&data).unwrap();
    let (mut trainer, _) = trained(&data, &Options::default(), TrainOptions { epochs: 8, ..options() });
    let after = trainer.evaluate(&data).unwrap();
    assert!(after[0] < before[0], "{before:?}, then {after:?}");
}

#[test]
fn what_does_not_fit_is_refused() {
    let mixed = Augment { cutmix: true, ..Augment::default() };
    let refused = |data: &Data, options: TrainOptions| -> String {
        let new = Trainer::new(&network(), data, &Options::default(), options);
        new.err().map_or_else(|| "it was accepted".to_owned(), |e| e.to_string())
    };
    let with = |labels: Vec<usize>| Data { labels: Some(labels), ..stripes(32) };
    let cases = [
        (refused(&with(vec![0; 31]), options()), "31 labels for 32 samples"),
        (refused(&with(vec![2; 32]), options()), "label 0 is 2; the network has 2 classes"),
        (refused(&stripes(3), options()), "3 samples do not fill a batch of 16"),
        (
            refused(&stripes(32), TrainOptions { augment: mixed, ..options() }),
            "has no label; leave out cutmix",
        ),
        (refused(&stripes(32), TrainOptions { memory: 1000, ..options() }), "the limit is 1000"),
    ];
    for (said, expected) in cases {
        assert!(said.contains(expected), "{said}");
    }
    let other = Tensor::from_f32(vec![2, 1, 8, 8], vec![0.0; 128]).unwrap();
    let other = Data { samples: Samples::new([("x".to_owned(), other)]), labels: None };
    let said = refused(&other, options());
    assert!(said.contains("declared"), "{said}");
    // Inputs whose sums are beyond what a float holds.
    let huge = Tensor::from_f32(vec![32, 1, 16, 16], vec![3e38; 32 * 256]).unwrap();
    let data = Data { samples: Samples::new([("x".to_owned(), huge)]), ..stripes(32) };
    let mut trainer = Trainer::new(&network(), &data, &Options::default(), options()).unwrap();
    let found = (0..4).find_map(|_| trainer.epoch(&data, None, &mut |_, _| true).err());
    assert!(matches!(found, Some(TrainError::Diverged { .. })), "{found:?}");
}

#[test]
fn one_sample_and_constant_inputs_are_trained_on_without_harm() {
    let one = Tensor::from_f32(vec![1, 1, 16, 16], vec![0.5; 256]).unwrap();
    let data = Data { samples: Samples::new([("x".to_owned(), one)]), labels: Some(vec![1]) };
    // The kept statistics come near to those of the one image in so many epochs.
    let options = TrainOptions { batch: 1, epochs: 60, ..options() };
    let (mut trainer, graph) = trained(&data, &Options::default(), options);
    assert_eq!(trainer.evaluate(&data).unwrap()[1], 1.0);
    assert!(weights(&graph).iter().flat_map(|w| &w.1).all(|w| w.is_finite()));
}

#[test]
fn rows_behind_a_flattening_are_rows() {
    let labelled = stripes(32);
    let data = Data { labels: None, ..labelled.clone() };
    for is_softmax in [true, false] {
        let graph = flat(Dim::symbol("N"), is_softmax, 0.0);
        let new = |data: &Data| Trainer::new(&graph, data, &Options::default(), options()).unwrap();
        // Rounded, it gives something else than it did; with labels, there is a class for each row.
        assert!(new(&data).evaluate(&data).unwrap()[0] > 1e-4, "{is_softmax}");
        let [loss, _] = new(&labelled).evaluate(&labelled).unwrap();
        assert!(loss > 0.1, "{is_softmax}: {loss}");
    }
}

#[test]
fn outputs_that_are_no_probabilities_are_compared_as_they_are() {
    let data = Data { labels: None, ..stripes(32) };
    let fresh = TrainOptions { method: Method::Float, fresh: true, ..options() };
    let loss = |is_softmax: bool| -> f64 {
        let graph = flat(Dim::symbol("N"), is_softmax, 10.0);
        let mut trainer = Trainer::new(&graph, &data, &Options::default(), fresh.clone()).unwrap();
        trainer.evaluate(&data).unwrap()[0]
    };
    // All rows are moved by 10: a softmax does not see it, and who reads the numbers does.
    assert!(loss(true) < 5.0, "{}", loss(true));
    assert!(loss(false) > 100.0, "{}", loss(false));
}

#[test]
fn a_step_has_whole_batches_of_a_network_that_fixes_them() {
    let graph = flat(8.into(), true, 0.0);
    let data = stripes(50);
    for (batch, steps) in [(1, 6), (4, 6), (8, 6), (9, 3), (20, 2), (50, 1), (1000, 1)] {
        let options = TrainOptions { batch, ..options() };
        let trainer = Trainer::new(&graph, &data, &Options::default(), options).unwrap();
        assert_eq!(trainer.steps(), steps, "{batch}");
    }
    // To measure, a batch is filled up.
    let mut trainer = Trainer::new(&graph, &data, &Options::default(), options()).unwrap();
    assert!(trainer.evaluate(&stripes(3)).unwrap()[0].is_finite());
    let said = trainer.check(&Data { labels: Some(vec![0; 4]), ..stripes(3) }).unwrap_err().to_string();
    assert!(said.contains("4 labels for 3 samples"), "{said}");
}

#[test]
fn images_meet_others_of_a_step_however_few_run_at_a_time() {
    let graph = flat(1.into(), true, 0.0);
    let data = Data { labels: None, ..stripes(32) };
    let after = |cutmix: bool| {
        let options = TrainOptions { augment: Augment { cutmix, ..Augment::default() }, ..options() };
        let mut trainer = Trainer::new(&graph, &data, &Options::default(), options).unwrap();
        trainer.epoch(&data, None, &mut |_, _| true).unwrap().unwrap();
        weights(&trainer.finish().unwrap())[0].1.clone()
    };
    assert_ne!(after(false), after(true));
}

#[test]
fn a_checkpoint_is_of_one_network_one_data_set_and_one_choice_of_scales() {
    let new = |graph: &Graph, data: &Data, scale: Scale| {
        let choice = Options { scale, ..Options::default() };
        Trainer::new(graph, data, &choice, options()).unwrap()
    };
    let (graph, data) = (flat(Dim::symbol("N"), true, 0.0), stripes(32));
    let checkpoint = new(&graph, &data, Scale::Layer).checkpoint();
    new(&graph, &data, Scale::Layer).resume(&checkpoint).unwrap();
    let mut labels = data.labels.clone().unwrap();
    labels[0] = 1 - labels[0];
    let noisy = Samples::new([("x".to_owned(), Random(9).tensor(&[32, 1, 16, 16]))]);
    let others = [
        new(&graph, &data, Scale::Channel),
        new(&flat(Dim::symbol("N"), true, 0.5), &data, Scale::Layer),
        new(&graph, &Data { labels: Some(labels), ..data.clone() }, Scale::Layer),
        new(&graph, &Data { samples: noisy, ..data.clone() }, Scale::Layer),
    ];
    for (i, mut other) in others.into_iter().enumerate() {
        let said = other.resume(&checkpoint).unwrap_err().to_string();
        assert!(said.contains("of other work"), "{i}: {said}");
    }
}
