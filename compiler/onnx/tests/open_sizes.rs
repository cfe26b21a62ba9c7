//! What is computed of open sizes is what is computed of the same sizes when they are known: each model is imported twice, and both are evaluated.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

use fixture::{float, floats, graph, import, index, indices, int, ints, model, node, text, value};
use onnx_protobuf::tensor_proto::DataType;
use onnx_protobuf::{AttributeProto, ModelProto, NodeProto, TensorProto};
use std::collections::BTreeMap;
use twnc_ir::Tensor;
use twnc_ir::eval::evaluate;

/// A model whose input `x` has this shape.
fn of(shape: &str, nodes: Vec<NodeProto>, constants: Vec<TensorProto>) -> ModelProto {
    model(18, graph(nodes, vec![value("x", DataType::FLOAT, shape)], constants, &["y"]))
}

/// The shape and the elements of `y`, for an input whose elements are all different.
fn run(model: &ModelProto, shape: &[usize]) -> Result<(Vec<usize>, Vec<f32>), String> {
    let import = import(model).map_err(|error| error.to_string())?;
    let elements = (0..shape.iter().product()).map(|i: usize| ((i * 37 + 11) % 101) as f32 / 8.0 - 5.0);
    let x = Tensor::from_f32(shape.to_vec(), elements.collect()).unwrap();
    let y = evaluate(&import.graph, &BTreeMap::from([("x".to_owned(), x)])).map_err(|e| e.to_string())?;
    let y = &y["y"];
    Ok((y.shape().to_vec(), y.as_f32().unwrap().to_vec()))
}

/// With `H` and `W` open, and with them fixed.
fn both(height: usize, width: usize, nodes: &[NodeProto], constants: &[TensorProto], what: &str) {
    let shape = [1, 2, height, width];
    let fixed = of(&format!("1,2,{height},{width}"), nodes.to_vec(), constants.to_vec());
    let fixed = run(&fixed, &shape).unwrap_or_else(|error| panic!("{what}, fixed: {error}"));
    let open = of("1,2,H,W", nodes.to_vec(), constants.to_vec());
    let open = run(&open, &shape).unwrap_or_else(|error| panic!("{what}, open: {error}"));
    assert_eq!(open.0, fixed.0, "{what} at {height}x{width}: the shape");
    let close = |(a, b): (&f32, &f32)| (a - b).abs() <= 1e-5;
    assert!(open.1.iter().zip(&fixed.1).all(close), "{what} at {height}x{width}: {open:?} is not {fixed:?}");
}

const SIZES: [[usize; 2]; 4] = [[4, 6], [1, 5], [7, 3], [9, 2]];

#[test]
fn images_are_resized() {
    let coordinates =
        ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"];
    let roundings = ["floor", "ceil", "round_prefer_floor", "round_prefer_ceil"];
    let mut manners: Vec<Vec<AttributeProto>> = Vec::new();
    for place in coordinates.map(|name| text("coordinate_transformation_mode", name)) {
        manners
            .extend(roundings.map(|rounding| {
                vec![place.clone(), text("mode", "nearest"), text("nearest_mode", rounding)]
            }));
        manners.push(vec![place.clone(), text("mode", "linear")]);
        manners.push(vec![place.clone(), text("mode", "cubic")]);
        manners.push(vec![place, text("mode", "cubic"), float("cubic_coeff_a", -0.5)]);
    }
    // To sizes that are scaled, that are fixed, and that another value has.
    let none = || [floats("r", &[0], &[]), floats("s", &[0], &[])];
    let scaled = |by: [f32; 2]| vec![floats("r", &[0], &[]), floats("s", &[4], &[1.0, 1.0, by[0], by[1]])];
    let [r, s] = none();
    let fixed = vec![r, s, indices("z", &[1, 2, 5, 8])];
    let pooled = |name: &str| {
        let kernel =
            vec![ints("kernel_shape", &[2, 2]), ints("strides", &[1, 1]), ints("pads", &[1, 1, 1, 1])];
        [node("MaxPool", "pool", &["x"], &["p"], kernel), node("Shape", "shape", &["p"], &[name], vec![])]
    };
    for manner in &manners {
        let what: Vec<_> = manner.iter().map(|a| String::from_utf8_lossy(&a.s).into_owned()).collect();
        let what = what.join(" ");
        let resize = |operands: &[&str]| node("Resize", "resize", operands, &["y"], manner.clone());
        for [height, width] in SIZES {
            for by in [[2.0, 3.0], [1.5, 0.75], [1.0, 2.25]] {
                // What becomes empty is no image.
                if height as f32 * by[0] >= 1.0 && width as f32 * by[1] >= 1.0 {
                    both(
                        height,
                        width,
                        &[resize(&["x", "r", "s"])],
                        &scaled(by),
                        &format!("{what} by {by:?}"),
                    );
                }
            }
            both(height, width, &[resize(&["x", "r", "s", "z"])], &fixed, &format!("{what} to a size"));
            let mut nodes = pooled("z").to_vec();
            nodes.push(resize(&["x", "r", "s", "z"]));
            both(height, width, &nodes, &none(), &format!("{what} to another's size"));
        }
    }
}

