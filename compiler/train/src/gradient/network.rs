//! A graph with fixed sizes, run forward and backward.

use super::GradientError;
use super::operator::{Gradients, Operand, Operator, flat, operator};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::mem::take;
use twnc_ir::{Data, ElementType, Graph, GraphBuilder, Op, Tensor, TensorType, ValueId, evaluate};

/// How much of the statistics of a batch goes into those that a batch norm keeps, as in PyTorch.
const MOMENTUM: f32 = 0.1;

/// Whether batch norms take the statistics of the batch and keep them in mind, or those they have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Statistics of the batch.
    Training,
    /// Statistics that were kept.
    Inference,
}

/// A graph, ready to be run forward and backward. See the [module](super).
pub struct Network {
    slots: Vec<Slot>,
    /// Of each slot on the way from a parameter to an output, the gradient; else empty.
    gradients: Vec<Vec<f32>>,
    /// Of each slot, whether something was added to its gradient since a run backward began; before that it means nothing.
    reached: Vec<bool>,
    steps: Vec<Step>,
    inputs: Vec<usize>,
    outputs: Vec<usize>,
    /// The shapes of the outputs: a slot that a reshape shares has that of its operand.
    output_shapes: Vec<Vec<usize>>,
    parameters: Vec<usize>,
    places: HashMap<ValueId, usize>,
    products: f64,
    /// Of all values and gradients, and of those that depend on an input.
    bytes: [usize; 2],
}

/// A value.
enum Slot {
    Float {
        elements: Vec<f32>,
    },
    /// Of another element type.
    Other(Tensor),
}

struct Step {
    name: String,
    kind: Kind,
    operands: Vec<usize>,
    results: Vec<usize>,
    /// Whether a gradient goes through.
    differentiated: bool,
}

