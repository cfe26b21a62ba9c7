//! A graph under translation: what is known of the file's values, and how they join the graph.

use super::reason::Reason;
use super::sizes::Sizes;
use crate::proto::{DataType, NodeProto};
use std::collections::{HashMap, HashSet};
use twnc_ir::{Binary, Dim, ElementType, GraphBuilder, Op, Tensor, ValueId};

/// What is known of a value of the file.
#[derive(Clone, Debug)]
pub enum Known {
    /// It is this value of the graph.
    Value(ValueId),
    /// It is a constant, which joins the graph when something computes with it.
    Constant {
        /// Its elements.
        tensor: Tensor,
        /// The name of the initialiser or node that it comes from.
        name: String,
        /// What the file says that an element is; it may have fewer bits than the tensor's.
        stored: DataType,
    },
    /// It is computed from open dimensions, and joins the graph when something computes with it.
    Sizes {
        /// Its elements.
        sizes: Sizes,
        /// The name of the node that it comes from.
        name: String,
    },
}

/// The graph so far, and what is known of the values of the file.
#[derive(Debug)]
pub struct Translation<'m> {
    /// The graph.
    pub build: GraphBuilder,
    /// By the names of the file. A result that was not wanted or could not be translated is missing.
    pub known: HashMap<&'m str, Known>,
    /// Constants and sizes that joined the graph.
    pub placed: HashMap<&'m str, ValueId>,
    /// For truth values that came from a comparison, the number 0 or 1 that they came from.
    pub truths: HashMap<ValueId, ValueId>,
    /// Values of the graph that are computed from shapes alone, and the node from which on that is not done while importing.
    pub from_shapes: HashMap<&'m str, &'m NodeProto>,
    /// How many nodes the passes of loops have made so far.
    pub unrolled: usize,
    /// Values of the graph that are known to depend on constants alone.
    pub from_constants: HashSet<ValueId>,
    /// What was done so far with sizes, in factors of elements.
    pub work: usize,
}

/// What some names stood for.
pub struct Meaning<'m>(Vec<(&'m str, Option<Known>, Option<ValueId>)>);

impl Known {
    /// As a value of the graph, which it joins.
    pub fn place(self, build: &mut GraphBuilder) -> Result<ValueId, Reason> {
        match self {
            Known::Value(value) => Ok(value),
            Known::Constant { tensor, name, .. } => Ok(build.constant(tensor, &name)),
            Known::Sizes { sizes, name } => place_sizes(build, sizes, &name),
        }
    }
}

impl<'m> Translation<'m> {
    /// A graph in which nothing was translated yet, and what is known before.
    pub fn new(build: GraphBuilder, known: HashMap<&'m str, Known>) -> Translation<'m> {
        Translation {
            build,
            known,
            placed: HashMap::new(),
            truths: HashMap::new(),
            from_shapes: HashMap::new(),
            unrolled: 0,
            from_constants: HashSet::new(),
            work: 0,
        }
    }

    /// Says what a name of the file stands for from now on.
    pub fn define(&mut self, name: &'m str, known: Known) {
        self.placed.remove(name);
        self.from_shapes.remove(name);
        self.known.insert(name, known);
    }

    /// The node from which on arithmetic on shapes is not done while importing, of a node's results that are values of the graph; `None` if
    /// the node computes with something else.
    pub fn unfollowed(&self, node: &'m NodeProto) -> Option<&'m NodeProto> {
        let mut from = None;
        for name in node.input.iter().filter(|name| !name.is_empty()) {
            match (self.known.get(name.as_str())?, self.from_shapes.get(name.as_str())) {
                (Known::Constant { .. }, _) => {}
                (Known::Sizes { .. }, _) => from = from.or(Some(node)),
                (Known::Value(_), earlier) => from = Some(*earlier?),
            }
        }
        from
    }

    /// What names stand for now.
    pub fn meaning(&self, names: impl Iterator<Item = &'m str>) -> Meaning<'m> {
        let known = names.map(|name| (name, self.known.get(name).cloned(), self.placed.get(name).copied()));
        Meaning(known.collect())
    }

    /// Names stand for what they did.
    pub fn restore(&mut self, meaning: Meaning<'m>) {
        // Of a name that is there twice, the first is what it stood for.
        for (name, known, placed) in meaning.0.into_iter().rev() {
            self.from_shapes.remove(name);
            match known {
                Some(known) => self.known.insert(name, known),
                None => self.known.remove(name),
            };
            match placed {
                Some(placed) => self.placed.insert(name, placed),
                None => self.placed.remove(name),
            };
        }
    }

    /// The value of a name as one of the graph.
    pub fn place(&mut self, name: &str) -> Result<ValueId, Reason> {
        if let Some(value) = self.placed.get(name) {
            return Ok(*value);
        }
        let Some((&key, known)) = self.known.get_key_value(name) else {
            return Err(Reason::new(format!("`{name}` is a result that its node does not have")));
        };
        if let Known::Value(value) = known {
            return Ok(*value);
        }
        let value = known.clone().place(&mut self.build)?;
        self.placed.insert(key, value);
        Ok(value)
    }
}

fn place_sizes(build: &mut GraphBuilder, sizes: Sizes, name: &str) -> Result<ValueId, Reason> {
    let Sizes { element, shape, elements, parts } = sizes;
    let mut value = build.node(Op::Dims(elements), &[], name)?;
    if shape.len() != 1 {
        let shape = shape.into_iter().map(Dim::from).collect();
        value = build.node(Op::Reshape { shape }, &[value], name)?;
    }
    if element != ElementType::I64 {
        value = build.node(Op::Cast { to: element }, &[value], name)?;
    }
    if parts != 1 {
        let parts = build.constant(Tensor::scalar(parts as f32), name);
        value = build.node(Op::Binary(Binary::Div), &[value, parts], name)?;
    }
    Ok(value)
}
