//! Rules: equations by which the e-graph grows, each with a name and a claim of how closely its sides agree.
//!
//! A rule is either a text ([`text`]), built in or a user's, or a function where its right side is not in the language of texts: sums and stacks
//! of weights, windows as convolutions, lists of any length. Both match, build and are tested the same way.

mod accumulate;
pub(crate) mod algebra;
mod attributes;
mod carry;
pub(crate) mod conditions;
mod constant;
mod lists;
mod parse;
mod quantize;
pub(crate) mod text;
mod tokens;

use super::build::{Builder, name};
use super::facts::{Classes, Tables, operator};
use super::language::{Head, Term};
use algebra::Bindings;
use egg::{Applier, ENodeOrVar, Id, Pattern, RecExpr, Rewrite, SearchMatches, Searcher, Subst, Symbol, Var};
use std::sync::Arc;
pub use text::{Exactness, RuleError};
use text::{Left, Parsed, Right, RightAttributes};
use twnc_ir::{CustomCall, CustomRegistry, Op};

/// The rules that are texts.
const BUILT_IN: &str = include_str!("built_in.rules");

/// An equation by which the e-graph grows.
#[derive(Clone)]
pub struct Rule {
    name: Arc<str>,
    exactness: Exactness,
    equation: String,
    body: Body,
}

#[derive(Clone)]
enum Body {
    Text(Arc<Parsed>),
    Function(&'static Function),
}

/// A rule whose right side is computed.
pub(crate) struct Function {
    name: &'static str,
    exactness: Exactness,
    equation: &'static str,
    /// The operator at the root of its left side.
    word: &'static str,
    /// Adds what equals a node of that operator, and returns it: its class. What equals its results one by one it unites with them.
    apply: fn(&mut Builder<'_>, &Op, &[Id]) -> Option<Vec<Id>>,
    /// Left sides on which it is tried.
    samples: &'static [&'static str],
}

/// A left side on which a rule is tried, the names of its variables, and what the rule asks of them.
pub(crate) type Sample = (Left, Vec<String>, Vec<(conditions::Condition, Vec<u32>)>);

impl Rule {
    /// The rules that always run, in order.
    pub fn built_in() -> Vec<Rule> {
        let texts = Rule::of_text(BUILT_IN, &CustomRegistry::default(), &[]);
        debug_assert!(texts.is_ok(), "{texts:?}", texts = texts.as_ref().map(|_| ()));
        let functions =
            constant::RULES.iter().chain(quantize::RULES).chain(lists::RULES).chain(accumulate::RULES).map(
                |function| Rule {
                    name: function.name.into(),
                    exactness: function.exactness,
                    equation: function.equation.to_owned(),
                    body: Body::Function(function),
                },
            );
        texts.unwrap_or_default().into_iter().chain(functions).collect()
    }

    /// The rules of a text; `docs/egraph-rules.md` has its grammar. None has the name of a built-in one.
    pub fn parse(source: &str) -> Result<Vec<Rule>, RuleError> {
        Rule::parse_with(source, &CustomRegistry::default())
    }

    /// The rules of a text that may use these custom operators. By their evaluators the rules are checked.
    pub fn parse_with(source: &str, registry: &CustomRegistry) -> Result<Vec<Rule>, RuleError> {
        let own = Rule::built_in();
        let taken: Vec<&str> = own.iter().map(Rule::name).collect();
        Rule::of_text(source, registry, &taken)
    }

