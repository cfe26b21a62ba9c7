//! One test of the suite: its files, and what the evaluator and the compiled program make of it.

use super::data::Values;
use crate::arrays;
use onnx_protobuf::{Message, ModelProto, TensorProto, type_proto};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use twnc::Compiler;
use twnc_ir::Tensor;
use twnc_ir::eval::evaluate;
use twnc_onnx::{ImportOptions, import_bytes};
use twnc_passes::{Mode, Options};
use twnc_runtime::{Module, SessionOptions};

/// Inputs or outputs; nothing where a file holds no tensor that can be read as numbers.
type Data = Option<Vec<Values>>;
/// What a way through the compiler makes of a model's bytes and its inputs, by name.
type Results = Result<Vec<(String, Values)>, Outcome>;
/// Such a way.
type Way<'a> = &'a dyn Fn(&[u8], &[(String, Values)]) -> Results;

/// A test, before it is run.
pub(super) struct Case {
    /// `node`, `simple`, ...
    pub(super) suite: String,
    /// Its name.
    pub(super) name: String,
    /// The operator that it is about; of a network, the suite.
    pub(super) operator: String,
    /// The model.
    pub(super) model: ModelProto,
    /// Inputs and expected outputs.
    data: Vec<(Data, Data)>,
}

/// What became of a test on one way through the compiler.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Every output is within the tolerance.
    Passed,
    /// The importer or a later part refuses it.
    Refused(String),
    /// Outputs differ, or something fails that was accepted.
    Wrong(String),
}

/// What became of a test.
pub(super) struct Verdict {
    /// By the reference evaluator.
    pub(super) evaluated: Outcome,
    /// By the compiled program.
    pub(super) compiled: Outcome,
    /// How many of the inputs were made constants, which the operator needs them to be.
    pub(super) constants: usize,
}

/// Why the suite cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{path}: {reason}")]
pub struct ReadError {
    path: String,
    reason: String,
}

fn unreadable(path: &Path, reason: impl ToString) -> ReadError {
    ReadError { path: path.display().to_string(), reason: reason.to_string() }
}

/// The tests of one folder of the suite, by name.
pub(super) fn cases(root: &Path, suite: &str) -> Result<Vec<Case>, ReadError> {
    let folder = root.join(suite);
    let mut paths = vec![];
    for entry in fs::read_dir(&folder).map_err(|error| unreadable(&folder, error))? {
        paths.push(entry.map_err(|error| unreadable(&folder, error))?.path());
    }
    paths.sort();
    let mut cases = vec![];
    for path in paths {
        let of_network = path.extension().is_some_and(|extension| extension == "onnx");
        if of_network {
            cases.push(network(suite, &path)?);
        } else if path.is_dir() {
            cases.push(folder_case(suite, &path)?);
        }
    }
    let operators: BTreeMap<String, String> =
        cases.iter().map(|case| (case.name.clone(), case.operator.clone())).collect();
    for case in &mut cases {
        // What a function is made of is a test of that function.
        let base = case.name.find("_expanded").and_then(|end| operators.get(&case.name[..end]));
        if let Some(operator) = base {
            case.operator = operator.clone();
        }
    }
    Ok(cases)
}

fn folder_case(suite: &str, path: &Path) -> Result<Case, ReadError> {
    let model = model(&path.join("model.onnx"))?;
    let mut data = vec![];
    for set in 0.. {
        let folder = path.join(format!("test_data_set_{set}"));
        if !folder.is_dir() {
            break;
        }
        data.push((tensors(&folder, "input")?, tensors(&folder, "output")?));
    }
    let operator = if suite == "node" {
        let first = model.graph.node.iter().find(|node| node.op_type != "Constant");
        first.map_or_else(String::new, |node| node.op_type.clone())
    } else {
        suite.to_owned()
    };
    Ok(Case { suite: suite.to_owned(), name: name(path), operator, model, data })
}

