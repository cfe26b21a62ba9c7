//! What is wrong with a file, an option or a graph, in sentences for the person who has to change something.

use std::fmt;
use thiserror::Error;

/// Why a file does not become a graph, or a graph not a file.
#[derive(Debug, Error)]
pub enum OnnxError {
    /// A file that cannot be imported.
    #[error("{file}: {problem}")]
    Import {
        /// The file, or `model` for bytes without one.
        file: String,
        /// What is wrong with it.
        problem: ImportProblem,
    },
    /// A graph that cannot be written as ONNX.
    #[error("node `{node}` cannot be written as ONNX: {reason}")]
    Export {
        /// The node, by its name or, if it has none, its id.
        node: String,
        /// Why not, and what to do.
        reason: String,
    },
}

/// What is wrong with a file that is to be imported.
#[derive(Debug, Error)]
pub enum ImportProblem {
    /// It cannot be read.
    #[error("cannot be read: {0}")]
    Read(#[from] std::io::Error),
    /// It is over the size limit.
    #[error("has {bytes} bytes, over the limit of {limit}; keep large constants as external data")]
    TooLarge {
        /// Its size.
        bytes: u64,
        /// The limit.
        limit: u64,
    },
    /// It is something else, or damaged.
    #[error("is not an ONNX model, or is damaged: {0}")]
    NotOnnx(String),
    /// It is written for a version that the importer does not know.
    #[error("{what} is {found}; accepted are {accepted}; {remedy}")]
    Version {
        /// Of what.
        what: String,
        /// The version in the file.
        found: i64,
        /// The range that is accepted.
        accepted: String,
        /// What to do.
        remedy: &'static str,
    },
    /// Its nodes and values do not make a graph.
    #[error("{0}")]
    Structure(String),
    /// A constant cannot be used.
    #[error("tensor `{tensor}`: {problem}")]
    Tensor {
        /// Its name.
        tensor: String,
        /// Why.
        problem: TensorProblem,
    },
    /// An input cannot be used as it is declared.
    #[error("input `{input}`: {reason}")]
    Input {
        /// Its name.
        input: String,
        /// Why, and what to do.
        reason: String,
    },
    /// An input is declared without a shape.
    #[error("input `{input}`: has no shape; give one")]
    NoShape {
        /// Its name.
        input: String,
    },
    /// An option does not fit the file.
    #[error("option {setting} {value}: {reason}")]
    Option {
        /// Which.
        setting: Setting,
        /// What it says.
        value: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Nodes that cannot be translated: all of them.
    #[error("{}", Listed(.0))]
    Nodes(Vec<NodeProblem>),
}

/// Why a node cannot be translated.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("node `{node}` ({operator}): {reason}")]
pub struct NodeProblem {
    /// The node's name, or its first result's.
    pub node: String,
    /// The operator, with its domain where that is not ONNX's.
    pub operator: String,
    /// Why, and what to do.
    pub reason: String,
    /// The options by which it can be done, if there are any.
    pub settings: &'static [Setting],
}

/// An option of an import that a message speaks of. Who shows the message has a name for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Setting {
    /// [`ImportOptions::input_shapes`](crate::ImportOptions::input_shapes)
    InputShapes,
    /// [`ImportOptions::dims`](crate::ImportOptions::dims)
    Dims,
    /// [`ImportOptions::outputs`](crate::ImportOptions::outputs)
    Outputs,
}

impl fmt::Display for Setting {
    /// The name of the field.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Setting::InputShapes => "`input_shapes`",
            Setting::Dims => "`dims`",
            Setting::Outputs => "`outputs`",
        })
    }
}

/// Why a constant cannot be used.
#[derive(Debug, Error)]
pub enum TensorProblem {
    /// Its element type is not accepted.
    #[error(
        "elements of type {0} are not supported; convert the tensor to FLOAT or an integer type, or make values before it the outputs"
    )]
    Element(String),
    /// A size is negative, or the number of elements overflows.
    #[error("the shape {0:?} is no shape of a tensor")]
    Shape(Vec<i64>),
    /// It has its elements more than once, and they might differ.
    #[error("has elements in {0} and in {1}; keep one of them")]
    Places(&'static str, &'static str),
    /// The data are not what type and shape ask for.
    #[error("{found} {unit} of data where type and shape ask for {expected}")]
    Length {
        /// Bytes or elements.
        unit: &'static str,
        /// How many there should be.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// An unsigned element is beyond the signed type that holds it here.
    #[error("element {index} is {value}, over the largest that {element} holds here")]
    Range {
        /// Which.
        index: usize,
        /// What it is.
        value: u64,
        /// The element type in the file.
        element: &'static str,
    },
    /// Elements in another file cannot be had.
    #[error("external data `{location}`: {reason}")]
    External {
        /// Where the tensor says that they are.
        location: String,
        /// Why not, and what to do.
        reason: String,
    },
}

/// Several problems as one message, one a line.
struct Listed<'a>(&'a [NodeProblem]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            [one] => write!(f, "{one}"),
            all => {
                write!(f, "{} nodes cannot be imported:", all.len())?;
                all.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
            }
        }
    }
}
