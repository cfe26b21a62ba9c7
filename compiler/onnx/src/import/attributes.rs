//! The attributes of one node, each read at most as what it is. What no translation has read at the end is unknown.

use super::call::Reason;
use crate::error::TensorProblem;
use crate::external::ExternalData;
use crate::proto::{AttributeProto, AttributeType, DataType, NodeProto, TensorProto};
use crate::tensor;
use std::cell::RefCell;
use std::collections::HashSet;
use twnc_ir::{Attribute, Attributes as CustomAttributes, Tensor};

/// The attributes of a node, and which of them were read.
#[derive(Debug)]
pub struct Attributes<'m> {
    node: &'m NodeProto,
    read: RefCell<HashSet<&'m str>>,
}

impl<'m> Attributes<'m> {
    /// A node's attributes. Each name occurs once.
    pub fn new(node: &'m NodeProto) -> Result<Attributes<'m>, Reason> {
        let mut names = HashSet::new();
        for attribute in &node.attribute {
            if !names.insert(attribute.name.as_str()) {
                return Err(Reason::new(format!("attribute `{}` is given twice", attribute.name)));
            }
            if !attribute.ref_attr_name.is_empty() {
                return Err(Reason::new(format!(
                    "attribute `{}` refers to a function's, outside of one",
                    attribute.name
                )));
            }
            let held: Vec<AttributeType> = held(attribute).collect();
            if held.len() > 1 || held.iter().any(|&held| held != ty(attribute)) {
                return Err(Reason::new(format!(
                    "attribute `{}` is said to be of type {:?} and holds {held:?}; export the model anew",
                    attribute.name,
                    ty(attribute)
                )));
            }
        }
        Ok(Attributes { node, read: RefCell::default() })
    }

    /// An attribute of type INT.
    pub fn int(&self, name: &str) -> Result<Option<i64>, Reason> {
        self.typed(name, AttributeType::Int, |a| a.i.or(Some(0)))
    }

    /// An attribute of type INT that is 0 or 1.
    pub fn flag(&self, name: &str, default: bool) -> Result<bool, Reason> {
        match self.int(name)? {
            None => Ok(default),
            Some(0) => Ok(false),
            Some(1) => Ok(true),
            Some(n) => Err(Reason::new(format!("attribute `{name}` is {n}; it must be 0 or 1"))),
        }
    }

    /// An attribute of type FLOAT.
    pub fn float(&self, name: &str) -> Result<Option<f32>, Reason> {
        self.typed(name, AttributeType::Float, |a| a.f.or(Some(0.0)))
    }

    /// An attribute of type STRING.
    pub fn string(&self, name: &str) -> Result<Option<&'m str>, Reason> {
        self.typed(name, AttributeType::String, |a| {
            std::str::from_utf8(a.s.as_deref().unwrap_or_default()).ok()
        })
    }

