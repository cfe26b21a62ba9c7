//! What is known of a class of values, and the tables of what nodes of the e-graph stand for.
//!
//! A class has the types of its values, whether it is constant, and whether its numbers are certainly not negative. Where nothing is known, the
//! answer is no; facts of two classes that are found equal join.

use super::coefficient::{Coefficient, Factors};
use super::language::{Head, Term};
use crate::non_negative;
use egg::{Analysis, DidMerge, EGraph, Id};
use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};
use twnc_ir::{Binary, ElementType, Op, Tensor, TensorType, Unary, ValueId, infer};

/// The e-graph of a region.
pub(crate) type Classes = EGraph<Term, Tables>;

/// What is known of a class.
#[derive(Clone, Debug)]
pub(crate) struct Facts {
    /// What it is.
    pub(crate) kind: Kind,
    /// The types of its results: one, but for operators with several, and for attributes, which have none.
    pub(crate) types: Arc<[TensorType]>,
    /// Whether it is computed from constants, by operators that are worth computing while compiling.
    pub(crate) constant: bool,
    /// Whether it holds no negative number.
    pub(crate) non_negative: bool,
}

/// What a class is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// A value.
    Value,
    /// The constant at this place in the table.
    Constant(u32),
    /// The coefficient at this place in the table.
    Coefficient(u32),
    /// The attributes at this place in the table.
    Attributes(u32),
}

/// A constant tensor.
#[derive(Debug)]
pub(crate) struct Constant {
    /// It, as the operator that has it as its result.
    pub(crate) op: Op,
    /// The initialiser's name.
    pub(crate) name: String,
    /// The value of the graph that it is, if it is one.
    pub(crate) value: Option<ValueId>,
    /// How many of its elements are not zero.
    pub(crate) nonzeros: u64,
    /// Of floats, the largest magnitude.
    pub(crate) magnitude: Option<f64>,
}

impl Constant {
    /// A tensor, which is looked through once, here: rules ask of it at each match.
    pub(crate) fn new(tensor: Tensor, name: &str, value: Option<ValueId>) -> Constant {
        let largest = |x: &[f32]| x.iter().fold(0.0, |most: f32, x| most.max(x.abs()));
        let magnitude = tensor.as_f32().map(|x| f64::from(largest(x)));
        let nonzeros = tensor.nonzeros() as u64;
        Constant { op: Op::Constant(tensor), name: name.to_owned(), value, nonzeros, magnitude }
    }
}

/// A coefficient with its numbers.
#[derive(Debug)]
pub(crate) struct Known {
    /// It.
    pub(crate) coefficient: Coefficient,
    /// Its numbers: one, or one for each index along its axis.
    pub(crate) values: Vec<f64>,
    /// The constant that it becomes.
    pub(crate) op: Op,
    /// The values of the graph that are this constant.
    pub(crate) origin: Option<(ValueId, String)>,
}

/// How a node came to be.
#[derive(Clone, Debug)]
pub(crate) struct Birth {
    /// The rule that made it.
    pub(crate) rule: Arc<str>,
    /// The class of what the rule matched.
    pub(crate) class: Id,
    /// The node.
    pub(crate) node: Term,
}

/// What nodes stand for, and how they came to be.
#[derive(Debug, Default)]
pub(crate) struct Tables {
    pub(crate) outside: Vec<(ValueId, TensorType, bool)>,
    pub(crate) constants: Vec<Constant>,
    pub(crate) factors: Factors,
    pub(crate) coefficients: Vec<Known>,
    pub(crate) operators: Vec<Op>,
    places: BTreeMap<Coefficient, u32>,
    /// The places of coefficients, by axis and by their numbers as f32.
    number_places: BTreeMap<(Option<usize>, Vec<u32>), Vec<u32>>,
    operator_places: BTreeMap<String, u32>,
    constant_places: BTreeMap<u64, Vec<u32>>,
    /// Beyond so many nodes rules add none, however many one of them would make of one match.
    pub(crate) most_nodes: Option<usize>,
    /// The names of layers, by node.
    pub(crate) names: BTreeMap<Term, String>,
    /// In order.
    pub(crate) births: Vec<Birth>,
}