#[test]
fn images_are_padded_to_multiples() {
    // `(4 - W % 4) % 4` columns behind each row, as window attention has it.
    let nodes = [
        node("Shape", "shape", &["x"], &["s"], vec![int("start", 3), int("end", 4)]),
        node("Mod", "rest", &["s", "four"], &["m"], vec![]),
        node("Sub", "other", &["four", "m"], &["o"], vec![]),
        node("Mod", "pad", &["o", "four"], &["p"], vec![]),
        node("Concat", "pads", &["zeros", "p"], &["pads"], vec![int("axis", 0)]),
        node("Pad", "n", &["x", "pads", "value"], &["y"], vec![]),
    ];
    let constants =
        [indices("four", &[4]), indices("zeros", &[0, 0, 1, 0, 0, 0, 0]), floats("value", &[], &[2.5])];
    for [height, width] in SIZES {
        both(height, width, &nodes, &constants, "padding");
    }
}

/// With strides, what is padded depends on the size.
#[test]
fn windows_cover_all_of_an_image() {
    for mode in ["SAME_UPPER", "SAME_LOWER"] {
        for (kernel, stride) in [(3, 2), (2, 2), (3, 3), (1, 2), (5, 2), (4, 3)] {
            let attributes = vec![
                text("auto_pad", mode),
                ints("strides", &[stride; 2]),
                ints("kernel_shape", &[kernel; 2]),
            ];
            let taps = (2 * kernel * kernel) as usize;
            let weight = (0..taps).map(|i| (i * 7 % 5) as f32 - 1.5).collect::<Vec<_>>();
            let weight = [floats("w", &[1, 2, kernel, kernel], &weight)];
            for [height, width] in SIZES {
                let what = format!("{mode} {kernel}x{kernel}, stride {stride}");
                let conv = node("Conv", "n", &["x", "w"], &["y"], attributes.clone());
                both(height, width, &[conv], &weight, &what);
                let pool = node("MaxPool", "n", &["x"], &["y"], attributes.clone());
                both(height, width, &[pool], &[], &format!("a pool, {what}"));
            }
        }
    }
}

const FLOATS: [(&str, f32); 5] = [("f2", 2.0), ("f3", 3.0), ("f7", 7.0), ("half", 0.5), ("f1.75", 1.75)];

