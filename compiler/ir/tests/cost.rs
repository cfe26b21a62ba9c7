//! What a node costs: multiplications, additions, tables, bytes.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

use twnc_ir::{
    Binary, Conv, Cost, CostModel, CountingCost, CustomRegistry, Dim, ElementType, Geometry, Op, OperandInfo,
    TensorType, node_cost, text,
};

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
        ("hard_swish(%4) : f32[7,5]", [70, 105, 140]),
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
        let cost = node_cost(&CountingCost, &graph, graph.node(node_id));
        assert_eq!(
            cost,
            Cost {
                multiplications,
                additions,
                tables: u64::from(node.starts_with("conv(%0, %2)")) * 2,
                bytes,
                steps: 0
            },
            "{node}"
        );
    }
    let most =
        Cost { multiplications: u64::MAX, additions: 1, tables: u64::MAX, bytes: u64::MAX, steps: u64::MAX };
    assert_eq!([most, most].into_iter().sum::<Cost>(), Cost { additions: 2, ..most });
}

#[test]
fn tables_are_of_groups_of_inputs() {
    let image =
        |channels: i64| TensorType::new(ElementType::F32, [1, channels, 3, 3].map(Dim::fixed).to_vec());
    let weight = |element, outputs| TensorType::new(element, [outputs, 1, 1, 1].map(Dim::fixed).to_vec());
    let conv = |groups| Op::Conv(Conv { geometry: Geometry::unit(2), groups });
    for (channels, groups, expected) in [
        (1, 1, 9),
        (4, 1, 9),
        (5, 1, 18),
        (64, 1, 144),
        (8, 2, 18),
        (10, 2, 36),
        (8, 8, 0),
        (0, 1, 0),
        (4, 0, 9),
    ] {
        for (element, expected) in [(ElementType::Ternary, expected), (ElementType::F32, 0)] {
            let (x, w) = (image(channels), weight(element, 4096));
            let operands = [&x, &w].map(|ty| OperandInfo { ty, nonzeros: None });
            let cost = CountingCost.cost(&conv(groups), &operands, &[&x]);
            assert_eq!(cost.tables, expected, "{channels} channels in {groups} groups of {element:?}");
        }
    }
    // Few outputs are added up without tables; there are never more than the sums are worth, at 40 additions each.
    let (x, few) = (image(4), weight(ElementType::Ternary, 39));
    let operands = [&x, &few].map(|ty| OperandInfo { ty, nonzeros: None });
    let cost = CountingCost.cost(&conv(1), &operands, &[&x]);
    assert_eq!((cost.tables, cost.additions), (9 * 39 / 40, 9 * 39));
    // A table costs what its sums do.
    let (table, additions) =
        (Cost { tables: 1, ..Cost::default() }, Cost { additions: 40, ..Cost::default() });
    assert_eq!(CountingCost.weight(&table), CountingCost.weight(&additions));
}

#[test]
fn a_node_of_no_graph_has_a_cost() {
    let matrix = |element, rows: i64, columns: i64| {
        TensorType::new(element, vec![Dim::fixed(rows), Dim::fixed(columns)])
    };
    let (x, y) = (matrix(ElementType::F32, 7, 5), matrix(ElementType::F32, 7, 3));
    let (float, ternary) = (matrix(ElementType::F32, 5, 3), matrix(ElementType::Ternary, 5, 3));
    let cases = [
        (&float, Some(4), (7 * 15, 7 * 15)),
        (&float, None, (7 * 15, 7 * 15)),
        (&ternary, Some(4), (0, 7 * 4)),
        // Nothing is known of its trits: as if none were zero.
        (&ternary, None, (0, 7 * 15)),
    ];
    for (weight, nonzeros, (multiplications, additions)) in cases {
        let operands = [OperandInfo { ty: &x, nonzeros: None }, OperandInfo { ty: weight, nonzeros }];
        let cost = CountingCost.cost(&Op::MatMul, &operands, &[&y]);
        assert_eq!(
            cost,
            // At 40 additions each.
            Cost {
                multiplications,
                additions,
                tables: if multiplications == 0 { additions / 40 } else { 0 },
                bytes: 84,
                steps: 0
            },
            "{weight} with {nonzeros:?}"
        );
    }
    // What does not type has a cost as well.
    for op in [Op::MatMul, Op::Binary(Binary::Add)] {
        assert_eq!(CountingCost.cost(&op, &[], &[]), Cost::default(), "{op:?}");
    }
}

#[test]
fn costs_are_ordered_by_weight() {
    let cost =
        |multiplications, additions, bytes| Cost { multiplications, additions, tables: 0, bytes, steps: 0 };
    // Each is less than the next.
    let ascending = [
        Cost::default(),
        cost(0, 1, 0),
        cost(0, 0, 1),
        cost(0, 4, 0),
        cost(1, 0, 0),
        cost(1, 1, 1),
        cost(u64::MAX, 0, 0),
        cost(u64::MAX, u64::MAX, u64::MAX),
    ];
    for pair in ascending.windows(2) {
        let [a, b] = [pair[0], pair[1]].map(|cost| CountingCost.weight(&cost));
        assert!(a.total_cmp(&b).is_lt() && b.is_finite(), "{pair:?}: {a}, {b}");
    }
}
