//! What a node costs: multiplications, additions, bytes.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

use twnc_ir::{Conv, Cost, CostModel, CountingCost, CustomRegistry, Data, Geometry, Op, Tensor, text};

#[test]
fn counts() {
    let cases: [(&str, [u64; 3]); 21] = [
        ("const ternary[2,3] [0, 1, -1, 0, 0, 1]", [0, 0, 2]),
        ("const i64[2] [7, 8]", [0, 0, 16]),
        ("conv(%0, %1) : f32[N,2,4,4]", [4 * 4 * 36, 4 * 4 * 36, 128]),
        ("conv(%0, %2) : f32[N,2,4,4]", [0, 4 * 4 * 5, 128]),
        ("conv(%0, %3) {groups=2} : f32[N,2,6,6]", [36 * 2, 36 * 2, 288]),
        ("matmul(%4, %5) : f32[7,3]", [7 * 5 * 3, 7 * 5 * 3, 84]),
        ("matmul(%7, %6) : f32[2,7,3]", [2 * 7 * 5 * 3, 2 * 7 * 5 * 3, 168]),
        ("add(%4, %4) : f32[7,5]", [0, 35, 140]),
        ("div(%4, %4) : f32[7,5]", [35, 0, 140]),
        ("relu(%4) : f32[7,5]", [0, 35, 140]),
        ("hard_swish(%4) : f32[7,5]", [70, 35, 140]),
        ("max_pool(%0) {kernel=[3,3]} : f32[N,2,4,4]", [0, 32 * 9, 128]),
        ("average_pool(%0) {kernel=[3,3]} : f32[N,2,4,4]", [32, 32 * 9, 128]),
        ("reduce_sum(%4) {axes=[1]} : f32[7]", [0, 35, 28]),
        ("reduce_mean(%4) {axes=[1]} : f32[7]", [7, 35, 28]),
        ("softmax(%4) {axes=[1]} : f32[7,5]", [70, 105, 140]),
        ("transpose(%4) {perm=[1,0]} : f32[5,7]", [0, 0, 140]),
        ("matmul(%11, %10) : i32[7,3]", [0, 7 * 4, 84]),
        ("quantize(%4) {bits=8} : i16[7,5], f32[7,1]", [35, 35, 70 + 28]),
        ("quantize(%4) {bits=8, scale=0.5} : i16[7,5], f32[7,1]", [35, 0, 70 + 28]),
        ("cast(%4) {to=i16} : i16[7,5]", [0, 0, 70]),
    ];
    let trits = format!("[1, -1, 1{}, 1, 1]", ", 0".repeat(31));
    for (node, [multiplications, additions, bytes]) in cases {
        let results = if node.starts_with("quantize") { "%8, %9" } else { "%9" };
        let source = format!(
            r#"graph "g" (
                 %0 "image": f32[N,2,6,6], %1 "full": f32[2,2,3,3], %3 "depthwise": f32[2,1,1,1],
                 %4 "matrix": f32[7,5], %5 "weight": f32[5,3], %6 "weights": f32[2,5,3], %7 "matrices": f32[2,7,5],
                 %11 "whole": i16[7,5]
               ) -> () {{
                 %2 = const ternary[2,2,3,3] {trits}
                 %10 = const ternary[5,3] [1, 0, -1, 1, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]
                 {results} = {node}
               }}"#
        );
        let graph =
            text::parse(&source, &CustomRegistry::default()).unwrap_or_else(|e| panic!("{node}: {e}"));
        let node_id = graph.node_ids().last().unwrap();
        let cost = CountingCost.cost(&graph, graph.node(node_id));
        assert_eq!(cost, Cost { multiplications, additions, bytes }, "{node}");
    }
    let most = Cost { multiplications: u64::MAX, additions: 1, bytes: u64::MAX };
    assert_eq!([most, most].into_iter().sum::<Cost>(), Cost { additions: 2, ..most });
}

#[test]
fn the_largest_sum() {
    let conv = || Op::Conv(Conv { geometry: Geometry::unit(1), groups: 1 });
    let cases: [(Op, &[usize], &[i8], usize); 6] = [
        (conv(), &[2, 1, 3], &[1, 0, 0, -1, 0, 1], 2),
        (conv(), &[1, 2, 3], &[1, 0, 0, -1, 0, 1], 3),
        (conv(), &[2, 0, 3], &[], 0),
        (Op::MatMul, &[3, 2], &[1, 0, -1, 0, 1, -1], 3),
        (Op::MatMul, &[2, 3], &[1, 0, 1, -1, 0, 0], 2),
        (Op::Dims(vec![]), &[1, 2], &[1, 1], 0),
    ];
    for (op, shape, trits, most) in cases {
        let weight = Tensor::new(shape.to_vec(), Data::Ternary(trits.into())).unwrap();
        assert_eq!(op.most_summands(&weight), most, "{op:?} with {shape:?}");
    }
    assert_eq!(Op::MatMul.most_summands(&Tensor::from_f32(vec![1, 1], vec![1.0]).unwrap()), 0);
}
