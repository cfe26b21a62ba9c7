//! One node, or one layer, to one step.

use crate::LowerError;
use crate::builder::ProgramBuilder;
use crate::map;
use std::collections::HashSet;
use twnc_ir::steps::{self, Layer};
use twnc_ir::{Attribute, Combine, ElementType, Geometry, Node, NodeId, Op, PadMode, ReduceKind, ValueId};
use twnc_program::step::{self, Contraction, Epilogue, MoveKind, Plane, PoolKind, Term};
use twnc_program::{ConstantData, ConstantId, MAX_WINDOW, Operand, StepKind, Window};

/// Emits the step of a layer.
pub(crate) fn layer(
    build: &mut ProgramBuilder<'_>,
    layer: &Layer<NodeId, ValueId>,
) -> Result<(), LowerError> {
    let graph = build.graph;
    let mut products = layer.terms.iter().flat_map(|term| &term.planes).map(|&plane| graph.node(plane));
    let Some(product) = products.next() else {
        return Err(build.invalid(layer.result, "a layer without a product"));
    };
    let shape = &graph.ty(layer.result).shape;
    let channels = steps::channels_of(&product.op, shape.len()).and_then(|axis| shape[axis].as_size());
    let bias = match (layer.bias, channels) {
        (Some(bias), Some(channels)) => Some(build.constant(bias, vec![channels])?),
        (Some(bias), None) => return Err(build.invalid(bias, "a bias along an axis of open size")),
        (None, _) => None,
    };
    let residual = layer.residual.map(|value| build.buffer(value)).transpose()?;
    let epilogue = Epilogue { bias, residual, activation: layer.activation.map(map::unary) };
    let mut names = vec![build.name(product.results[0])];
    names.extend(products.map(|other| build.name(other.results[0])));
    names.dedup();
    let name = names.join(" + ");
    let pooled = match &product.op {
        Op::MaxPool(pool) => Some((pool, PoolKind::Max)),
        Op::AveragePool { pool, count_padding } => {
            Some((pool, PoolKind::Average { count_padding: *count_padding }))
        }
        _ => None,
    };
    if let Some((pool, kind)) = pooled {
        let window = with_kernel(build, &pool.geometry, pool.kernel.clone(), product)?;
        let (input, scale) = (build.buffer(product.operands[0])?, scale(build, layer.terms[0].scale)?);
        let (ceil, output) = (pool.ceil, build.define(layer.result)?);
        build.push(&name, StepKind::Pool(step::Pool { kind, input, window, ceil, scale, epilogue, output }));
        return Ok(());
    }
    let &[input, weight] = &product.operands[..] else {
        return Err(build.invalid(layer.result, "a product of other than two operands"));
    };
    if graph.ty(weight).element == ElementType::Ternary {
        if graph.ty(layer.result).element != ElementType::F32 {
            return Err(
                build.invalid(layer.result, "its sum of integers is read as integers; cast it to f32 first")
            );
        }
        let terms = layer.terms.iter().map(|of| term(build, of)).collect::<Result<_, _>>()?;
        let output = build.define(layer.result)?;
        build.push(&name, StepKind::Accumulate(step::Accumulate { terms, epilogue, output }));
        return Ok(());
    }
    let kind = match &product.op {
        Op::Conv(conv) => {
            let window = window(build, &conv.geometry, product)?;
            let (input, weight) = (build.buffer(input)?, build.operand(weight)?);
            let output = build.define(layer.result)?;
            StepKind::Conv(step::Conv { input, weight, window, groups: conv.groups, epilogue, output })
        }
        _ => {
            let (left, right) = (build.operand(input)?, build.operand(weight)?);
            let output = build.define(layer.result)?;
            StepKind::MatMul(step::MatMul { left, right, epilogue, output })
        }
    };
    build.push(&name, kind);
    Ok(())
}

/// The scale of a layer, as a list of its numbers.
fn scale(build: &mut ProgramBuilder<'_>, scale: Option<ValueId>) -> Result<Option<ConstantId>, LowerError> {
    match scale.and_then(|value| build.graph.constant(value).map(|tensor| (value, tensor.len()))) {
        Some((value, count)) => Ok(Some(build.constant(value, vec![count])?)),
        None => Ok(None),
    }
}