impl Tables {
    /// The place of a coefficient. One with the numbers of another, up to the rounding of f64, is that one: else what is joined and taken apart again would
    /// be a new coefficient each time, without end.
    pub(crate) fn coefficient(&mut self, coefficient: Coefficient) -> Option<u32> {
        if let Some(&place) = self.places.get(&coefficient) {
            return Some(place);
        }
        let values = self.factors.values(&coefficient)?;
        let rounded = values.iter().map(|&v| (v as f32).to_bits()).collect();
        let known = self.number_places.entry((coefficient.back(), rounded)).or_default();
        let same = |place: &&u32| {
            let others = self.coefficients[**place as usize].values.iter();
            values.iter().zip(others).all(|(v, other)| (v - other).abs() <= 1e-12 * v.abs())
        };
        let place = match known.iter().find(same) {
            Some(&place) => place,
            None => {
                let op = Op::Constant(self.factors.tensor(&coefficient)?);
                let place = self.coefficients.len() as u32;
                known.push(place);
                let coefficient = coefficient.clone();
                self.coefficients.push(Known { coefficient, values, op, origin: None });
                place
            }
        };
        self.places.insert(coefficient, place);
        Some(place)
    }

    /// The place of an operator with its attributes.
    pub(crate) fn operator(&mut self, op: Op) -> u32 {
        let next = self.operators.len() as u32;
        // The text of an operator tells apart all that differ: a custom operator's has its name and attributes.
        let place = *self.operator_places.entry(format!("{op:?}")).or_insert(next);
        if place == next {
            self.operators.push(op);
        }
        place
    }

    /// The place of a constant that no value of the graph is yet.
    pub(crate) fn constant(&mut self, tensor: Tensor, name: &str) -> u32 {
        let places = self.constant_places.entry(tensor.digest()).or_default();
        let same = |place: &&u32| self.constants[**place as usize].op.as_constant() == Some(&tensor);
        if let Some(&place) = places.iter().find(same) {
            return place;
        }
        let place = self.constants.len() as u32;
        places.push(place);
        self.constants.push(Constant::new(tensor, name, None));
        place
    }

    /// The tensor of a constant.
    pub(crate) fn tensor(&self, place: u32) -> Option<&Tensor> {
        self.constants.get(place as usize)?.op.as_constant()
    }
}

/// The operators without attributes, by word.
static PLAIN: LazyLock<BTreeMap<&'static str, Op>> = LazyLock::new(|| {
    const UNARY: [Unary; 11] = [
        Unary::Relu,
        Unary::HardSwish,
        Unary::Neg,
        Unary::Abs,
        Unary::Sqrt,
        Unary::Reciprocal,
        Unary::Sigmoid,
        Unary::Tanh,
        Unary::Exp,
        Unary::Log,
        Unary::Erf,
    ];
    let all = UNARY.map(Op::Unary).into_iter().chain(Binary::ALL.map(Op::Binary)).chain([Op::MatMul]);
    all.map(|op| (op.mnemonic(), op)).collect()
});

/// The operator that a word without attributes names.
pub(crate) fn plain(word: &str) -> Option<&'static Op> {
    PLAIN.get(word)
}

/// The words of the operators without attributes.
pub(crate) fn plain_words() -> impl Iterator<Item = &'static str> {
    PLAIN.keys().copied()
}

/// The operator of a node, with its attributes.
pub(crate) fn operator<'a>(classes: &'a Classes, term: &Term) -> Option<&'a Op> {
    let Head::Operator(word) = term.head else { return None };
    match term.children.first().map(|&child| classes[child].data.kind) {
        Some(Kind::Attributes(place)) => classes.analysis.operators.get(place as usize),
        _ => plain(word),
    }
}

/// The operands of a node, without its attributes.
pub(crate) fn operands<'a>(classes: &Classes, term: &'a Term) -> &'a [Id] {
    match term.children.first().map(|&child| classes[child].data.kind) {
        Some(Kind::Attributes(_)) => &term.children[1..],
        _ => &term.children,
    }
}

