//! The drawing of a graph.

use twnc_ir::{CustomRegistry, dot, text};

#[test]
fn nodes_are_boxes_and_constants_stand_in_them() {
    let source = r#"graph "g" (%0 "the \"image\"": f32[N,2]) -> (%2 "y", %0 "again") {
  %1 = const ternary[2,3] "w" [1, 0, -1, 1, 0, 0]
  %2 = matmul(%0, %1) "product" : f32[N,3]
}
"#;
    let graph = text::parse(source, &CustomRegistry::default()).expect("a graph");
    insta::assert_snapshot!(dot::print(&graph), @r#"
    digraph {
        0 [ shape=box label="the \"image\"\nf32[N,2]"]
        1 [ shape=box label="matmul\nproduct\nternary[2,3]"]
        2 [ shape=box label="y"]
        3 [ shape=box label="again"]
        0 -> 1 [ label="f32[N,2]"]
        1 -> 2 [ label="f32[N,3]"]
        0 -> 3 [ label="f32[N,2]"]
    }
    "#);
}

#[test]
fn a_node_of_two_results_is_one_box() {
    let source = r#"graph "g" (%0 "x": f32[N,2]) -> (%2 "q", %3 "s") {
  %2, %3 = quantize(%0) {bits=8} "fixed" : i16[N,2], f32[N,1]
}
"#;
    let graph = text::parse(source, &CustomRegistry::default()).expect("a graph");
    insta::assert_snapshot!(dot::print(&graph), @r#"
    digraph {
        0 [ shape=box label="x\nf32[N,2]"]
        1 [ shape=box label="quantize\nfixed"]
        2 [ shape=box label="q"]
        3 [ shape=box label="s"]
        0 -> 1 [ label="f32[N,2]"]
        1 -> 2 [ label="i16[N,2]"]
        1 -> 3 [ label="f32[N,1]"]
    }
    "#);
}
