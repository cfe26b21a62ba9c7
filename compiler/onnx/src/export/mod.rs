//! From a graph to an ONNX file: IR version 8, operator set 17, so that a network as a pass left it runs in any other engine.
//!
//! Every operator is written as ONNX's own, or as the few that define it. A ternary constant becomes FLOAT elements -1, 0
//! and 1, or what a [format](TernaryFormat) says (`ternary.rs`). `quantize` and products of integers become the operators that give the same bits (`quantize.rs`). Names stay, and are made unique; a size that is open becomes a `dim_param`, and where a node needs it, it is
//! computed from the shapes of the inputs.

mod names;
mod operators;
mod quantize;
mod sizes;
mod ternary;

pub use ternary::TernaryFormat;

use crate::error::OnnxError;
use crate::proto::{
    AttributeProto, AttributeType, DataType, DimensionProto, DimensionValue, GraphProto, ModelProto,
    NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto, TensorTypeProto, TypeProto, TypeValue,
    ValueInfoProto,
};
use crate::tensor::stored_as;
use names::Names;
use prost::Message;
use std::collections::{BTreeSet, HashMap};
use ternary::PackedWeights;
use twnc_ir::{Attribute, Data, Graph, Node, NodeId, Tensor, TensorType, ValueId};

/// The file of a graph, ternary constants as FLOAT. An error names the node that ONNX has no operator for.
pub fn export(graph: &Graph) -> Result<Vec<u8>, OnnxError> {
    export_as(graph, TernaryFormat::Float)
}

/// The same, with ternary constants in a format.
pub fn export_as(graph: &Graph, format: TernaryFormat) -> Result<Vec<u8>, OnnxError> {
    let order = graph
        .order()
        .map_err(|cycle| OnnxError::Export { node: String::new(), reason: cycle.to_string() })?;
    let mut writer = Writer::new(graph, &order, format);
    for id in order {
        let node = graph.node(id);
        writer.node(node).map_err(|reason| OnnxError::Export { node: named(id, node), reason })?;
    }
    Ok(writer.finish().encode_to_vec())
}

fn named(id: NodeId, node: &Node) -> String {
    if node.name.is_empty() { id.to_string() } else { node.name.clone() }
}

/// A file under construction.
struct Writer<'g> {
    graph: &'g Graph,
    format: TernaryFormat,
    names: Names,
    /// The names of values in the file.
    values: HashMap<ValueId, String>,
    /// The names of the outputs.
    outputs: Vec<String>,
    packed: PackedWeights,
    nodes: Vec<NodeProto>,
    initialisers: Vec<TensorProto>,
    /// Domains beyond ONNX's own.
    domains: BTreeSet<String>,
}