    /// An attribute of type INTS.
    pub fn ints(&self, name: &str) -> Result<Option<&'m [i64]>, Reason> {
        self.typed(name, AttributeType::Ints, |a| Some(a.ints.as_slice()))
    }

    /// An attribute of type INTS with sizes: numbers from 0 up.
    pub fn sizes(&self, name: &str) -> Result<Option<Vec<usize>>, Reason> {
        let Some(ints) = self.ints(name)? else { return Ok(None) };
        let sizes: Option<Vec<usize>> = ints.iter().map(|&n| usize::try_from(n).ok()).collect();
        sizes.map(Some).ok_or_else(|| {
            Reason::new(format!("attribute `{name}` is {ints:?}; a negative size is not supported"))
        })
    }

    /// An attribute of type FLOATS.
    pub fn floats(&self, name: &str) -> Result<Option<&'m [f32]>, Reason> {
        self.typed(name, AttributeType::Floats, |a| Some(a.floats.as_slice()))
    }

    /// An attribute of type TENSOR, with the element type that the file gives it.
    pub fn tensor(&self, name: &str) -> Result<Option<(Tensor, DataType)>, Reason> {
        let proto: Option<&TensorProto> = self.typed(name, AttributeType::Tensor, |a| a.t.as_ref())?;
        let decode = |proto| {
            Ok((tensor::decode(proto, &ExternalData::refused())?, tensor::data_type(proto.data_type)?))
        };
        let decoded: Result<_, TensorProblem> = proto.map(decode).transpose();
        decoded.map_err(|problem| Reason::new(format!("attribute `{name}`: {problem}")))
    }

    /// Marks attributes as read that change nothing here.
    pub fn ignore(&self, names: &[&str]) {
        for name in names {
            self.find(name);
        }
    }

    /// Marks all attributes as read: another translation of the node has read them.
    pub fn ignore_all(&self) {
        self.read.borrow_mut().extend(self.node.attribute.iter().map(|a| a.name.as_str()));
    }

    /// The first attribute that nothing has read.
    pub fn unread(&self) -> Option<&'m str> {
        let read = self.read.borrow();
        self.node.attribute.iter().map(|a| a.name.as_str()).find(|name| !read.contains(name))
    }

    /// All of them, for a custom operator.
    pub fn custom(&self) -> Result<CustomAttributes, Reason> {
        let convert = |a: &'m AttributeProto| {
            let name = a.name.as_str();
            self.find(name);
            let value = match ty(a) {
                AttributeType::Int => self.int(name)?.map(Attribute::Int),
                AttributeType::Float => self.float(name)?.map(Attribute::Float),
                AttributeType::String => self.string(name)?.map(|s| Attribute::String(s.to_owned())),
                AttributeType::Ints => self.ints(name)?.map(|v| Attribute::Ints(v.to_vec())),
                AttributeType::Floats => self.floats(name)?.map(|v| Attribute::Floats(v.to_vec())),
                _ => None,
            };
            match value {
                Some(value) => Ok((name.to_owned(), value)),
                None => Err(Reason::new(format!(
                    "attribute `{name}` is of type {:?}, which custom operators do not take",
                    ty(a)
                ))),
            }
        };
        self.node.attribute.iter().map(convert).collect()
    }

    fn find(&self, name: &str) -> Option<&'m AttributeProto> {
        let found = self.node.attribute.iter().find(|a| a.name == name)?;
        self.read.borrow_mut().insert(&found.name);
        Some(found)
    }

    fn typed<T>(
        &self,
        name: &str,
        expected: AttributeType,
        get: impl Fn(&'m AttributeProto) -> Option<T>,
    ) -> Result<Option<T>, Reason> {
        let Some(attribute) = self.find(name) else { return Ok(None) };
        match get(attribute).filter(|_| ty(attribute) == expected) {
            Some(value) => Ok(Some(value)),
            None => Err(Reason::new(format!("attribute `{name}` is not of type {expected:?}"))),
        }
    }
}

/// The type of an attribute, from what it holds where the file does not say.
fn ty(a: &AttributeProto) -> AttributeType {
    match a.r#type() {
        AttributeType::Undefined => held(a).next().unwrap_or(AttributeType::Undefined),
        known => known,
    }
}

/// The types of what an attribute holds: one, or none where a list is empty or a number is left out because it is 0. Some exporters write a 0
/// beside what they mean, which holds nothing.
fn held(a: &AttributeProto) -> impl Iterator<Item = AttributeType> {
    [
        (AttributeType::Float, a.f.is_some_and(|f| f != 0.0)),
        (AttributeType::Int, a.i.is_some_and(|i| i != 0)),
        (AttributeType::String, a.s.as_ref().is_some_and(|s| !s.is_empty())),
        (AttributeType::Tensor, a.t.is_some()),
        (AttributeType::Graph, a.g.is_some()),
        (AttributeType::Floats, !a.floats.is_empty()),
        (AttributeType::Ints, !a.ints.is_empty()),
        (AttributeType::Strings, !a.strings.is_empty()),
    ]
    .into_iter()
    .filter_map(|(ty, holds)| holds.then_some(ty))
}
