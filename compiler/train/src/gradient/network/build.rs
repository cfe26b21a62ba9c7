//! A network made of a graph: which operator computes each node, and where values and gradients go. What depends on no input is computed here, once.

use super::{Kind, Network, Slot, Step, slot};
use crate::gradient::GradientError;
use crate::gradient::operator::{Operand, flat, operator};
use std::collections::{HashMap, HashSet};
use twnc_ir::{Data, ElementType, Graph, GraphBuilder, NodeId, Op, Tensor, ValueId};

impl Network {
    /// Of a graph without open sizes. `parameters` are f32 constants; gradients are taken of `outputs`, f32 values, by these. `limit` is in bytes.
    pub fn new(
        graph: &Graph,
        parameters: &[ValueId],
        outputs: &[ValueId],
        limit: usize,
    ) -> Result<Network, GradientError> {
        let order = graph.order().map_err(|cycle| GradientError::node(graph.name(), cycle))?;
        let needed = needed(graph, outputs);
        let mut network = Network {
            slots: vec![],
            gradients: vec![],
            reached: vec![],
            steps: vec![],
            inputs: vec![],
            outputs: vec![],
            output_shapes: vec![],
            parameters: vec![],
            places: HashMap::new(),
            products: 0.0,
            bytes: [0; 2],
        };
        // Slots that depend on a parameter, and those that depend on no input.
        let (mut moving, mut known) = (HashSet::new(), HashSet::new());
        let (mut refused, mut bytes) = (vec![], 0usize);
        let mut room = |shape: &[usize], moving: bool| {
            let elements =
                shape.iter().try_fold(4usize, |n, &size| n.checked_mul(size)).unwrap_or(usize::MAX);
            bytes = bytes.saturating_add(elements.saturating_mul(if moving { 2 } else { 1 }));
            if bytes > limit { Err(GradientError::Memory { needed: bytes, limit }) } else { Ok(()) }
        };
        for port in graph.inputs() {
            let ty = graph.ty(port.value);
            let shape = ty.fixed_shape().ok_or_else(|| GradientError::Open(ty.to_string()))?;
            room(&shape, false)?;
            let slot = network.place(port.value, zeros(ty.element, &shape));
            network.inputs.push(slot);
        }
        for id in order.into_iter().filter(|id| needed.contains(id)) {
            let (node, name) = (graph.node(id), graph.node_name(id));
            if let Op::Constant(tensor) = &node.op {
                let is_parameter = parameters.contains(&node.results[0]);
                room(tensor.shape(), is_parameter)?;
                let slot = network.place(node.results[0], slot(tensor.clone()));
                known.insert(slot);
                if is_parameter {
                    moving.insert(slot);
                }
                continue;
            }
            let operands: Vec<usize> = node.operands.iter().map(|value| network.places[value]).collect();
            let differentiated = operands.iter().any(|slot| moving.contains(slot));
            let types: Vec<_> = node.results.iter().map(|&value| graph.ty(value)).collect();
            let open = || GradientError::Open(name.clone());
            let shapes =
                types.iter().map(|ty| ty.fixed_shape().ok_or_else(open)).collect::<Result<Vec<_>, _>>()?;
            // The same numbers in the same order are the same slot.
            if let (Op::Reshape { .. } | Op::Broadcast { .. }, ElementType::F32) =
                (&node.op, types[0].element)
                && let Slot::Float { elements } = &network.slots[operands[0]]
                && elements.len() == shapes[0].iter().product::<usize>()
            {
                network.places.insert(node.results[0], operands[0]);
                continue;
            }
            let constant = !differentiated && operands.iter().all(|slot| known.contains(slot));
            let operand_types = || node.operands.iter().map(|&value| graph.ty(value));
            let tensors: Vec<Option<Tensor>> = operands
                .iter()
                .zip(operand_types())
                .map(|(slot, ty)| {
                    (known.contains(slot) && !moving.contains(slot)).then(|| network.tensor(*slot, ty))
                })
                .collect();
            let described: Vec<Operand<'_>> = operand_types()
                .zip(&tensors)
                .map(|(ty, tensor)| Operand {
                    element: ty.element,
                    shape: ty.fixed_shape().unwrap_or_default(),
                    constant: tensor.as_ref(),
                })
                .collect();
            let is_float = types.iter().all(|ty| ty.element == ElementType::F32);
            let built = match &node.op {
                _ if constant || !is_float => Err("it is not of floats".to_owned()),
                op => operator(op, &described, &shapes[0]),
            };
            if let (true, Some(reason)) =
                (differentiated && is_float, built.as_ref().err().map(String::as_str).or(flat(&node.op)))
            {
                refused.push(format!("`{name}` ({}: {reason})", node.op.mnemonic()));
            }
            network.products += products(&node.op, &described, &shapes[0]);
            drop(described);
            let kind = match built {
                Ok(operator) => Kind::Operator(operator),
                Err(_) => {
                    let (alone, inputs) = alone(graph, &node.op, &node.operands, tensors)
                        .map_err(|reason| GradientError::node(&name, reason))?;
                    Kind::Reference(alone, inputs.into_iter().map(|i| operands[i]).collect())
                }
            };
            let mut results = vec![];
            // Whole numbers have no derivative: what is computed of them is constant to a parameter.
            let differentiated = differentiated && is_float;
            for ((&value, ty), shape) in node.results.iter().zip(&types).zip(&shapes) {
                room(shape, differentiated)?;
                let slot = network.place(value, zeros(ty.element, shape));
                results.push(slot);
                if differentiated {
                    moving.insert(slot);
                }
                if constant {
                    known.insert(slot);
                }
            }
            let mut step = Step { name, kind, operands, results, differentiated };
            match constant {
                true => network.run(&mut step)?,
                false => network.steps.push(step),
            }
        }
        if !refused.is_empty() {
            return Err(GradientError::NoDerivative(refused));
        }
        let place = |value: &ValueId| {
            let place = network.places.get(value).copied();
            place.ok_or_else(|| GradientError::node(&value.to_string(), "no output depends on it"))
        };
        network.bytes[0] = bytes;
        network.outputs = outputs.iter().map(place).collect::<Result<_, _>>()?;
        network.output_shapes =
            outputs.iter().map(|&value| graph.ty(value).fixed_shape().unwrap_or_default()).collect();
        network.parameters = parameters.iter().map(place).collect::<Result<_, _>>()?;
        for (i, slot) in network.slots.iter().enumerate() {
            let elements = if let Slot::Float { elements } = slot { elements.len() } else { 0 };
            network.gradients.push(if moving.contains(&i) { vec![0.0; elements] } else { vec![] });
            if !known.contains(&i) {
                network.bytes[1] += 4 * (elements + network.gradients[i].len());
            }
        }
        Ok(network)
    }

