//! What a user chooses about ternary layers and activations, and which layers that selects.

use crate::egraph::RuleError;
use crate::fix_point::BITS;
use globset::{Glob, GlobMatcher};
use std::collections::HashMap;
use thiserror::Error;
use twnc_ir::{Graph, Layer, NodeId, PipelineError};

/// The choices behind the default pipeline. Plain data; the defaults are the paper's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Options {
    /// Which layers become ternary.
    pub ternarise: Mode,
    /// Layers that stay float whatever else is asked for: globs on their names, in which `*` also matches `/`; or `kind:depthwise`,
    /// `kind:first` and `kind:last`.
    pub keep: Vec<String>,
    /// How a threshold is found.
    pub threshold: Threshold,
    /// What shares a scale.
    pub scale: Scale,
    /// What ternary layers sum.
    pub activations: Activations,
    /// The bits of a whole number that is summed; in [`BITS`]. Nothing else depends on it.
    pub activation_bits: usize,
    /// Rules that [`saturate`](mod@crate::egraph) applies beside its own, as a text (`docs/egraph-rules.md`).
    pub rules: String,
    /// Whether only the order of outputs matters, so that one scale and one bias before them may go
    /// ([`drop_logits_scale`](mod@crate::drop_logits_scale)).
    pub logits_scale_free: bool,
    /// Values for which [`saturate`](mod@crate::egraph) says by which rules they came to be: names of layers and outputs, or `%7`.
    pub explain: Vec<String>,
}

/// What ternary layers sum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activations {
    /// Floats, as they are.
    #[default]
    F32,
    /// Whole numbers, to which [`fix_point`](mod@crate::fix_point) rounds the floats.
    Int,
}

/// Which layers become ternary.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Those that are already, where they hold at least half of the network's weights; else all.
    #[default]
    Auto,
    /// All with a constant weight.
    All,
    /// Those that are already.
    Detected,
    /// None, and nothing is looked for.
    None,
}

/// How a threshold is found; see [`threshold`](mod@crate::threshold).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Threshold {
    /// 0.7 times the mean magnitude.
    #[default]
    Twn,
    /// The optimum, by sorting.
    Exact,
}

/// What shares a scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scale {
    /// A layer.
    #[default]
    Layer,
    /// An output channel.
    Channel,
    /// So many weights of an output channel at most, those of whole input channels ([`parts`](mod@twnc_ir::parts)); an output channel of a
    /// convolution in groups.
    Group(usize),
}

impl Scale {
    /// Whether a layer has one scale, where each output channel has one otherwise; an error for groups, which layers are not trained with.
    pub fn is_shared_by_layer(self) -> Result<bool, OptionsError> {
        match self {
            Scale::Layer => Ok(true),
            Scale::Channel => Ok(false),
            Scale::Group(_) => Err(OptionsError::TrainedGroups),
        }
    }
}

/// Why there is no pipeline for some options.
#[derive(Debug, Error)]
pub enum OptionsError {
    /// A pattern that is no glob.
    #[error(
        "`{pattern}` is no pattern for layer names: {reason}; `*` stands for any text, `[..]` for one of some characters"
    )]
    Pattern {
        /// The pattern.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A kind of layers that there is not.
    #[error(
        "`kind:{0}` is no kind of layers; there are kind:depthwise, kind:first and kind:last, and other patterns are of names"
    )]
    Kind(String),
    /// A number of bits that activations cannot have.
    #[error("{0} bits of an activation are not possible; choose from {least} to {most}", least = BITS.start(), most = BITS.end())]
    ActivationBits(usize),
    /// Groups of weights without a weight.
    #[error("a group of {0} weights has no scale; give it one weight or more")]
    Group(usize),
    /// Groups of weights in training.
    #[error("layers are trained with a scale for each layer or each channel, not for groups of weights")]
    TrainedGroups,
    /// A text of rules that is none.
    #[error("the rules: {0}")]
    Rules(#[from] RuleError),
    /// A rule whose sides differ.
    #[error("the rules: line {line}, column {column}: rule `{name}` does not hold: {case}")]
    WrongRule {
        /// The rule.
        name: String,
        /// Where it stands, from 1.
        line: usize,
        /// From 1.
        column: usize,
        /// Where its sides differ.
        case: String,
    },
    /// The list of passes does not hold together.
    #[error(transparent)]
    Pipeline(#[from] PipelineError),
}

impl Default for Options {
    fn default() -> Options {
        Options {
            ternarise: Mode::default(),
            keep: vec![],
            threshold: Threshold::default(),
            scale: Scale::default(),
            activations: Activations::default(),
            activation_bits: 8,
            rules: String::new(),
            logits_scale_free: false,
            explain: vec![],
        }
    }
}

/// The patterns of layers that stay float.
#[derive(Clone, Debug, Default)]
pub(crate) struct Keep(Vec<Pattern>);

/// What one of them says, and which layers it is of.
#[derive(Clone, Debug)]
struct Pattern {
    text: String,
    of: Kept,
}

#[derive(Clone, Debug)]
enum Kept {
    Named(GlobMatcher),
    Depthwise,
    First,
    Last,
}

/// What a pattern begins with that is not of names.
const KIND: &str = "kind:";

impl Keep {
    /// Reads the patterns.
    pub(crate) fn new(patterns: &[String]) -> Result<Keep, OptionsError> {
        let read = |text: &String| {
            let of = match text.strip_prefix(KIND) {
                Some("depthwise") => Kept::Depthwise,
                Some("first") => Kept::First,
                Some("last") => Kept::Last,
                Some(other) => return Err(OptionsError::Kind(other.to_owned())),
                None => match Glob::new(text) {
                    Ok(glob) => Kept::Named(glob.compile_matcher()),
                    Err(e) => {
                        return Err(OptionsError::Pattern {
                            pattern: text.clone(),
                            reason: e.kind().to_string(),
                        });
                    }
                },
            };
            Ok(Pattern { text: text.clone(), of })
        };
        patterns.iter().map(read).collect::<Result<_, _>>().map(Keep)
    }

    /// Of a network's layers, in order, those that match a pattern, each with the first that it matches; and the patterns that none matches.
    pub(crate) fn choose(&self, graph: &Graph, layers: &[Layer]) -> (HashMap<NodeId, &str>, Vec<&str>) {
        let ends = [layers.first(), layers.last()].map(|layer| layer.map(|layer| layer.node));
        let is = |layer: &Layer, pattern: &Pattern| match &pattern.of {
            Kept::Named(glob) => glob.is_match(&layer.name),
            Kept::Depthwise => layer.is_depthwise(graph),
            Kept::First => ends[0] == Some(layer.node),
            Kept::Last => ends[1] == Some(layer.node),
        };
        let first = |layer: &Layer| self.0.iter().find(|pattern| is(layer, pattern));
        let kept = layers.iter().filter_map(|layer| Some((layer.node, first(layer)?.text.as_str())));
        let unused = self.0.iter().filter(|pattern| !layers.iter().any(|layer| is(layer, pattern)));
        (kept.collect(), unused.map(|pattern| pattern.text.as_str()).collect())
    }
}