impl<'g> Writer<'g> {
    /// Names first what people and programs refer to: inputs, outputs, constants; then the rest.
    fn new(graph: &'g Graph, order: &[NodeId], format: TernaryFormat) -> Writer<'g> {
        let mut names = Names::default();
        let mut values = HashMap::new();
        for port in graph.inputs() {
            values.insert(port.value, names.unique(&port.name));
        }
        let mut outputs = vec![];
        for port in graph.outputs() {
            // An input that is an output of its own name.
            if values.get(&port.value) == Some(&port.name) {
                outputs.push(port.name.clone());
                continue;
            }
            let name = names.unique(&port.name);
            outputs.push(name.clone());
            let is_result =
                graph.definer(port.value).is_some_and(|(_, node)| node.op.as_constant().is_none());
            // An input, a constant or a second output of one value gets its name from an `Identity` at the end.
            if is_result {
                values.entry(port.value).or_insert(name);
            }
        }
        let (constants, others): (Vec<&NodeId>, Vec<&NodeId>) =
            order.iter().partition(|id| graph.node(**id).op.as_constant().is_some());
        for &id in constants.into_iter().chain(others) {
            let node = graph.node(id);
            for &value in &node.results {
                values.entry(value).or_insert_with(|| names.unique(&named(id, node)));
            }
        }
        let (nodes, initialisers, domains) = (vec![], vec![], BTreeSet::new());
        let packed = PackedWeights::new();
        Writer { graph, format, names, values, outputs, packed, nodes, initialisers, domains }
    }

    /// The name of a value in the file.
    fn name(&self, value: ValueId) -> String {
        self.values.get(&value).cloned().unwrap_or_else(|| value.to_string())
    }

    /// Adds a constant under a name that is unique already.
    fn initialiser(&mut self, name: &str, tensor: &Tensor) {
        let (data_type, raw) = raw(tensor);
        self.initialisers.push(TensorProto {
            dims: tensor.shape().iter().map(|&n| n as i64).collect(),
            data_type: data_type as i32,
            name: name.to_owned(),
            raw_data: Some(raw),
            ..TensorProto::default()
        });
    }

    /// Adds a constant that the graph does not have, and returns its name.
    fn extra_constant(&mut self, hint: &str, tensor: &Tensor) -> String {
        let name = self.names.unique(hint);
        self.initialiser(&name, tensor);
        name
    }

    /// Adds a vector of whole numbers, and returns its name.
    fn extra_ints(&mut self, hint: &str, ints: Vec<i64>) -> String {
        let name = self.names.unique(hint);
        let raw = ints.iter().flat_map(|n| n.to_le_bytes()).collect();
        self.initialisers.push(TensorProto {
            dims: vec![ints.len() as i64],
            data_type: DataType::Int64 as i32,
            name: name.clone(),
            raw_data: Some(raw),
            ..TensorProto::default()
        });
        name
    }

    /// Adds a node with these operands and results.
    fn push(
        &mut self,
        op_type: &str,
        input: Vec<String>,
        output: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) {
        let name = output.first().cloned().unwrap_or_default();
        let op_type = op_type.to_owned();
        self.nodes.push(NodeProto { input, output, name, op_type, attribute, ..Default::default() });
    }

    /// Adds a node whose result the graph does not have, and returns its name.
    fn extra(
        &mut self,
        op_type: &str,
        input: Vec<String>,
        attribute: Vec<AttributeProto>,
        hint: &str,
    ) -> String {
        let name = self.names.unique(hint);
        self.push(op_type, input, vec![name.clone()], attribute);
        name
    }

    fn finish(mut self) -> ModelProto {
        let graph = self.graph;
        let mut output = vec![];
        for (port, name) in graph.outputs().iter().zip(std::mem::take(&mut self.outputs)) {
            let inner = self.name(port.value);
            if inner != name {
                self.push("Identity", vec![inner], vec![name.clone()], vec![]);
            }
            output.push(value_info(&name, graph.ty(port.value)));
        }
        let input =
            graph.inputs().iter().map(|port| value_info(&self.name(port.value), graph.ty(port.value)));
        let input = input.collect();
        let mut opset_import =
            vec![OperatorSetIdProto { domain: String::new(), version: self.format.opset() }];
        opset_import.extend(self.domains.into_iter().map(|domain| OperatorSetIdProto { domain, version: 1 }));
        let name = if graph.name().is_empty() { "graph".to_owned() } else { graph.name().to_owned() };
        ModelProto {
            ir_version: self.format.ir_version(),
            producer_name: "twnc".into(),
            producer_version: env!("CARGO_PKG_VERSION").into(),
            graph: Some(GraphProto {
                node: self.nodes,
                name,
                initializer: self.initialisers,
                input,
                output,
                ..GraphProto::default()
            }),
            opset_import,
            functions: vec![],
        }
    }
}

fn value_info(name: &str, ty: &TensorType) -> ValueInfoProto {
    let dim = |dim: &twnc_ir::Dim| DimensionProto {
        value: Some(match dim.as_fixed() {
            Some(n) => DimensionValue::Value(n),
            None => DimensionValue::Param(dim.as_symbol().map_or_else(|| dim.to_string(), str::to_owned)),
        }),
    };
    let shape = Some(TensorShapeProto { dim: ty.shape.iter().map(dim).collect() });
    let tensor = TensorTypeProto { elem_type: stored_as(ty.element) as i32, shape };
    ValueInfoProto {
        name: name.to_owned(),
        r#type: Some(TypeProto { value: Some(TypeValue::Tensor(tensor)) }),
    }
}

fn raw(tensor: &Tensor) -> (DataType, Vec<u8>) {
    let raw = match tensor.data() {
        Data::F32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I8(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::U8(v) => v.to_vec(),
        Data::I16(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I32(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::I64(v) => v.iter().flat_map(|x| x.to_le_bytes()).collect(),
        Data::Bool(v) => v.iter().map(|&b| u8::from(b)).collect(),
        Data::Ternary(v) => v.iter().flat_map(|&t| f32::from(t).to_le_bytes()).collect(),
    };
    (stored_as(tensor.element()), raw)
}

fn int(name: &str, i: i64) -> AttributeProto {
    AttributeProto { name: name.into(), i: Some(i), r#type: AttributeType::Int as i32, ..Default::default() }
}

fn float(name: &str, f: f32) -> AttributeProto {
    AttributeProto {
        name: name.into(),
        f: Some(f),
        r#type: AttributeType::Float as i32,
        ..Default::default()
    }
}

fn string(name: &str, s: &str) -> AttributeProto {
    let s = Some(s.as_bytes().to_vec());
    AttributeProto { name: name.into(), s, r#type: AttributeType::String as i32, ..Default::default() }
}

fn ints(name: &str, ints: Vec<i64>) -> AttributeProto {
    AttributeProto { name: name.into(), ints, r#type: AttributeType::Ints as i32, ..Default::default() }
}

fn sizes<'a>(name: &str, sizes: impl IntoIterator<Item = &'a usize>) -> AttributeProto {
    ints(name, sizes.into_iter().map(|&n| n as i64).collect())
}

fn custom(name: &str, attribute: &Attribute) -> AttributeProto {
    match attribute {
        Attribute::Int(i) => int(name, *i),
        Attribute::Float(f) => float(name, *f),
        Attribute::String(s) => string(name, s),
        Attribute::Ints(v) => ints(name, v.clone()),
        Attribute::Floats(v) => AttributeProto {
            name: name.into(),
            floats: v.clone(),
            r#type: AttributeType::Floats as i32,
            ..Default::default()
        },
    }
}
