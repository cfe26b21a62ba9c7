//! Builds an ONNX graph layer by layer, drawing each layer's parameters as it goes. Every method takes the name of the
//! value that it reads and gives the name of the value that it makes.

use onnx_protobuf::tensor_shape_proto::{Dimension, dimension};
use onnx_protobuf::type_proto::{Tensor, Value};
use onnx_protobuf::{
    AttributeProto, GraphProto, ModelProto, NodeProto, OperatorSetIdProto, TensorProto, TensorShapeProto,
    TypeProto, ValueInfoProto, attribute_proto::AttributeType, tensor_proto::DataType,
};

use super::Weights;
use twnc_random::Random;

/// The geometry of a convolution with a square kernel, padded so that a stride of 1 keeps the size.
#[derive(Clone, Copy)]
pub(super) struct Conv {
    pub(super) inputs: usize,
    pub(super) outputs: usize,
    pub(super) kernel: usize,
    pub(super) stride: usize,
    pub(super) group: usize,
    pub(super) bias: bool,
}

pub(super) struct Writer {
    graph: GraphProto,
    random: Random,
    weights: Weights,
}

impl Writer {
    pub(super) fn new(weights: Weights, seed: u64) -> Writer {
        Writer { graph: GraphProto::default(), random: Random::new(seed), weights }
    }

    /// Declares the graph's input, f32[N, sizes..].
    pub(super) fn input(&mut self, name: &str, sizes: &[usize]) -> String {
        self.graph.input.push(batched(name, sizes));
        name.to_owned()
    }

    /// `Conv`. The deviation is He's (arXiv 1502.01852), which keeps the variance through a rectifier.
    pub(super) fn conv(&mut self, name: &str, x: &str, conv: Conv) -> String {
        let depth = conv.inputs / conv.group;
        let fan_in = depth * conv.kernel * conv.kernel;
        let weight = self.weight(name, &[conv.outputs, depth, conv.kernel, conv.kernel], fan_in);
        let mut inputs = vec![x.to_owned(), weight];
        if conv.bias {
            inputs.push(self.bias(name, conv.outputs));
        }
        let attributes = vec![
            ints("kernel_shape", &[conv.kernel; 2]),
            ints("strides", &[conv.stride; 2]),
            ints("pads", &[conv.kernel / 2; 4]),
            int("group", conv.group),
        ];
        self.node("Conv", name, inputs, attributes)
    }

    /// `Gemm` with the weight as PyTorch exports it, [outputs, inputs], and a bias where there is one.
    pub(super) fn linear(
        &mut self,
        name: &str,
        x: &str,
        inputs: usize,
        outputs: usize,
        bias: bool,
    ) -> String {
        let mut operands = vec![x.to_owned(), self.weight(name, &[outputs, inputs], inputs)];
        if bias {
            operands.push(self.bias(name, outputs));
        }
        self.node("Gemm", name, operands, vec![int("transB", 1)])
    }

    /// `BatchNormalization` with statistics as training leaves them: variances around 1, means and shifts around 0, and
    /// scales around `gain`.
    pub(super) fn batch_norm(&mut self, name: &str, x: &str, channels: usize, gain: f32) -> String {
        let scale = self.draw(channels, |random| gain * random.uniform(0.5, 1.5));
        let shift = self.draw(channels, |random| random.normal(0.1));
        let mean = self.draw(channels, |random| random.normal(0.1));
        let variance = self.draw(channels, |random| random.uniform(0.5, 1.5));
        let inputs = vec![
            x.to_owned(),
            self.parameter(format!("{name}.weight"), &[channels], &scale),
            self.parameter(format!("{name}.bias"), &[channels], &shift),
            self.parameter(format!("{name}.running_mean"), &[channels], &mean),
            self.parameter(format!("{name}.running_var"), &[channels], &variance),
        ];
        self.node("BatchNormalization", name, inputs, vec![float("epsilon", 1e-5)])
    }

    pub(super) fn relu(&mut self, name: &str, x: &str) -> String {
        self.node("Relu", name, vec![x.to_owned()], vec![])
    }

    pub(super) fn max_pool(
        &mut self,
        name: &str,
        x: &str,
        kernel: usize,
        stride: usize,
        pad: usize,
    ) -> String {
        let attributes =
            vec![ints("kernel_shape", &[kernel; 2]), ints("strides", &[stride; 2]), ints("pads", &[pad; 4])];
        self.node("MaxPool", name, vec![x.to_owned()], attributes)
    }

    pub(super) fn global_average_pool(&mut self, name: &str, x: &str) -> String {
        self.node("GlobalAveragePool", name, vec![x.to_owned()], vec![])
    }

    pub(super) fn flatten(&mut self, name: &str, x: &str) -> String {
        self.node("Flatten", name, vec![x.to_owned()], vec![int("axis", 1)])
    }

    /// Along the channels.
    pub(super) fn add(&mut self, name: &str, a: &str, b: &str) -> String {
        self.node("Add", name, vec![a.to_owned(), b.to_owned()], vec![])
    }

    /// `Concat` of channels.
    pub(super) fn concat(&mut self, name: &str, parts: Vec<String>) -> String {
        self.node("Concat", name, parts, vec![int("axis", 1)])
    }