/// The types of the results of a node over these classes; `None` where it has none.
pub(crate) fn types(classes: &Classes, op: &Op, operands: &[Id]) -> Option<Vec<TensorType>> {
    let types: Vec<&TensorType> =
        operands.iter().map(|&id| classes[id].data.single()).collect::<Option<_>>()?;
    infer(op, &types).ok()
}

impl Facts {
    /// The type, where there is one result.
    pub(crate) fn single(&self) -> Option<&TensorType> {
        match &*self.types {
            [ty] => Some(ty),
            _ => None,
        }
    }

    fn of(kind: Kind, ty: TensorType) -> Facts {
        Facts { kind, types: [ty].into(), constant: false, non_negative: false }
    }
}

impl Analysis<Term> for Tables {
    type Data = Facts;

    fn make(classes: &mut Classes, term: &Term, _id: Id) -> Facts {
        let tables = &classes.analysis;
        match term.head {
            Head::Outside(place) => {
                let (_, ty, non_negative) = &tables.outside[place as usize];
                Facts { non_negative: *non_negative, ..Facts::of(Kind::Value, ty.clone()) }
            }
            Head::Constant(place) => {
                let tensor = tables.tensor(place);
                let non_negative = |x: &[f32]| x.iter().all(|&x| x >= 0.0 || x.is_nan());
                Facts {
                    constant: true,
                    non_negative: tensor.and_then(Tensor::as_f32).is_some_and(non_negative),
                    ..Facts::of(
                        Kind::Constant(place),
                        tensor.map_or_else(|| TensorType::f32(vec![]), Tensor::ty),
                    )
                }
            }
            Head::Coefficient(place) => {
                let known = &tables.coefficients[place as usize];
                Facts {
                    constant: true,
                    non_negative: known.values.iter().all(|&v| v >= 0.0),
                    ..Facts::of(Kind::Coefficient(place), tables.factors.ty(&known.coefficient))
                }
            }
            Head::Attributes(place) => Facts {
                kind: Kind::Attributes(place),
                types: [].into(),
                constant: false,
                non_negative: false,
            },
            Head::Part(number) => {
                let ty = classes[term.children[0]].data.types.get(number as usize).cloned();
                Facts { types: ty.into_iter().collect(), ..Facts::of(Kind::Value, TensorType::f32(vec![])) }
            }
            Head::Operator(_) => {
                let operands = operands(classes, term);
                let op = operator(classes, term);
                let types = op.and_then(|op| types(classes, op, operands)).unwrap_or_default();
                let folds = matches!(
                    op,
                    Some(
                        Op::Unary(_)
                            | Op::Binary(_)
                            | Op::Reshape { .. }
                            | Op::Transpose { .. }
                            | Op::Slice(_)
                            | Op::Concat { .. }
                    )
                );
                let float = types.iter().all(|ty| ty.element == ElementType::F32);
                let non_negative = float
                    && op.is_some_and(|op| {
                        non_negative::results(op, operands.len(), &|i| {
                            operands.get(i).is_some_and(|&id| classes[id].data.non_negative)
                        })
                    });
                Facts {
                    kind: Kind::Value,
                    constant: folds && operands.iter().all(|&id| classes[id].data.constant),
                    types: types.into(),
                    non_negative,
                }
            }
        }
    }

    fn merge(&mut self, a: &mut Facts, b: Facts) -> DidMerge {
        let kind = if a.kind == Kind::Value { b.kind } else { a.kind };
        let (constant, non_negative) = (a.constant || b.constant, a.non_negative || b.non_negative);
        let into_a = (kind, constant, non_negative) != (a.kind, a.constant, a.non_negative);
        let into_b = (kind, constant, non_negative) != (b.kind, b.constant, b.non_negative);
        (a.kind, a.constant, a.non_negative) = (kind, constant, non_negative);
        DidMerge(into_a, into_b)
    }
}
