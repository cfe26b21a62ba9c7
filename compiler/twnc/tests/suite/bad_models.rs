//! Models that are not acceptable, one defect each: what the command says of them is a snapshot, exit code and sentence.
//!
//! `refusals` has what can be wrong with command lines and with files that are no models.

use crate::command::{text, twnc};
use crate::fixture::{
    bytes, external, float, floats, graph, index, indices, int, ints, model, node, ones, raw, single,
    text as word, value,
};
use onnx_protobuf::attribute_proto::AttributeType;
use onnx_protobuf::tensor_proto::DataType::{BOOL, FLOAT, INT64};
use onnx_protobuf::{
    AttributeProto, FunctionProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, SparseTensorProto,
    TensorProto,
};

fn conv(weight: TensorProto, attributes: Vec<AttributeProto>) -> ModelProto {
    single(17, "Conv", &["1,4,8,8"], vec![weight], attributes)
}

fn pool(attributes: Vec<AttributeProto>) -> ModelProto {
    single(17, "MaxPool", &["1,4,8,8"], vec![], attributes)
}

fn of(op: &str, shape: &str, constants: Vec<TensorProto>, attributes: Vec<AttributeProto>) -> ModelProto {
    single(17, op, &[shape], constants, attributes)
}

fn nodes(nodes: Vec<NodeProto>, outputs: &[&str]) -> ModelProto {
    model(17, graph(nodes, vec![value("x", FLOAT, "2,4")], vec![], outputs))
}

fn relu(from: &str, to: &str) -> NodeProto {
    node("Relu", &format!("make_{to}"), &[from], &[to], vec![])
}

/// A weight that fits.
fn weight() -> TensorProto {
    ones("w", &[2, 4, 3, 3])
}