/// `s` as a float, what is done with it, and that as a whole number.
fn by_way_of_floats() -> Vec<(&'static str, Vec<NodeProto>)> {
    let cases: [(&str, &[(&str, &str)]); 14] = [
        ("ceil(w / 2)", &[("Div", "f2"), ("Ceil", "")]),
        ("floor(w / 2)", &[("Div", "f2"), ("Floor", "")]),
        ("2 ceil(w / 2)", &[("Div", "f2"), ("Ceil", ""), ("Mul", "f2")]),
        ("ceil(w / 3)", &[("Div", "f3"), ("Ceil", "")]),
        ("floor(w / 7)", &[("Div", "f7"), ("Floor", "")]),
        ("w / 3, towards zero", &[("Div", "f3")]),
        ("-w / 3, towards zero", &[("Neg", ""), ("Div", "f3")]),
        ("floor(-w / 3)", &[("Neg", ""), ("Div", "f3"), ("Floor", "")]),
        ("floor(1.75 w)", &[("Mul", "f1.75"), ("Floor", "")]),
        ("ceil(w / 2 - 1.75)", &[("Div", "f2"), ("Sub", "f1.75"), ("Ceil", "")]),
        ("floor(w / 2 + 0.5) / 2", &[("Mul", "half"), ("Add", "half"), ("Floor", ""), ("Div", "f2")]),
        ("max(w / 2, 1.75)", &[("Div", "f2"), ("Max", "f1.75"), ("Ceil", "")]),
        ("round(2 w / 2)", &[("Mul", "f2"), ("Div", "f2"), ("Round", "")]),
        ("ceil(w / 1.75)", &[("Div", "f1.75"), ("Ceil", "")]),
    ];
    let nodes = |steps: &[(&str, &str)]| {
        let mut nodes = vec![node("Cast", "to_float", &["s"], &["f"], vec![int("to", 1)])];
        let mut last = "f".to_owned();
        for (i, (op, with)) in steps.iter().enumerate() {
            let operands: Vec<&str> =
                [last.as_str(), with].into_iter().filter(|name| !name.is_empty()).collect();
            let result = format!("f_{i}");
            nodes.push(node(op, &result, &operands, &[&result], vec![]));
            last = result;
        }
        nodes.push(node("Cast", "to_whole", &[&last], &["e"], vec![int("to", 7)]));
        nodes
    };
    cases.into_iter().map(|(what, steps)| (what, nodes(steps))).collect()
}

/// Shapes in parts, repeated, and reduced.
#[test]
fn sizes_are_moved() {
    let cases: [(&str, Vec<NodeProto>); 6] = [
        (
            "Split",
            vec![
                node("Split", "n", &["s", "one_one"], &["h", "w"], vec![]),
                node("Concat", "m", &["w", "h"], &["e"], vec![int("axis", 0)]),
            ],
        ),
        (
            "ReduceSum",
            vec![
                node("ReduceSum", "n", &["s"], &["t"], vec![]),
                node("Concat", "m", &["t", "one"], &["e"], vec![int("axis", 0)]),
            ],
        ),
        (
            "ReduceMax and ReduceMin",
            vec![
                node("ReduceMax", "n", &["s"], &["big"], vec![]),
                node("ReduceMin", "k", &["s"], &["small"], vec![]),
                node("Concat", "m", &["big", "small"], &["e"], vec![int("axis", 0)]),
            ],
        ),
        (
            "Expand",
            vec![
                node("Gather", "g", &["s", "zero"], &["h"], vec![]),
                node("Expand", "n", &["h", "two"], &["e"], vec![]),
            ],
        ),
        (
            "Tile",
            vec![
                node("Gather", "g", &["s", "zero"], &["h"], vec![]),
                node("Tile", "n", &["h", "two"], &["e"], vec![]),
            ],
        ),
        (
            "scales",
            vec![
                node("Cast", "f", &["s"], &["f"], vec![int("to", 1)]),
                node("Add", "d", &["s", "s"], &["d"], vec![]),
                node("Cast", "df", &["d"], &["df"], vec![int("to", 1)]),
                node("Div", "q", &["df", "f"], &["q"], vec![]),
                node("Cast", "n", &["q"], &["e"], vec![int("to", 7)]),
            ],
        ),
    ];
    for (what, moves) in cases {
        let shape = node("Shape", "shape", &["x"], &["s"], vec![int("start", 2)]);
        let slice = node("Slice", "slice", &["x", "zeros", "e", "last"], &["y"], vec![]);
        let nodes: Vec<_> = [shape].into_iter().chain(moves).chain([slice]).collect();
        let constants = [
            indices("zero", &[0]),
            indices("zeros", &[0, 0]),
            indices("last", &[2, 3]),
            indices("one", &[1]),
            indices("two", &[2]),
            indices("one_one", &[1, 1]),
        ];
        for [height, width] in SIZES {
            both(height, width, &nodes, &constants, what);
        }
    }
}