/// A large network, whose inputs the suite makes when it runs.
fn network(suite: &str, path: &Path) -> Result<Case, ReadError> {
    let model = model(path)?;
    let expected = path.with_extension("");
    let mut outputs = vec![];
    for i in 0..model.graph.output.len() {
        let path = PathBuf::from(format!("{}_output_{i}.pb", expected.display()));
        outputs.push(Values::read(&tensor(&path)?).ok_or_else(|| unreadable(&path, "holds no numbers"))?);
    }
    let inputs = data_inputs(&model).into_iter().map(|input| {
        let ty = model.graph.input[input].type_.tensor_type();
        let dims = ty.shape.dim.iter().map(|dim| usize::try_from(dim.dim_value()).unwrap_or(1).max(1));
        Values::ramp(dims.collect())
    });
    let data = vec![(Some(inputs.collect()), Some(outputs))];
    Ok(Case { suite: suite.to_owned(), name: name(path), operator: suite.to_owned(), model, data })
}

fn name(path: &Path) -> String {
    path.file_stem().unwrap_or_default().to_string_lossy().into_owned()
}

fn model(path: &Path) -> Result<ModelProto, ReadError> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
    ModelProto::parse_from_bytes(&bytes).map_err(|error| unreadable(path, error))
}

fn tensor(path: &Path) -> Result<TensorProto, ReadError> {
    let bytes = fs::read(path).map_err(|error| unreadable(path, error))?;
    TensorProto::parse_from_bytes(&bytes).map_err(|error| unreadable(path, error))
}

/// `input_0.pb`, `input_1.pb`, ...; nothing if one of them is no tensor of numbers.
fn tensors(folder: &Path, kind: &str) -> Result<Option<Vec<Values>>, ReadError> {
    let paths = (0..).map(|i| folder.join(format!("{kind}_{i}.pb"))).take_while(|path| path.exists());
    // Sequences and optionals are other messages, which need not parse as tensors.
    Ok(paths.map(|path| Values::read(&tensor(&path).ok()?)).collect())
}

/// The inputs that are not also constants.
fn data_inputs(model: &ModelProto) -> Vec<usize> {
    let constant = |name: &str| model.graph.initializer.iter().any(|tensor| tensor.name == name);
    (0..model.graph.input.len()).filter(|&i| !constant(&model.graph.input[i].name)).collect()
}

impl Case {
    /// `suite/name`
    pub(super) fn path(&self) -> String {
        format!("{}/{}", self.suite, self.name)
    }

    /// The kinds of its inputs' and outputs' values that are not dense tensors, and the numbers of their elements' types.
    pub(super) fn types(&self) -> (bool, Vec<i32>) {
        let ports = self.model.graph.input.iter().chain(&self.model.graph.output);
        let mut dense = true;
        let mut elements = vec![];
        for port in ports {
            match &port.type_.value {
                Some(type_proto::Value::TensorType(ty)) => elements.push(ty.elem_type),
                _ => dense = false,
            }
        }
        (dense, elements)
    }

    /// Runs it. Where an operator needs parameters to be constant that the suite feeds as inputs (axes, shapes, zero points), they are made
    /// constants: first all inputs but the first, then all.
    pub(super) fn run(&self) -> Verdict {
        let inputs = data_inputs(&self.model).len();
        let mut first: Option<Verdict> = None;
        let mut tried = vec![];
        for kept in [inputs, 1, 0] {
            if kept > inputs || tried.contains(&kept) {
                continue;
            }
            tried.push(kept);
            let evaluated = self.each_set(kept, &evaluated);
            let compiled = self.each_set(kept, &compiled);
            let refused = matches!(evaluated, Outcome::Refused(_));
            let verdict = Verdict { evaluated, compiled, constants: inputs - kept };
            if !refused {
                return verdict;
            }
            first.get_or_insert(verdict);
        }
        first.unwrap_or(Verdict {
            evaluated: Outcome::Refused("it has no data".into()),
            compiled: Outcome::Refused("it has no data".into()),
            constants: 0,
        })
    }