enum Kind {
    Operator(Box<dyn Operator>),
    /// Whatever the reference evaluator runs: a graph of this node alone, and the slots of its inputs.
    Reference(Graph, Vec<usize>),
}

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

    /// The elements of a parameter, by its number, to read.
    pub fn parameter(&self, number: usize) -> &[f32] {
        self.floats(self.parameters[number])
    }

    /// The elements of a parameter, by its number, to write.
    pub fn parameter_mut(&mut self, number: usize) -> &mut [f32] {
        match &mut self.slots[self.parameters[number]] {
            Slot::Float { elements } => elements,
            Slot::Other(_) => &mut [],
        }
    }

    /// The elements of any f32 value that is kept here.
    pub fn value(&self, value: ValueId) -> Option<&[f32]> {
        self.places.get(&value).map(|&slot| self.floats(slot))
    }

    /// The elements of any f32 value that is kept here, to write: statistics that are taken up again.
    pub fn value_mut(&mut self, value: ValueId) -> Option<&mut [f32]> {
        match self.places.get(&value).and_then(|&slot| self.slots.get_mut(slot)) {
            Some(Slot::Float { elements }) => Some(elements),
            _ => None,
        }
    }

    /// The gradient by a parameter, by its number, as the last [`backward`](Network::backward) left it.
    pub fn gradient(&self, number: usize) -> &[f32] {
        &self.gradients[self.parameters[number]]
    }

    /// All parameters, in order.
    pub fn parameters(&self) -> impl Iterator<Item = &[f32]> {
        self.parameters.iter().map(|&slot| self.floats(slot))
    }

    /// The bytes of all values and gradients.
    pub fn bytes(&self) -> usize {
        self.bytes[0]
    }

    /// The bytes of those that depend on an input.
    pub fn varying_bytes(&self) -> usize {
        self.bytes[1]
    }

    /// Multiplications of convolutions and matrices in one run forward.
    pub fn products(&self) -> f64 {
        self.products
    }

    /// An output, by its number.
    pub fn output(&self, number: usize) -> &[f32] {
        self.floats(self.outputs[number])
    }

    /// The shape of an output, by its number.
    pub fn output_shape(&self, number: usize) -> &[usize] {
        &self.output_shapes[number]
    }

    /// Runs the network on tensors of its inputs, in order.
    pub fn forward(&mut self, inputs: &[Tensor], mode: Mode) -> Result<(), GradientError> {
        for (&slot, tensor) in self.inputs.iter().zip(inputs) {
            let fits = match (&mut self.slots[slot], tensor.data()) {
                (Slot::Float { elements }, Data::F32(x)) if elements.len() == x.len() => {
                    elements.copy_from_slice(x);
                    true
                }
                (Slot::Other(there), _) if there.ty() == tensor.ty() => {
                    *there = tensor.clone();
                    true
                }
                _ => false,
            };
            if !fits {
                return Err(GradientError::node("an input", format!("{} does not fit", tensor.ty())));
            }
        }
        let mut steps = take(&mut self.steps);
        let mut result = Ok(());
        for step in &mut steps {
            if let Kind::Operator(operator) = &mut step.kind {
                operator.set_live(mode == Mode::Training);
            }
            result = self.run(step);
            if result.is_err() {
                break;
            }
            if mode == Mode::Training {
                self.keep_statistics(step);
            }
        }
        self.steps = steps;
        result
    }

    /// Takes the gradients of `Σ seed·output` by the parameters. `forward` has run.
    pub fn backward(&mut self, seeds: &[Vec<f32>]) {
        self.reached = vec![false; self.slots.len()];
        for (&slot, seed) in self.outputs.iter().zip(seeds) {
            match std::mem::replace(&mut self.reached[slot], true) {
                true => super::vectors::add(&mut self.gradients[slot], seed),
                false if self.gradients[slot].is_empty() => {}
                false => self.gradients[slot].copy_from_slice(seed),
            }
        }
        let mut steps = take(&mut self.steps);
        for step in steps.iter_mut().rev().filter(|step| step.differentiated) {
            let (Kind::Operator(operator), &[result]) = (&mut step.kind, step.results.as_slice()) else {
                continue;
            };
            if !self.reached[result] {
                continue;
            }
            let dy = take(&mut self.gradients[result]);
            // A value that is two operands has two gradients, which are added below.
            let mut taken: Vec<(Vec<f32>, bool)> = vec![];
            for (i, &slot) in step.operands.iter().enumerate() {
                taken.push(
                    match step.operands[..i].contains(&slot)
                        && self.is_moving(&step.operands[..i], slot, &taken)
                    {
                        true => (vec![0.0; self.floats(slot).len()], false),
                        false => (take(&mut self.gradients[slot]), !self.reached[slot]),
                    },
                );
            }
            let x: Vec<&[f32]> = step.operands.iter().map(|&slot| self.floats(slot)).collect();
            let wanted = taken.iter_mut().map(|(d, fresh)| (!d.is_empty()).then_some((&mut d[..], *fresh)));
            let mut gradients = Gradients::new(wanted);
            operator.backward(&x, self.floats(result), &dy, &mut gradients);
            gradients.finish();
            for ((gradient, _), &slot) in taken.into_iter().zip(&step.operands) {
                match self.gradients[slot].is_empty() {
                    true => self.gradients[slot] = gradient,
                    false => super::vectors::add(&mut self.gradients[slot], &gradient),
                }
                self.reached[slot] = true;
            }
            self.gradients[result] = dy;
        }
        self.steps = steps;
        for &slot in self.parameters.iter().filter(|slot| !self.reached[**slot]) {
            self.gradients[slot].fill(0.0);
        }
    }

    /// Whether an operand before has a gradient for this slot.
    fn is_moving(&self, before: &[usize], slot: usize, taken: &[(Vec<f32>, bool)]) -> bool {
        before.iter().zip(taken).any(|(&other, (gradient, _))| other == slot && !gradient.is_empty())
    }

    fn floats(&self, slot: usize) -> &[f32] {
        match &self.slots[slot] {
            Slot::Float { elements } => elements,
            Slot::Other(_) => &[],
        }
    }

    /// What is in a slot, as a value of this type.
    fn tensor(&self, slot: usize, ty: &TensorType) -> Tensor {
        match &self.slots[slot] {
            Slot::Float { elements } => {
                Tensor::from_f32(ty.fixed_shape().unwrap_or_default(), elements.clone())
                    .expect("a slot has the elements of its value's shape")
            }
            Slot::Other(tensor) => tensor.clone(),
        }
    }

    fn run(&mut self, step: &mut Step) -> Result<(), GradientError> {
        match &mut step.kind {
            Kind::Operator(operator) => {
                let Slot::Float { elements } = &mut self.slots[step.results[0]] else { return Ok(()) };
                let mut y = take(elements);
                let x: Vec<&[f32]> = step.operands.iter().map(|&slot| self.floats(slot)).collect();
                operator.forward(&x, &mut y);
                if let Slot::Float { elements } = &mut self.slots[step.results[0]] {
                    *elements = y;
                }
            }
            Kind::Reference(graph, slots) => {
                let ports = graph.inputs().iter().zip(&*slots);
                let inputs = ports
                    .map(|(port, &slot)| (port.name.clone(), self.tensor(slot, graph.ty(port.value))))
                    .collect::<BTreeMap<_, _>>();
                let fail = |e: &dyn ToString| GradientError::node(&step.name, e.to_string());
                let mut outputs = evaluate(graph, &inputs).map_err(|e| fail(&e))?;
                for (port, &place) in graph.outputs().iter().zip(&step.results) {
                    let tensor = outputs.remove(&port.name).ok_or_else(|| fail(&"it has no result"))?;
                    self.slots[place] = slot(tensor);
                }
            }
        }
        Ok(())
    }

    /// Mixes the statistics of a batch into those that a batch norm keeps.
    fn keep_statistics(&mut self, step: &Step) {
        let Kind::Operator(operator) = &step.kind else { return };
        let (Some(found), &[_, _, _, mean, variance]) = (operator.statistics(), step.operands.as_slice())
        else {
            return;
        };
        let unbiased = found.count as f32 / (found.count.max(2) - 1) as f32;
        for (slot, found, factor) in [(mean, found.mean, 1.0), (variance, found.variance, unbiased)] {
            if let Slot::Float { elements } = &mut self.slots[slot] {
                for (kept, &found) in elements.iter_mut().zip(found) {
                    *kept += MOMENTUM * (found * factor - *kept);
                }
            }
        }
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
fn needed(graph: &Graph, values: &[ValueId]) -> HashSet<twnc_ir::NodeId> {
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

/// A slot for a tensor; a ternary one as floats.
fn slot(tensor: Tensor) -> Slot {
    match tensor.data() {
        Data::F32(x) => Slot::Float { elements: x.to_vec() },
        Data::Ternary(t) => Slot::Float { elements: t.iter().map(|&t| f32::from(t)).collect() },
        _ => Slot::Other(tensor),
    }
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