/// Padding by open amounts, in each manner, before and behind.
#[test]
fn images_are_padded_by_what_they_lack() {
    for mode in ["constant", "reflect", "edge"] {
        let nodes = [
            node("Shape", "shape", &["x"], &["s"], vec![int("start", 3), int("end", 4)]),
            node("Div", "half", &["s", "two"], &["h"], vec![]),
            node(
                "Concat",
                "pads",
                &["zeros", "one", "h", "zeros", "zero", "h"],
                &["pads"],
                vec![int("axis", 0)],
            ),
            node("Pad", "n", &["x", "pads"], &["y"], vec![text("mode", mode)]),
        ];
        let constants =
            [indices("two", &[2]), indices("zeros", &[0, 0]), indices("zero", &[0]), indices("one", &[1])];
        for [height, width] in [[4, 6], [2, 5], [7, 3], [9, 2]] {
            both(height, width, &nodes, &constants, mode);
        }
    }
}

/// Places along an axis, as `arange` of floats gives them.
#[test]
fn places_are_counted() {
    for [start, step] in [["f0", "f1"], ["half", "f1"], ["f1", "half"], ["f0", "f1.75"]] {
        let nodes = [
            node("Shape", "shape", &["x"], &["s"], vec![int("start", 3), int("end", 4)]),
            node("Squeeze", "scalar", &["s"], &["c"], vec![]),
            node("Cast", "float", &["c"], &["f"], vec![int("to", 1)]),
            node("Range", "n", &[start, "f", step], &["y"], vec![]),
        ];
        let mut constants = FLOATS.map(|(name, number)| floats(name, &[], &[number])).to_vec();
        constants.extend([floats("f0", &[], &[0.0]), floats("f1", &[], &[1.0])]);
        for [height, width] in SIZES {
            both(height, width, &nodes, &constants, &format!("from {start} by {step}"));
        }
    }
}

/// Places relative to each other, as `arange(1 - W, W)` gives them.
#[test]
fn places_begin_at_an_open_size() {
    for to in [1, 7, 6] {
        let nodes = [
            node("Shape", "shape", &["x"], &["s"], vec![int("start", 3), int("end", 4)]),
            node("Squeeze", "scalar", &["s"], &["c"], vec![]),
            node("Sub", "first", &["one", "c"], &["b"], vec![]),
            node("Cast", "from", &["b"], &["from"], vec![int("to", to)]),
            node("Cast", "to", &["c"], &["to"], vec![int("to", to)]),
            node("Cast", "by", &["one"], &["by"], vec![int("to", to)]),
            node("Range", "n", &["from", "to", "by"], &["z"], vec![]),
            node("Cast", "float", &["z"], &["y"], vec![int("to", 1)]),
        ];
        for [height, width] in SIZES {
            both(height, width, &nodes, &[index("one", 1)], &format!("numbers of type {to}"));
        }
    }
}

/// What stays of an image whose parts change places is the image: its size is known to be the same.
#[test]
fn rolled_images_keep_their_size() {
    let nodes = vec![
        node("Slice", "end", &["x", "three", "far", "axis"], &["a"], vec![]),
        node("Slice", "begin", &["x", "zero", "three", "axis"], &["b"], vec![]),
        node("Concat", "roll", &["a", "b"], &["y"], vec![int("axis", 3)]),
    ];
    let constants = vec![
        indices("zero", &[0]),
        indices("three", &[3]),
        indices("axis", &[3]),
        indices("far", &[i64::MAX]),
    ];
    let model = of("1,2,H,W", nodes.clone(), constants.clone());
    let graph = import(&model).unwrap().graph;
    let shapes: Vec<String> = [graph.ty(graph.outputs()[0].value), graph.ty(graph.inputs()[0].value)]
        .map(ToString::to_string)
        .to_vec();
    assert_eq!(shapes[0], shapes[1]);
    for [height, width] in SIZES {
        both(height, width, &nodes, &constants, "rolled");
    }
}

