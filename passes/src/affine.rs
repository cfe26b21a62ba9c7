//! Nodes that are affine in one of their operands: `mul`, `add`, `sub`, `div` and `neg` by constants per tensor or per channel, and
//! `batch_norm`.

use twnc_ir::{Binary, ElementType, Graph, Node, NodeId, Op, PerChannel, Unary};

/// `y = scale·x + shift`, each one number or one for each index along an axis.
#[derive(Clone, Debug)]
pub struct Affine {
    /// The axis of the result along which they lie; `None` for one number each.
    pub axis: Option<usize>,
    /// In f64, not yet rounded; one, or one for each channel.
    pub scale: Vec<f64>,
    /// As many, or one.
    pub shift: Vec<f64>,
}

/// A node that is affine in one of its operands.
#[derive(Clone, Debug)]
pub struct Link {
    /// Which.
    pub node: NodeId,
    /// The operand's number.
    pub operand: usize,
    /// How.
    pub affine: Affine,
}

/// Reads a node as an affine function of one operand, of the operand's type.
pub fn link(graph: &Graph, id: NodeId) -> Option<Link> {
    let node = graph.node(id);
    let result = graph.ty(*node.results.first()?);
    if result.element != ElementType::F32 {
        return None;
    }
    let constant = |operand: usize| PerChannel::of(graph, *node.operands.get(operand)?, result);
    let (operand, affine) = match &node.op {
        Op::Unary(Unary::Neg) => (0, Affine::uniform(-1.0, 0.0)),
        Op::BatchNorm { epsilon } => (0, batch_norm(graph, node, *epsilon)?),
        Op::Binary(f) => {
            let (operand, constant) = match (constant(0), constant(1)) {
                (None, Some(right)) => (0, right),
                (Some(left), None) => (1, left),
                _ => return None,
            };
            (operand, binary(*f, operand, constant)?)
        }
        _ => return None,
    };
    let numbers = affine.scale.iter().chain(&affine.shift);
    let keeps_type = graph.ty(node.operands[operand]) == result;
    (keeps_type && numbers.into_iter().all(|x| x.is_finite())).then_some(Link { node: id, operand, affine })
}

/// `f` of an operand and a constant.
fn binary(f: Binary, operand: usize, constant: PerChannel) -> Option<Affine> {
    let values: Vec<f64> = constant.values.iter().map(|&v| f64::from(v)).collect();
    let negated = || values.iter().map(|v| -v).collect();
    let (scale, shift) = match (f, operand) {
        (Binary::Mul, _) => (values, vec![0.0]),
        (Binary::Div, 0) => (values.iter().map(|v| 1.0 / v).collect(), vec![0.0]),
        (Binary::Add, _) => (vec![1.0], values),
        (Binary::Sub, 0) => (vec![1.0], negated()),
        (Binary::Sub, _) => (vec![-1.0], values),
        _ => return None,
    };
    Some(Affine { axis: constant.axis, scale, shift })
}

/// `s = γ/√(σ² + ε)`, `t = β - μ·s`
fn batch_norm(graph: &Graph, node: &Node, epsilon: f32) -> Option<Affine> {
    let parameter = |i: usize| graph.constant(*node.operands.get(i)?)?.as_f32();
    let (gamma, beta, mean, variance) = (parameter(1)?, parameter(2)?, parameter(3)?, parameter(4)?);
    let spread = |v: &f32| (f64::from(*v) + f64::from(epsilon)).sqrt();
    let scale: Vec<f64> = gamma.iter().zip(variance).map(|(g, v)| f64::from(*g) / spread(v)).collect();
    let centred = mean.iter().zip(&scale).map(|(m, s)| f64::from(*m) * s);
    let shift: Vec<f64> = beta.iter().zip(centred).map(|(b, c)| f64::from(*b) - c).collect();
    let agree = graph.ty(node.results[0]).shape.get(1)?.as_size() == Some(scale.len());
    let axis = (scale.len() != 1).then_some(1);
    (agree && shift.len() == scale.len()).then_some(Affine { axis, scale, shift })
}

impl Affine {
    fn uniform(scale: f64, shift: f64) -> Affine {
        Affine { axis: None, scale: vec![scale], shift: vec![shift] }
    }

    /// `next` of `self`, if both lie along one axis.
    pub fn then(&self, next: &Affine) -> Option<Affine> {
        let axis = match (self.axis, next.axis) {
            (Some(a), Some(b)) if a != b => return None,
            (a, b) => a.or(b),
        };
        let scale = combine(&self.scale, &next.scale, |a, b| a * b);
        let moved = combine(&self.shift, &next.scale, |a, b| a * b);
        Some(Affine { axis, scale, shift: combine(&moved, &next.shift, |a, b| a + b) })
    }

    /// Scale and shift as f32; `None` if one is no longer finite, or a scale other than 0 is no longer a normal number.
    pub fn rounded(&self) -> Option<(Vec<f32>, Vec<f32>)> {
        let scale = self.scale.iter().map(|&s| (s as f32, s == 0.0));
        let scale = scale.map(|(s, zero)| (s.is_normal() || zero).then_some(s)).collect::<Option<_>>()?;
        let shift = self.shift.iter().map(|&t| (t as f32).is_finite().then_some(t as f32));
        Some((scale, shift.collect::<Option<_>>()?))
    }
}

/// Element by element; one number meets each of many.
fn combine(a: &[f64], b: &[f64], f: impl Fn(f64, f64) -> f64) -> Vec<f64> {
    match (a, b) {
        ([a], _) => b.iter().map(|&b| f(*a, b)).collect(),
        (_, [b]) => a.iter().map(|&a| f(a, *b)).collect(),
        _ => a.iter().zip(b).map(|(&a, &b)| f(a, b)).collect(),
    }
}