    fn of_text(source: &str, registry: &CustomRegistry, taken: &[&str]) -> Result<Vec<Rule>, RuleError> {
        let parsed = parse::parse(source, registry, taken)?;
        Ok(parsed
            .into_iter()
            .map(|rule| Rule {
                name: rule.name.as_str().into(),
                exactness: rule.exactness,
                equation: rule.equation.clone(),
                body: Body::Text(rule.into()),
            })
            .collect())
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where it stands in its text: line and column, from 1; `None` for a rule that is no text.
    pub fn place(&self) -> Option<(usize, usize)> {
        match &self.body {
            Body::Text(rule) => Some(rule.place),
            Body::Function(_) => None,
        }
    }

    /// How closely its sides agree.
    pub fn exactness(&self) -> Exactness {
        self.exactness
    }

    /// Its equation and conditions.
    pub fn equation(&self) -> &str {
        &self.equation
    }

    /// Whether its text is its whole definition.
    pub fn is_text(&self) -> bool {
        matches!(self.body, Body::Text(_))
    }

    /// The left sides on which it is tried.
    pub(crate) fn samples(&self) -> Vec<Sample> {
        match &self.body {
            Body::Text(rule) => vec![(rule.left.clone(), rule.variables.clone(), rule.conditions.clone())],
            Body::Function(function) => {
                let parsed = function.samples.iter().filter_map(|sample| parse::parse_left(sample).ok());
                parsed.map(|(left, variables)| (left, variables, vec![])).collect()
            }
        }
    }

    /// The rule for egg.
    pub(crate) fn rewrite(&self) -> Option<Rewrite<Term, Tables>> {
        let name = Symbol::from(&*self.name);
        match &self.body {
            Body::Text(rule) => {
                let mut ast = RecExpr::default();
                pattern(&rule.left, &mut ast);
                let applier = TextApplier { name: self.name.clone(), rule: rule.clone() };
                Rewrite::new(name, Pattern::new(ast), applier).ok()
            }
            Body::Function(function) => {
                let searcher = WordSearcher(function.word);
                Rewrite::new(name, searcher, FunctionApplier { name: self.name.clone(), function }).ok()
            }
        }
    }
}

fn variable(number: u32) -> Var {
    Var::from_u32(number)
}

/// A left side as egg's pattern.
fn pattern(left: &Left, ast: &mut RecExpr<ENodeOrVar<Term>>) -> Id {
    match left {
        Left::Variable(number) => ast.add(ENodeOrVar::Var(variable(*number))),
        Left::Apply { word, attributes, operands } => {
            let mut children = vec![];
            if let Some(attributes) = attributes {
                children.push(ast.add(ENodeOrVar::Var(variable(attributes.variable))));
            }
            for operand in operands {
                children.push(pattern(operand, ast));
            }
            ast.add(ENodeOrVar::ENode(Term { head: Head::Operator(word), children }))
        }
    }
}

struct TextApplier {
    name: Arc<str>,
    rule: Arc<Parsed>,
}

impl Applier<Term, Tables> for TextApplier {
    fn apply_one(
        &self,
        classes: &mut Classes,
        class: Id,
        subst: &Subst,
        _: Option<&egg::PatternAst<Term>>,
        _: Symbol,
    ) -> Vec<Id> {
        self.apply(classes, class, subst).into_iter().collect()
    }
}

impl TextApplier {
    fn apply(&self, classes: &mut Classes, class: Id, subst: &Subst) -> Option<Id> {
        let count = self.rule.variables.len() as u32;
        let bindings: Bindings =
            (0..count).map(|i| subst.get(variable(i)).copied()).collect::<Option<_>>()?;
        let holds = |(condition, variables): &(conditions::Condition, Vec<u32>)| {
            let ids: Vec<Id> = variables.iter().map(|&i| bindings[i as usize]).collect();
            condition.holds(classes, &ids)
        };
        if !self.rule.left.admits(classes, &bindings) || !self.rule.conditions.iter().all(holds) {
            return None;
        }
        let root = root(classes, &self.rule.left, &bindings)?;
        let layer = name(classes, class);
        let mut build = Builder { classes, rule: self.name.clone(), class, name: layer, changed: vec![] };
        let new = right(&mut build, &self.rule.right, &bindings, &root)?;
        build.unite(class, new);
        build.changed.pop()
    }
}

/// The operator at the root of a left side.
fn root(classes: &Classes, left: &Left, bindings: &Bindings) -> Option<Op> {
    match left {
        Left::Apply { attributes: Some(attributes), .. } => {
            algebra::attributes(classes, *bindings.get(attributes.variable as usize)?)
        }
        Left::Apply { word, .. } => super::facts::plain(word).cloned(),
        Left::Variable(_) => None,
    }
}

/// Builds a right side.
fn right(build: &mut Builder<'_>, side: &Right, bindings: &Bindings, root: &Op) -> Option<Id> {
    match side {
        Right::Variable(variable) => bindings.get(*variable as usize).copied(),
        Right::Number(algebra) => {
            let coefficient = algebra.evaluate(build, bindings, root)?;
            build.coefficient(coefficient)
        }
        Right::Apply { word, attributes, operands } => {
            let operands: Vec<Id> = operands
                .iter()
                .map(|operand| right(build, operand, bindings, root))
                .collect::<Option<_>>()?;
            let bound = |variable: &u32| bindings.get(*variable as usize).copied();
            let op = match attributes {
                None => super::facts::plain(word)?.clone(),
                Some(RightAttributes::Variable(variable)) => {
                    algebra::attributes(build.classes, bound(variable)?)?
                }
                Some(RightAttributes::VariableOf(known, variable)) => {
                    match algebra::attributes(build.classes, bound(variable)?)? {
                        Op::Custom(call) => {
                            Op::Custom(CustomCall { operator: known.operator.clone(), ..call })
                        }
                        _ => return None,
                    }
                }
                Some(RightAttributes::Computed(function, variables)) => {
                    let ids: Vec<Id> = variables.iter().map(bound).collect::<Option<_>>()?;
                    function.evaluate(build.classes, &ids)?
                }
                Some(RightAttributes::Written(list)) => {
                    list.operator(word, build.ty(*operands.first()?)?.rank()).ok()?
                }
                Some(RightAttributes::Call(call)) => Op::Custom(call.clone()),
            };
            if op.mnemonic() != *word {
                return None;
            }
            build.operator(op, &operands)
        }
    }
}

/// Finds every class with a node of an operator.
struct WordSearcher(&'static str);

impl Searcher<Term, Tables> for WordSearcher {
    fn search_eclass_with_limit(
        &self,
        classes: &Classes,
        class: Id,
        _limit: usize,
    ) -> Option<SearchMatches<'_, Term>> {
        let found = classes[class].nodes.iter().any(|node| node.head.is(self.0));
        found.then(|| SearchMatches { eclass: class, substs: vec![Subst::default()], ast: None })
    }

    fn vars(&self) -> Vec<Var> {
        vec![]
    }
}

struct FunctionApplier {
    name: Arc<str>,
    function: &'static Function,
}

impl Applier<Term, Tables> for FunctionApplier {
    fn apply_one(
        &self,
        classes: &mut Classes,
        class: Id,
        _: &Subst,
        _: Option<&egg::PatternAst<Term>>,
        _: Symbol,
    ) -> Vec<Id> {
        let nodes: Vec<Term> =
            classes[class].nodes.iter().filter(|node| node.head.is(self.function.word)).cloned().collect();
        let layer = name(classes, class);
        let mut changed = vec![];
        for node in nodes {
            let Some(op) = operator(classes, &node).cloned() else { continue };
            let operands = super::facts::operands(classes, &node).to_vec();
            let (rule, name) = (self.name.clone(), layer.clone());
            let mut build = Builder { classes, rule, class, name, changed: vec![] };
            for new in (self.function.apply)(&mut build, &op, &operands).unwrap_or_default() {
                build.unite(class, new);
            }
            changed.extend(build.changed);
        }
        changed
    }
}