/// Arithmetic on a size, of which the result is an end of a slice: with `W` open as it is with `W` fixed.
#[test]
fn sizes_are_computed() {
    let two = |op: &str, a: &str, b: &str| vec![node(op, "n", &[a, b], &["e"], vec![])];
    let cases: Vec<(&str, Vec<NodeProto>)> = vec![
        ("w mod 3", two("Mod", "s", "three")),
        ("-5 mod w", two("Mod", "minus", "s")),
        (
            "(w - 5) mod 3, with the sign of w - 5",
            vec![
                node("Sub", "m", &["s", "five"], &["d"], vec![]),
                node("Mod", "n", &["d", "three"], &["e"], vec![int("fmod", 1)]),
            ],
        ),
        ("5 mod w", two("Mod", "five", "s")),
        ("w², and w to the power of 1", {
            let mut nodes = two("Pow", "s", "two");
            nodes[0].output = vec!["square".into()];
            nodes.extend(two("Pow", "square", "one"));
            nodes
        }),
        ("-w", vec![node("Neg", "n", &["s"], &["e"], vec![])]),
        (
            "|3 - w|",
            vec![node("Sub", "m", &["three", "s"], &["d"], vec![]), node("Abs", "n", &["d"], &["e"], vec![])],
        ),
        (
            "(w - 5) / 3, towards zero",
            vec![
                node("Sub", "m", &["s", "five"], &["d"], vec![]),
                node("Div", "n", &["d", "three"], &["e"], vec![]),
            ],
        ),
        (
            "3 (w - 5) / 3",
            vec![
                node("Sub", "m", &["s", "five"], &["d"], vec![]),
                node("Mul", "k", &["d", "three"], &["k"], vec![]),
                node("Div", "n", &["k", "three"], &["e"], vec![]),
            ],
        ),
        (
            "w + 5 > 3 ? w : 3",
            vec![
                node("Add", "m", &["s", "five"], &["d"], vec![]),
                node("Greater", "g", &["d", "three"], &["g"], vec![]),
                node("Where", "n", &["g", "s", "three"], &["e"], vec![]),
            ],
        ),
        (
            "w + 5 <= 3 ? w : 3",
            vec![
                node("Add", "m", &["s", "five"], &["d"], vec![]),
                node("LessOrEqual", "g", &["d", "three"], &["g"], vec![]),
                node("Where", "n", &["g", "s", "three"], &["e"], vec![]),
            ],
        ),
        (
            "w / 2 + 7 > 1.75 ? w : 3",
            vec![
                node("Cast", "f", &["s"], &["f"], vec![int("to", 1)]),
                node("Div", "d", &["f", "f2"], &["d"], vec![]),
                node("Add", "m", &["d", "f7"], &["m"], vec![]),
                node("Greater", "g", &["m", "f1.75"], &["g"], vec![]),
                node("Where", "n", &["g", "s", "three"], &["e"], vec![]),
            ],
        ),
        (
            "w / 2 < 0.5 ? w : 3, and whether as a number",
            vec![
                node("Cast", "f", &["s"], &["f"], vec![int("to", 1)]),
                node("Div", "d", &["f", "f2"], &["d"], vec![]),
                node("Less", "l", &["d", "half"], &["l"], vec![]),
                node("Where", "w", &["l", "s", "three"], &["a"], vec![]),
                node("Cast", "c", &["l"], &["b"], vec![int("to", 7)]),
                node("Add", "n", &["a", "b"], &["e"], vec![]),
            ],
        ),
    ];
    let cases = cases.into_iter().chain(by_way_of_floats());
    for (what, arithmetic) in cases {
        let shape = node("Shape", "shape", &["x"], &["s"], vec![int("start", 3), int("end", 4)]);
        let slice = node("Slice", "slice", &["x", "zero", "e", "last"], &["y"], vec![]);
        let nodes: Vec<_> = [shape].into_iter().chain(arithmetic).chain([slice]).collect();
        let constants =
            [("zero", 0), ("last", 3), ("three", 3), ("one", 1), ("two", 2), ("five", 5), ("minus", -5)];
        let mut constants = constants.map(|(name, number)| indices(name, &[number])).to_vec();
        constants.extend(FLOATS.map(|(name, number)| floats(name, &[], &[number])));
        for width in [1, 2, 3, 4, 5, 7, 9] {
            both(2, width, &nodes, &constants, what);
        }
    }
}

