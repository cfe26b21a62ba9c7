//! What single nodes become: operators and types, by operator set.

mod fixture;

use fixture::{float, floats, import, index, indices, int, ints, ones, single, summary, tensor, text};
use onnx_protobuf::{AttributeProto, TensorProto};

/// Operator set, operator, shapes of inputs, constants, attributes, and what it becomes.
type Case = (i64, &'static str, &'static [&'static str], Vec<TensorProto>, Vec<AttributeProto>, &'static str);

fn check(cases: Vec<Case>) {
    for (opset, op, inputs, constants, attributes, expected) in cases {
        let name = format!("{op} in operator set {opset} of {inputs:?}, expecting {expected}");
        match import(&single(opset, op, inputs, constants, attributes)) {
            Ok(import) => assert_eq!(summary(&import.graph), expected, "{name}"),
            Err(error) => panic!("{name}: {error}"),
        }
    }
}

#[test]
fn convolutions() {
    let w = || ones("w", &[4, 3, 3, 3]);
    check(vec![
        (7, "Conv", &["N,3,8,8"], vec![w()], vec![], "conv : f32[N,4,6,6]"),
        (11, "Conv", &["N,3,8,8"], vec![w(), ones("b", &[4])], vec![], "conv add : f32[N,4,6,6]"),
        (11, "Conv", &["N,3,8,8"], vec![w()], vec![ints("pads", &[1, 0, 1, 2])], "conv : f32[N,4,8,8]"),
        (
            11,
            "Conv",
            &["N,3,9,9"],
            vec![w()],
            vec![ints("strides", &[2, 2]), ints("dilations", &[1, 3])],
            "conv : f32[N,4,4,2]",
        ),
        (11, "Conv", &["N,3,H,W"], vec![w()], vec![text("auto_pad", "SAME_UPPER")], "conv : f32[N,4,H,W]"),
        (
            11,
            "Conv",
            &["N,3,9,8"],
            vec![w()],
            vec![text("auto_pad", "SAME_LOWER"), ints("strides", &[2, 2])],
            "conv : f32[N,4,5,4]",
        ),
        (11, "Conv", &["N,3,8,8"], vec![w()], vec![text("auto_pad", "VALID")], "conv : f32[N,4,6,6]"),
        (22, "Conv", &["N,6,8"], vec![ones("w", &[4, 3, 3])], vec![int("group", 2)], "conv : f32[N,4,6]"),
        (
            22,
            "Conv",
            &["1,1,4,4,4"],
            vec![ones("w", &[2, 1, 3, 3, 3])],
            vec![ints("kernel_shape", &[3, 3, 3])],
            "conv : f32[1,2,2,2,2]",
        ),
        (22, "Conv", &["N,3,8,8", "4,3,3,3", "4"], vec![], vec![], "conv reshape add : f32[N,4,6,6]"),
    ]);
}

#[test]
fn products() {
    check(vec![
        (7, "Gemm", &["N,3"], vec![ones("b", &[3, 5]), ones("c", &[5])], vec![], "matmul add : f32[N,5]"),
        (13, "Gemm", &["N,3"], vec![ones("b", &[5, 3])], vec![int("transB", 1)], "matmul : f32[N,5]"),
        (
            13,
            "Gemm",
            &["3,N", "5,3"],
            vec![],
            vec![int("transA", 1), int("transB", 1)],
            "transpose transpose matmul : f32[N,5]",
        ),
        (
            13,
            "Gemm",
            &["N,3"],
            vec![ones("b", &[3, 5]), ones("c", &[5])],
            vec![float("alpha", 0.5), float("beta", 2.0)],
            "matmul mul mul add : f32[N,5]",
        ),
        (13, "MatMul", &["N,4,3"], vec![ones("b", &[3, 5])], vec![], "matmul : f32[N,4,5]"),
        (13, "MatMul", &["3", "2,3,5"], vec![], vec![], "reshape matmul reshape : f32[2,5]"),
        (13, "MatMul", &["2,4,3", "3"], vec![], vec![], "reshape matmul reshape : f32[2,4]"),
        (13, "MatMul", &["3", "3"], vec![], vec![], "reshape reshape matmul reshape : f32[]"),
    ]);
}

#[test]
fn pools() {
    let kernel = || ints("kernel_shape", &[3, 3]);
    let stride = || ints("strides", &[2, 2]);
    check(vec![
        (7, "MaxPool", &["N,3,8,8"], vec![], vec![kernel()], "max_pool : f32[N,3,6,6]"),
        (
            8,
            "MaxPool",
            &["N,3,8,8"],
            vec![],
            vec![kernel(), int("storage_order", 1)],
            "max_pool : f32[N,3,6,6]",
        ),
        (
            10,
            "MaxPool",
            &["N,3,8,8"],
            vec![],
            vec![kernel(), stride(), int("ceil_mode", 1)],
            "max_pool : f32[N,3,4,4]",
        ),
        (
            12,
            "MaxPool",
            &["N,3,H,W"],
            vec![],
            vec![kernel(), stride(), ints("pads", &[1, 1, 1, 1])],
            "max_pool : f32[N,3,(H+1)/(2),(W+1)/(2)]",
        ),
        (
            7,
            "AveragePool",
            &["N,3,8,8"],
            vec![],
            vec![kernel(), int("count_include_pad", 1)],
            "average_pool : f32[N,3,6,6]",
        ),
        (
            19,
            "AveragePool",
            &["N,3,9,9"],
            vec![],
            vec![kernel(), ints("dilations", &[2, 2])],
            "average_pool : f32[N,3,5,5]",
        ),
        (7, "GlobalAveragePool", &["N,3,H,W"], vec![], vec![], "reduce_mean : f32[N,3,1,1]"),
        (7, "GlobalMaxPool", &["N,3,8"], vec![], vec![], "reduce_max : f32[N,3,1]"),
    ]);
}

#[test]
fn normalisations() {
    let parameters = || ["s", "b", "m", "v"].into_iter().map(|name| ones(name, &[3])).collect::<Vec<_>>();
    check(vec![
        (
            7,
            "BatchNormalization",
            &["N,3,8,8"],
            parameters(),
            vec![float("momentum", 0.5)],
            "batch_norm : f32[N,3,8,8]",
        ),
        (
            8,
            "BatchNormalization",
            &["N,3,8,8"],
            parameters(),
            vec![int("spatial", 1)],
            "batch_norm : f32[N,3,8,8]",
        ),
        (
            15,
            "BatchNormalization",
            &["N,3"],
            parameters(),
            vec![int("training_mode", 0)],
            "batch_norm : f32[N,3]",
        ),
        (
            17,
            "LayerNormalization",
            &["N,3"],
            vec![ones("s", &[3])],
            vec![],
            "reduce_mean sub mul reduce_mean add sqrt div mul : f32[N,3]",
        ),
    ]);
}

#[test]
fn activations() {
    check(vec![
        (7, "Relu", &["N,3"], vec![], vec![], "relu : f32[N,3]"),
        (7, "LeakyRelu", &["N,3"], vec![], vec![], "leaky_relu : f32[N,3]"),
        (7, "PRelu", &["N,3,4"], vec![ones("s", &[3, 1])], vec![], "prelu : f32[N,3,4]"),
        (7, "Clip", &["N,3"], vec![], vec![float("max", 6.0)], "clip : f32[N,3]"),
        (11, "Clip", &["N,3"], vec![floats("lo", &[], &[0.0])], vec![], "clip : f32[N,3]"),
        (13, "Clip", &["N,3", "", ""], vec![], vec![], "max min : f32[N,3]"),
        (7, "HardSigmoid", &["N,3"], vec![], vec![], "hard_sigmoid : f32[N,3]"),
        (14, "HardSwish", &["N,3"], vec![], vec![], "hard_swish : f32[N,3]"),
        (12, "Softmax", &["N,3,4"], vec![], vec![], "softmax : f32[N,3,4]"),
        (13, "Softmax", &["N,3,4"], vec![], vec![int("axis", 0)], "softmax : f32[N,3,4]"),
    ]);
}

#[test]
fn shapes() {
    check(vec![
        (7, "Reshape", &["N,4,6"], vec![indices("s", &[0, -1])], vec![], "reshape : f32[N,24]"),
        (14, "Reshape", &["N,4,6"], vec![indices("s", &[-1, 8])], vec![], "reshape : f32[3*N,8]"),
        (
            14,
            "Reshape",
            &["0,4"],
            vec![indices("s", &[4, 0])],
            vec![int("allowzero", 1)],
            "reshape : f32[4,0]",
        ),
        (9, "Flatten", &["N,4,6"], vec![], vec![], "reshape : f32[N,24]"),
        (11, "Flatten", &["N,4,6"], vec![], vec![int("axis", -1)], "reshape : f32[4*N,6]"),
        (13, "Flatten", &["N,4,6"], vec![], vec![int("axis", 0)], "reshape : f32[1,24*N]"),
        (11, "Squeeze", &["N,1,6"], vec![], vec![ints("axes", &[1])], "reshape : f32[N,6]"),
        (13, "Squeeze", &["2,1,6"], vec![], vec![], "reshape : f32[2,6]"),
        (13, "Unsqueeze", &["N,6"], vec![indices("a", &[0, -1])], vec![], "reshape : f32[1,N,6,1]"),
        (7, "Transpose", &["N,4,6"], vec![], vec![], "transpose : f32[6,4,N]"),
        (13, "Transpose", &["N,4,6"], vec![], vec![ints("perm", &[0, 2, 1])], "transpose : f32[N,6,4]"),
        (13, "Identity", &["N,4"], vec![], vec![], ": f32[N,4]"),
        (13, "Dropout", &["N,4"], vec![], vec![], ": f32[N,4]"),
        (
            13,
            "DepthToSpace",
            &["N,8,H,W"],
            vec![],
            vec![int("blocksize", 2)],
            "reshape transpose reshape : f32[N,2,2*H,2*W]",
        ),
        (
            13,
            "SpaceToDepth",
            &["N,2,4,6"],
            vec![],
            vec![int("blocksize", 2)],
            "reshape transpose reshape : f32[N,8,2,3]",
        ),
    ]);
}

#[test]
fn movement() {
    check(vec![
        (11, "Concat", &["N,2", "N,3"], vec![], vec![int("axis", -1)], "concat : f32[N,5]"),
        (
            9,
            "Slice",
            &["N,10"],
            vec![],
            vec![ints("starts", &[2]), ints("ends", &[-1]), ints("axes", &[1])],
            "slice : f32[N,7]",
        ),
        (
            13,
            "Slice",
            &["N,10"],
            vec![indices("s", &[9]), indices("e", &[i64::MIN]), indices("a", &[1]), indices("t", &[-3])],
            vec![],
            "slice : f32[N,4]",
        ),
        (
            13,
            "Slice",
            &["N,H"],
            vec![indices("s", &[0]), indices("e", &[i64::MAX]), indices("a", &[1])],
            vec![],
            ": f32[N,H]",
        ),
        (
            13,
            "Slice",
            &["N,H"],
            vec![indices("s", &[0]), indices("e", &[i64::MAX]), indices("a", &[1]), indices("t", &[2])],
            vec![],
            "slice : f32[N,(H+1)/(2)]",
        ),
        (
            13,
            "Slice",
            &["4,4"],
            vec![indices("s", &[3, 5]), indices("e", &[1, 9])],
            vec![],
            "slice slice : f32[0,0]",
        ),
        (7, "Pad", &["N,4"], vec![], vec![ints("pads", &[0, 1, 0, 2])], "pad : f32[N,7]"),
        (
            13,
            "Pad",
            &["N,4"],
            vec![indices("p", &[0, 1, 0, 2]), floats("v", &[], &[1.0])],
            vec![],
            "pad : f32[N,7]",
        ),
        (
            13,
            "Pad",
            &["N,4"],
            vec![indices("p", &[0, -1, 0, 2])],
            vec![text("mode", "edge")],
            "slice pad : f32[N,5]",
        ),
        (13, "Gather", &["N,4"], vec![index("i", -1)], vec![int("axis", 1)], "gather : f32[N]"),
        (13, "Gather", &["N,4"], vec![indices("i", &[0, 2])], vec![int("axis", 1)], "gather : f32[N,2]"),
        (13, "Expand", &["N,1"], vec![indices("s", &[3, 1, 4])], vec![], "broadcast : f32[3,N,4]"),
        (13, "Tile", &["N,2"], vec![indices("r", &[1, 3])], vec![], "reshape broadcast reshape : f32[N,6]"),
        // As TensorFlow's `repeat` is exported: ten axes, were there a new one for each.
        (
            13,
            "Tile",
            &["N,2,3,1,4"],
            vec![indices("r", &[1, 1, 1, 2, 1])],
            vec![],
            "reshape broadcast reshape : f32[N,2,3,2,4]",
        ),
        (13, "Tile", &["N,2"], vec![indices("r", &[1, 1])], vec![], ": f32[N,2]"),
    ]);
}

#[test]
fn constants_and_casts() {
    check(vec![
        (9, "ConstantOfShape", &[], vec![indices("s", &[2, 3])], vec![], ": f32[2,3]"),
        (9, "ConstantOfShape", &[], vec![indices("s", &[99, 99])], vec![], "broadcast : f32[99,99]"),
        (
            9,
            "ConstantOfShape",
            &[],
            vec![indices("s", &[2])],
            vec![tensor("value", indices("", &[7]))],
            ": i64[2]",
        ),
        (13, "Shape", &["N,4"], vec![], vec![], "dims : i64[2]"),
        (15, "Shape", &["N,4"], vec![], vec![int("start", -1)], ": i64[1]"),
        (13, "Size", &["N,4"], vec![], vec![], "dims reshape : i64[]"),
        (13, "Cast", &["N,4"], vec![], vec![int("to", 7)], "cast : i64[N,4]"),
        (13, "Cast", &["N,4"], vec![], vec![int("to", 10)], ": f32[N,4]"),
        (13, "ReduceMean", &["N,4,5"], vec![], vec![ints("axes", &[-1])], "reduce_mean : f32[N,4,1]"),
        (
            18,
            "ReduceMean",
            &["N,4,5"],
            vec![indices("a", &[1, 2])],
            vec![int("keepdims", 0)],
            "reduce_mean : f32[N]",
        ),
        (18, "ReduceMean", &["N,4,5"], vec![], vec![], "reduce_mean : f32[1,1,1]"),
        (18, "ReduceMean", &["N,4,5"], vec![], vec![int("noop_with_empty_axes", 1)], ": f32[N,4,5]"),
    ]);
}

#[test]
fn resampling() {
    let scales =
        |elements: &[f32]| vec![floats("roi", &[0], &[]), floats("s", &[elements.len() as i64], elements)];
    let sizes = || vec![floats("roi", &[0], &[]), floats("s", &[0], &[]), indices("z", &[1, 1, 7, 5])];
    let linear = || text("mode", "linear");
    let asymmetric =
        || vec![text("coordinate_transformation_mode", "asymmetric"), text("nearest_mode", "floor")];
    check(vec![
        (
            13,
            "Resize",
            &["N,3,H,4"],
            scales(&[1.0, 1.0, 2.0, 1.0]),
            asymmetric(),
            "reshape broadcast reshape : f32[N,3,2*H,4]",
        ),
        (13, "Resize", &["N,3,5,4"], scales(&[1.0, 1.0, 0.5, 1.0]), vec![], "gather : f32[N,3,2,4]"),
        (13, "Resize", &["1,1,7,3"], sizes(), vec![linear()], "gather gather sub mul add : f32[1,1,7,5]"),
        (
            9,
            "Upsample",
            &["N,H"],
            vec![floats("s", &[2], &[1.0, 3.0])],
            vec![],
            "reshape broadcast reshape : f32[N,3*H]",
        ),
        (
            11,
            "ConvTranspose",
            &["N,2,H,4"],
            vec![ones("w", &[2, 3, 2, 2]), ones("b", &[3])],
            vec![ints("strides", &[2, 1])],
            "reshape pad reshape conv add : f32[N,3,2*H,5]",
        ),
        (
            11,
            "ConvTranspose",
            &["N,4,5"],
            vec![ones("w", &[4, 1, 3])],
            vec![int("group", 2), ints("strides", &[2]), ints("pads", &[1, 1]), ints("output_padding", &[1])],
            "reshape pad reshape conv : f32[N,2,10]",
        ),
        (
            11,
            "ConvTranspose",
            &["N,1,5"],
            vec![ones("w", &[1, 1, 1])],
            vec![ints("strides", &[3])],
            "reshape pad reshape slice conv : f32[N,1,13]",
        ),
    ]);
}
