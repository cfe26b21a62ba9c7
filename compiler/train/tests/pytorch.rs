//! Training against PyTorch: straight-through gradients, SGD with momentum, Adam, weight decay, batch norm and its statistics. The numbers are
//! those of `testsuite/scripts/pytorch_training.py`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::collections::HashMap;
use twnc_ir::{
    Binary, Conv, Dim, Geometry, Graph, GraphBuilder, Layer, Op, Tensor, TensorType, Unary, ValueId,
};
use twnc_passes::{Options, Ternarise};
use twnc_train::optimiser::{Rule, Schedule};
use twnc_train::{Augment, Data, Method, Samples, TrainOptions, Trainer};

fn numbers() -> HashMap<&'static str, Vec<f32>> {
    let lines = include_str!("fixtures/pytorch.txt").lines();
    let line = |line: &'static str| {
        let mut words = line.split(' ');
        (words.next().unwrap(), words.map(|word| word.parse().unwrap()).collect())
    };
    lines.map(line).collect()
}

/// A constant, by the name of the layer that reads it.
fn constant(build: &mut GraphBuilder, shape: &[usize], elements: Vec<f32>, name: &str) -> ValueId {
    build.constant(Tensor::from_f32(shape.to_vec(), elements).unwrap(), name)
}

fn network(numbers: &HashMap<&str, Vec<f32>>) -> Graph {
    let mut build = GraphBuilder::new("pytorch");
    let shape = [2, 5, 5].map(Dim::from);
    let x = build.input("x", TensorType::f32(std::iter::once(Dim::symbol("N")).chain(shape).collect()));
    let w = constant(&mut build, &[4, 2, 3, 3], numbers["w1"].clone(), "w1");
    let geometry =
        Geometry { strides: vec![1; 2], dilations: vec![1; 2], pads_begin: vec![0; 2], pads_end: vec![0; 2] };
    let y = build.node(Op::Conv(Conv { geometry, groups: 1 }), &[x, w], "conv").unwrap();
    let [g, b, mean, var] = [("g", 1.0), ("b", 0.0), ("mean", 0.0), ("var", 1.0)]
        .map(|(name, value)| constant(&mut build, &[4], vec![value; 4], name));
    let y = build.node(Op::BatchNorm { epsilon: 1e-5 }, &[y, g, b, mean, var], "").unwrap();
    let y = build.node(Op::Unary(Unary::Relu), &[y], "").unwrap();
    let y = build.node(Op::Reshape { shape: vec![Dim::symbol("N"), 36.into()] }, &[y], "").unwrap();
    let w = constant(&mut build, &[36, 3], numbers["w2"].clone(), "w2");
    let y = build.node(Op::MatMul, &[y, w], "linear").unwrap();
    let bias = constant(&mut build, &[3], vec![0.0; 3], "b2");
    let y = build.node(Op::Binary(Binary::Add), &[y, bias], "").unwrap();
    build.output("y", y);
    build.finish()
}

#[test]
fn three_steps_are_pytorchs() {
    let numbers = numbers();
    for (name, rule, rate) in [("sgd", Rule::Sgd { momentum: 0.9 }, 0.1), ("adam", Rule::Adam, 0.01)] {
        let options = TrainOptions {
            method: Method::Twn,
            rule,
            rate,
            schedule: Schedule::Constant,
            decay: 1e-2,
            epochs: 3,
            batch: 6,
            augment: Augment::default(),
            seed: 0,
            fresh: false,
            temperature: 1.0,
            memory: 1 << 28,
        };
        let x = Tensor::from_f32(vec![6, 2, 5, 5], numbers["x"].clone()).unwrap();
        let data =
            Data { samples: Samples::new([("x".to_owned(), x)]), labels: Some(vec![0, 1, 2, 2, 1, 0]) };
        let mut trainer = Trainer::new(&network(&numbers), &data, &Options::default(), options).unwrap();
        while !trainer.is_done() {
            trainer.epoch(&data, None, &mut |_, _| true).unwrap();
        }
        let of = |what: &str| &numbers[format!("{name}.{what}").as_str()];
        let losses: Vec<f32> = trainer.history().iter().map(|epoch| epoch.loss as f32).collect();
        near(&losses, of("losses"), "losses");
        let graph = trainer.finish().unwrap();
        for id in graph.node_ids() {
            let node = graph.node(id);
            if let Some(tensor) = node.op.as_constant()
                && ["g", "b", "b2", "mean", "var"].contains(&node.name.as_str())
            {
                near(tensor.as_f32().unwrap(), of(&node.name), &node.name);
            }
            if let Some(Ok(layer)) = Layer::at(&graph, id) {
                // What is written is what PyTorch's float weights round to.
                let float = of(&layer.weight_name);
                let rounding =
                    Ternarise::new(&Options::default()).unwrap().round(&graph, &layer, float).unwrap();
                let scaled = |row: &Vec<i8>| row.iter().map(|&t| f32::from(t) * rounding.scales[0]).collect();
                let expected = layer.of_rows(&rounding.rows.iter().map(scaled).collect::<Vec<Vec<f32>>>());
                near(layer.float(&graph).unwrap(), &expected, &layer.weight_name);
            }
        }
    }
}

fn near(found: &[f32], expected: &[f32], what: &str) {
    assert_eq!(found.len(), expected.len(), "{what}");
    for (a, b) in found.iter().zip(expected) {
        assert!((a - b).abs() < 2e-5 * b.abs().max(1.0), "{what}: {a} for {b}");
    }
}
