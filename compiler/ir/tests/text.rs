//! The text form: what is printed parses to the same graph, and what is not a graph is refused with its place.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

use proptest::prelude::*;
use std::sync::Arc;
use twnc_ir::{
    Attribute, Attributes, CustomCall, CustomOperator, CustomRegistry, Dim, ElementType, Graph, GraphBuilder,
    Op, Rewriter, Tensor, TensorType, ValueId, text,
};

/// One of every operator, with attributes that are not the default, open sizes, and numbers that are hard to print.
const EVERYTHING: &str = r#"graph "all \"of\" it" (%0 "image": f32[N,3,H,8], %90 "ids": i64[N]) -> (%40 "y", %41 "z", %0 "image") {
  %1 = const f32[4] "odd numbers" [-0.0, inf, NaN, 1e-45]
  %2 = const ternary[4,3,2,2] "w" [1,0,-1,1,1,0,-1,1,1,0,-1,1,1,0,-1,1,1,0,-1,1,1,0,-1,1,1,0,-1,1,1,0,-1,1,1,0,-1,1,1,0,-1,1,1,0,-1,1,1,0,-1,1]
  %3 = conv(%0, %2) {strides=[2,1], dilations=[1,2], pads_begin=[1,0], pads_end=[0,1]} "conv" : f32[N,4,(H+1)/(2),7]
  %4 = batch_norm(%3, %1, %1, %1, %1) {epsilon=1e-5} "bn" : f32[N,4,(H+1)/(2),7]
  %5 = leaky_relu(%4) {slope=0.1} : f32[N,4,(H+1)/(2),7]
  %6 = clip(%5) {min=-inf, max=6.0} : f32[N,4,(H+1)/(2),7]
  %7 = hard_sigmoid(%6) {alpha=0.2, beta=0.5} : f32[N,4,(H+1)/(2),7]
  %8 = max_pool(%7) {kernel=[1,2], strides=[1,2], ceil=true} : f32[N,4,(H+1)/(2),4]
  %9 = average_pool(%8) {kernel=[1,2], count_padding=true} : f32[N,4,(H+1)/(2),3]
  %10 = reduce_mean(%9) {axes=[2,3], keep_dims=true} : f32[N,4,1,1]
  %11 = reshape(%10) {shape=[N,4]} : f32[N,4]
  %12 = softmax(%11) {axes=[1]} : f32[N,4]
  %13 = transpose(%12) {perm=[1,0]} : f32[4,N]
  %14 = slice(%13) {axis=0, start=3, size=2, step=-1} : f32[2,N]
  %15 = pad(%14) {begin=[1,0], end=[0,0], value=-1.5} : f32[3,N]
  %16 = pad(%15) {begin=[1,0], end=[0,0], mode=reflect} : f32[4,N]
  %17 = concat(%16, %13) {axis=0} : f32[8,N]
  %18 = gather(%17, %90) {axis=1} : f32[8,N]
  %19 = cast(%18) {to=i32} : i32[8,N]
  %20 = dims() {values=[N,2*N+1]} : i64[2]
  %21 = broadcast(%20) {shape=[3,2]} : i64[3,2]
  %30 = add(%17, %18) : f32[8,N]
  %40 = relu(%30) "last" : f32[8,N]
  %41 = neg(%19) : i32[8,N]
  %42, %43 = quantize(%0) {bits=12, signed=true, scale=0.05} "fixed" : i16[N,3,H,8], f32[N,1,1,1]
  %44 = conv(%42, %2) {strides=[2,1]} : i32[N,4,H/2,7]
  %45, %46 = quantize(%40) {bits=8} : i16[8,N], f32[8,1]
  %50 = exp(%40) "dead" : f32[8,N]
}
"#;

fn parse(source: &str) -> Result<Graph, String> {
    text::parse(source, &CustomRegistry::default()).map_err(|e| e.to_string())
}

#[test]
fn printing_is_the_inverse_of_parsing() {
    let graph = parse(EVERYTHING).unwrap();
    twnc_ir::verify::verify(&graph).unwrap();
    let printed = text::print_full(&graph);
    insta::assert_snapshot!(printed);
    assert_eq!(text::print_full(&parse(&printed).unwrap()), printed);
    // With digests, against the graph that the text came from.
    let short = text::print(&graph);
    assert!(short.contains("const ternary[4,3,2,2] \"w\" #"), "{short}");
    let find = |name: &str, _: &TensorType, _: u64| {
        let node = graph.node_ids().map(|id| graph.node(id)).find(|node| node.name == name)?;
        node.op.as_constant().cloned()
    };
    let again = text::parse_with(&short, &CustomRegistry::default(), &find).unwrap();
    assert_eq!(text::print_full(&again), printed);
}

#[test]
fn the_smallest_numbers_are_read_back() {
    let source = r#"graph "g" () -> (%0 "y") {
  %0 = const i64[2] "ends" [-9223372036854775808, 9223372036854775807]
  %1 = dims() {values=[-9223372036854775808]} : i64[1]
}
"#;
    assert_eq!(text::print(&parse(source).unwrap()), source);
}