    /// The model, whose output is what the last node makes, under a new name and as f32[N, sizes..].
    pub(super) fn finish(mut self, graph: &str, output: &str, sizes: &[usize]) -> ModelProto {
        if let Some(last) = self.graph.node.last_mut() {
            last.output = vec![output.to_owned()];
        }
        self.graph.name = graph.to_owned();
        self.graph.output.push(batched(output, sizes));
        ModelProto {
            ir_version: 7,
            opset_import: vec![OperatorSetIdProto { version: 13, ..Default::default() }],
            producer_name: "twnc testsuite".to_owned(),
            graph: Some(self.graph).into(),
            ..Default::default()
        }
    }

    /// The filters are centred: rectified inputs are positive on average, and a filter that passed that average on
    /// would drown, a few layers deeper, what tells one image from another. Training learns the same from its data.
    fn weight(&mut self, layer: &str, dims: &[usize], fan_in: usize) -> String {
        let deviation = (2.0 / fan_in as f32).sqrt();
        let mut values = self.draw(dims.iter().product(), |random| random.normal(deviation));
        for filter in values.chunks_mut(fan_in) {
            let mean = filter.iter().sum::<f32>() / fan_in as f32;
            filter.iter_mut().for_each(|weight| *weight -= mean);
        }
        if self.weights == Weights::Ternary {
            ternarise(&mut values);
        }
        self.parameter(format!("{layer}.weight"), dims, &values)
    }

    fn bias(&mut self, layer: &str, outputs: usize) -> String {
        let values = self.draw(outputs, |random| random.normal(0.1));
        self.parameter(format!("{layer}.bias"), &[outputs], &values)
    }

    fn draw(&mut self, count: usize, mut one: impl FnMut(&mut Random) -> f32) -> Vec<f32> {
        (0..count).map(|_| one(&mut self.random)).collect()
    }

    fn parameter(&mut self, name: String, dims: &[usize], values: &[f32]) -> String {
        self.graph.initializer.push(TensorProto {
            name: name.clone(),
            data_type: DataType::FLOAT as i32,
            dims: dims.iter().map(|&size| size as i64).collect(),
            raw_data: values.iter().flat_map(|value| value.to_le_bytes()).collect(),
            ..Default::default()
        });
        name
    }

    fn node(
        &mut self,
        operator: &str,
        name: &str,
        input: Vec<String>,
        attribute: Vec<AttributeProto>,
    ) -> String {
        self.graph.node.push(NodeProto {
            op_type: operator.to_owned(),
            name: name.to_owned(),
            input,
            output: vec![name.to_owned()],
            attribute,
            ..Default::default()
        });
        name.to_owned()
    }
}

/// Replaces weights by α·{-1, 0, 1}: threshold Δ = 0.7·mean|W|, α the mean of what is above it. About 42% become zero.
fn ternarise(weights: &mut [f32]) {
    let mean = |sum: f64, count: usize| sum / count.max(1) as f64;
    let magnitudes = || weights.iter().map(|weight| f64::from(weight.abs()));
    let threshold = 0.7 * mean(magnitudes().sum(), weights.len());
    let kept = magnitudes().filter(|magnitude| *magnitude > threshold);
    let alpha = mean(kept.clone().sum(), kept.count()) as f32;
    for weight in weights {
        *weight = if f64::from(weight.abs()) > threshold { alpha.copysign(*weight) } else { 0.0 };
    }
}

fn batched(name: &str, sizes: &[usize]) -> ValueInfoProto {
    let batch = dimension::Value::DimParam("N".to_owned());
    let sizes = sizes.iter().map(|&size| dimension::Value::DimValue(size as i64));
    let dim = std::iter::once(batch)
        .chain(sizes)
        .map(|value| Dimension { value: Some(value), ..Default::default() })
        .collect();
    let shape = TensorShapeProto { dim, ..Default::default() };
    let tensor =
        Tensor { elem_type: DataType::FLOAT as i32, shape: Some(shape).into(), ..Default::default() };
    ValueInfoProto {
        name: name.to_owned(),
        type_: Some(TypeProto { value: Some(Value::TensorType(tensor)), ..Default::default() }).into(),
        ..Default::default()
    }
}

fn int(name: &str, value: usize) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        type_: AttributeType::INT.into(),
        i: value as i64,
        ..Default::default()
    }
}

fn ints(name: &str, values: &[usize]) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        type_: AttributeType::INTS.into(),
        ints: values.iter().map(|&value| value as i64).collect(),
        ..Default::default()
    }
}

fn float(name: &str, value: f32) -> AttributeProto {
    AttributeProto {
        name: name.to_owned(),
        type_: AttributeType::FLOAT.into(),
        f: value,
        ..Default::default()
    }
}

#[cfg(test)]
mod tests {
    use super::ternarise;

    #[test]
    fn ternarising_keeps_what_is_above_the_threshold() {
        // mean|W| = 1, so Δ = 0.7 and α = (1.0 + 2.0 + 0.9) / 3.
        let mut weights = [1.0, -2.0, 0.5, 0.9, -0.6];
        ternarise(&mut weights);
        assert_eq!(weights, [1.3, -1.3, 0.0, 1.3, 0.0]);
    }
}
