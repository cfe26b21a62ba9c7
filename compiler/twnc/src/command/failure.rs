//! How the command fails: an exit code, a message, and what to do.

use super::host::printable;
use crate::CompileError;
use miette::Diagnostic;
use std::fmt;
use twnc_ir::{PassError, PipelineError};
use twnc_lower::LowerError;
use twnc_onnx::{ImportProblem, NodeProblem, OnnxError, Setting};
use twnc_passes::OptionsError;
use twnc_program::FormatError;

/// A failure, as it is shown to the user.
#[derive(Debug)]
pub struct Failure {
    /// Of which kind; the exit code follows from it.
    pub kind: Kind,
    /// What happened, with the name of the thing.
    pub message: String,
    /// The file it happened with.
    pub file: Option<String>,
    /// The layer it happened at.
    pub node: Option<String>,
    /// What to do.
    pub help: Option<String>,
}

/// Kinds of failure; the number is the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A comparison did not hold.
    Comparison = 1,
    /// The command line is not right.
    Usage = 2,
    /// A model or file is not acceptable.
    Unacceptable = 3,
    /// A limit was hit.
    Limit = 4,
    /// Somebody interrupted it.
    Interrupted = 130,
}

impl Failure {
    /// A failure of a kind.
    pub fn new(kind: Kind, message: impl Into<String>) -> Failure {
        Failure { kind, message: message.into(), file: None, node: None, help: None }
    }

    /// A model or file that is not acceptable.
    pub fn unacceptable(message: impl fmt::Display) -> Failure {
        Failure::new(Kind::Unacceptable, message.to_string())
    }

    /// A command line that is not right.
    pub fn usage(message: impl fmt::Display) -> Failure {
        Failure::new(Kind::Usage, message.to_string())
    }

    /// The same failure with the file it happened with.
    pub fn in_file(self, file: impl fmt::Display) -> Failure {
        Failure { file: Some(file.to_string()), ..self }
    }

    /// The same failure with what to do.
    pub fn help(self, help: impl Into<String>) -> Failure {
        Failure { help: Some(help.into()), ..self }
    }

    /// The exit code.
    pub fn exit_code(&self) -> u8 {
        self.kind as u8
    }

    /// Lays it out on the terminal, in colour where that has them. A closed standard error changes no exit code.
    pub(super) fn show(&self) {
        use std::io::Write as _;
        let printable = |text: &String| printable(text).into_owned();
        let shown = Failure {
            kind: self.kind,
            message: printable(&self.message),
            file: self.file.as_ref().map(printable),
            node: self.node.as_ref().map(printable),
            help: self.help.as_ref().map(printable),
        };
        drop(writeln!(std::io::stderr(), "{:?}", miette::Report::new(shown)));
    }

    /// For `--json`: `{"error": {"code", "message", "file", "node", "help"}}`.
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({"error": {
            "code": self.exit_code(),
            "message": self.message,
            "file": self.file,
            "node": self.node,
            "help": self.help,
        }})
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.file {
            Some(file) if !self.message.contains(file.as_str()) => write!(f, "{file}: {}", self.message),
            _ => f.write_str(&self.message),
        }
    }
}

impl std::error::Error for Failure {}

impl Diagnostic for Failure {
    fn help<'a>(&'a self) -> Option<Box<dyn fmt::Display + 'a>> {
        self.help.as_ref().map(|help| Box::new(help) as Box<dyn fmt::Display>)
    }
}

impl From<CompileError> for Failure {
    fn from(error: CompileError) -> Failure {
        let kind = match &error {
            CompileError::Options(OptionsError::Rules(_) | OptionsError::WrongRule { .. }) => {
                Kind::Unacceptable
            }
            CompileError::Options(_) => Kind::Usage,
            CompileError::Pipeline(PipelineError::UnknownPass { .. }) => Kind::Usage,
            CompileError::Pipeline(PipelineError::Pass { source, .. }) if is_unknown(source) => Kind::Usage,
            CompileError::Pipeline(PipelineError::Pass { source, .. }) if is_limit(source) => Kind::Limit,
            CompileError::Pipeline(PipelineError::Pass { source, .. }) if is_interrupted(source) => {
                Kind::Interrupted
            }
            CompileError::Onnx(OnnxError::Import { problem, .. }) => match problem {
                ImportProblem::Option { .. } => Kind::Usage,
                ImportProblem::TooLarge { .. } => Kind::Limit,
                _ => Kind::Unacceptable,
            },
            _ => Kind::Unacceptable,
        };
        match error {
            CompileError::Onnx(OnnxError::Import { file, problem }) => {
                let (node, help) = match &problem {
                    ImportProblem::Nodes(nodes) => {
                        (nodes.first().map(|problem| problem.node.clone()), Some(NODES))
                    }
                    _ => (None, None),
                };
                let message = format!("{file}: {}", with_flags(problem));
                Failure { kind, message, file: Some(file), node, help: help.map(str::to_owned) }
            }
            CompileError::Onnx(error @ OnnxError::Export { .. }) => {
                Failure::new(kind, error.to_string()).help("--dim NAME=N gives an open size a value")
            }
            CompileError::Pipeline(PipelineError::Pass { source, .. }) if is_unknown(&source) => {
                Failure::new(kind, source.to_string()).help(
                    "`twnc opt FILE` prints all values with their numbers and names; a pass before may have replaced one",
                )
            }
            CompileError::Pipeline(PipelineError::Pass { source, .. }) if is_interrupted(&source) => {
                Failure::new(kind, source.to_string())
            }
            CompileError::Options(error @ OptionsError::Rules(_)) => {
                Failure::new(kind, error.to_string()).help(RULES)
            }
            CompileError::Options(error @ OptionsError::WrongRule { .. }) => Failure::new(kind, error.to_string())
                .help("a condition may be missing, or the rule holds for `reassociation` or `numbers` alone; `twnc rules --check FILE` tries again"),
            CompileError::Lower(error) => Failure::new(kind, format!("{error}{}", flags_of(&error))),
            error => Failure::new(kind, error.to_string()),
        }
    }
}

