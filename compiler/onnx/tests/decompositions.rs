//! Operators that are written out as several: what they become with open sizes, and which parameters are refused, in sentences that name the node.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

use fixture::{
    float, floats, import, index, indices, int, ints, model, node, ones, single, summary, text, value,
};
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{AttributeProto, ModelProto, TensorProto};

#[test]
fn open_sizes_stay_open() {
    // Operator set, operator, shapes of inputs, constants, attributes, and the type of the first result.
    type Case =
        (i64, &'static str, &'static [&'static str], Vec<TensorProto>, Vec<AttributeProto>, &'static str);
    let cases: Vec<Case> = vec![
        (13, "LRN", &["N,8,H,W"], vec![], vec![int("size", 5)], "f32[N,8,H,W]"),
        (13, "ArgMax", &["N,8,H,W"], vec![], vec![int("axis", 1), int("keepdims", 0)], "i64[N,H,W]"),
        (13, "ArgMin", &["N,8"], vec![], vec![int("select_last_index", 1)], "i64[1,8]"),
        (
            13,
            "CumSum",
            &["N,L"],
            vec![index("axis", -1)],
            vec![int("exclusive", 1), int("reverse", 1)],
            "f32[N,L]",
        ),
        (13, "ReduceProd", &["N,L"], vec![], vec![ints("axes", &[1])], "f32[N,1]"),
        (13, "Hardmax", &["N,L"], vec![], vec![], "f32[N,L]"),
        (14, "Trilu", &["N,L,L"], vec![], vec![], "f32[N,L,L]"),
        (13, "Einsum", &["N,L,4", "N,M,4"], vec![], vec![text("equation", "bij, bkj -> bik")], "f32[N,L,M]"),
        (13, "Einsum", &["N,4,4"], vec![], vec![text("equation", "...ii->...i")], "f32[N,4]"),
        (16, "GridSample", &["N,3,H,W", "N,5,7,2"], vec![], vec![], "f32[N,3,5,7]"),
        (
            16,
            "GridSample",
            &["N,3,H,W", "N,P,Q,2"],
            vec![],
            vec![text("mode", "bicubic"), text("padding_mode", "reflection")],
            "f32[N,3,P,Q]",
        ),
        (13, "LpNormalization", &["N,8"], vec![], vec![int("p", 1)], "f32[N,8]"),
        (13, "LpPool", &["N,8,H,W"], vec![], vec![ints("kernel_shape", &[3, 3])], "f32[N,8,H-2,W-2]"),
        (
            23,
            "Attention",
            &["N,4,L,8", "N,2,M,8", "N,2,M,16"],
            vec![],
            vec![int("is_causal", 1)],
            "f32[N,4,L,16]",
        ),
        (11, "Pad", &["N,5"], vec![indices("pads", &[0, 2, 0, 1])], vec![text("mode", "wrap")], "f32[N,8]"),
        (6, "Add", &["N,3,H,W", "3"], vec![], vec![int("broadcast", 1), int("axis", 1)], "f32[N,3,H,W]"),
        (6, "PRelu", &["N,3,H,W", "3"], vec![], vec![], "f32[N,3,H,W]"),
        (
            18,
            "Col2Im",
            &["N,8,9"],
            vec![indices("image", &[5, 5]), indices("block", &[1, 4])],
            vec![ints("strides", &[2, 1]), ints("pads", &[0, 1, 0, 0])],
            "f32[N,2,5,5]",
        ),
        (
            11,
            "MaxUnpool",
            &["1,1,1,1"],
            vec![indices("i", &[0])],
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[2, 2])],
            "f32[1,1,2,2]",
        ),
        (1, "MaxPool", &["N,3,8,8"], vec![], vec![ints("kernel_shape", &[2, 2])], "f32[N,3,7,7]"),
    ];
    for (opset, op, inputs, constants, attributes, expected) in cases {
        let import = import(&single(opset, op, inputs, constants, attributes));
        let import = import.unwrap_or_else(|error| panic!("{op} of {inputs:?}: {error}"));
        assert_eq!(
            import.graph.ty(import.graph.outputs()[0].value).to_string(),
            expected,
            "{op} of {inputs:?}"
        );
    }
}

