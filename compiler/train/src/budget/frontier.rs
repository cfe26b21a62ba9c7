//! What limits a network's size and its loss of accuracy, and what was weighed under these limits.

use crate::solution::Form;
use std::sync::Arc;
use twnc_ir::Graph;

/// What limits the forms that layers have. With neither a size nor a drop, each layer has its smallest form.
#[derive(Clone, Debug, Default)]
pub struct Limits {
    /// The largest file.
    pub size: Option<SizeLimit>,
    /// By how much the share of samples held out that are right may fall; without labels, that of those which have the float network's class.
    pub drop: Option<f64>,
    /// The class of each sample.
    pub labels: Option<Vec<usize>>,
}

/// The bytes of the file that a graph becomes; the message says why it becomes none.
pub type Bytes = Arc<dyn Fn(Graph) -> Result<usize, String> + Send + Sync>;

/// The largest file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SizeLimit {
    /// In bytes.
    Bytes(usize),
    /// This share of the bytes of the float network's file.
    OfFloat(f64),
    /// So much more than with all layers in the one form that they have without a budget, as a share of that.
    Beyond(f64),
}

/// What was weighed.
#[derive(Clone, Debug, PartialEq)]
pub struct Frontier {
    /// From the smallest file to that of the float network.
    pub points: Vec<Point>,
    /// The one that was chosen.
    pub chosen: usize,
    /// The bytes of the file whose layers all have the one form that they have without a budget.
    pub ternary_bytes: usize,
    /// The largest file that was allowed.
    pub limit: Option<usize>,
}

/// A choice of a form for each layer.
#[derive(Clone, Debug, PartialEq)]
pub struct Point {
    /// Bytes of the file: of that which is compiled, where it was, else as they are estimated.
    pub bytes: usize,
    /// Whether it was compiled.
    pub is_exact: bool,
    /// The sum of the errors that single layers make.
    pub error: f64,
    /// The layer that has another form than at the point before, and which; nothing at the first.
    pub step: Option<(String, Form)>,
    /// How many layers have each form.
    pub forms: Vec<(Form, usize)>,
    /// What the first output with classes came to when the layers were fitted together.
    pub measured: Option<Measured>,
}

/// The network of a point, on the samples held out.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measured {
    /// Signal to noise, in dB.
    pub sqnr: f64,
    /// The share of samples with the float network's class.
    pub agreement: Option<f64>,
    /// The shares that are right: of the float network, and of this one.
    pub right: Option<[f64; 2]>,
}

impl Measured {
    /// By how much the share of samples that are right falls, or that of those with the float network's class.
    pub fn drop(&self) -> Option<f64> {
        self.right.map(|[float, right]| float - right).or(self.agreement.map(|agreement| 1.0 - agreement))
    }
}

impl Frontier {
    /// The point that was chosen.
    pub fn chosen(&self) -> &Point {
        &self.points[self.chosen]
    }
}
