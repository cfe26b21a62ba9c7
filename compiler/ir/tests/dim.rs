//! Dimensions against plain arithmetic: whatever the normal form does, the number is the same, and what is certain is true.

#![allow(clippy::unwrap_used)] // A value that cannot be built is a failure of the test.

use proptest::prelude::*;
use std::collections::BTreeMap;
use twnc_ir::{CustomRegistry, Dim, text};

const SYMBOLS: [&str; 3] = ["A", "B", "two words"];

/// An expression as it is written.
#[derive(Clone, Debug)]
enum Tree {
    Number(i64),
    Symbol(usize),
    Of(Function, Box<(Tree, Tree)>),
}

#[derive(Clone, Copy, Debug)]
enum Function {
    Add,
    Sub,
    Mul,
    FloorDiv,
    CeilDiv,
    Min,
    Max,
}

impl Tree {
    /// As a dimension, unless it is too large to be one or divides by a number that is not positive.
    fn dim(&self) -> Option<Dim> {
        let (f, parts) = match self {
            Tree::Number(n) => return Some(Dim::fixed(*n)),
            Tree::Symbol(i) => return Some(Dim::symbol(SYMBOLS[*i])),
            Tree::Of(f, parts) => (f, parts),
        };
        let (a, b) = (parts.0.dim()?, parts.1.dim()?);
        match f {
            Function::Add => a.checked_add(&b),
            Function::Sub => a.checked_sub(&b),
            Function::Mul => a.checked_mul(&b),
            Function::FloorDiv => a.floor_div(&b),
            Function::CeilDiv => a.ceil_div(&b),
            Function::Min => a.minimum(&b),
            Function::Max => a.maximum(&b),
        }
    }

    /// As a number, if it has one that is far from overflowing.
    fn number(&self, symbols: [i64; 3]) -> Option<i64> {
        let (f, parts) = match self {
            Tree::Number(n) => return Some(*n),
            Tree::Symbol(i) => return Some(symbols[*i]),
            Tree::Of(f, parts) => (f, parts),
        };
        let (a, b) = (parts.0.number(symbols)?, parts.1.number(symbols)?);
        let number = match f {
            Function::Add => a + b,
            Function::Sub => a - b,
            Function::Mul => a * b,
            Function::FloorDiv | Function::CeilDiv if b <= 0 => return None,
            Function::FloorDiv => a.div_euclid(b),
            Function::CeilDiv => (a + b - 1).div_euclid(b),
            Function::Min => a.min(b),
            Function::Max => a.max(b),
        };
        (number.abs() < 1 << 30).then_some(number)
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    let leaf = prop_oneof![(-4..10i64).prop_map(Tree::Number), (0..3usize).prop_map(Tree::Symbol)];
    let functions = prop::sample::select(vec![
        Function::Add,
        Function::Sub,
        Function::Mul,
        Function::FloorDiv,
        Function::CeilDiv,
        Function::Min,
        Function::Max,
    ]);
    leaf.prop_recursive(5, 24, 2, move |part| {
        (functions.clone(), part.clone(), part).prop_map(|(f, a, b)| Tree::Of(f, Box::new((a, b))))
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn normal_forms_keep_their_number(tree in trees(), a in 1..9i64, b in 1..9i64, c in 1..9i64) {
        let symbols = [a, b, c];
        let lookup: BTreeMap<_, _> = SYMBOLS.into_iter().zip(symbols).collect();
        let (Some(dim), Some(number)) = (tree.dim(), tree.number(symbols)) else { return Ok(()) };
        prop_assert_eq!(dim.eval(&|name| lookup.get(name).copied()), Some(number), "{}", dim);
        let replaced = dim.substitute(&|name| lookup.get(name).map(|&n| Dim::fixed(n)));
        prop_assert_eq!(replaced, Some(Dim::fixed(number)), "{}", dim);
        prop_assert!(!dim.is_nonnegative() || number >= 0, "{dim} is certainly not negative, but {number}");
        prop_assert!(!dim.is_negative() || number < 0, "{dim} is certainly negative, but {number}");
    }

    #[test]
    fn sizes_read_back(tree in trees()) {
        let Some(dim) = tree.dim() else { return Ok(()) };
        let source = format!("graph \"g\" (%0 \"x\": f32[{dim}]) -> () {{\n}}\n");
        let read = text::parse(&source, &CustomRegistry::default()).unwrap();
        prop_assert_eq!(&read.ty(read.inputs()[0].value).shape[0], &dim);
        prop_assert_eq!(text::print(&read), source);
    }
}