/// What reads a truth value computes with the number behind it: the two casts are dead.
#[test]
fn a_choice_reads_the_comparison() {
    let nodes = vec![
        node("Less", "", &["x", "zero"], &["c"], vec![]),
        node("Not", "", &["c"], &["d"], vec![]),
        node("Where", "", &["d", "x", "zero"], &["y"], vec![]),
    ];
    let graph = fixture::graph(
        nodes,
        vec![value("x", DataType::FLOAT, "N,4")],
        vec![floats("zero", &[], &[0.0])],
        &["y"],
    );
    let import = import(&model(13, graph)).unwrap();
    assert_eq!(summary(&import.graph), "less equal keep equal keep add cast cast : f32[N,4]");
}

#[test]
fn parameters_that_are_refused() {
    const HUGE: i64 = i64::MAX;
    let pool = |attributes: Vec<AttributeProto>| single(13, "LpPool", &["1,1,4,4"], vec![], attributes);
    let grid =
        |mode: &str| single(16, "GridSample", &["1,1,4,4", "1,2,2,2"], vec![], vec![text("mode", mode)]);
    let einsum =
        |equation: &str| single(13, "Einsum", &["2,3", "3,4"], vec![], vec![text("equation", equation)]);
    let of_one = |op: &str, attributes| single(13, op, &["1,3,4,4"], vec![], attributes);
    let cases: Vec<(ModelProto, &str)> = vec![
        (of_one("LRN", vec![]), "attribute `size` is missing or not positive"),
        (of_one("LRN", vec![int("size", -1)]), "attribute `size` is missing or not positive"),
        (of_one("LRN", vec![int("size", HUGE)]), "(LRN): "),
        (single(13, "LRN", &["3"], vec![], vec![int("size", 3)]), "needs rank 2 or more"),
        (of_one("LpNormalization", vec![int("p", 3)]), "attribute `p` is 3; accepted are 1 and 2"),
        (of_one("ArgMax", vec![int("axis", 4)]), "axis 4 does not exist"),
        (pool(vec![]), "attribute `kernel_shape` is missing"),
        (pool(vec![ints("kernel_shape", &[HUGE, HUGE])]), "(LpPool): "),
        (pool(vec![ints("kernel_shape", &[2, 2]), int("p", 0)]), "attribute `p` is 0; it must be positive"),
        (pool(vec![ints("kernel_shape", &[9, 9]), int("ceil_mode", 1)]), "does not fit"),
        (single(13, "TopK", &["4"], vec![indices("k", &[5])], vec![]), "k is 5; the axis has 4 elements"),
        (single(13, "TopK", &["4"], vec![indices("k", &[-1])], vec![]), "k is -1"),
        (single(13, "TopK", &["4", "1"], vec![], vec![]), "k (operand 1) is computed from data"),
        (single(13, "CumSum", &["4"], vec![index("axis", 1)], vec![]), "axis 1 does not exist"),
        (single(13, "Trilu", &["4"], vec![], vec![]), "is accepted from operator set 14 on"),
        (single(14, "Trilu", &["4"], vec![], vec![]), "needs two axes or more"),
        (
            single(13, "OneHot", &["4"], vec![index("depth", 0), ones("v", &[2])], vec![]),
            "it must be positive",
        ),
        (single(13, "OneHot", &["4"], vec![index("depth", HUGE), ones("v", &[1])], vec![]), "(OneHot): "),
        (
            single(13, "GatherND", &["4,4"], vec![indices("i", &[0, 0, 0])], vec![]),
            "indices of shape [3] for data of shape [4, 4]",
        ),
        (
            single(13, "GatherND", &["4,4"], vec![indices("i", &[0])], vec![int("batch_dims", -1)]),
            "attribute `batch_dims` is -1",
        ),
        (
            single(13, "GatherElements", &["4,4"], vec![indices("i", &[0])], vec![]),
            "indices i64[1] for data f32[4,4]",
        ),
        (
            single(
                16,
                "ScatterND",
                &["4"],
                vec![indices("i", &[0]), ones("u", &[])],
                vec![text("reduction", "mean")],
            ),
            "attribute `reduction` is `mean`; accepted are none, add, mul, min and max",
        ),
        (einsum("ij,jk"), ": f32[2,4]"),
        (einsum("ij"), "is not one of 2 operands"),
        (einsum("ijk,jk->ik"), "does not name the axes of its operand"),
        (einsum("ij,jk->iz"), "names an axis that no operand has, or one twice"),
        (einsum("ij,jk->ii"), "names an axis that no operand has, or one twice"),
        (einsum("i1,1k->ik"), "does not name the axes of its operand"),
        (grid("cubist"), "attribute `mode` is `cubist`"),
        (single(16, "GridSample", &["1,1,4,4", "1,2,2,3"], vec![], vec![]), "does not fit"),
        (single(16, "RoiAlign", &["1,1,4,4", "1,4", "1"], vec![], vec![]), "sampling_ratio is 0"),
        (
            single(
                16,
                "RoiAlign",
                &["1,1,4,4", "1,4", "1"],
                vec![],
                vec![int("sampling_ratio", HUGE), int("output_width", HUGE)],
            ),
            "bins of",
        ),
        (single(20, "AffineGrid", &["1,2,3"], vec![indices("s", &[1, 1, HUGE, HUGE])], vec![]), "fix it"),
        (
            single(18, "Col2Im", &["1,4,9"], vec![indices("a", &[5, 5]), indices("b", &[2])], vec![]),
            "a block of shape [2] for an image",
        ),
        (
            single(18, "Col2Im", &["1,4,9"], vec![indices("a", &[5, 5]), indices("b", &[2, 2])], vec![]),
            "has 9 windows where the image has 16",
        ),
        (
            single(18, "Col2Im", &["1,4,9"], vec![indices("a", &[5, 0]), indices("b", &[2, 2])], vec![]),
            "sizes are positive",
        ),
        (
            single(
                18,
                "Col2Im",
                &["1,4,9"],
                vec![indices("a", &[HUGE, 5]), indices("b", &[HUGE, 2])],
                vec![],
            ),
            "does not fit",
        ),
        (
            single(11, "MaxUnpool", &["1,1,2,2", "1,1,2,2"], vec![], vec![]),
            "attribute `kernel_shape` is missing",
        ),
        (
            single(
                11,
                "MaxUnpool",
                &["1,1,2,2", "1,1,2,2"],
                vec![],
                vec![ints("kernel_shape", &[1, 1]), ints("pads", &[9, 9, 9, 9])],
            ),
            "has a negative size",
        ),
        (single(18, "CenterCropPad", &["N,4"], vec![indices("s", &[3, 3])], vec![]), "axis 0 of"),
        (
            single(23, "Attention", &["1,2,8", "1,2,8", "1,2,8"], vec![], vec![]),
            "attribute `q_num_heads` is missing or not positive",
        ),
        (
            single(23, "Attention", &["1,3,2,8", "1,2,2,8", "1,2,2,8"], vec![], vec![]),
            "3 heads of queries for 2 of keys and values",
        ),
        (
            single(
                23,
                "RotaryEmbedding",
                &["1,2,2,8", "1,2,4", "1,2,4"],
                vec![],
                vec![int("rotary_embedding_dim", 3)],
            ),
            "attribute `rotary_embedding_dim` is 3; it must be even",
        ),
        (
            single(
                13,
                "Range",
                &[],
                vec![floats("a", &[], &[0.0]), floats("b", &[], &[1e30]), floats("c", &[], &[1.0])],
                vec![],
            ),
            "elements from 0 to",
        ),
        (
            single(
                13,
                "Range",
                &[],
                vec![floats("a", &[], &[0.0]), floats("b", &[], &[1.0]), floats("c", &[], &[0.0])],
                vec![],
            ),
            "the step (operand 2) is 0",
        ),
        (single(13, "Range", &[""], vec![index("b", 5), index("c", 1)], vec![]), "(operand 0)"),
        (single(13, "Compress", &["4", "4"], vec![], vec![]), "the size of its result depends on data"),
        (
            single(11, "Pad", &["5"], vec![indices("pads", &[6, 0])], vec![text("mode", "wrap")]),
            "wraps 6 elements around an axis of 5",
        ),
        (single(6, "Add", &["N,3,H,W", "3"], vec![], vec![]), "convert the model to operator set 7"),
        (
            single(6, "Add", &["N,3", "3"], vec![], vec![int("broadcast", 1), int("axis", 2)]),
            "axis 2 does not exist",
        ),
        (single(3, "Add", &["3", "3"], vec![], vec![]), "is accepted from operator set 6 on"),
        (single(6, "BatchNormalization", &["N,3", "3", "3", "3", "3"], vec![], vec![]), "is_test is 0"),
        (
            single(
                13,
                "Resize",
                &["1,4"],
                vec![floats("r", &[0], &[]), floats("s", &[2], &[1.0, 2.0])],
                vec![text("mode", "cubic"), text("coordinate_transformation_mode", "tf_crop_and_resize")],
            ),
            "the region (operand 1) does not have two numbers for each axis",
        ),
        (
            single(
                18,
                "Resize",
                &["1,4"],
                vec![floats("r", &[0], &[]), floats("s", &[2], &[1.0, 1e-30])],
                vec![text("mode", "cubic"), int("antialias", 1)],
            ),
            ": f32[1,0]",
        ),
        (
            single(13, "Shrink", &["4"], vec![], vec![float("lambd", 0.5), float("slope", 1.0)]),
            "attribute `slope` is unknown",
        ),
    ];
    for (model, expected) in cases {
        match import(&model) {
            Ok(import) => {
                let found = summary(&import.graph);
                assert!(
                    expected.starts_with(": ") && found.ends_with(expected),
                    "`{found}` is not refused: {expected}"
                );
            }
            Err(error) => {
                let error = error.to_string();
                assert!(
                    error.contains("node `n` (") && error.contains(expected),
                    "{error}\nis not\n{expected}"
                );
            }
        }
    }
}