fn term(build: &mut ProgramBuilder<'_>, term: &steps::Term<NodeId, ValueId>) -> Result<Term, LowerError> {
    let graph = build.graph;
    let scale = scale(build, term.scale)?;
    let mut planes = vec![];
    for product in term.planes.iter().map(|&plane| graph.node(plane)) {
        let contraction = match &product.op {
            Op::Conv(conv) => {
                let window = window(build, &conv.geometry, product)?;
                Contraction::Window { window, groups: conv.groups }
            }
            _ => Contraction::MatMul,
        };
        let shape = graph.constant(product.operands[1]).map(|w| w.shape().to_vec()).unwrap_or_default();
        let input = build.buffer(product.operands[0])?;
        let weight = build.constant(product.operands[1], shape)?;
        planes.push(Plane { input, weight, contraction });
    }
    let input_scale = term.input_scale.map(|scales| build.buffer(scales)).transpose()?;
    Ok(Term { planes, parts: term.parts, scale, input_scale })
}

/// Emits the step of a node that is part of no layer and no other node's expression. Constants need none.
pub(crate) fn node(
    build: &mut ProgramBuilder<'_>,
    inlined: &HashSet<NodeId>,
    id: NodeId,
) -> Result<(), LowerError> {
    let node = build.graph.node(id);
    let name = build.name(node.results[0]);
    let moved = match &node.op {
        Op::Constant(_) => return Ok(()),
        Op::Unary(_) | Op::Binary(_) => return map::expression(build, inlined, id),
        Op::BatchNorm { epsilon } => return map::batch_norm(build, id, *epsilon),
        Op::Reshape { .. } => MoveKind::Reshape,
        Op::Transpose { perm } => MoveKind::Transpose { perm: perm.clone() },
        Op::Concat { axis } => MoveKind::Concat { axis: *axis },
        Op::Slice(s) => MoveKind::Slice { axis: s.axis, start: build.dim(&name, &s.start)?, step: s.step },
        Op::Pad(pad) => {
            let mode = match pad.mode {
                PadMode::Constant(value) => step::PadMode::Constant(value),
                PadMode::Reflect => step::PadMode::Reflect,
                PadMode::Edge => step::PadMode::Edge,
            };
            MoveKind::Pad { begin: pad.begin.clone(), end: pad.end.clone(), mode }
        }
        Op::Broadcast { .. } => MoveKind::Broadcast,
        Op::Gather { axis } => MoveKind::Gather { axis: *axis },
        _ => return compute(build, id, &name),
    };
    let inputs = node.operands.iter().map(|&v| build.operand(v)).collect::<Result<_, _>>()?;
    let output = build.define(node.results[0])?;
    build.push(&name, StepKind::Move(step::Move { kind: moved, inputs, output }));
    Ok(())
}

