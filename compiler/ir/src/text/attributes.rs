//! Operators to named attributes, and back. Attributes that have their default are left out.

use crate::custom::{Attribute, Attributes, CustomCall, CustomRegistry};
use crate::dim::Dim;
use crate::op::{
    Binary, Combine, Conv, Geometry, Op, Pad, PadMode, Pool, Quantize, ReduceKind, Slice, Unary,
};
use crate::types::ElementType;
use std::collections::BTreeMap;

/// The value of an attribute in a text.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Value {
    Float(f32),
    /// A number, a dimension, or a bare word.
    Dim(Dim),
    Text(String),
    List(Vec<Value>),
    /// An empty list of floats, `f32[]`; an empty list without the word is one of whole numbers.
    NoFloats,
}

/// The attributes of an operator, in the order in which they print.
pub(super) fn of(op: &Op) -> Vec<(String, Value)> {
    let mut list = Writer(vec![]);
    match op {
        Op::Constant(_) | Op::MatMul => {}
        Op::Dims(dims) => list.dims("values", dims),
        Op::Conv(conv) => {
            list.geometry(&conv.geometry);
            if conv.groups != 1 {
                list.size("groups", conv.groups);
            }
        }
        Op::Unary(f) => match *f {
            Unary::LeakyRelu { slope } => list.float("slope", slope),
            Unary::Clip { min, max } => {
                list.float("min", min);
                list.float("max", max);
            }
            Unary::HardSigmoid { alpha, beta } => {
                list.float("alpha", alpha);
                list.float("beta", beta);
            }
            _ => {}
        },
        Op::Binary(_) => {}
        Op::BatchNorm { epsilon } => list.float("epsilon", *epsilon),
        Op::MaxPool(pool) => list.pool(pool),
        Op::AveragePool { pool, count_padding } => {
            list.pool(pool);
            list.flag("count_padding", *count_padding);
        }
        Op::Reduce { axes, keep_dims, .. } => {
            list.sizes("axes", axes);
            list.flag("keep_dims", *keep_dims);
        }
        Op::Softmax { axes } => list.sizes("axes", axes),
        Op::Reshape { shape } | Op::Broadcast { shape } => list.dims("shape", shape),
        Op::Transpose { perm } => list.sizes("perm", perm),
        Op::Concat { axis } | Op::Gather { axis } => list.size("axis", *axis),
        Op::Slice(slice) => {
            list.size("axis", slice.axis);
            list.push("start", Value::Dim(slice.start.clone()));
            list.push("size", Value::Dim(slice.size.clone()));
            if slice.step != 1 {
                list.push("step", Value::Dim(Dim::fixed(slice.step)));
            }
        }
        Op::Pad(pad) => {
            list.sizes("begin", &pad.begin);
            list.sizes("end", &pad.end);
            match pad.mode {
                PadMode::Constant(value) => list.float("value", value),
                PadMode::Reflect => list.push("mode", word("reflect")),
                PadMode::Edge => list.push("mode", word("edge")),
            }
        }
        Op::Iota { size } => list.push("size", Value::Dim(size.clone())),
        Op::Scatter { combine } => {
            if let Some(combine) = combine {
                list.push("combine", word(combine.word()));
            }
        }
        Op::Cumulative { combine, axis } => {
            list.push("combine", word(combine.word()));
            list.size("axis", *axis);
        }
        Op::TopK { axis, k, largest } => {
            list.size("axis", *axis);
            list.push("k", Value::Dim(k.clone()));
            list.flag("largest", *largest);
        }
        Op::Cast { to } => list.push("to", word(&to.to_string())),
        Op::Quantize(quantize) => {
            list.size("bits", quantize.bits);
            list.flag("signed", quantize.signed);
            if let Some(scale) = quantize.scale {
                list.float("scale", scale);
            }
        }
        Op::Custom(call) => {
            let values = call.attributes.iter().map(|(name, value)| (name.clone(), custom_value(value)));
            list.0.extend(values);
        }
    }
    list.0
}