impl From<twnc_runtime::Error> for Failure {
    fn from(error: twnc_runtime::Error) -> Failure {
        use twnc_runtime::{Error, TuningError};
        match error {
            Error::Memory { needed, limit } => Failure::new(
                Kind::Limit,
                format!("the model needs {needed} bytes for inputs of these shapes; the limit is {limit} (--max-memory)"),
            )
            .help("smaller inputs and fewer --threads need less; --max-memory BYTES sets another limit"),
            Error::Allocation { .. } => Failure::new(Kind::Limit, error.to_string()),
            Error::UnknownBackend { .. } | Error::Backend { .. } => Failure::usage(error),
            Error::File { path, source } => {
                let kind = match source {
                    FormatError::TooLarge { .. } => Kind::Limit,
                    _ => Kind::Unacceptable,
                };
                let hint = match source {
                    FormatError::Magic => "; compile a model with `twnc MODEL.onnx -o MODEL.bin`",
                    _ => "",
                };
                Failure::new(kind, format!("{path}: {source}{hint}")).in_file(path)
            }
            Error::Tuning { path, source } => {
                let kind = match source {
                    TuningError::TooLarge => Kind::Limit,
                    _ => Kind::Unacceptable,
                };
                Failure::new(kind, format!("{path}: {source}"))
                    .in_file(path)
                    .help("`twnc bench MODEL.bin --autotune --store FILE` writes one")
            }
            error => Failure::unacceptable(error),
        }
    }
}

/// What helps where a text holds no rules.
pub const RULES: &str =
    "docs/egraph-rules.md has the grammar and the words; `twnc rules` prints rules that hold";

fn is_unknown(error: &PassError) -> bool {
    matches!(error, PassError::UnknownValue { .. })
}

/// Whether a pass would take more than it may.
fn is_limit(error: &PassError) -> bool {
    matches!(error, PassError::Limit { .. })
}

/// Whether a pass was told to end early.
fn is_interrupted(error: &PassError) -> bool {
    matches!(error, PassError::Interrupted { .. })
}

/// What helps where nodes cannot be imported.
const NODES: &str = "`twnc ops` lists what is accepted; --output NAME cuts off a tail that is not needed";

/// What is wrong with a file, with the flags that the command has for the options that help.
fn with_flags(problem: ImportProblem) -> String {
    match problem {
        ImportProblem::NoShape { input } => {
            format!("{}: --input-shape {input}:1x3x224x224", ImportProblem::NoShape { input: input.clone() })
        }
        ImportProblem::Option { setting, value, reason } => {
            format!("option {} {value}: {reason}", flag(setting))
        }
        ImportProblem::Nodes(nodes) => {
            let with_flags = |problem: NodeProblem| {
                let flags: Vec<&str> = problem.settings.iter().map(|&setting| flag(setting)).collect();
                let with =
                    if flags.is_empty() { String::new() } else { format!(" with {}", flags.join(" or ")) };
                NodeProblem { reason: format!("{}{with}", problem.reason), ..problem }
            };
            ImportProblem::Nodes(nodes.into_iter().map(with_flags).collect()).to_string()
        }
        problem => problem.to_string(),
    }
}

/// The flags that do what a message of the lowering asks for, as its end.
fn flags_of(error: &LowerError) -> String {
    match error {
        LowerError::InputDimension { .. } | LowerError::Kernel { .. } => " (--input-shape, --dim)".to_owned(),
        LowerError::UnboundSymbol { symbol, .. } => format!(" with --dim {symbol}=..."),
        LowerError::Cycle(_)
        | LowerError::Rank { .. }
        | LowerError::Window { .. }
        | LowerError::Invalid { .. } => String::new(),
    }
}

fn flag(setting: Setting) -> &'static str {
    match setting {
        Setting::InputShapes => "--input-shape",
        Setting::Dims => "--dim",
        Setting::Outputs => "--output",
    }
}