/// Attributes that are out of their range, or disagree with shapes.
fn attributes() -> Vec<(&'static str, ModelProto)> {
    let large = 1 << 40;
    vec![
        ("conv_stride_zero", conv(weight(), vec![ints("strides", &[0, 1])])),
        ("conv_stride_negative", conv(weight(), vec![ints("strides", &[1, -1])])),
        ("conv_strides_three", conv(weight(), vec![ints("strides", &[1, 1, 1])])),
        ("conv_dilation_zero", conv(weight(), vec![ints("dilations", &[0, 0])])),
        ("conv_dilation_large", conv(weight(), vec![ints("dilations", &[large, large])])),
        ("conv_pads_negative", conv(weight(), vec![ints("pads", &[-1, 0, 0, 0])])),
        ("conv_pads_two", conv(weight(), vec![ints("pads", &[1, 1])])),
        ("conv_pads_beyond", conv(weight(), vec![ints("pads", &[i64::MAX, 0, i64::MAX, 0])])),
        ("conv_group_zero", conv(weight(), vec![int("group", 0)])),
        ("conv_group_negative", conv(weight(), vec![int("group", -1)])),
        ("conv_group_three", conv(weight(), vec![int("group", 3)])),
        ("conv_group_large", conv(weight(), vec![int("group", i64::MAX)])),
        ("conv_kernel_shape", conv(weight(), vec![ints("kernel_shape", &[5, 5])])),
        ("conv_auto_pad", conv(weight(), vec![word("auto_pad", "SAME_SIDEWAYS")])),
        (
            "conv_auto_pad_and_pads",
            conv(weight(), vec![word("auto_pad", "SAME_UPPER"), ints("pads", &[1; 4])]),
        ),
        ("conv_kernel_large", conv(ones("w", &[1, 4, 30, 30]), vec![])),
        ("conv_channels", conv(ones("w", &[2, 3, 3, 3]), vec![])),
        ("conv_rank", conv(ones("w", &[2, 4, 3]), vec![])),
        ("conv_rank_one", conv(ones("w", &[2]), vec![])),
        ("conv_strides_float", conv(weight(), vec![float("strides", 1.0)])),
        ("conv_one_operand", single(17, "Conv", &["1,4,8,8"], vec![], vec![])),
        ("pool_kernel_absent", pool(vec![])),
        ("pool_kernel_zero", pool(vec![ints("kernel_shape", &[0, 2])])),
        ("pool_kernel_negative", pool(vec![ints("kernel_shape", &[-2, 2])])),
        ("pool_kernel_three", pool(vec![ints("kernel_shape", &[2, 2, 2])])),
        ("pool_kernel_large", pool(vec![ints("kernel_shape", &[large, large])])),
        ("pool_stride_zero", pool(vec![ints("kernel_shape", &[2, 2]), ints("strides", &[0, 0])])),
        ("pool_pads_negative", pool(vec![ints("kernel_shape", &[2, 2]), ints("pads", &[0, 0, -1, 0])])),
        ("pool_ceil_two", pool(vec![ints("kernel_shape", &[2, 2]), int("ceil_mode", 2)])),
        ("softmax_axis", of("Softmax", "2,4", vec![], vec![int("axis", 2)])),
        ("softmax_axis_below", of("Softmax", "2,4", vec![], vec![int("axis", -3)])),
        ("transpose_twice", of("Transpose", "2,4", vec![], vec![ints("perm", &[0, 0])])),
        ("transpose_short", of("Transpose", "2,4", vec![], vec![ints("perm", &[0])])),
        ("concat_axis", of("Concat", "2,4", vec![], vec![int("axis", 5)])),
        ("concat_no_axis", of("Concat", "2,4", vec![], vec![])),
        ("flatten_axis", of("Flatten", "2,4", vec![], vec![int("axis", 9)])),
        ("gather_axis", of("Gather", "2,4", vec![indices("i", &[0])], vec![int("axis", 2)])),
        ("gather_index", of("Gather", "2,4", vec![indices("i", &[7])], vec![int("axis", 1)])),
        ("reshape_count", of("Reshape", "2,4", vec![indices("s", &[3, 3])], vec![])),
        ("reshape_two_unknown", of("Reshape", "2,4", vec![indices("s", &[-1, -1])], vec![])),
        ("reshape_negative", of("Reshape", "2,4", vec![indices("s", &[-2, 4])], vec![])),
        ("reshape_overflow", of("Reshape", "2,4", vec![indices("s", &[i64::MAX, i64::MAX])], vec![])),
        ("expand_disagrees", of("Expand", "2,4", vec![indices("s", &[2, 5])], vec![])),
        ("expand_negative", of("Expand", "2,4", vec![indices("s", &[2, -4])], vec![])),
        ("tile_negative", of("Tile", "2,4", vec![indices("r", &[-1, 1])], vec![])),
        ("tile_short", of("Tile", "2,4", vec![indices("r", &[2])], vec![])),
        ("pad_short", of("Pad", "2,4", vec![indices("p", &[1, 1])], vec![])),
        ("pad_away", of("Pad", "2,4", vec![indices("p", &[0, -3, 0, -3])], vec![])),
        ("pad_reflect", of("Pad", "2,4", vec![indices("p", &[0, 4, 0, 0])], vec![word("mode", "reflect")])),
        ("pad_mode", of("Pad", "2,4", vec![indices("p", &[0, 1, 0, 1])], vec![word("mode", "mirror")])),
        (
            "slice_step_zero",
            of(
                "Slice",
                "2,4",
                vec![indices("s", &[0]), indices("e", &[2]), indices("a", &[1]), indices("t", &[0])],
                vec![],
            ),
        ),
        (
            "slice_axis_twice",
            of(
                "Slice",
                "2,4",
                vec![indices("s", &[0, 0]), indices("e", &[1, 1]), indices("a", &[1, 1])],
                vec![],
            ),
        ),
        ("topk_large", of("TopK", "2,4", vec![indices("k", &[5])], vec![])),
        ("topk_negative", of("TopK", "2,4", vec![indices("k", &[-1])], vec![])),
        ("reduce_axis", of("ReduceMean", "2,4", vec![], vec![ints("axes", &[3])])),
        ("squeeze_not_one", of("Squeeze", "2,4", vec![indices("a", &[1])], vec![])),
        ("unsqueeze_twice", of("Unsqueeze", "2,4", vec![indices("a", &[0, 0])], vec![])),
        ("matmul_inner", of("MatMul", "2,4", vec![ones("w", &[3, 2])], vec![])),
        ("gemm_inner", of("Gemm", "2,4", vec![ones("w", &[4, 2])], vec![int("transB", 1)])),
        ("add_shapes", of("Add", "2,4", vec![ones("b", &[3])], vec![])),
        ("cast_to", of("Cast", "2,4", vec![], vec![int("to", 99)])),
        ("cast_text", of("Cast", "2,4", vec![], vec![int("to", 8)])),
        ("depth_block_zero", of("DepthToSpace", "1,4,2,2", vec![], vec![int("blocksize", 0)])),
        ("depth_channels", of("DepthToSpace", "1,6,2,2", vec![], vec![int("blocksize", 2)])),
        ("einsum_text", of("Einsum", "2,4", vec![], vec![word("equation", "ij->ik")])),
        ("lrn_size", of("LRN", "1,4,2,2", vec![], vec![int("size", 0)])),
        (
            "transposed_output_pad",
            single(
                17,
                "ConvTranspose",
                &["1,4,8,8"],
                vec![ones("w", &[4, 2, 3, 3])],
                vec![ints("output_padding", &[-1, 0])],
            ),
        ),
        (
            "transposed_stride",
            single(
                17,
                "ConvTranspose",
                &["1,4,8,8"],
                vec![ones("w", &[4, 2, 3, 3])],
                vec![ints("strides", &[0, 1])],
            ),
        ),
        (
            "batch_norm_short",
            of(
                "BatchNormalization",
                "1,4,2,2",
                ["s", "b", "m", "v"].map(|name| ones(name, &[3])).into(),
                vec![],
            ),
        ),
        ("range_step", of_constants("Range", vec![index("a", 0), index("b", 5), index("d", 0)], vec![])),
        (
            "range_step_float",
            of_constants("Range", ["a", "b", "d"].map(|n| floats(n, &[], &[0.0])).into(), vec![]),
        ),
        ("gather_index_below", of("Gather", "2,4", vec![indices("i", &[-5])], vec![int("axis", 1)])),
        ("gather_size", {
            let nodes = vec![
                node("Shape", "s", &["x"], &["sizes"], vec![]),
                node("Gather", "n", &["sizes", "i"], &["size"], vec![]),
                node("Reshape", "r", &["x", "size"], &["y"], vec![]),
            ];
            model(17, graph(nodes, vec![value("x", FLOAT, "2,4")], vec![indices("i", &[2])], &["y"]))
        }),
        (
            "gather_elements_index",
            of("GatherElements", "1,4", vec![matrix("i", &[1, 1], &[4])], vec![int("axis", 1)]),
        ),
        ("gather_nd_index", of("GatherND", "2,4", vec![matrix("i", &[2, 2], &[0, 3, 2, 0])], vec![])),
        ("gather_nd_width", of("GatherND", "2,4", vec![matrix("i", &[1, 3], &[0, 0, 0])], vec![])),
        (
            "scatter_nd_index",
            of("ScatterND", "2,4", vec![matrix("i", &[1, 2], &[0, 4]), ones("u", &[1])], vec![]),
        ),
        (
            "scatter_elements_index",
            of(
                "ScatterElements",
                "1,4",
                vec![matrix("i", &[1, 1], &[-5]), ones("u", &[1, 1])],
                vec![int("axis", 1)],
            ),
        ),
        (
            "scatter_reduction",
            of(
                "ScatterElements",
                "1,4",
                vec![matrix("i", &[1, 1], &[0]), ones("u", &[1, 1])],
                vec![word("reduction", "mean")],
            ),
        ),
        (
            "attribute_two_kinds",
            of("Softmax", "2,4", vec![], vec![AttributeProto { f: 1.0, ..int("axis", 1) }]),
        ),
        (
            "attribute_other_kind",
            of(
                "Softmax",
                "2,4",
                vec![],
                vec![AttributeProto { type_: AttributeType::INTS.into(), ..int("axis", 1) }],
            ),
        ),
        ("attribute_of_function", {
            let refers = AttributeProto { ref_attr_name: "a".into(), ..int("axis", 0) };
            of("Softmax", "2,4", vec![], vec![refers])
        }),
        ("attribute_unknown", of("Softmax", "2,4", vec![], vec![int("colour", 1)])),
        (
            "text_not_utf8",
            of(
                "Pad",
                "2,4",
                vec![indices("p", &[0; 4])],
                vec![AttributeProto { s: vec![0xff], ..word("mode", "") }],
            ),
        ),
        ("average_kernel_zero", of("AveragePool", "1,4,8,8", vec![], vec![ints("kernel_shape", &[2, 0])])),
        ("average_dilation_zero", {
            let kernel = ints("kernel_shape", &[2, 2]);
            single(19, "AveragePool", &["1,4,8,8"], vec![], vec![kernel, ints("dilations", &[0, 1])])
        }),
        ("norm_pool_zero", of("LpPool", "1,4,8,8", vec![], vec![ints("kernel_shape", &[2, 2]), int("p", 0)])),
        (
            "instance_norm_short",
            of("InstanceNormalization", "1,4,2,2", ["s", "b"].map(|n| ones(n, &[3])).into(), vec![]),
        ),
        ("group_norm_groups", {
            let constants = ["s", "b"].map(|name| ones(name, &[4])).into();
            single(21, "GroupNormalization", &["1,4,2,2"], constants, vec![int("num_groups", 3)])
        }),
        ("group_norm_zero", {
            let constants = ["s", "b"].map(|name| ones(name, &[4])).into();
            single(21, "GroupNormalization", &["1,4,2,2"], constants, vec![int("num_groups", 0)])
        }),
        ("layer_norm_axis", of("LayerNormalization", "2,4", vec![ones("s", &[4])], vec![int("axis", 2)])),
        ("layer_norm_shape", of("LayerNormalization", "2,4", vec![ones("s", &[3])], vec![])),
        ("split_sum", of("Split", "2,4", vec![indices("s", &[3])], vec![int("axis", 1)])),
        ("split_negative", of("Split", "2,4", vec![indices("s", &[-4])], vec![int("axis", 1)])),
        ("cumulative_axis", of("CumSum", "2,4", vec![index("a", 2)], vec![])),
        ("triangle_rank", of("Trilu", "4", vec![], vec![])),
        ("space_block", of("SpaceToDepth", "1,4,3,3", vec![], vec![int("blocksize", 2)])),
        ("depth_mode", of("DepthToSpace", "1,4,2,2", vec![], vec![int("blocksize", 2), word("mode", "RCD")])),
        ("resize_negative", of("Resize", "1,1,4,4", vec![indices("none", &[])], vec![])),
        ("resize_mode", {
            let constants = vec![floats("r", &[0], &[]), floats("s", &[4], &[1.0, 1.0, 2.0, 2.0])];
            of("Resize", "1,1,4,4", constants, vec![word("mode", "area")])
        }),
        ("resize_zero", {
            let constants = vec![floats("r", &[0], &[]), floats("s", &[4], &[1.0, 1.0, 0.0, 2.0])];
            of("Resize", "1,1,4,4", constants, vec![])
        }),
        ("resize_nan", {
            let constants = vec![floats("r", &[0], &[]), floats("s", &[4], &[1.0, 1.0, f32::NAN, 2.0])];
            of("Resize", "1,1,4,4", constants, vec![])
        }),
        ("resize_vast", {
            let constants = vec![floats("r", &[0], &[]), floats("s", &[4], &[1.0, 1.0, 1e30, 2.0])];
            of("Resize", "1,1,4,4", constants, vec![])
        }),
        ("one_hot_depth", of("OneHot", "2", vec![index("d", -1), floats("v", &[2], &[0.0, 1.0])], vec![])),
        ("einsum_arrows", of("Einsum", "2,4", vec![], vec![word("equation", "ij->i->j")])),
        ("einsum_ranks", of("Einsum", "2,4", vec![], vec![word("equation", "ijk->i")])),
        ("grid_axes", single(20, "GridSample", &["1,1,4,4", "1,4,4,3"], vec![], vec![])),
        ("hardmax_axis", of("Hardmax", "2,4", vec![], vec![int("axis", 3)])),
        ("argmax_axis", of("ArgMax", "2,4", vec![], vec![int("axis", -3)])),
        ("quantise_scales", of("QuantizeLinear", "2,4", vec![ones("s", &[3])], vec![])),
        ("dequantise_float", of("DequantizeLinear", "2,4", vec![ones("s", &[2, 2])], vec![])),
        ("lrn_even", of("LRN", "1,4,2,2", vec![], vec![int("size", i64::MAX)])),
        ("transposed_group", {
            single(17, "ConvTranspose", &["1,4,8,8"], vec![ones("w", &[4, 2, 3, 3])], vec![int("group", 3)])
        }),
        ("transposed_shape", {
            let shape = ints("output_shape", &[1 << 40, 1 << 40]);
            single(17, "ConvTranspose", &["1,4,8,8"], vec![ones("w", &[4, 2, 3, 3])], vec![shape])
        }),
    ]
}