/// The operator of a word and its attributes; every attribute must be one that it has.
pub(super) fn operator(word: &str, attributes: BTreeMap<String, Value>, rank: usize) -> Result<Op, String> {
    let mut read = Reader { attributes };
    let spatial = rank.saturating_sub(2);
    let unary = |f| Some(Op::Unary(f));
    let simple = match word {
        "matmul" => Some(Op::MatMul),
        "relu" => unary(Unary::Relu),
        "hard_swish" => unary(Unary::HardSwish),
        "neg" => unary(Unary::Neg),
        "abs" => unary(Unary::Abs),
        "sqrt" => unary(Unary::Sqrt),
        "reciprocal" => unary(Unary::Reciprocal),
        "sigmoid" => unary(Unary::Sigmoid),
        "tanh" => unary(Unary::Tanh),
        "exp" => unary(Unary::Exp),
        "log" => unary(Unary::Log),
        "erf" => unary(Unary::Erf),
        "sin" => unary(Unary::Sin),
        "cos" => unary(Unary::Cos),
        "atan" => unary(Unary::Atan),
        "floor" => unary(Unary::Floor),
        "round" => unary(Unary::Round),
        _ => Binary::ALL.iter().find(|f| f.mnemonic() == word).map(|f| Op::Binary(*f)),
    };
    let reduction = ReduceKind::ALL.iter().find(|(_, name)| *name == word).map(|(kind, _)| *kind);
    let op = match word {
        _ if simple.is_some() => simple,
        "leaky_relu" => unary(Unary::LeakyRelu { slope: read.float("slope")? }),
        "clip" => unary(Unary::Clip { min: read.float("min")?, max: read.float("max")? }),
        "hard_sigmoid" => {
            unary(Unary::HardSigmoid { alpha: read.float("alpha")?, beta: read.float("beta")? })
        }
        "dims" => Some(Op::Dims(read.dims("values")?)),
        "conv" => {
            let geometry = read.geometry(spatial)?;
            Some(Op::Conv(Conv { geometry, groups: read.optional_size("groups", 1)? }))
        }
        "batch_norm" => Some(Op::BatchNorm { epsilon: read.float("epsilon")? }),
        "max_pool" => Some(Op::MaxPool(read.pool(spatial)?)),
        "average_pool" => {
            Some(Op::AveragePool { pool: read.pool(spatial)?, count_padding: read.flag("count_padding")? })
        }
        _ if reduction.is_some() => reduction
            .map(|kind| {
                Ok::<_, String>(Op::Reduce {
                    kind,
                    axes: read.sizes("axes")?,
                    keep_dims: read.flag("keep_dims")?,
                })
            })
            .transpose()?,
        "softmax" => Some(Op::Softmax { axes: read.sizes("axes")? }),
        "reshape" => Some(Op::Reshape { shape: read.dims("shape")? }),
        "broadcast" => Some(Op::Broadcast { shape: read.dims("shape")? }),
        "transpose" => Some(Op::Transpose { perm: read.sizes("perm")? }),
        "concat" => Some(Op::Concat { axis: read.size("axis")? }),
        "gather" => Some(Op::Gather { axis: read.size("axis")? }),
        "slice" => Some(Op::Slice(Slice {
            axis: read.size("axis")?,
            start: read.dim("start")?,
            size: read.dim("size")?,
            step: read.optional("step", |v| v.integer(), 1)?,
        })),
        "pad" => Some(Op::Pad(Pad {
            begin: read.sizes("begin")?,
            end: read.sizes("end")?,
            mode: match read.optional("mode", |v| v.word(), "constant".to_owned())?.as_str() {
                "constant" => PadMode::Constant(read.float("value")?),
                "reflect" => PadMode::Reflect,
                "edge" => PadMode::Edge,
                other => return Err(format!("there is no mode `{other}` of padding")),
            },
        })),
        "iota" => Some(Op::Iota { size: read.dim("size")? }),
        "scatter" => {
            let given = read.optional("combine", |v| v.word(), String::new())?;
            Some(Op::Scatter { combine: if given.is_empty() { None } else { Some(combine(&given)?) } })
        }
        "cumulative" => Some(Op::Cumulative {
            combine: combine(&read.required("combine", |v| v.word())?)?,
            axis: read.size("axis")?,
        }),
        "top_k" => {
            Some(Op::TopK { axis: read.size("axis")?, k: read.dim("k")?, largest: read.flag("largest")? })
        }
        "cast" => {
            let to = read.required("to", |v| v.word())?;
            Some(Op::Cast { to: element(&to).ok_or_else(|| format!("there is no element type `{to}`"))? })
        }
        "quantize" => Some(Op::Quantize(Quantize {
            bits: read.size("bits")?,
            signed: read.flag("signed")?,
            scale: read.optional("scale", |v| v.float().map(Some), None)?,
        })),
        _ => None,
    };
    read.finish()?;
    op.ok_or_else(|| format!("there is no operator `{word}`"))
}