/// A mirror image is narrower than the axis, however wide that turns out to be.
#[test]
fn mirror_images_are_narrower() {
    let nodes = |side: usize| {
        let zeros = ["zero"; 8];
        let mut pads = zeros;
        pads[side] = "s";
        vec![
            node("Shape", "shape", &["x"], &["s"], vec![int("start", 3), int("end", 4)]),
            node("Concat", "pads", &pads, &["pads"], vec![int("axis", 0)]),
            node("Pad", "n", &["x", "pads"], &["y"], vec![text("mode", "reflect")]),
        ]
    };
    for side in [3, 7] {
        for width in [1, 2, 3, 6] {
            let model = of("1,2,H,W", nodes(side), vec![indices("zero", &[0])]);
            let error = run(&model, &[1, 2, 2, width]).unwrap_err();
            assert!(error.contains("index"), "{width} wide, pad {side}: {error}");
        }
    }
}

/// Reductions that are none, or not of vectors, are those of any other value.
#[test]
fn reductions_of_shapes_are_those_of_values() {
    let slice = node("Slice", "slice", &["x", "zeros", "e", "last"], &["y"], vec![]);
    let shape = node("Shape", "shape", &["x"], &["s"], vec![int("start", 2)]);
    let constants = [indices("zeros", &[0, 0]), indices("last", &[2, 3])];
    let nothing = node("ReduceSum", "n", &["s"], &["e"], vec![int("noop_with_empty_axes", 1)]);
    both(4, 6, &[shape.clone(), nothing, slice.clone()], &constants, "of no axes");
    let scalar = vec![
        node("Size", "size", &["s"], &["c"], vec![]),
        node("ReduceMax", "n", &["c"], &["m"], vec![int("keepdims", 0)]),
        node("Expand", "e", &["m", "c1"], &["e"], vec![]),
    ];
    let nodes: Vec<_> = [shape].into_iter().chain(scalar).chain([slice]).collect();
    both(4, 6, &nodes, &[constants.to_vec(), vec![indices("c1", &[2])]].concat(), "of a number");
}

/// What f32 would round is not followed, and what a small file could make too much of is done up to a limit.
#[test]
fn following_ends_where_it_would_be_wrong_or_long() {
    let float = |nodes: Vec<NodeProto>| {
        let mut all = vec![
            node("Shape", "shape", &["x"], &["s"], vec![int("start", 2), int("end", 3)]),
            node("Cast", "float", &["s"], &["f"], vec![int("to", 1)]),
        ];
        all.extend(nodes);
        all.push(node("Slice", "slice", &["x", "zero", "e", "two"], &["y"], vec![]));
        let constants = vec![
            floats("many", &[], &[65536.0]),
            floats("big", &[], &[1000.0]),
            indices("zero", &[0]),
            indices("two", &[2]),
        ];
        import(&of("1,2,H,W", all, constants))
    };
    let rounded = float(vec![
        node("Div", "d", &["f", "many"], &["d"], vec![]),
        node("Add", "a", &["d", "big"], &["a"], vec![]),
        node("Cast", "c", &["a"], &["e"], vec![int("to", 7)]),
    ]);
    let rounded = rounded.unwrap_err().to_string();
    assert!(rounded.contains("by node `a` (Add), which is not followed"), "{rounded}");
    let square = node("Mul", "square", &["f", "f"], &["q"], vec![]);
    let cube = node("Mul", "cube", &["q", "f"], &["k"], vec![]);
    let back = |from: &str| node("Cast", "c", &[from], &["e"], vec![int("to", 7)]);
    assert!(float(vec![square.clone(), back("q")]).is_ok());
    assert!(float(vec![square, cube, back("k")]).unwrap_err().to_string().contains("node `cube` (Mul)"));
    // A thousand numbers of a hundred factors, and again, and again.
    let shape = (0..100).map(|i| format!("D{i}")).collect::<Vec<_>>().join(",");
    let mut nodes = vec![
        node("Shape", "shape", &["x"], &["s"], vec![]),
        node("ReduceSum", "sum", &["s"], &["t"], vec![]),
        node("Expand", "many", &["t", "thousand"], &["m0"], vec![]),
    ];
    nodes.extend((0..3000).map(|i| {
        node("Add", &format!("a{i}"), &[&format!("m{i}"), "one"], &[&format!("m{}", i + 1)], vec![])
    }));
    nodes.push(node("Cast", "c", &["m3000"], &["y"], vec![int("to", 1)]));
    let constants = vec![indices("thousand", &[1024]), indices("one", &[1])];
    let graph = import(&of(&shape, nodes, constants)).unwrap().graph;
    assert!(graph.node_ids().count() > 2500, "what is beyond the limit stays in the graph");
}

