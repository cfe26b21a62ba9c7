//! Networks with seeded random weights, as ONNX (opset 13): architectures whose trained weights we may not ship, blocks of
//! such, and single layers of any size.
//!
//! The same name, [`Weights`] and seed give the same bytes on every machine. Activations stay in range from the first
//! layer to the last, so that a comparison of two runtimes on such a network says something.

mod blocks;
mod branches;
mod chain;
mod layer;
mod resnet;
mod vgg;
mod writer;

use std::path::{Path, PathBuf};
use std::str::FromStr;

use onnx_protobuf::{Message, ModelProto};

use blocks::Block;
use chain::Chain;
use layer::Layer;
use writer::Writer;

/// What can be generated. Parsed from the names that `testsuite generate` takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Network(Architecture);

/// How the weights of convolutions and fully connected layers are drawn; other parameters are always float.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Weights {
    /// Normally distributed.
    Float,
    /// The same, then ternarised: α·{-1, 0, 1} with one α a layer (arXiv 1605.04711, equations 5 and 6).
    Ternary,
}

/// Why a network was not generated.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// The name fits no architecture.
    #[error(
        "no network is called `{0}`: write resnet18, resnet50, vgg7, inception, fire, inception-block, fire-block, planes, chain-1000, conv3x3-64-64-56[-s2], depthwise3x3-128-56[-s2] or fc-4096-4096"
    )]
    UnknownName(String),
    /// The name asks for a layer that does not exist, such as one without channels, or for one beyond 2 GB.
    #[error("`{0}`: every size must be at least 1, and a layer's weights at most {MAX_WEIGHTS}")]
    Size(String),
    /// The model could not be encoded as protobuf.
    #[error("encoding the model: {0}")]
    Encode(String),
    /// The file could not be written.
    #[error("{path}: {source}", path = .path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: std::io::Error,
    },
}

impl Network {
    /// The network as an ONNX model. Its batch dimension is the symbol `N`; networks read `image` and give `logits`,
    /// blocks and single layers read `x` and give `y`.
    pub fn model(self, weights: Weights, seed: u64) -> ModelProto {
        let writer = Writer::new(weights, seed);
        match self.0 {
            Architecture::ResNet18 => resnet::resnet18(writer),
            Architecture::ResNet50 => resnet::resnet50(writer),
            Architecture::Vgg7 => vgg::vgg7(writer),
            Architecture::Inception => branches::inception(writer),
            Architecture::Fire => branches::fire(writer),
            Architecture::Block(block) => block.model(writer),
            Architecture::Chain(chain) => chain.model(writer),
            Architecture::Layer(layer) => layer.model(writer),
        }
    }

    /// Writes [`Network::model`] to a file.
    pub fn write(self, weights: Weights, seed: u64, path: &Path) -> Result<(), GenerateError> {
        let bytes = self
            .model(weights, seed)
            .write_to_bytes()
            .map_err(|error| GenerateError::Encode(error.to_string()))?;
        std::fs::write(path, bytes).map_err(|source| GenerateError::Write { path: path.to_owned(), source })
    }
}

impl FromStr for Network {
    type Err = GenerateError;

    fn from_str(name: &str) -> Result<Network, GenerateError> {
        let architecture = match name {
            "resnet18" => Architecture::ResNet18,
            "resnet50" => Architecture::ResNet50,
            "vgg7" => Architecture::Vgg7,
            "inception" => Architecture::Inception,
            "fire" => Architecture::Fire,
            _ => match (Block::parse(name), Chain::parse(name)) {
                (Some(block), _) => Architecture::Block(block),
                (None, Some(chain)) => Architecture::Chain(chain),
                (None, None) => Architecture::Layer(Layer::parse(name)?),
            },
        };
        Ok(Network(architecture))
    }
}

/// A layer of more weights than this would pass the 2 GB that a protobuf message can hold.
const MAX_WEIGHTS: usize = 1 << 28;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Architecture {
    ResNet18,
    ResNet50,
    Vgg7,
    Inception,
    Fire,
    Block(Block),
    Chain(Chain),
    Layer(Layer),
}

#[cfg(test)]
mod tests {
    use super::{Network, Weights};

    #[test]
    fn a_model_depends_on_nothing_but_name_weights_and_seed() {
        let network: Network = "conv3x3-8-16-12-s2".parse().unwrap();
        let model = network.model(Weights::Float, 1);
        assert_eq!(model, network.model(Weights::Float, 1));
        assert_ne!(model, network.model(Weights::Float, 2));
        assert_ne!(model, network.model(Weights::Ternary, 1));
    }
}
