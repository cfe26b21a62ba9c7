//! The reference evaluator: slow, obvious, exact. The oracle of every test.
//!
//! Sums are taken in f64 and rounded to f32 once; integers are exact; the functions of one or two numbers round as their
//! documentation in [`crate::op`] says. The result depends on the graph and the inputs alone. One file per family of
//! operators; this one walks the graph, binds symbols to sizes and frees each tensor after its last use.
//!
//! Nothing here panics on any graph or input: shapes are inferred again from the concrete operands before an operator
//! runs, and no tensor of more than [`MAX_ELEMENTS`] elements is made.

mod elementwise;
mod moves;
mod order;
mod pools;
mod products;
mod quantize;
mod reductions;
mod window;

use crate::dim::Dim;
use crate::graph::{Cycle, Graph, Node, ValueId};
use crate::infer::{TypeError, infer};
use crate::op::Op;
use crate::tensor::{Data, Tensor, TensorError};
use crate::types::TensorType;
use std::collections::BTreeMap;
use thiserror::Error;

/// The largest number of elements of one tensor.
pub const MAX_ELEMENTS: usize = 1 << 31;

/// Why a graph has no value.
#[derive(Clone, Debug, PartialEq, Error)]
pub enum EvalError {
    /// An input without a tensor.
    #[error("no tensor was given for input `{0}`")]
    MissingInput(String),
    /// A tensor for an input that the graph does not have.
    #[error("the graph has no input `{name}`; it has {known}")]
    UnknownInput {
        /// The name.
        name: String,
        /// Those there are.
        known: String,
    },
    /// A tensor that is not of its input's type.
    #[error("input `{input}` is declared {declared}, the tensor is {found}")]
    InputType {
        /// Which input.
        input: String,
        /// Its type.
        declared: String,
        /// The tensor's type.
        found: String,
    },
    /// An axis of an input disagrees with what its dimension is by the other inputs.
    #[error("axis {axis} of input `{input}` is {found}, but `{dim}` is {expected}")]
    Dimension {
        /// The dimension.
        dim: String,
        /// Which input.
        input: String,
        /// Which axis of it.
        axis: usize,
        /// The size by the other inputs.
        expected: i64,
        /// The size of the tensor's axis.
        found: usize,
    },
    /// A symbol stands for a size of at least 1.
    #[error("axis {axis} of input `{input}` is empty; `{dim}` stands for a size of at least 1")]
    EmptySymbol {
        /// The symbol.
        dim: String,
        /// Which input.
        input: String,
        /// Which axis of it.
        axis: usize,
    },
    /// A dimension that the inputs' sizes do not determine.
    #[error("the inputs do not determine the dimension `{0}`")]
    Undetermined(String),
    /// The graph has no order.
    #[error(transparent)]
    Cycle(#[from] Cycle),
    /// A layer failed.
    #[error("at `{node}`: {source}")]
    Node {
        /// The layer's name; its first value's number where it has none.
        node: String,
        /// Why.
        source: Box<EvalError>,
    },
    /// The operator does not apply to these tensors.
    #[error(transparent)]
    Type(#[from] TypeError),
    /// A result is not what the graph declares.
    #[error("the result is {found}, declared {declared}")]
    Declared {
        /// The declared type.
        declared: String,
        /// The result's type.
        found: String,
    },
    /// A tensor would be larger than [`MAX_ELEMENTS`].
    #[error("a tensor {0} has more than {MAX_ELEMENTS} elements")]
    TooLarge(String),
    /// A division of integers by zero.
    #[error("an integer is divided by zero")]
    DivisionByZero,
    /// An index of a `gather` or `scatter` outside its axis.
    #[error("index {index} is outside an axis of {size}")]
    Index {
        /// The index.
        index: i64,
        /// The size of the axis.
        size: usize,
    },
    /// An operator made a tensor that does not hold together.
    #[error(transparent)]
    Tensor(#[from] TensorError),
    /// A custom operator failed.
    #[error("custom operator `{name}`: {message}")]
    Custom {
        /// `domain::name`.
        name: String,
        /// Why.
        message: String,
    },
}

/// The tensors of the outputs, by name. Nodes that no output needs are not evaluated.
pub fn evaluate(
    graph: &Graph,
    inputs: &BTreeMap<String, Tensor>,
) -> Result<BTreeMap<String, Tensor>, EvalError> {
    evaluate_observed(graph, inputs, &mut |_, _| {})
}

/// As [`evaluate`]; `observe` sees every input and every result of every node that is evaluated, constants too, in the order in
/// which they come to be.
pub fn evaluate_observed(
    graph: &Graph,
    inputs: &BTreeMap<String, Tensor>,
    observe: &mut dyn FnMut(ValueId, &Tensor),
) -> Result<BTreeMap<String, Tensor>, EvalError> {
    let sizes = bind(graph, inputs)?;
    let order = graph.order()?;
    let mut readers = readers(graph, order.iter().filter_map(|&id| graph.get_node(id)));
    let mut live: BTreeMap<ValueId, Tensor> = BTreeMap::new();
    for port in graph.inputs() {
        if let Some(tensor) = inputs.get(&port.name) {
            observe(port.value, tensor);
            live.insert(port.value, tensor.clone());
        }
    }
    for node in order.iter().filter_map(|&id| graph.get_node(id)) {
        if node.results.iter().all(|result| !readers.contains_key(result)) {
            continue;
        }
        let at = |source: EvalError| {
            let number = || node.results.first().map_or_else(String::new, ToString::to_string);
            let name = if node.name.is_empty() { number() } else { node.name.clone() };
            EvalError::Node { node: name, source: Box::new(source) }
        };
        let missing = |v: &ValueId| EvalError::Undetermined(v.to_string());
        let operands = node.operands.iter().map(|v| live.get(v).cloned().ok_or_else(|| missing(v)));
        let operands = operands.collect::<Result<Vec<_>, _>>().map_err(at)?;
        let results = apply(&with_sizes(&node.op, &sizes).map_err(at)?, &operands).map_err(at)?;
        for (&id, tensor) in node.results.iter().zip(results) {
            let declared = graph.get_value(id).map(|value| &value.ty);
            if let Some(declared) = declared.filter(|ty| !describes(ty, &tensor, &sizes)) {
                let (declared, found) = (declared.to_string(), tensor.ty().to_string());
                return Err(at(EvalError::Declared { declared, found }));
            }
            observe(id, &tensor);
            if readers.contains_key(&id) {
                live.insert(id, tensor);
            }
        }
        for operand in &node.operands {
            if let Some(left) = readers.get_mut(operand) {
                *left = left.saturating_sub(1);
                if *left == 0 {
                    live.remove(operand);
                }
            }
        }
    }
    let outputs = graph.outputs().iter().map(|port| match live.get(&port.value) {
        Some(tensor) => Ok((port.name.clone(), tensor.clone())),
        None => Err(EvalError::Undetermined(port.value.to_string())),
    });
    outputs.collect()
}

/// One operator on concrete tensors. The dimensions in its attributes must be numbers.
pub fn apply(op: &Op, operands: &[Tensor]) -> Result<Vec<Tensor>, EvalError> {
    let types: Vec<TensorType> = operands.iter().map(Tensor::ty).collect();
    types.iter().try_for_each(|ty| concrete_shape(ty).map(drop))?;
    let results = infer(op, &types.iter().collect::<Vec<_>>())?;
    if let Op::Custom(call) = op {
        let custom = |message| EvalError::Custom { name: call.operator.name().to_owned(), message };
        let tensors = call.operator.evaluate(&call.attributes, operands).map_err(custom)?;
        let agree = tensors.iter().map(Tensor::ty).zip(&results).all(|(ty, e)| ty.is_consistent_with(e));
        if !agree || tensors.len() != results.len() {
            let found = tensors.iter().map(Tensor::ty).collect::<Vec<_>>();
            let message = format!("it infers {results:?} and evaluates to {found:?}");
            return Err(custom(message));
        }
        return Ok(tensors);
    }
    if let (Op::Quantize(attributes), [x]) = (op, operands) {
        return quantize::quantize(attributes, x);
    }
    if let (Op::TopK { axis, largest, .. }, [x], [values, _]) = (op, operands, results.as_slice()) {
        return order::top_k(*axis, *largest, x, &concrete_shape(values)?);
    }
    let shape = match results.as_slice() {
        [ty] => concrete_shape(ty)?,
        _ => return Err(EvalError::Undetermined(format!("the results of {}", op.mnemonic()))),
    };
    let data = match (op, operands) {
        (Op::Constant(tensor), _) => tensor.data().clone(),
        (Op::Dims(dims), _) => Data::I64(dims.iter().map(number).collect::<Result<_, _>>()?),
        (Op::Conv(conv), [x, w]) => products::conv(conv, x, w, &shape)?,
        (Op::MatMul, [a, b]) => products::matmul(a, b, &shape)?,
        (Op::Unary(f), [x]) => elementwise::unary(*f, x)?,
        (Op::Binary(f), [a, b]) => elementwise::binary(*f, a, b, &shape)?,
        (Op::BatchNorm { epsilon }, [x, parameters @ ..]) => {
            elementwise::batch_norm(*epsilon, x, parameters)?
        }
        (Op::Cast { to }, [x]) => elementwise::cast(*to, x)?,
        (Op::MaxPool(pool), [x]) => pools::max(pool, x, &shape)?,
        (Op::AveragePool { pool, count_padding }, [x]) => pools::average(pool, *count_padding, x, &shape)?,
        (Op::Reduce { kind, axes, .. }, [x]) => reductions::reduce(*kind, axes, x)?,
        (Op::Softmax { axes }, [x]) => reductions::softmax(axes, x)?,
        (Op::Reshape { .. }, [x]) => x.data().clone(),
        (Op::Transpose { perm }, [x]) => moves::transpose(perm, x),
        (Op::Concat { axis }, operands) => moves::concat(*axis, operands)?,
        (Op::Slice(slice), [x]) => moves::slice(slice, x, &shape)?,
        (Op::Pad(pad), [x]) => moves::pad(pad, x)?,
        (Op::Broadcast { .. }, [x]) => moves::broadcast(x, &shape),
        (Op::Iota { .. }, _) => Data::I64((0..shape.first().map_or(0, |&n| n as i64)).collect()),
        (Op::Scatter { combine }, [data, indices, updates]) => {
            order::scatter(*combine, data, indices, updates)?
        }
        (Op::Cumulative { combine, axis }, [x]) => order::cumulative(*combine, *axis, x)?,
        (Op::Gather { axis }, [data, indices]) => moves::gather(*axis, data, indices)?,
        _ => return Err(EvalError::Undetermined(format!("the result of {}", op.mnemonic()))),
    };
    Ok(vec![Tensor::new(shape, data)?])
}

/// Symbols and the sizes that the inputs give them.
type Sizes = BTreeMap<String, i64>;

/// Checks the inputs against their ports: every bare symbol takes the size of the axis that it stands at, every other
/// dimension must then have the size of its axis.
fn bind(graph: &Graph, inputs: &BTreeMap<String, Tensor>) -> Result<Sizes, EvalError> {
    if let Some(name) = inputs.keys().find(|&name| graph.inputs().iter().all(|port| port.name != *name)) {
        let known: Vec<_> = graph.inputs().iter().map(|port| port.name.as_str()).collect();
        return Err(EvalError::UnknownInput { name: name.clone(), known: known.join(", ") });
    }
    let mut sizes = Sizes::new();
    let mut axes = vec![];
    for port in graph.inputs() {
        let tensor = inputs.get(&port.name).ok_or_else(|| EvalError::MissingInput(port.name.clone()))?;
        let Some(declared) = graph.get_value(port.value).map(|value| &value.ty) else { continue };
        if declared.element != tensor.element() || declared.rank() != tensor.shape().len() {
            let (declared, found) = (declared.to_string(), tensor.ty().to_string());
            return Err(EvalError::InputType { input: port.name.clone(), declared, found });
        }
        for (axis, (dim, &size)) in declared.shape.iter().zip(tensor.shape()).enumerate() {
            if let Some(symbol) = dim.as_symbol() {
                if size == 0 {
                    let (dim, input) = (dim.to_string(), port.name.clone());
                    return Err(EvalError::EmptySymbol { dim, input, axis });
                }
                sizes.entry(symbol.to_owned()).or_insert(Dim::from(size).as_fixed().unwrap_or(i64::MAX));
            }
            axes.push((dim, &port.name, axis, size));
        }
    }
    for (dim, input, axis, found) in axes {
        let expected = size_of(dim, &sizes)?;
        if usize::try_from(expected) != Ok(found) {
            let (dim, input) = (dim.to_string(), input.clone());
            return Err(EvalError::Dimension { dim, input, axis, expected, found });
        }
    }
    Ok(sizes)
}

/// How often each value is read by what an output needs; values that nothing needed reads are absent.
fn readers<'g>(graph: &Graph, order: impl DoubleEndedIterator<Item = &'g Node>) -> BTreeMap<ValueId, usize> {
    let mut readers = BTreeMap::new();
    for port in graph.outputs() {
        *readers.entry(port.value).or_insert(0) += 1;
    }
    for node in order.rev() {
        if node.results.iter().any(|result| readers.contains_key(result)) {
            for &operand in &node.operands {
                *readers.entry(operand).or_insert(0) += 1;
            }
        }
    }
    readers
}

fn size_of(dim: &Dim, sizes: &Sizes) -> Result<i64, EvalError> {
    dim.eval(&|symbol| sizes.get(symbol).copied()).ok_or_else(|| EvalError::Undetermined(dim.to_string()))
}

/// The operator with numbers for the dimensions in its attributes.
fn with_sizes(op: &Op, sizes: &Sizes) -> Result<Op, EvalError> {
    op.try_map_dims(&mut |dim| size_of(dim, sizes).map(Dim::fixed))
}

/// Whether a declared type is the tensor's, as far as the sizes tell.
fn describes(declared: &TensorType, tensor: &Tensor, sizes: &Sizes) -> bool {
    let fits = |(dim, &size): (&Dim, &usize)| {
        dim.eval(&|symbol| sizes.get(symbol).copied()).is_none_or(|n| usize::try_from(n) == Ok(size))
    };
    declared.element == tensor.element()
        && declared.rank() == tensor.shape().len()
        && declared.shape.iter().zip(tensor.shape()).all(fits)
}

/// The shape of a type without open dimensions and of no more than [`MAX_ELEMENTS`] elements. Axes of size 0 are left out of
/// the count, so that no product of some of the sizes overflows either.
fn concrete_shape(ty: &TensorType) -> Result<Vec<usize>, EvalError> {
    let shape = ty.fixed_shape().ok_or_else(|| EvalError::Undetermined(ty.to_string()))?;
    match shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n.max(1))) {
        Some(elements) if elements <= MAX_ELEMENTS => Ok(shape),
        _ => Err(EvalError::TooLarge(ty.to_string())),
    }
}

fn number(dim: &Dim) -> Result<i64, EvalError> {
    dim.as_fixed().ok_or_else(|| EvalError::Undetermined(dim.to_string()))
}

/// The elements of an operand that shape inference has found to be f32.
fn f32s(tensor: &Tensor) -> Result<&[f32], EvalError> {
    let found = || TypeError::Element { op: "evaluate", operand: 0, ty: tensor.ty().to_string() };
    tensor.as_f32().ok_or_else(|| found().into())
}