/// What cannot be told says which node it is, and what to fix.
#[test]
fn what_is_not_followed_is_named() {
    let nodes = vec![
        node("Shape", "shape", &["x"], &["s"], vec![int("start", 2), int("end", 3)]),
        node("Cast", "float", &["s"], &["f"], vec![int("to", 1)]),
        node("Mul", "third", &["f", "third"], &["t"], vec![]),
        node("Cast", "back", &["t"], &["e"], vec![int("to", 7)]),
        node("Slice", "slice", &["x", "zero", "e", "two"], &["y"], vec![]),
    ];
    let constants = vec![floats("third", &[], &[0.3]), indices("zero", &[0]), indices("two", &[2])];
    let error = import(&of("1,2,H,W", nodes, constants)).unwrap_err().to_string();
    let expected = "ends (operand 2) is computed from open dimensions by node `third` (Mul), which is not followed; fix them";
    assert!(error.contains(expected), "{error}");
    let nodes = vec![
        node("ReduceMax", "max", &["x"], &["m"], vec![int("keepdims", 0)]),
        node("Cast", "whole", &["m"], &["e"], vec![int("to", 7)]),
        node("Slice", "slice", &["x", "zero", "e", "two"], &["y"], vec![]),
    ];
    let error = import(&of("1,2,H,W", nodes, vec![indices("zero", &[0]), indices("two", &[2])])).unwrap_err();
    assert!(error.to_string().contains("is computed from data"), "{error}");
    let antialias = vec![node(
        "Resize",
        "n",
        &["x", "r", "s", "z"],
        &["y"],
        vec![text("mode", "linear"), int("antialias", 1)],
    )];
    let constants = vec![floats("r", &[0], &[]), floats("s", &[0], &[]), indices("z", &[1, 2, 4, 5])];
    let error = import(&of("1,2,H,5", antialias, constants.clone())).unwrap_err().to_string();
    assert!(error.contains("those of axis 2 are open; fix `H`"), "{error}");
    let resize = vec![node("Resize", "n", &["x", "r", "s", "z"], &["y"], vec![text("mode", "linear")])];
    let error = import(&of("1,2,0,5", resize, constants)).unwrap_err().to_string();
    assert!(error.contains("axis 2 is empty"), "{error}");
    let nodes = vec![
        node("Shape", "shape", &["x"], &["s"], vec![int("start", 3), int("end", 4)]),
        node("Sub", "less", &["s", "five"], &["l"], vec![]),
        node("Concat", "pads", &["zeros", "l"], &["pads"], vec![int("axis", 0)]),
        node("Pad", "n", &["x", "pads"], &["y"], vec![]),
    ];
    let constants = vec![indices("five", &[5]), indices("zeros", &[0, 0, 0, 0, 0, 0, 0])];
    let error = import(&of("1,2,H,W", nodes, constants)).unwrap_err().to_string();
    assert!(error.contains("pads axis 3 by W-5, which may be negative; fix it"), "{error}");
}