/// Emits the step of a node that neither moves elements nor is element-wise.
fn compute(build: &mut ProgramBuilder<'_>, id: NodeId, name: &str) -> Result<(), LowerError> {
    let node = build.graph.node(id);
    let kind = match &node.op {
        Op::Reduce { kind, axes, .. } => {
            let kind = match kind {
                ReduceKind::Sum => step::ReduceKind::Sum,
                ReduceKind::Mean => step::ReduceKind::Mean,
                ReduceKind::Max => step::ReduceKind::Max,
                ReduceKind::Min => step::ReduceKind::Min,
            };
            let (input, output) = (build.buffer(node.operands[0])?, build.define(node.results[0])?);
            StepKind::Reduce(step::Reduce { kind, input, axes: axes.clone(), output })
        }
        // Parts of a ternary product that are not added up: there are no kernels for them apart.
        Op::MatMul => {
            let [left, right] = [0, 1].map(|i| node.operands[i]);
            let trits = build.graph.constant(right).and_then(|w| Some((w.shape().to_vec(), w.as_ternary()?)));
            let Some((shape, trits)) = trits.filter(|_| build.graph.ty(left).element == ElementType::F32)
            else {
                return Err(build.invalid(
                    node.results[0],
                    "parts of its sum of integers are not added up; add them and cast the sum to f32",
                ));
            };
            let weight = ConstantData::F32(trits.iter().map(|&t| f32::from(t)).collect());
            let right = Operand::Constant(build.add_constant(&build.name(right), shape, weight));
            let (left, output) = (build.operand(left)?, build.define(node.results[0])?);
            StepKind::MatMul(step::MatMul { left, right, epilogue: Epilogue::default(), output })
        }
        Op::Softmax { axes } => {
            let (input, output) = (build.buffer(node.operands[0])?, build.define(node.results[0])?);
            StepKind::Softmax(step::Softmax { input, axes: axes.clone(), output })
        }
        Op::Cast { .. } => {
            let (input, output) = (build.operand(node.operands[0])?, build.define(node.results[0])?);
            StepKind::Cast(step::Cast { input, output })
        }
        Op::Dims(dims) => {
            let values = dims.iter().map(|dim| build.dim(name, dim)).collect::<Result<_, _>>()?;
            StepKind::Dims(step::Dims { values, output: build.define(node.results[0])? })
        }
        Op::Iota { .. } => StepKind::Iota(step::Iota { output: build.define(node.results[0])? }),
        Op::Scatter { combine } => {
            let (data, indices) = (build.operand(node.operands[0])?, build.operand(node.operands[1])?);
            let (updates, output) = (build.operand(node.operands[2])?, build.define(node.results[0])?);
            let combine = combine.map(combination);
            StepKind::Scatter(step::Scatter { combine, data, indices, updates, output })
        }
        Op::Cumulative { combine, axis } => {
            let (input, output) = (build.operand(node.operands[0])?, build.define(node.results[0])?);
            StepKind::Cumulative(step::Cumulative {
                combine: combination(*combine),
                input,
                axis: *axis,
                output,
            })
        }
        Op::TopK { axis, largest, .. } => {
            let input = build.operand(node.operands[0])?;
            let outputs = [build.define(node.results[0])?, build.define(node.results[1])?];
            StepKind::TopK(step::TopK { input, axis: *axis, largest: *largest, outputs })
        }
        Op::Quantize(quantize) => {
            let input = build.buffer(node.operands[0])?;
            let outputs = [build.define(node.results[0])?, build.define(node.results[1])?];
            let (bits, signed, scale) = (quantize.bits as u32, quantize.signed, quantize.scale);
            StepKind::Quantize(step::Quantize { input, bits, signed, scale, outputs })
        }
        Op::Custom(call) => {
            let inputs = node.operands.iter().map(|&v| build.operand(v)).collect::<Result<_, _>>()?;
            let outputs = node.results.iter().map(|&v| build.define(v)).collect::<Result<_, _>>()?;
            let attributes = call.attributes.iter().map(|(name, value)| (name.clone(), attribute(value)));
            let (function, attributes) = (call.operator.name().to_owned(), attributes.collect());
            StepKind::Custom(step::Custom { function, attributes, inputs, outputs })
        }
        _ => return Err(build.invalid(node.results[0], "no step computes it")),
    };
    build.push(name, kind);
    Ok(())
}

fn combination(combine: Combine) -> step::Combine {
    match combine {
        Combine::Add => step::Combine::Add,
        Combine::Mul => step::Combine::Mul,
        Combine::Min => step::Combine::Min,
        Combine::Max => step::Combine::Max,
    }
}

/// The window of a convolution: its kernel is the weight's spatial extent.
fn window(build: &ProgramBuilder<'_>, geometry: &Geometry, conv: &Node) -> Result<Window, LowerError> {
    let kernel = build.graph.ty(conv.operands[1]).shape.iter().skip(2).map(|dim| dim.as_size());
    match kernel.collect::<Option<Vec<_>>>() {
        Some(kernel) => with_kernel(build, geometry, kernel, conv),
        None => Err(LowerError::Kernel { node: build.name(conv.results[0]) }),
    }
}

fn with_kernel(
    build: &ProgramBuilder<'_>,
    geometry: &Geometry,
    kernel: Vec<usize>,
    node: &Node,
) -> Result<Window, LowerError> {
    let window = Window {
        kernel,
        strides: geometry.strides.clone(),
        dilations: geometry.dilations.clone(),
        pads_begin: geometry.pads_begin.clone(),
        pads_end: geometry.pads_end.clone(),
    };
    let lists = [&window.strides, &window.dilations, &window.pads_begin, &window.pads_end];
    let small = lists.into_iter().flatten().chain(&window.kernel).all(|&n| n <= MAX_WINDOW);
    let taps = window.kernel.iter().try_fold(1usize, |taps, &n| taps.checked_mul(n));
    match small && taps.is_some_and(|taps| taps <= MAX_WINDOW) {
        true => Ok(window),
        false => Err(LowerError::Window { node: build.name(node.results[0]) }),
    }
}

fn attribute(value: &Attribute) -> step::Attribute {
    match value {
        Attribute::Int(v) => step::Attribute::Int(*v),
        Attribute::Float(v) => step::Attribute::Float(*v),
        Attribute::String(v) => step::Attribute::String(v.clone()),
        Attribute::Ints(v) => step::Attribute::Ints(v.clone()),
        Attribute::Floats(v) => step::Attribute::Floats(v.clone()),
    }
}
