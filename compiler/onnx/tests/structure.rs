//! Whole models: shape arithmetic, names, options, and what is wrong with a file, as tables.

mod fixture;

use fixture::{
    bytes, external, float, floats, graph, import, index, indices, int, ints, model, node, ones, raw, single,
    summary, tensor, text, value,
};
use onnx_protobuf::tensor_proto::DataType::{self, FLOAT, INT64};
use onnx_protobuf::{
    FunctionProto, GraphProto, Message, ModelProto, NodeProto, SparseTensorProto, TensorProto, TypeProto,
    ValueInfoProto, type_proto,
};
use twnc_onnx::{ImportOptions, ImportProblem, OnnxError, ShapeOverride, import_bytes, import_file};

/// A graph of these nodes with an input `x` of type `f32[N,4,H,W]`.
fn of(nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> ModelProto {
    model(17, graph(nodes, vec![value("x", FLOAT, "N,4,H,W")], constants, &["y"]))
}

fn op(op_type: &str, inputs: &[&str], output: &str) -> NodeProto {
    node(op_type, "", inputs, &[output], vec![])
}

#[test]
fn arithmetic_on_shapes_leaves_no_node() {
    let shape = || op("Shape", &["x"], "s");
    let pick = |i: &'static str, output: &'static str| op("Gather", &["s", i], output);
    let numbers =
        || vec![index("0", 0), index("2", 2), indices("a0", &[0]), indices("-1", &[-1]), indices("4", &[4])];
    let cases: Vec<(Vec<NodeProto>, &str)> = vec![
        // PyTorch's x.view(x.size(0), -1)
        (
            vec![
                shape(),
                pick("0", "n"),
                op("Unsqueeze", &["n", "a0"], "n1"),
                node("Concat", "", &["n1", "-1"], &["t"], vec![int("axis", 0)]),
                op("Reshape", &["x", "t"], "y"),
            ],
            "reshape : f32[N,4*H*W]",
        ),
        // split of an axis by a number
        (
            vec![
                shape(),
                node("Slice", "", &["s", "4", "5", "a0"], &["rest"], vec![]),
                pick("2", "h"),
                op("Unsqueeze", &["h", "a0"], "h1"),
                op("Mul", &["h1", "4"], "h4"),
                node("Concat", "", &["-1", "h4"], &["t"], vec![int("axis", 0)]),
                op("Reshape", &["x", "t"], "y"),
            ],
            "reshape : f32[N*W,4*H]",
        ),
        // Expand to a shape with -1 for "as it is", as PyTorch writes it
        (
            vec![
                shape(),
                node("ConstantOfShape", "", &["len"], &["ones"], vec![tensor("value", indices("", &[1]))]),
                op("Equal", &["s", "-1"], "keep"),
                op("Where", &["keep", "ones", "s"], "t"),
                node("Slice", "", &["x", "a0", "one", "one"], &["x1"], vec![]),
                op("Expand", &["x1", "t"], "y"),
            ],
            "slice broadcast : f32[N,4,H,W]",
        ),
        // half of an axis
        (
            vec![
                shape(),
                node("Gather", "", &["s", "two"], &["h"], vec![]),
                op("Div", &["h", "two"], "half"),
                op("Slice", &["x", "a0", "half", "two"], "y"),
            ],
            "slice : f32[N,4,(H)/(2),W]",
        ),
        // a shape as data
        (vec![shape(), node("Cast", "", &["s"], &["y"], vec![int("to", 1)])], "dims cast : f32[4]"),
        (
            vec![op("Size", &["x"], "n"), node("Cast", "", &["n"], &["y"], vec![int("to", 6)])],
            "dims reshape cast : i32[]",
        ),
    ];
    for (i, (nodes, expected)) in cases.into_iter().enumerate() {
        let more = vec![indices("5", &[5]), indices("len", &[4]), indices("one", &[1]), indices("two", &[2])];
        let import = import(&of(nodes, [numbers(), more].concat()))
            .unwrap_or_else(|error| panic!("case {i}: {error}"));
        assert_eq!(summary(&import.graph), expected, "case {i}");
    }
}

#[test]
fn names() {
    let nodes = vec![
        node("Conv", "conv", &["x", "w", "b"], &["c"], vec![]),
        node("Relu", "", &["c"], &["activated"], vec![]),
        node("Identity", "", &["activated"], &["y"], vec![]),
    ];
    // In reverse order, with a constant that is also an input (IR 3), and one that nothing reads.
    let nodes = nodes.into_iter().rev().collect();
    let inputs = vec![value("x", FLOAT, "N,4,8,8"), value("w", FLOAT, "2,4,3,3")];
    let constants = vec![ones("w", &[2, 4, 3, 3]), ones("b", &[2]), ones("unused", &[9])];
    let import =
        import(&ModelProto { ir_version: 3, ..model(9, graph(nodes, inputs, constants, &["y"])) }).unwrap();
    let names: Vec<&str> = import.graph.node_ids().map(|id| import.graph.node(id).name.as_str()).collect();
    assert_eq!(names, ["w", "conv", "b", "conv", "activated"]);
    let ports = [import.graph.inputs(), import.graph.outputs()].concat();
    assert_eq!(ports.iter().map(|port| port.name.as_str()).collect::<Vec<_>>(), ["x", "y"]);
}

#[test]
fn options() {
    let nodes = || vec![op("Relu", &["x"], "r"), op("Sigmoid", &["r"], "y"), op("NonZero", &["y"], "z")];
    let model = model(13, graph(nodes(), vec![value("x", FLOAT, "N,3,,?")], vec![], &["z"]));
    let shape = |text: &str| text.parse::<ShapeOverride>().unwrap();
    let cut = |name: &str| vec![name.to_owned()];
    let defaults = || ImportOptions { outputs: cut("y"), ..ImportOptions::default() };
    let cases = vec![
        (defaults(), Ok("relu sigmoid : f32[N,3,x_2,x_3]")),
        (ImportOptions { outputs: cut("r"), ..defaults() }, Ok("relu : f32[N,3,x_2,x_3]")),
        (
            ImportOptions { input_shapes: vec![shape("2x5x7x9")], ..defaults() },
            Ok("relu sigmoid : f32[2,5,7,9]"),
        ),
        (
            ImportOptions { input_shapes: vec![shape("x:Mx3xHxH")], ..defaults() },
            Ok("relu sigmoid : f32[M,3,H,H]"),
        ),
        (ImportOptions { dims: vec![("N".into(), 4)], ..defaults() }, Ok("relu sigmoid : f32[4,3,x_2,x_3]")),
        (
            ImportOptions { dims: vec![("M".into(), 4)], ..defaults() },
            Err("no input has a dimension of this name; named dimensions: N, x_2, x_3"),
        ),
        (ImportOptions { dims: vec![("N".into(), 0)], ..defaults() }, Err("a size is at least 1")),
        (
            ImportOptions { input_shapes: vec![shape("2x5")], ..defaults() },
            Err("has 4 axes; the shape given has 2"),
        ),
        (
            ImportOptions { input_shapes: vec![shape("q:2x5")], ..defaults() },
            Err("with one of the inputs: x"),
        ),
        (
            ImportOptions { outputs: cut("q"), ..defaults() },
            Err("output `q` is a value that nothing defines"),
        ),
        (ImportOptions { max_bytes: 10, ..defaults() }, Err("over the limit of 10")),
        (ImportOptions::default(), Err("node `z` (NonZero): the size of its result depends on data")),
    ];
    for (i, (options, expected)) in cases.into_iter().enumerate() {
        match (import_bytes(&bytes(&model), &options), expected) {
            (Ok(import), Ok(expected)) => assert_eq!(summary(&import.graph), expected, "case {i}"),
            (Err(error), Err(part)) => assert!(error.to_string().contains(part), "case {i}: {error}"),
            (result, expected) => panic!("case {i}: {result:?} where {expected:?} was expected"),
        }
    }
    for text in ["", "1x", "x:1x-2", "1x2.5", "1,2"] {
        assert!(text.parse::<ShapeOverride>().is_err(), "{text}");
    }
}

#[test]
fn all_that_is_not_supported_is_listed() {
    let nodes = vec![
        node("NonZero", "first", &["x"], &["a"], vec![]),
        node("Relu", "fine", &["a"], &["b"], vec![]),
        NodeProto { domain: "com.example".into(), ..node("Fancy", "second", &["b"], &["c"], vec![]) },
        node("Softmax", "third", &["x"], &["d"], vec![int("axis", 9)]),
        node("Add", "", &["c", "d"], &["y"], vec![]),
    ];
    let Err(OnnxError::Import { problem: ImportProblem::Nodes(problems), .. }) = import(&of(nodes, vec![]))
    else {
        panic!("was imported");
    };
    let found: Vec<_> = problems.iter().map(|p| (p.node.as_str(), p.operator.as_str())).collect();
    assert_eq!(found, [("first", "NonZero"), ("second", "com.example::Fancy"), ("third", "Softmax")]);
}

#[test]
fn bad_nodes() {
    let w = || ones("w", &[4, 3, 3, 3]);
    let x = &["N,3,8,8"];
    let cases = vec![
        (single(13, "Conv", x, vec![w()], vec![ints("strides", &[0, 1])]), "stride or dilation is 0"),
        (single(13, "Conv", x, vec![w()], vec![ints("dilations", &[1, 0])]), "stride or dilation is 0"),
        (
            single(13, "Conv", x, vec![w()], vec![ints("strides", &[1])]),
            "`strides` has 1 entries; 2 are needed",
        ),
        (
            single(13, "Conv", x, vec![w()], vec![ints("pads", &[-1, 0, 0, 0])]),
            "a negative size is not supported",
        ),
        (single(13, "Conv", x, vec![w()], vec![int("group", 0)]), "`group` is not positive"),
        (single(13, "Conv", x, vec![w()], vec![int("group", 3)]), "input channels"),
        (single(13, "Conv", x, vec![w()], vec![ints("kernel_shape", &[5, 5])]), "kernel_shape is [5, 5]"),
        (single(13, "Conv", x, vec![w()], vec![text("auto_pad", "SAME")]), "`auto_pad` is `SAME`"),
        (single(13, "Conv", x, vec![w()], vec![int("strides", 1)]), "`strides` is not of type Ints"),
        (single(13, "Conv", x, vec![w()], vec![int("colour", 1)]), "attribute `colour` is unknown"),
        (single(13, "Conv", x, vec![w()], vec![int("group", 1), int("group", 1)]), "`group` is given twice"),
        (single(13, "Conv", x, vec![ones("w", &[4, 3])], vec![]), "of the same rank"),
        (single(13, "Conv", x, vec![ones("w", &[4, 3, 9, 9])], vec![]), "does not fit into 8 elements"),
        (single(13, "Conv", x, vec![w(), ones("b", &[5])], vec![]), "do not broadcast"),
        (
            single(13, "Conv", x, vec![w(), ones("b", &[4]), ones("c", &[4])], vec![]),
            "has 4 operands; 2 to 3",
        ),
        (
            single(
                13,
                "AveragePool",
                &["N,3,H,W"],
                vec![],
                vec![text("auto_pad", "SAME_UPPER"), ints("strides", &[2, 2]), ints("kernel_shape", &[3, 3])],
            ),
            "auto_pad needs the size of every spatial axis here, and one is H; fix it",
        ),
        (single(13, "MaxPool", x, vec![], vec![]), "`kernel_shape` is missing"),
        (
            single(13, "MaxPool", x, vec![], vec![ints("kernel_shape", &[0, 1])]),
            "does not fit the spatial axes",
        ),
        (single(13, "MaxPool", x, vec![], vec![ints("kernel_shape", &[i64::MAX, 1])]), "does not fit"),
        (single(13, "BatchNormalization", x, vec![ones("s", &[3])], vec![]), "has 2 operands; 5 to 5"),
        (
            single(
                14,
                "BatchNormalization",
                &["N,3", "3", "3", "3", "3"],
                vec![],
                vec![int("training_mode", 1)],
            ),
            "training_mode is 1, so that a result depends on the other samples of the batch",
        ),
        (
            single(8, "BatchNormalization", &["N,3", "3", "3", "3", "3"], vec![], vec![int("spatial", 0)]),
            "spatial is 0",
        ),
        (single(13, "HardSwish", x, vec![], vec![]), "is accepted from operator set 14 on"),
        (single(13, "Reshape", x, vec![indices("s", &[-1, -1])], vec![]), "is no shape"),
        (single(13, "Reshape", x, vec![indices("s", &[-2])], vec![]), "is no shape"),
        (single(13, "Reshape", &["3,5"], vec![indices("s", &[-1, 4])], vec![]), "cannot be reshaped"),
        (single(13, "Reshape", &["3,5"], vec![indices("s", &[16])], vec![]), "number of elements"),
        (single(13, "Reshape", &["3,5"], vec![indices("s", &[1, 1, 0])], vec![]), "copies axis 2"),
        (single(13, "Reshape", &["3,5", "2"], vec![], vec![]), "computed from data"),
        (single(13, "Transpose", x, vec![], vec![ints("perm", &[0, 0, 1, 2])]), "does not permute"),
        (single(13, "Transpose", x, vec![], vec![ints("perm", &[0, 1])]), "does not permute"),
        (single(13, "Squeeze", x, vec![indices("a", &[1])], vec![]), "is not 1"),
        (single(13, "Squeeze", x, vec![], vec![]), "which of"),
        (single(13, "Unsqueeze", x, vec![indices("a", &[0, 0])], vec![]), "name one axis twice"),
        (single(13, "Unsqueeze", x, vec![indices("a", &[7])], vec![]), "axis 7 does not exist"),
        (single(13, "Flatten", x, vec![], vec![int("axis", 5)]), "axis 5 does not exist"),
        (single(13, "Concat", &["2,3", "2,4"], vec![], vec![int("axis", 0)]), "concat: operands"),
        (single(13, "Concat", &["2,3"], vec![], vec![]), "`axis` is missing"),
        (single(13, "Slice", x, vec![indices("s", &[0])], vec![]), "starts or ends are missing"),
        (single(13, "Slice", x, vec![indices("s", &[0]), indices("e", &[1, 2])], vec![]), "differ in length"),
        (
            single(
                13,
                "Slice",
                x,
                vec![indices("s", &[0]), indices("e", &[1]), indices("a", &[1]), indices("t", &[0])],
                vec![],
            ),
            "a step is 0",
        ),
        (single(13, "Pad", x, vec![indices("p", &[1, 1])], vec![]), "2 pads for 4 axes"),
        (
            single(13, "Pad", x, vec![indices("p", &[0; 8])], vec![text("mode", "spiral")]),
            "attribute `mode` is `spiral`",
        ),
        (
            single(13, "Pad", &["2,3"], vec![indices("p", &[0, 3, 0, 0])], vec![text("mode", "reflect")]),
            "nothing to pad",
        ),
        (single(13, "Pad", &["2,3"], vec![indices("p", &[0, i64::MAX, 0, i64::MAX])], vec![]), "too large"),
        (single(13, "Split", &["2,3"], vec![indices("s", &[1, 2])], vec![int("axis", 1)]), "for 1 results"),
        (single(13, "Gather", &["2,3"], vec![floats("i", &[], &[0.0])], vec![]), "gather does not take"),
        (single(13, "Cast", x, vec![], vec![int("to", 8)]), "elements of type STRING are not supported"),
        (single(13, "Cast", x, vec![], vec![int("to", 1 << 40)]), "`to` is 1099511627776"),
        (single(13, "Cast", x, vec![], vec![]), "`to` is missing"),
        (single(13, "ReduceMean", x, vec![], vec![ints("axes", &[1, 1])]), "name one axis twice"),
        (single(13, "ReduceMean", x, vec![], vec![int("keepdims", 2)]), "`keepdims` is 2; it must be 0 or 1"),
        (single(13, "MatMul", &["2,3", "4,5"], vec![], vec![]), "inner sizes"),
        (single(13, "Gemm", &["2,3,4", "4,5"], vec![], vec![]), "multiplies matrices"),
        (
            single(13, "Gemm", &["2,3", "3,5"], vec![ones("c", &[7, 2, 5])], vec![]),
            "must broadcast to the product",
        ),
        (single(13, "Add", &["2,3", "2,4"], vec![], vec![]), "do not broadcast"),
        (single(13, "Add", &["2,3"], vec![indices("i", &[1])], vec![]), "element types"),
        (single(13, "PRelu", &["3", "2,3"], vec![], vec![]), "must broadcast to"),
        (single(13, "ConstantOfShape", &[], vec![indices("s", &[-1])], vec![]), "a size is -1"),
        (
            single(
                13,
                "ConstantOfShape",
                &[],
                vec![indices("s", &[2])],
                vec![tensor("value", ones("", &[2]))],
            ),
            "must have 1",
        ),
        (
            single(13, "Constant", &[], vec![], vec![text("value_string", "a")]),
            "has no value that is supported",
        ),
        (
            single(
                13,
                "Constant",
                &[],
                vec![],
                vec![tensor("value", external("", &[1], &[("location", "x")]))],
            ),
            "the model is not a file",
        ),
        (
            single(13, "Dropout", &["2,3"], vec![floats("r", &[], &[0.5]), raw("t", 9, &[], &[1])], vec![]),
            "training_mode is true",
        ),
        (
            single(21, "QuantizeLinear", &["2,3", ""], vec![], vec![int("block_size", 2)]),
            "axis 1 of its data has 3 elements, which is no multiple of the block_size 2",
        ),
        (single(13, "Relu", &["2,3"], vec![], vec![float("alpha", 1.0)]), "attribute `alpha` is unknown"),
        (single(13, "Gather", &["2,3"], vec![index("i", 2)], vec![]), "index 2 (operand 1) does not exist"),
        (single(13, "Gather", &["2,3"], vec![index("i", -3)], vec![]), "the axis has 2 elements"),
        (
            single(13, "Range", &[], vec![index("a", 0), index("b", 4), index("d", 0)], vec![]),
            "the step (operand 2) is 0",
        ),
        (
            single(
                13,
                "Flatten",
                &["2,3"],
                vec![],
                vec![onnx_protobuf::AttributeProto { f: 1.0, ..int("axis", 1) }],
            ),
            "is said to be of type Int and holds [Float, Int]",
        ),
    ];
    for (i, (model, expected)) in cases.into_iter().enumerate() {
        let error = import(&model).expect_err(expected).to_string();
        assert!(error.starts_with("model: node `n` ("), "case {i}: {error}");
        assert!(error.contains(expected), "case {i}: {error}\nis not\n{expected}");
    }
}

#[test]
fn bad_files() {
    let good =
        || model(13, graph(vec![op("Relu", &["x"], "y")], vec![value("x", FLOAT, "1,2")], vec![], &["y"]));
    let with = |graph: GraphProto| model(13, graph);
    let x = || vec![value("x", FLOAT, "1,2")];
    let sequence =
        TypeProto { value: Some(type_proto::Value::SequenceType(Default::default())), ..Default::default() };
    let untyped =
        |ty: Option<TypeProto>| ValueInfoProto { name: "x".into(), type_: ty.into(), ..Default::default() };
    let relu = || vec![op("Relu", &["x"], "y")];
    let loop_of = |a: &str, b: &str| {
        vec![node("Relu", "one", &[b], &[a], vec![]), node("Relu", "two", &[a], &[b], vec![])]
    };
    let sparse = SparseTensorProto { values: Some(ones("s", &[1])).into(), ..Default::default() };
    let function = FunctionProto { name: "F".into(), domain: "f".into(), ..Default::default() };
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (vec![], "it holds no graph"),
        (b"hello, this is not a model".to_vec(), "is not an ONNX model"),
        (bytes(&good())[..20].to_vec(), "is not an ONNX model"),
        (bytes(&ModelProto { ir_version: 2, ..good() }), "the IR version is 2; accepted are 3 to 13"),
        (bytes(&ModelProto { ir_version: 14, ..good() }), "the IR version is 14"),
        (bytes(&model(0, good().graph.unwrap())), "the operator set is 0; accepted are 1 to 27"),
        (bytes(&with(graph(relu(), x(), vec![], &[]))), "has no outputs"),
        (bytes(&with(graph(relu(), x(), vec![], &["q"]))), "output `q` is a value that nothing defines"),
        (bytes(&with(graph(relu(), x(), vec![], &["y", "y"]))), "two outputs are named `y`"),
        (
            bytes(&with(graph(relu(), vec![], vec![], &["y"]))),
            "node `y` reads `x`, a value that nothing defines",
        ),
        (
            bytes(&with(graph([relu(), relu()].concat(), x(), vec![], &["y"]))),
            "`y`, a result of node `y`, is defined twice",
        ),
        (bytes(&with(graph(vec![op("Relu", &["x"], "x")], x(), vec![], &["x"]))), "is defined twice"),
        (bytes(&with(graph(relu(), [x(), x()].concat(), vec![], &["y"]))), "two inputs are named `x`"),
        (
            bytes(&with(graph(relu(), x(), vec![ones("w", &[1]), ones("w", &[1])], &["y"]))),
            "two initialisers are named `w`",
        ),
        (bytes(&with(graph(relu(), x(), vec![ones("", &[1])], &["y"]))), "an initialiser has no name"),
        (bytes(&with(graph(relu(), vec![value("", FLOAT, "1")], vec![], &["y"]))), "an input has no name"),
        (bytes(&with(graph(loop_of("y", "z"), x(), vec![], &["y"]))), "nodes form a cycle: `one`, `two`"),
        (bytes(&with(graph(vec![op("Relu", &["y"], "y")], x(), vec![], &["y"]))), "nodes form a cycle: `y`"),
        (bytes(&with(graph(relu(), vec![untyped(None)], vec![], &["y"]))), "input `x`: has no type"),
        (bytes(&with(graph(relu(), vec![untyped(Some(sequence))], vec![], &["y"]))), "only dense tensors"),
        (
            bytes(&with(graph(relu(), vec![value("x", DataType::STRING, "1")], vec![], &["y"]))),
            "elements of type STRING",
        ),
        (
            bytes(&with(graph(relu(), vec![value("x", DataType::UINT16, "1")], vec![], &["y"]))),
            "elements of type UINT16",
        ),
        (
            bytes(&with(GraphProto {
                sparse_initializer: vec![sparse],
                ..graph(relu(), x(), vec![], &["y"])
            })),
            "initialiser `s` is sparse",
        ),
        (
            bytes(&with(graph(
                vec![op("Add", &["x", "w"], "y")],
                x(),
                vec![raw("w", 1, &[2], &[0; 3])],
                &["y"],
            ))),
            "tensor `w`: 3 bytes of data",
        ),
        (
            bytes(&with(graph(
                vec![op("Add", &["x", "w"], "y")],
                x(),
                vec![raw("w", 1, &[2], &[0; 9])],
                &["y"],
            ))),
            "tensor `w`: 9 bytes of data",
        ),
        (
            bytes(&with(graph(
                vec![op("Add", &["x", "w"], "y")],
                x(),
                vec![TensorProto { float_data: vec![1.0; 2], ..ones("w", &[2]) }],
                &["y"],
            ))),
            "tensor `w`: has elements in `raw_data` and in `float_data`; keep one of them",
        ),
        (bytes(&model(1000, good().graph.unwrap())), "the operator set is 1000; accepted are 1 to 27"),
        (bytes(&ModelProto { opset_import: vec![], ..good() }), "no operator set is imported"),
        (
            bytes(&ModelProto {
                opset_import: [12, 13]
                    .map(|n| model(n, GraphProto::default()).opset_import[0].clone())
                    .into(),
                ..good()
            }),
            "operator sets 12 and 13 are imported for domain `ai.onnx`",
        ),
        (
            bytes(&with(graph(relu(), vec![value("x", FLOAT, "-3,2")], vec![], &["y"]))),
            "input `x`: axis 0 has size -3",
        ),
        (
            bytes(&with(graph(relu(), vec![value("x", FLOAT, "4294967296,4294967296")], vec![], &["y"]))),
            "has more elements than can be counted",
        ),
        (bytes(&with(graph(vec![op("", &["x"], "y")], x(), vec![], &["y"]))), "names no operator"),
        (
            bytes(&ModelProto {
                functions: vec![function],
                ..with(graph(
                    vec![NodeProto { domain: "f".into(), ..op("F", &["x"], "y") }],
                    x(),
                    vec![],
                    &["y"],
                ))
            }),
            "has more operands or results than the function",
        ),
        (
            bytes(&with(graph(vec![node("Relu", "n", &[""], &["y"], vec![])], x(), vec![], &["y"]))),
            "operand 0 is missing",
        ),
        (
            bytes(&with(graph(vec![node("Relu", "n", &["x"], &["z", "y"], vec![])], x(), vec![], &["y"]))),
            "result 1 (`y`) is not supported",
        ),
        (
            bytes(&with(graph(
                vec![op("Add", &["x", "i"], "y")],
                vec![value("x", FLOAT, "1"), value("i", INT64, "1")],
                vec![],
                &["y"],
            ))),
            "element types",
        ),
    ];
    for (i, (bytes, expected)) in cases.into_iter().enumerate() {
        let error = import_bytes(&bytes, &ImportOptions::default()).expect_err(expected).to_string();
        assert!(
            error.starts_with("model: ") && error.contains(expected),
            "case {i}: {error}\nis not\n{expected}"
        );
    }
    let error = import_file("no such file.onnx", &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.starts_with("no such file.onnx: cannot be read"), "{error}");
}

#[test]
fn damaged_files_do_not_panic() {
    let nodes = vec![
        node("Conv", "", &["x", "w"], &["c"], vec![ints("pads", &[1, 1, 1, 1])]),
        op("Shape", &["c"], "s"),
        op("Reshape", &["c", "s"], "y"),
    ];
    let whole = of(nodes, vec![ones("w", &[2, 4, 3, 3])]).write_to_bytes().unwrap();
    let mut imported = 0;
    for i in 0..whole.len() {
        let truncated = import_bytes(&whole[..i], &ImportOptions::default());
        let mut flipped = whole.clone();
        for bit in 0..8 {
            flipped[i] ^= 1 << bit;
            imported += usize::from(import_bytes(&flipped, &ImportOptions::default()).is_ok());
            flipped[i] ^= 1 << bit;
        }
        assert!(i > 40 || truncated.is_err(), "the first {i} bytes were imported");
    }
    assert!(imported > 0, "flips in the weights' values change nothing else");
}