    fn place(&mut self, value: ValueId, slot: Slot) -> usize {
        self.slots.push(slot);
        self.places.insert(value, self.slots.len() - 1);
        self.slots.len() - 1
    }
}

/// Multiplications of a product.
fn products(op: &Op, operands: &[Operand<'_>], result: &[usize]) -> f64 {
    let each: usize = match (op, operands) {
        (Op::Conv(_), [_, weight]) => weight.shape.iter().skip(1).product(),
        (Op::MatMul, [a, _]) => a.shape.last().copied().unwrap_or(0),
        _ => 0,
    };
    each as f64 * result.iter().map(|&n| n as f64).product::<f64>()
}

/// The nodes that some values need.
fn needed(graph: &Graph, values: &[ValueId]) -> HashSet<NodeId> {
    let mut needed = HashSet::new();
    let mut open = values.to_vec();
    while let Some(value) = open.pop() {
        if let Some((id, node)) = graph.definer(value)
            && needed.insert(id)
        {
            open.extend(&node.operands);
        }
    }
    needed
}

/// A node as a graph of its own, and which of its operands are inputs of it; the others are constants, so that a table need not be copied for each run.
fn alone(
    graph: &Graph,
    op: &Op,
    operands: &[ValueId],
    known: Vec<Option<Tensor>>,
) -> Result<(Graph, Vec<usize>), String> {
    let mut build = GraphBuilder::new("node");
    let (mut values, mut inputs) = (vec![], vec![]);
    for (i, (&value, known)) in operands.iter().zip(known).enumerate() {
        let mut ty = graph.ty(value).clone();
        // Slots hold them as floats.
        if ty.element == ElementType::Ternary {
            ty.element = ElementType::F32;
        }
        // The graph's own tensor shares its elements.
        let own = graph.constant(value).filter(|tensor| tensor.ty() == ty).cloned();
        values.push(match known.map(|known| own.unwrap_or(known)) {
            Some(tensor) => build.constant(tensor, ""),
            None => {
                inputs.push(i);
                build.input(&i.to_string(), ty)
            }
        });
    }
    let results = build.nodes(op.clone(), &values, "").map_err(|e| e.to_string())?;
    for (i, value) in results.into_iter().enumerate() {
        build.output(&format!("y{i}"), value);
    }
    Ok((build.finish(), inputs))
}

fn zeros(element: ElementType, shape: &[usize]) -> Slot {
    let count = shape.iter().product();
    let other =
        |data: Data| Slot::Other(Tensor::new(shape.to_vec(), data).expect("as many zeros as elements"));
    match element {
        ElementType::F32 | ElementType::Ternary => Slot::Float { elements: vec![0.0; count] },
        ElementType::I8 => other(Data::I8(vec![0; count].into())),
        ElementType::U8 => other(Data::U8(vec![0; count].into())),
        ElementType::I16 => other(Data::I16(vec![0; count].into())),
        ElementType::I32 => other(Data::I32(vec![0; count].into())),
        ElementType::I64 => other(Data::I64(vec![0; count].into())),
        ElementType::Bool => other(Data::Bool(vec![false; count].into())),
    }
}