/// A weight that PyTorch's exporter standardises by a batch normalisation of it alone, which is small enough to be computed while importing or not. The
/// other results are what training would go on with.
#[test]
fn weights_are_standardised() {
    for taps in [4usize, 400] {
        let elements: Vec<f32> = (0..3 * taps).map(|i| ((i * 37 + 5) % 97) as f32 / 16.0 - 2.0).collect();
        let three = |name: &str, v: [f32; 3]| floats(name, &[3], &v);
        let (gain, bias, mean, variance) =
            ([2.0, 0.5, -1.0], [0.0, 1.0, 3.0], [0.25, 0.0, 1.0], [1.0, 2.0, 0.5]);
        let parameters = vec![
            floats("w", &[1, 3, taps as i64], &elements),
            three("gain", gain),
            three("bias", bias),
            three("mean", mean),
            three("variance", variance),
        ];
        let operands = ["w", "gain", "bias", "mean", "variance"];
        let attributes = vec![int("training_mode", 1), float("epsilon", 0.01), float("momentum", 0.75)];
        let normal = node("BatchNormalization", "n", &operands, &["y", "m", "v"], attributes);
        let results = ["y", "m", "v"].map(|name| value(name, DataType::FLOAT, ""));
        let mut graph = fixture::graph(vec![normal], vec![], parameters, &["y", "m", "v"]);
        graph.output = results.to_vec();
        let graph = import(&model(15, graph)).unwrap().graph;
        let found = twnc_ir::eval::evaluate(&graph, &std::collections::BTreeMap::new()).unwrap();
        let close = |name: &str, i: usize, expected: f64| {
            let got = f64::from(found[name].as_f32().unwrap()[i]);
            assert!((got - expected).abs() < 1e-5, "{taps} taps, {name}[{i}] is {got}, not {expected}");
        };
        for c in 0..3 {
            let channel: Vec<f64> = elements[c * taps..][..taps].iter().map(|&x| f64::from(x)).collect();
            let own_mean = channel.iter().sum::<f64>() / taps as f64;
            let own_variance = channel.iter().map(|x| (x - own_mean).powi(2)).sum::<f64>() / taps as f64;
            for (i, x) in channel.iter().enumerate() {
                let scaled = f64::from(gain[c]) * (x - own_mean) / (own_variance + 0.01).sqrt();
                close("y", c * taps + i, scaled + f64::from(bias[c]));
            }
            close("m", c, 0.75 * f64::from(mean[c]) + 0.25 * own_mean);
            close("v", c, 0.75 * f64::from(variance[c]) + 0.25 * own_variance);
        }
    }
}
