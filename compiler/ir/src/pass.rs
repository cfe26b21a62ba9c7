//! Passes: what a pass is, what it is handed, and what it says about its work.

use crate::cost::CostModel;
use crate::graph::Graph;
use crate::infer::TypeError;
use crate::rewrite::Changed;
use thiserror::Error;

/// A rewrite of a whole graph.
///
/// A pass states in its documentation whether it is *exact* (the reference evaluator's results stay within float
/// reassociation) or *approximate*. It changes the graph through a [`Rewriter`](crate::Rewriter), whose record it returns.
pub trait Pass: Send + Sync {
    /// Its name, by which the command line and other passes' places in the pipeline refer to it: `fold_scales`.
    fn name(&self) -> &str;

    /// Rewrites `graph`. Whatever it decides not to do, though a user might expect it, becomes a remark.
    fn run(&self, graph: &mut Graph, cx: &mut PassContext<'_>) -> Result<Changed, PassError>;
}

/// Why a pass gave up. The graph is then in an undefined, though valid, state.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PassError {
    /// A rewrite does not type; a mistake in the pass.
    #[error("at `{node}`: {source}")]
    Type {
        /// The layer.
        node: String,
        /// Why.
        source: TypeError,
    },
    /// The network cannot be treated; the message says what to do.
    #[error("at `{node}`: {message}")]
    Refused {
        /// The layer.
        node: String,
        /// Why, and what to do.
        message: String,
    },
    /// The options name a value that the graph does not have when the pass begins.
    #[error("there is no layer, input, output or value `{name}`{near}")]
    UnknownValue {
        /// The name.
        name: String,
        /// Names like it, as a clause that continues the sentence; may be empty.
        near: String,
    },
    /// It would take more than it may; the message says what to do.
    #[error("at `{node}`: {message}")]
    Limit {
        /// The layer.
        node: String,
        /// What, and what to do.
        message: String,
    },
    /// Somebody wanted it to end early.
    #[error("{message}")]
    Interrupted {
        /// That it was, and how far it was.
        message: String,
    },
}

/// What a pass is handed, and where it leaves its remarks.
pub struct PassContext<'a> {
    cost: &'a dyn CostModel,
    pass: String,
    remarks: Vec<Remark>,
}

/// Something a pass has to say about a layer: what it did not do and why, or what a user should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Remark {
    /// The pass.
    pub pass: String,
    /// The layer.
    pub node: String,
    /// What kind of remark.
    pub kind: RemarkKind,
    /// Which question it answers.
    pub topic: Topic,
    /// A clause that continues the layer's name: `kept float: its weight is not constant`.
    pub message: String,
}

/// Kinds of remark.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RemarkKind {
    /// Something was recognised or done.
    Applied,
    /// Something was not done.
    Missed,
    /// The result may not be what the user wants.
    Warning,
}

/// The question that a remark answers, by which reports select.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Topic {
    /// Is the weight of a layer ternary as it comes?
    Detection,
    /// Is the weight of a layer rounded to ternary?
    Rounding,
    /// How far is the network from the float one?
    Accuracy,
    /// Does a layer sum whole numbers?
    FixedPoint,
    /// Is something computed while compiling, or merged into its neighbours?
    Folding,
    /// Is an operator of an extension written out in the closed set?
    Decomposition,
    /// What a pass from outside has to say.
    Other,
}

impl<'a> PassContext<'a> {
    /// A context whose passes count costs with `cost`.
    pub fn new(cost: &'a dyn CostModel) -> PassContext<'a> {
        PassContext { cost, pass: String::new(), remarks: vec![] }
    }

    /// The model by which a pass chooses.
    pub fn cost(&self) -> &'a dyn CostModel {
        self.cost
    }

    /// Says that something was recognised or done.
    pub fn applied(&mut self, topic: Topic, node: &str, message: impl Into<String>) {
        self.remark(RemarkKind::Applied, topic, node, message.into());
    }

    /// Says that something was not done, and why.
    pub fn missed(&mut self, topic: Topic, node: &str, message: impl Into<String>) {
        self.remark(RemarkKind::Missed, topic, node, message.into());
    }

    /// Warns the user.
    pub fn warn(&mut self, topic: Topic, node: &str, message: impl Into<String>) {
        self.remark(RemarkKind::Warning, topic, node, message.into());
    }

    /// The remarks so far.
    pub fn remarks(&self) -> &[Remark] {
        &self.remarks
    }

    /// Ends the use of the context.
    pub fn into_remarks(self) -> Vec<Remark> {
        self.remarks
    }

    /// Names the pass that runs next; its remarks carry the name.
    pub(crate) fn enter(&mut self, pass: &str) {
        self.pass = pass.to_owned();
    }

    fn remark(&mut self, kind: RemarkKind, topic: Topic, node: &str, message: String) {
        self.remarks.push(Remark { pass: self.pass.clone(), node: node.to_owned(), kind, topic, message });
    }
}

impl Topic {
    /// The word that reports have for it.
    pub fn word(self) -> &'static str {
        match self {
            Topic::Detection => "detection",
            Topic::Rounding => "rounding",
            Topic::Accuracy => "accuracy",
            Topic::FixedPoint => "fixed_point",
            Topic::Folding => "folding",
            Topic::Decomposition => "decomposition",
            Topic::Other => "other",
        }
    }

    /// Whether the answer says why a layer is ternary or is not.
    pub fn is_ternary(self) -> bool {
        matches!(self, Topic::Detection | Topic::Rounding)
    }
}

impl PassError {
    /// For `map_err` on a rewrite of the layer `node`.
    pub fn at(node: &str) -> impl Fn(TypeError) -> PassError + '_ {
        move |source| PassError::Type { node: node.to_owned(), source }
    }
}