/// What once printed and did not read back, or read as something else.
#[test]
fn sizes_read_back() {
    let nested = |times: usize, f: fn(&Dim) -> Dim| (0..times).fold(Dim::symbol("N"), |dim, _| f(&dim));
    let term = |c: i64, name: &str| Dim::symbol(name).checked_mul(&Dim::fixed(c)).unwrap();
    let cases = [
        ("divisions, as deep as they get", nested(127, |d| half(&one_more(d)))),
        ("divisions with a sign", nested(127, |d| half(&Dim::fixed(1).checked_sub(d).unwrap()))),
        ("minima", nested(127, |d| one_more(d).minimum(&Dim::fixed(7)).unwrap())),
        ("the smallest number behind a term", Dim::symbol("N").checked_add(&Dim::fixed(i64::MIN)).unwrap()),
        ("the smallest number as a factor", term(i64::MIN, "N")),
        ("the smallest number as a second factor", one_more(&term(i64::MIN, "N"))),
        ("both", term(i64::MIN, "A").checked_add(&term(i64::MIN, "B")).unwrap()),
        (
            "the smallest number divided",
            Dim::symbol("N").checked_add(&Dim::fixed(i64::MIN)).map(|d| half(&d)).unwrap(),
        ),
        ("words of the grammar", Dim::symbol("min").checked_mul(&Dim::symbol("inf")).unwrap()),
        ("no name, blanks, quotes", Dim::symbol("").checked_mul(&Dim::symbol("a \"b\"\n")).unwrap()),
    ];
    for (case, dim) in cases {
        let mut build = GraphBuilder::new("g");
        let x = build.input("x", TensorType::f32(vec![dim.clone()]));
        let sizes = build.node(Op::Dims(vec![dim.clone()]), &[], "").unwrap();
        build.output("x", x);
        build.output("sizes", sizes);
        let graph = build.finish();
        let printed = text::print(&graph);
        let read = parse(&printed).unwrap_or_else(|e| panic!("{case}: {e}\n{printed}"));
        assert_eq!(read, graph, "{case}");
        assert_eq!(text::print(&read), printed, "{case}");
    }
}

fn one_more(dim: &Dim) -> Dim {
    dim.checked_add(&Dim::fixed(1)).unwrap()
}

fn half(dim: &Dim) -> Dim {
    dim.floor_div(&Dim::fixed(2)).unwrap()
}

/// The parser recurses to a bound, which a small stack holds.
#[test]
fn hostile_nesting_does_not_exhaust_the_stack() {
    let sizes = |size: &str| format!("graph \"g\" () -> () {{ %0 = dims() {{values=[{size}]}} : i64[1] }}");
    let cases = [
        (sizes(&"(".repeat(100_000)), "nested more than 260 deep"),
        (sizes(&"[".repeat(100_000)), "nested more than 260 deep"),
        (sizes(&"min(1,".repeat(100_000)), "nested more than 260 deep"),
        (sizes(&"-".repeat(100_000)), "expected a size, found `]`"),
        (sizes(&format!("{}N{}", "(".repeat(250), ")".repeat(250))), ""),
    ];
    let parse_all = move || {
        for (source, message) in cases {
            let found = parse(&source).map(drop).err().unwrap_or_default();
            assert!(found.ends_with(message) && message.is_empty() == found.is_empty(), "{found}");
        }
    };
    std::thread::Builder::new().stack_size(512 << 10).spawn(parse_all).unwrap().join().unwrap();
}

/// Once a number in a text was an index, and one line allocated 75 MB.
#[test]
fn numbers_of_values_are_no_positions() {
    let source = r#"graph "g" (%2147483647 "x": f32[N]) -> (%1048575 "y") {
  %1048575 = relu(%2147483647) : f32[N]
}
"#;
    let mut graph = parse(source).unwrap();
    assert_eq!(text::print(&graph), source);
    let ids: Vec<_> = graph.value_ids().collect();
    assert_eq!(ids, [ValueId(1_048_575), ValueId(2_147_483_647)]);
    let mut rewriter = Rewriter::new(&mut graph);
    let constant = rewriter.constant(Tensor::scalar(1.0), "next");
    assert_eq!(constant, ValueId(2_147_483_648));
}

/// `custom "test::split"`, with any attributes: its operand, and a vector as long as its first axis.
struct Split;

impl CustomOperator for Split {
    fn name(&self) -> &str {
        "test::split"
    }

    fn infer(&self, _: &Attributes, operands: &[&TensorType]) -> Result<Vec<TensorType>, String> {
        let [x] = operands else { return Err("it takes one operand".into()) };
        Ok(vec![(*x).clone(), TensorType::new(ElementType::I64, x.shape[..1].to_vec())])
    }

    fn evaluate(&self, _: &Attributes, _: &[Tensor]) -> Result<Vec<Tensor>, String> {
        Err("it has no value".into())
    }
}