/// A custom operator with its attributes.
pub(super) fn custom(
    name: &str,
    attributes: BTreeMap<String, Value>,
    registry: &CustomRegistry,
) -> Result<Op, String> {
    let operator =
        registry.get(name).ok_or_else(|| format!("the custom operator `{name}` is not registered"))?;
    Ok(Op::Custom(CustomCall { operator: operator.clone(), attributes: of_custom(attributes)? }))
}

/// The attributes of a custom operator.
pub(super) fn of_custom(attributes: BTreeMap<String, Value>) -> Result<Attributes, String> {
    let attributes = attributes.into_iter().map(|(name, value)| {
        let attribute =
            custom_attribute(&value).ok_or_else(|| format!("`{name}` is no attribute value: {value}"))?;
        Ok((name, attribute))
    });
    attributes.collect()
}

/// The combination of a word.
fn combine(word: &str) -> Result<Combine, String> {
    let found = Combine::ALL.iter().find(|(_, name)| *name == word).map(|(combine, _)| *combine);
    found.ok_or_else(|| format!("there is no combination `{word}`"))
}

/// The element type of a word.
pub(super) fn element(word: &str) -> Option<ElementType> {
    ElementType::ALL.iter().find(|(_, name)| *name == word).map(|(ty, _)| *ty)
}

impl Value {
    /// As a float; whole numbers are taken too.
    pub(super) fn float(&self) -> Option<f32> {
        match self {
            Value::Float(x) => Some(*x),
            Value::Dim(dim) => dim.as_fixed().map(|n| n as f32),
            _ => None,
        }
    }

    /// As a whole number.
    pub(super) fn integer(&self) -> Option<i64> {
        if let Value::Dim(dim) = self { dim.as_fixed() } else { None }
    }

    /// As a word: a bare one, or one in quotes, as those stand that have a meaning in a size (`max`).
    pub(super) fn word(&self) -> Option<String> {
        match self {
            Value::Dim(dim) => dim.as_symbol().map(str::to_owned),
            Value::Text(word) => Some(word.clone()),
            _ => None,
        }
    }

    fn dim(&self) -> Option<Dim> {
        match self {
            Value::Dim(dim) => Some(dim.clone()),
            Value::Text(name) => Some(Dim::symbol(name)),
            _ => None,
        }
    }

    fn size(&self) -> Option<usize> {
        self.integer().and_then(|n| usize::try_from(n).ok())
    }

    fn list<T>(&self, each: impl Fn(&Value) -> Option<T>) -> Option<Vec<T>> {
        if let Value::List(values) = self { values.iter().map(each).collect() } else { None }
    }
}

struct Writer(Vec<(String, Value)>);

impl Writer {
    fn push(&mut self, name: &str, value: Value) {
        self.0.push((name.to_owned(), value));
    }

    fn float(&mut self, name: &str, value: f32) {
        self.push(name, Value::Float(value));
    }

    fn size(&mut self, name: &str, value: usize) {
        self.push(name, Value::Dim(Dim::from(value)));
    }

    fn sizes(&mut self, name: &str, values: &[usize]) {
        self.push(name, Value::List(values.iter().map(|&n| Value::Dim(Dim::from(n))).collect()));
    }

    fn dims(&mut self, name: &str, dims: &[Dim]) {
        self.push(name, Value::List(dims.iter().cloned().map(Value::Dim).collect()));
    }

    fn flag(&mut self, name: &str, value: bool) {
        if value {
            self.push(name, word("true"));
        }
    }

    fn geometry(&mut self, geometry: &Geometry) {
        let unit = Geometry::unit(geometry.rank());
        let lists = [
            ("strides", &geometry.strides, &unit.strides),
            ("dilations", &geometry.dilations, &unit.dilations),
            ("pads_begin", &geometry.pads_begin, &unit.pads_begin),
            ("pads_end", &geometry.pads_end, &unit.pads_end),
        ];
        for (name, values, default) in lists {
            if values != default {
                self.sizes(name, values);
            }
        }
    }