/// A node of constants alone.
fn of_constants(op: &str, constants: Vec<TensorProto>, attributes: Vec<AttributeProto>) -> ModelProto {
    single(17, op, &[], constants, attributes)
}

/// Whole numbers in a shape.
fn matrix(name: &str, dims: &[i64], elements: &[i64]) -> TensorProto {
    TensorProto { dims: dims.into(), ..indices(name, elements) }
}

/// Tensors whose bytes, shapes and types disagree.
fn tensors() -> Vec<(&'static str, ModelProto)> {
    let product = |w: TensorProto| of("MatMul", "2,4", vec![w], vec![]);
    vec![
        ("bytes_short", product(raw("w", FLOAT as i32, &[4, 2], &[0; 31]))),
        ("bytes_long", product(raw("w", FLOAT as i32, &[4, 2], &[0; 33]))),
        ("bytes_none", product(raw("w", FLOAT as i32, &[4, 2], &[]))),
        ("shape_negative", product(raw("w", FLOAT as i32, &[-4, 2], &[0; 32]))),
        ("shape_overflow", product(raw("w", FLOAT as i32, &[i64::MAX, 2], &[0; 32]))),
        ("shape_wraps", product(raw("w", FLOAT as i32, &[1 << 32, 1 << 32], &[]))),
        ("type_unknown", product(raw("w", 77, &[4, 2], &[0; 32]))),
        ("type_undefined", product(raw("w", 0, &[4, 2], &[0; 32]))),
        ("type_text", product(raw("w", 8, &[4, 2], &[]))),
        ("type_complex", product(raw("w", 14, &[4, 2], &[0; 64]))),
        ("type_indices", product(raw("w", INT64 as i32, &[4, 2], &[0; 64]))),
        ("two_places", product(TensorProto { float_data: vec![1.0; 8], ..ones("w", &[4, 2]) })),
        ("two_typed_places", {
            let typed = TensorProto { raw_data: vec![], int64_data: vec![1; 8], ..ones("w", &[4, 2]) };
            product(TensorProto { float_data: vec![1.0; 8], ..typed })
        }),
        (
            "other_field",
            product(TensorProto { raw_data: vec![], int64_data: vec![1; 8], ..ones("w", &[4, 2]) }),
        ),
        (
            "external_and_raw",
            product(TensorProto {
                raw_data: vec![0; 32],
                ..external("w", &[4, 2], &[("location", "w.data")])
            }),
        ),
        ("external_offset", product(external("w", &[4, 2], &[("location", "x.bin"), ("offset", "-1")]))),
        ("external_absent", product(external("w", &[4, 2], &[("location", "absent.data")]))),
        ("external_above", product(external("w", &[4, 2], &[("location", "../w.data")]))),
        ("external_nowhere", product(external("w", &[4, 2], &[]))),
        ("nan", product(floats("w", &[4, 2], &[f32::NAN; 8]))),
        ("infinite", product(floats("w", &[4, 2], &[f32::INFINITY; 8]))),
        ("nan_one", product(floats("w", &[4, 2], &[1.0, -1.0, 1.0, f32::NAN, 1.0, -1.0, 1.0, 1.0]))),
    ]
}