#[test]
fn custom_operators_read_back() {
    let mut registry = CustomRegistry::default();
    registry.register(Arc::new(Split));
    let attributes = Attributes::from([
        ("plain".into(), Attribute::Int(-3)),
        ("not a word".into(), Attribute::Int(i64::MIN)),
        ("".into(), Attribute::Float(2.0)),
        ("no_floats".into(), Attribute::Floats(vec![])),
        ("no_ints".into(), Attribute::Ints(vec![])),
        ("floats".into(), Attribute::Floats(vec![1.0, -0.0, f32::NEG_INFINITY, 1e-45, 1e20])),
        ("ints".into(), Attribute::Ints(vec![i64::MIN, 0, i64::MAX])),
        ("text".into(), Attribute::String("say \"f32[]\",\n\u{1}".into())),
        ("empty".into(), Attribute::String("".into())),
        ("日本".into(), Attribute::Float(f32::MAX)),
    ]);
    let mut build = GraphBuilder::new("g");
    let x = build.input("x", TensorType::f32(vec![Dim::symbol("N"), 3.into()]));
    let op = Op::Custom(CustomCall { operator: Arc::new(Split), attributes });
    let results = build.nodes(op, &[x], "both").unwrap();
    let flat = build.node(Op::Reshape { shape: vec![Dim::symbol("M")] }, &[results[0]], "").unwrap();
    build.output("first", flat);
    build.output("second", results[1]);
    let graph = build.finish();
    twnc_ir::verify::verify(&graph).unwrap();
    let printed = text::print(&graph);
    let read = text::parse(&printed, &registry).unwrap_or_else(|e| panic!("{e}\n{printed}"));
    assert_eq!(read, graph);
    assert_eq!(text::print(&read), printed);
    insta::assert_snapshot!(printed);
    let refused = parse(&printed).expect_err("nothing is registered");
    assert_eq!(refused, "2:3: the custom operator `test::split` is not registered");
}

#[test]
fn what_is_no_graph_is_refused_at_its_place() {
    let body = |line: &str| format!("graph \"g\" (%0 \"x\": f32[N,2]) -> (%1 \"y\") {{\n  {line}\n}}\n");
    let deep = format!("%1 = reshape(%0) {{shape=[{}N]}} : f32[N]", "(".repeat(1000));
    let cases: [(&str, &str); 17] = [
        ("%1 = relu(%7) : f32[N,2]", "2:13: %7 is not defined before it is used"),
        ("%0 = relu(%0) : f32[N,2]", "2:3: %0 is defined twice"),
        ("%1 = frob(%0) : f32[N,2]", "2:3: there is no operator `frob`"),
        ("%1 = relu(%0) {alpha=1.0} : f32[N,2]", "2:3: there is no attribute `alpha` here"),
        ("%1 = leaky_relu(%0) : f32[N,2]", "2:3: attribute `slope` is missing"),
        ("%1 = leaky_relu(%0) {slope=[1]} : f32[N,2]", "2:3: attribute `slope` cannot be [1]"),
        ("%1 = relu(%0) : f32[N,3]", "2:3: the result of `relu` is f32[N,2], but the text declares f32[N,3]"),
        ("%1 = relu(%0, %0) : f32[N,2]", "2:3: relu takes 1 operand, not 2"),
        ("%1 = relu(%0) : q32[N,2]", "2:19: there is no type `q32`"),
        ("%1 = relu(%0 : f32[N,2]", "2:16: expected `,` or `)`, found `:`"),
        ("%4000000000 = relu(%0) : f32[N,2]", "2:3: %4000000000 is too large; values are below %2147483648"),
        ("%99999999999 = relu(%0) : f32[N,2]", "2:3: a value is % and a number"),
        ("%1 = const ternary[2] [1, 2]", "2:25: element 1 of a ternary tensor is 2"),
        ("%1 = const i8[1] [300]", "2:20: 300 is no element of i8"),
        ("%1 = const f32[3] [1.0]", "2:21: 1 elements for a tensor of shape [3]"),
        ("%1 = const f32[N] [1.0]", "2:21: a constant has no open sizes"),
        (&deep, "2:287: nested more than 260 deep"),
    ];
    for (line, message) in cases {
        assert_eq!(parse(&body(line)).expect_err(line), message, "{line}");
    }
    let missing = parse(&body("%1 = const f32[100] \"w\" #0123456789abcdef")).expect_err("no elements");
    assert!(missing.starts_with("2:3: the elements of `w` are not in the text"), "{missing}");
}

proptest! {
    /// Damaged text never makes the parser panic; what still parses prints and parses again.
    #[test]
    fn damage_is_survived(edits in prop::collection::vec((0..EVERYTHING.len(), any::<u8>()), 1..6)) {
        let mut bytes = EVERYTHING.as_bytes().to_vec();
        for (at, byte) in edits {
            bytes[at] = byte & 0x7f;
        }
        let source = String::from_utf8(bytes).unwrap();
        if let Ok(graph) = parse(&source) {
            let printed = text::print_full(&graph);
            prop_assert_eq!(text::print_full(&parse(&printed).unwrap()), printed);
        }
    }
}
