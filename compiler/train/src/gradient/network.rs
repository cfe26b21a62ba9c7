//! A graph with fixed sizes, run forward and backward. `build` makes it.

mod build;

use super::GradientError;
use super::operator::{Gradients, Operator};
use std::collections::{BTreeMap, HashMap};
use std::mem::take;
use twnc_ir::{Data, Graph, Tensor, TensorType, ValueId, evaluate};

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

/// A slot for a tensor; a ternary one as floats.
fn slot(tensor: Tensor) -> Slot {
    match tensor.data() {
        Data::F32(x) => Slot::Float { elements: x.to_vec() },
        Data::Ternary(t) => Slot::Float { elements: t.iter().map(|&t| f32::from(t)).collect() },
        _ => Slot::Other(tensor),
    }
}