/// Graphs that hang together wrongly.
fn structures() -> Vec<(&'static str, ModelProto)> {
    let open =
        |shape: &str| model(17, graph(vec![relu("x", "y")], vec![value("x", FLOAT, shape)], vec![], &["y"]));
    let with = |change: &dyn Fn(&mut ModelProto)| {
        let mut model = nodes(vec![relu("x", "y")], &["y"]);
        change(&mut model);
        model
    };
    vec![
        ("cycle_of_one", nodes(vec![relu("y", "y")], &["y"])),
        (
            "cycle_of_three",
            nodes(vec![relu("c", "a"), relu("a", "b"), relu("b", "c"), relu("c", "y")], &["y"]),
        ),
        ("undefined", nodes(vec![relu("nothing", "y")], &["y"])),
        ("twice", nodes(vec![relu("x", "y"), relu("x", "y")], &["y"])),
        ("shadows_input", nodes(vec![relu("x", "x")], &["x"])),
        ("output_absent", nodes(vec![relu("x", "z")], &["y"])),
        ("output_empty", nodes(vec![relu("x", "y")], &[""])),
        ("output_twice", nodes(vec![relu("x", "y")], &["y", "y"])),
        ("outputs_none", nodes(vec![relu("x", "y")], &[])),
        ("operand_empty", nodes(vec![relu("", "y")], &["y"])),
        ("no_operands", nodes(vec![node("Relu", "n", &[], &["y"], vec![])], &["y"])),
        ("many_operands", nodes(vec![node("Relu", "n", &["x", "x"], &["y"], vec![])], &["y"])),
        ("many_results", nodes(vec![node("Relu", "n", &["x"], &["y", "z"], vec![])], &["y"])),
        ("operator_empty", nodes(vec![node("", "n", &["x"], &["y"], vec![])], &["y"])),
        ("operator_unknown", nodes(vec![node("Frobnicate", "n", &["x"], &["y"], vec![])], &["y"])),
        (
            "input_twice",
            with(&|m| {
                let x = m.graph.input[0].clone();
                m.graph.mut_or_insert_default().input.push(x)
            }),
        ),
        (
            "constant_twice",
            with(&|m| m.graph.mut_or_insert_default().initializer.extend([ones("w", &[1]), ones("w", &[2])])),
        ),
        ("constant_nameless", with(&|m| m.graph.mut_or_insert_default().initializer.push(ones("", &[1])))),
        (
            "attribute_twice",
            nodes(vec![node("Softmax", "n", &["x"], &["y"], vec![int("axis", 0), int("axis", 1)])], &["y"]),
        ),
        ("no_graph", with(&|m| m.graph = None.into())),
        ("no_opset", with(&|m| m.opset_import.clear())),
        ("opset_zero", with(&|m| m.opset_import[0].version = 0)),
        ("opset_negative", with(&|m| m.opset_import[0].version = -1)),
        ("opset_far", with(&|m| m.opset_import[0].version = 1_000)),
        (
            "opset_twice",
            with(&|m| {
                let mut set = m.opset_import[0].clone();
                set.version = 11;
                m.opset_import.push(set)
            }),
        ),
        ("domain", with(&|m| m.graph.mut_or_insert_default().node[0].domain = "com.example".into())),
        ("input_negative", open("-3,4")),
        // What some exporters write for a size that is open.
        ("input_minus_one", open("-1,4")),
        ("shadows_constant", with(&|m| m.graph.mut_or_insert_default().initializer.push(ones("y", &[2, 4])))),
        // ONNX asks for another order; every engine takes this one.
        ("unsorted", nodes(vec![relu("a", "y"), relu("x", "a")], &["y"])),
        ("opset_same_twice", with(&|m| m.opset_import.push(m.opset_import[0].clone()))),
        ("opset_by_name_too", {
            with(&|m| {
                m.opset_import.push(OperatorSetIdProto {
                    domain: "ai.onnx".into(),
                    version: 11,
                    ..Default::default()
                })
            })
        }),
        ("opset_of_others", with(&|m| m.opset_import[0].domain = "com.example".into())),
        ("version_zero", with(&|m| m.ir_version = 0)),
        ("version_far", with(&|m| m.ir_version = 1_000)),
        (
            "sparse",
            with(&|m| {
                let sparse = SparseTensorProto { values: Some(ones("s", &[1])).into(), ..Default::default() };
                m.graph.mut_or_insert_default().sparse_initializer.push(sparse)
            }),
        ),
        ("branch_absent", of_constants("If", vec![truth("c")], vec![])),
        ("branch_output_absent", branches(graph(vec![], vec![], vec![], &["nothing"]))),
        (
            "branch_outputs",
            branches(graph(vec![], vec![], vec![ones("a", &[1]), ones("b", &[1])], &["a", "b"])),
        ),
        (
            "branch_constant_twice",
            branches(graph(vec![], vec![], vec![ones("a", &[1]), ones("a", &[2])], &["a"])),
        ),
        ("branch_undefined", branches(graph(vec![relu("nothing", "a")], vec![], vec![], &["a"]))),
        ("loop_endless", {
            let pass = ["pass", "go"].map(|name| value(name, INT64, "")).into();
            let body = graph(vec![relu("w", "r")], pass, vec![ones("w", &[1])], &["go", "r"]);
            of_constants("Loop", vec![index("m", i64::MAX), truth("c")], vec![inside("body", body)])
        }),
        ("loop_misfit", {
            let body = graph(vec![], vec![], vec![], &[]);
            of_constants("Loop", vec![index("m", 2), truth("c")], vec![inside("body", body)])
        }),
        ("function_circle", {
            let node = NodeProto { domain: "f".into(), ..node("F", "n", &["x"], &["y"], vec![]) };
            let function = FunctionProto {
                name: "F".into(),
                domain: "f".into(),
                input: vec!["x".into()],
                output: vec!["y".into()],
                node: vec![node.clone()],
                ..Default::default()
            };
            ModelProto { functions: vec![function], ..nodes(vec![node], &["y"]) }
        }),
        (
            "name_of_a_terminal",
            nodes(vec![node("Frobnicate", "\x1b[2Jn\u{9b}", &["x"], &["y"], vec![])], &["y"]),
        ),
        ("sequence", nodes(vec![node("SequenceConstruct", "n", &["x"], &["y"], vec![])], &["y"])),
        ("input_large", open(&format!("{},{}", i64::MAX, i64::MAX))),
        (
            "input_text",
            model(
                17,
                graph(
                    vec![relu("x", "y")],
                    vec![value("x", onnx_protobuf::tensor_proto::DataType::STRING, "2")],
                    vec![],
                    &["y"],
                ),
            ),
        ),
        ("input_type", model(17, graph(vec![relu("x", "y")], vec![value("x", INT64, "2")], vec![], &["y"]))),
        ("rank_nine", open("1,1,1,1,1,1,1,1,1")),
    ]
}