    fn pool(&mut self, pool: &Pool) {
        self.sizes("kernel", &pool.kernel);
        self.geometry(&pool.geometry);
        self.flag("ceil", pool.ceil);
    }
}

struct Reader {
    attributes: BTreeMap<String, Value>,
}

impl Reader {
    fn required<T>(&mut self, name: &str, read: impl Fn(&Value) -> Option<T>) -> Result<T, String> {
        let value = self.attributes.remove(name).ok_or_else(|| format!("attribute `{name}` is missing"))?;
        read(&value).ok_or_else(|| format!("attribute `{name}` cannot be {value}"))
    }

    fn optional<T>(
        &mut self,
        name: &str,
        read: impl Fn(&Value) -> Option<T>,
        default: T,
    ) -> Result<T, String> {
        match self.attributes.contains_key(name) {
            true => self.required(name, read),
            false => Ok(default),
        }
    }

    fn float(&mut self, name: &str) -> Result<f32, String> {
        self.required(name, Value::float)
    }

    fn size(&mut self, name: &str) -> Result<usize, String> {
        self.required(name, Value::size)
    }

    fn optional_size(&mut self, name: &str, default: usize) -> Result<usize, String> {
        self.optional(name, Value::size, default)
    }

    fn sizes(&mut self, name: &str) -> Result<Vec<usize>, String> {
        self.required(name, |v| v.list(Value::size))
    }

    fn dim(&mut self, name: &str) -> Result<Dim, String> {
        self.required(name, Value::dim)
    }

    fn dims(&mut self, name: &str) -> Result<Vec<Dim>, String> {
        self.required(name, |v| v.list(Value::dim))
    }

    fn flag(&mut self, name: &str) -> Result<bool, String> {
        let read = |v: &Value| match v.word()?.as_str() {
            "true" => Some(true),
            "false" => Some(false),
            _ => None,
        };
        self.optional(name, read, false)
    }

    fn geometry(&mut self, spatial: usize) -> Result<Geometry, String> {
        let unit = Geometry::unit(spatial);
        let mut list = |name, default| self.optional(name, |v: &Value| v.list(Value::size), default);
        Ok(Geometry {
            strides: list("strides", unit.strides)?,
            dilations: list("dilations", unit.dilations)?,
            pads_begin: list("pads_begin", unit.pads_begin)?,
            pads_end: list("pads_end", unit.pads_end)?,
        })
    }

    fn pool(&mut self, spatial: usize) -> Result<Pool, String> {
        let kernel = self.sizes("kernel")?;
        Ok(Pool { kernel, geometry: self.geometry(spatial)?, ceil: self.flag("ceil")? })
    }

    fn finish(self) -> Result<(), String> {
        match self.attributes.into_keys().next() {
            Some(name) => Err(format!("there is no attribute `{name}` here")),
            None => Ok(()),
        }
    }
}

fn word(word: &str) -> Value {
    Value::Dim(Dim::symbol(word))
}

fn custom_value(attribute: &Attribute) -> Value {
    match attribute {
        Attribute::Int(n) => Value::Dim(Dim::fixed(*n)),
        Attribute::Float(x) => Value::Float(*x),
        Attribute::String(text) => Value::Text(text.clone()),
        Attribute::Ints(list) => Value::List(list.iter().map(|&n| Value::Dim(Dim::fixed(n))).collect()),
        Attribute::Floats(list) if list.is_empty() => Value::NoFloats,
        Attribute::Floats(list) => Value::List(list.iter().map(|&x| Value::Float(x)).collect()),
    }
}

/// A list with a float in it is one of floats.
fn custom_attribute(value: &Value) -> Option<Attribute> {
    Some(match value {
        Value::Float(x) => Attribute::Float(*x),
        Value::Dim(_) => Attribute::Int(value.integer()?),
        Value::Text(text) => Attribute::String(text.clone()),
        Value::List(list) if list.iter().any(|v| matches!(v, Value::Float(_))) => {
            Attribute::Floats(value.list(Value::float)?)
        }
        Value::NoFloats => Attribute::Floats(vec![]),
        Value::List(_) => Attribute::Ints(value.list(Value::integer)?),
    })
}