    fn each_set(&self, kept: usize, way: Way<'_>) -> Outcome {
        for (inputs, outputs) in &self.data {
            let (Some(inputs), Some(expected)) = (inputs, outputs) else {
                return Outcome::Refused("its data are not tensors of numbers".into());
            };
            let mut model = self.model.clone();
            let names = data_inputs(&model).into_iter().map(|i| model.graph.input[i].name.to_owned());
            let names: Vec<String> = names.collect();
            let mut feed = vec![];
            for (i, (name, values)) in names.into_iter().zip(inputs).enumerate() {
                if i < kept {
                    feed.push((name, values.clone()));
                } else {
                    model.graph.mut_or_insert_default().initializer.push(values.proto(&name));
                }
            }
            let Ok(bytes) = model.write_to_bytes() else {
                return Outcome::Refused("it cannot be written again".into());
            };
            let results = match way(&bytes, &feed) {
                Ok(results) => results,
                Err(outcome) => return outcome,
            };
            if results.len() != expected.len() {
                return Outcome::Wrong(format!("{} outputs, expected {}", results.len(), expected.len()));
            }
            for ((name, found), expected) in results.iter().zip(expected) {
                if let Err(difference) = found.check(expected) {
                    return Outcome::Wrong(format!("`{name}` {difference}"));
                }
            }
        }
        if self.data.is_empty() { Outcome::Refused("it has no data".into()) } else { Outcome::Passed }
    }
}

/// By importer and reference evaluator.
fn evaluated(bytes: &[u8], feed: &[(String, Values)]) -> Results {
    let import =
        import_bytes(bytes, &ImportOptions::default()).map_err(|e| Outcome::Refused(e.to_string()))?;
    let graph = &import.graph;
    let mut inputs: BTreeMap<String, Tensor> = BTreeMap::new();
    for port in graph.inputs() {
        let (name, values) = given(feed, &port.name)?;
        inputs.insert(name.clone(), tensor_of(values, graph.ty(port.value).element, name)?);
    }
    let mut results = evaluate(graph, &inputs).map_err(|error| Outcome::Wrong(error.to_string()))?;
    let outputs =
        graph.outputs().iter().filter_map(|port| Some((port.name.clone(), results.remove(&port.name)?)));
    Ok(outputs.map(|(name, tensor)| (name, Values::of_tensor(&tensor))).collect())
}

/// By all passes but the one that makes weights ternary, the lowering, and generated code.
fn compiled(bytes: &[u8], feed: &[(String, Values)]) -> Results {
    let wrong = |error: &dyn std::fmt::Display| Outcome::Wrong(error.to_string());
    let options = Options { ternarise: Mode::None, ..Options::default() };
    let compiler = Compiler::builder().passes(options).build().map_err(|error| wrong(&error))?;
    let compiled = match compiler.compile_bytes(bytes) {
        Ok(compiled) => compiled,
        Err(twnc::CompileError::Onnx(error)) => return Err(Outcome::Refused(error.to_string())),
        Err(error) => return Err(wrong(&error)),
    };
    let types: Vec<_> = compiled
        .graph
        .inputs()
        .iter()
        .map(|p| (p.name.clone(), compiled.graph.ty(p.value).element))
        .collect();
    let module = Module::new(compiled.program, Default::default()).map_err(|error| wrong(&error))?;
    let session = module.session(SessionOptions::default().threads(1)).map_err(|error| wrong(&error))?;
    let mut feeds = vec![];
    for (name, element) in types {
        let (name, values) = given(feed, &name)?;
        let tensor = tensor_of(values, element, name)?;
        let array = arrays::input(&tensor).ok_or_else(|| Outcome::Wrong(format!("`{name}` is no input")))?;
        feeds.push((name.clone(), array));
    }
    let outputs = session.run(&arrays::views(&feeds)).map_err(|error| wrong(&error))?;
    Ok(outputs.iter().map(|(name, output)| (name.clone(), Values::of_output(output))).collect())
}

fn given<'a>(feed: &'a [(String, Values)], name: &str) -> Result<&'a (String, Values), Outcome> {
    let found = feed.iter().find(|(given, _)| given == name);
    found.ok_or_else(|| Outcome::Wrong(format!("the suite has no data for input `{name}`")))
}

fn tensor_of(values: &Values, element: twnc_ir::ElementType, name: &str) -> Result<Tensor, Outcome> {
    let tensor = values.tensor(element);
    tensor.ok_or_else(|| Outcome::Wrong(format!("the data for input `{name}` are not {element}")))
}