/// A constant that is true.
fn truth(name: &str) -> TensorProto {
    raw(name, BOOL as i32, &[], &[1])
}

/// An attribute that holds a graph.
fn inside(name: &str, graph: GraphProto) -> AttributeProto {
    let ty = AttributeType::GRAPH.into();
    AttributeProto { name: name.into(), g: Some(graph).into(), type_: ty, ..Default::default() }
}

/// An `If` whose branches are both this graph.
fn branches(graph: GraphProto) -> ModelProto {
    let branches = ["then_branch", "else_branch"].map(|name| inside(name, graph.clone()));
    of_constants("If", vec![truth("c")], branches.into())
}

/// Messages within messages, deeper than any exporter goes.
fn nested(depth: usize) -> Vec<u8> {
    let mut inner = vec![];
    for _ in 0..depth {
        // graph.node[0].attribute[0].g, each with its length in front.
        for field in [0x32, 0x2a, 0x0a] {
            let mut length = inner.len();
            let mut outer = vec![field];
            while length >= 128 {
                outer.push(length as u8 | 128);
                length >>= 7;
            }
            outer.push(length as u8);
            outer.extend(inner);
            inner = outer;
        }
    }
    let mut length = inner.len();
    let mut model = vec![0x08, 8, 0x3a];
    while length >= 128 {
        model.push(length as u8 | 128);
        length >>= 7;
    }
    model.push(length as u8);
    model.extend(inner);
    model
}

#[test]
fn each_defect_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let models = attributes().into_iter().chain(tensors()).chain(structures());
    let files = models.map(|(name, model)| (name, bytes(&model)));
    let files: Vec<_> = files.chain([("nested", nested(200))]).collect();
    let mut said = String::new();
    for (name, content) in &files {
        let file = format!("{name}.onnx");
        std::fs::write(folder.path().join(&file), content).unwrap();
        let output = twnc(folder.path(), &format!("{file} -o x.bin --ternarise all"));
        let message = text(&output.stderr);
        assert!(!message.contains("panicked"), "{name}: {message}");
        assert!(!message.contains(|c: char| c.is_control()), "{name} controls the terminal: {message:?}");
        let written = folder.path().join("x.bin").exists();
        assert_eq!(output.status.success(), written, "{name}: {message}");
        let code = output.status.code().unwrap();
        said += &format!("{name}: {code} {}\n", if written { "accepted" } else { &message });
        let _ = std::fs::remove_file(folder.path().join("x.bin"));
    }
    insta::assert_snapshot!(said);
    let refused = said.lines().filter(|line| !line.ends_with("accepted")).count();
    assert!(refused >= 180, "{refused} of {} models are refused", files.len());
}
