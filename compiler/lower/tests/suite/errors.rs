//! What cannot be lowered, and what is said about it.

use crate::opaque::parse;

#[test]
fn each_refusal_names_the_place_and_the_remedy() {
    let cases = [
        (
            "an input whose size is an expression binds no symbol",
            r#"graph "g" (%0 "x": f32[2*N]) -> (%1 "y") {
  %1 = relu(%0) "relu" : f32[2*N]
}"#,
            "input `x` has the dimension 2*N; give it a number or one name",
        ),
        (
            "a size that no input binds",
            r#"graph "g" (%0 "x": f32[1]) -> (%1 "y") {
  %1 = broadcast(%0) {shape=[K]} "repeat" : f32[K]
}"#,
            "`repeat` has a size that depends on K, which no input binds; give it a value",
        ),
        (
            "a start that no input binds, at a layer without a name",
            r#"graph "g" (%0 "x": f32[N]) -> (%1 "y") {
  %1 = slice(%0) {axis=0, start=K, size=1} : f32[1]
}"#,
            "`%1` has a size that depends on K, which no input binds; give it a value",
        ),
        (
            "more axes than a buffer has",
            r#"graph "g" (%0 "x": f32[1]) -> (%1 "y") {
  %1 = reshape(%0) {shape=[1,1,1,1,1,1,1,1,1]} "deep" : f32[1,1,1,1,1,1,1,1,1]
}"#,
            "`deep` has 9 axes; at most 8 are supported",
        ),
        (
            "a constant of more axes than a buffer has",
            r#"graph "g" (%0 "x": f32[2]) -> (%3 "y") {
  %1 = const f32[1,1,1,1,1,1,1,1,2] "deep" [1.0, 2.0]
  %2 = reshape(%1) {shape=[2]} "flat" : f32[2]
  %3 = add(%0, %2) "sum" : f32[2]
}"#,
            "`deep` has 9 axes; at most 8 are supported",
        ),
        (
            "a convolution whose kernel is open",
            r#"graph "g" (%0 "x": f32[N,1,8,8], %1 "w": f32[1,1,K,K]) -> (%2 "y") {
  %2 = conv(%0, %1) "conv" : f32[N,1,9-K,9-K]
}"#,
            "`conv` has a kernel of open size; give its weight fixed sizes",
        ),
        (
            "a padding beyond what a window has",
            r#"graph "g" (%0 "x": f32[N,1,8]) -> (%1 "y") {
  %1 = max_pool(%0) {kernel=[2], pads_begin=[0], pads_end=[4294967296]} "pool" : f32[N,1,4294967303]
}"#,
            "`pool` has a kernel, stride, dilation or padding over 2147483647, or as many taps; make it smaller",
        ),
        (
            "a sum of integers that stays one",
            r#"graph "g" (%0 "x": f32[1,2]) -> (%4 "y") {
  %1, %2 = quantize(%0) {bits=8, signed=true} "round" : i16[1,2], f32[1,1]
  %3 = const ternary[2,1] "w" [1, -1]
  %4 = matmul(%1, %3) "fc" : i32[1,1]
}"#,
            "`fc` cannot be lowered: its sum of integers is read as integers; cast it to f32 first",
        ),
    ];
    for (what, source, message) in cases {
        let graph = parse(source);
        twnc_ir::verify::verify(&graph).unwrap_or_else(|e| panic!("{what}: {e}"));
        let error = twnc_lower::lower(&graph).expect_err(what);
        assert_eq!(error.to_string(), message, "{what}");
    }
}
