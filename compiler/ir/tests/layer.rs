//! Layers: where output channels lie, and which products are none.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

use twnc_ir::{
    Conv, CustomRegistry, Data, Geometry, Graph, Layer, NodeId, Op, PerChannel, Tensor, layer, text,
};

const PRELUDE: &str = r#"graph "g" (%0 "image": f32[N,2,6,6], %1 "matrix": f32[7,2], %2 "narrow": f32[7,0], %3 "free": f32[2,3]) -> () {"#;

/// The graph of some nodes, and the last of them.
fn graph(nodes: &str) -> (Graph, NodeId) {
    let source = format!("{PRELUDE}\n{nodes}\n}}");
    let graph = text::parse(&source, &CustomRegistry::default()).unwrap_or_else(|e| panic!("{nodes}: {e}"));
    let last = graph.node_ids().last().unwrap();
    (graph, last)
}

#[test]
fn weights_are_read_by_channel() {
    let cases: [(&str, usize, usize, &[&[f32]]); 3] = [
        (
            "%4 = const f32[2,2,1,2] [1, 2, 3, 4, 5, 6, 7, 8]\n%5 = conv(%0, %4) : f32[N,2,6,5]",
            1,
            4,
            &[&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0, 7.0, 8.0]],
        ),
        (
            "%4 = const f32[2,1,1,1] [1, 2]\n%5 = conv(%0, %4) {groups=2} : f32[N,2,6,6]",
            1,
            1,
            &[&[1.0], &[2.0]],
        ),
        (
            "%4 = const f32[2,3] [1, 2, 3, 4, 5, 6]\n%5 = matmul(%1, %4) : f32[7,3]",
            1,
            2,
            &[&[1.0, 4.0], &[2.0, 5.0], &[3.0, 6.0]],
        ),
    ];
    for (nodes, axis, fan_in, rows) in cases {
        let (graph, id) = graph(nodes);
        let layer = Layer::at(&graph, id).unwrap().unwrap();
        assert_eq!((layer.channel_axis, layer.fan_in, layer.channels), (axis, fan_in, rows.len()), "{nodes}");
        assert_eq!(layer.rows(layer.float(&graph).unwrap()), rows, "{nodes}");
        let signs: Vec<Vec<i8>> =
            rows.iter().map(|row| row.iter().map(|w| (*w as i8) % 2).collect()).collect();
        let expected: Vec<i8> = layer.float(&graph).unwrap().iter().map(|w| (*w as i8) % 2).collect();
        assert_eq!(layer.ternary_of_rows(&signs).as_ternary(), Some(&expected[..]), "{nodes}");
    }
}

#[test]
fn what_is_no_layer_says_why() {
    // An empty weight may have an axis longer than memory: nothing is allocated by it.
    let cases = [
        ("%4 = relu(%0) : f32[N,2,6,6]", None),
        ("%4 = matmul(%1, %3) : f32[7,3]", Some("it multiplies two activations")),
        (
            "%4 = const f32[1,7] [1, 2, 3, 4, 5, 6, 7]\n%5 = matmul(%4, %1) : f32[1,2]",
            Some("its constant is the left operand"),
        ),
        (
            "%4 = const f32[2,2,1] [1, 2, 3, 4]\n%5 = matmul(%1, %4) : f32[2,7,1]",
            Some("its weight is not a matrix"),
        ),
        (
            "%4 = const f32[0,1152921504606846976] []\n%5 = matmul(%2, %4) : f32[7,1152921504606846976]",
            Some("its weight is empty"),
        ),
        ("%4 = const f32[2,0] []\n%5 = matmul(%1, %4) : f32[7,0]", Some("its weight is empty")),
        (
            "%4 = const f32[0,2,1152921504606846976,1152921504606846976] []\n%5 = conv(%0, %4) {pads_begin=[1152921504606846976,1152921504606846976]} : f32[N,0,7,7]",
            Some("its weight is empty"),
        ),
    ];
    for (nodes, reason) in cases {
        let (graph, id) = graph(nodes);
        assert_eq!(Layer::at(&graph, id).map(|layer| layer.map(drop)), reason.map(Err), "{nodes}");
    }
}

#[test]
fn channels_lie_on_one_axis() {
    let cases = [
        ("%4 = matmul(%1, %3) : f32[7,3]", 2, Some(1)),
        ("%4 = matmul(%1, %3) : f32[7,3]", 0, None),
        ("%4 = const f32[1,2,1,1] [1, 2]\n%5 = conv(%0, %4) : f32[N,1,6,6]", 4, Some(1)),
        ("%4 = const f32[1,2,1,1] [1, 2]\n%5 = conv(%0, %4) : f32[N,1,6,6]", 1, None),
        ("%4 = relu(%1) : f32[7,2]", 2, None),
    ];
    for (nodes, rank, axis) in cases {
        let (graph, id) = graph(nodes);
        assert_eq!(layer::channel_axis(&graph.node(id).op, rank), axis, "{nodes} of rank {rank}");
    }
}

#[test]
fn constants_per_channel() {
    let cases = [
        ("f32[] [5]", Some((None, 1))),
        ("f32[1,1] [5]", Some((None, 1))),
        ("f32[2,1,1] [5, 6]", Some((Some(1), 2))),
        ("f32[1,2,1,1] [5, 6]", Some((Some(1), 2))),
        ("f32[6] [1, 2, 3, 4, 5, 6]", Some((Some(3), 6))),
        ("f32[3,1,1] [5, 6, 7]", None),
        ("f32[2,1,6] [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]", None),
        ("f32[1,1,1,1,1] [5]", None),
        ("i64[] [5]", None),
    ];
    for (constant, expected) in cases {
        let (graph, id) = graph(&format!("%4 = const {constant}"));
        let over = graph.ty(graph.inputs()[0].value);
        let found = PerChannel::of(&graph, graph.node(id).results[0], over);
        assert_eq!(found.as_ref().map(|c| (c.axis, c.values.len())), expected, "{constant}");
        if let Some(PerChannel { axis, values }) = found {
            let tensor = PerChannel::tensor(axis, values, 4);
            assert_eq!(tensor.len(), expected.unwrap().1, "{constant}");
        }
    }
}

#[test]
fn the_largest_sum() {
    let conv = || Op::Conv(Conv { geometry: Geometry::unit(1), groups: 1 });
    let cases: [(Op, &[usize], &[i8], usize); 7] = [
        (conv(), &[2, 1, 3], &[1, 0, 0, -1, 0, 1], 2),
        (conv(), &[1, 2, 3], &[1, 0, 0, -1, 0, 1], 3),
        (conv(), &[2, 0, 3], &[], 0),
        (conv(), &[1 << 60, 0, 3], &[], 0),
        (Op::MatMul, &[3, 2], &[1, 0, -1, 0, 1, -1], 3),
        (Op::MatMul, &[2, 3], &[1, 0, 1, -1, 0, 0], 2),
        (Op::Dims(vec![]), &[1, 2], &[1, 1], 0),
    ];
    for (op, shape, trits, most) in cases {
        let weight = Tensor::new(shape.to_vec(), Data::Ternary(trits.into())).unwrap();
        assert_eq!(layer::most_summands(&op, &weight), most, "{op:?} with {shape:?}");
    }
    let float = Tensor::from_f32(vec![1, 1], vec![1.0]).unwrap();
    assert_eq!(layer::most_summands(&Op::MatMul, &float), 0);
}
