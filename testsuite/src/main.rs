//! The command `testsuite`: writes generated networks to files, for the scripts that measure and compare.

use std::path::PathBuf;

use clap::{Parser, Subcommand};
use testsuite::generate::{GenerateError, Network, Weights};

/// What the test suite of twnc can do from a shell.
#[derive(Parser)]
#[command(version)]
struct Command {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// Writes a network with seeded random weights as ONNX
    Generate {
        /// resnet18, vgg7, conv3x3-64-64-56 (channels in, out, image size; -s2 for a stride of 2), depthwise3x3-128-56,
        /// fc-4096-4096
        name: Network,
        /// The file to write
        #[arg(short, long)]
        output: PathBuf,
        /// Plain float weights, or weights that are ternary already
        #[arg(long, value_enum, default_value_t = Weights::Float)]
        weights: Weights,
        /// Another seed gives other weights
        #[arg(long, default_value_t = 0)]
        seed: u64,
    },
}

fn main() -> Result<(), GenerateError> {
    match Command::parse().action {
        Action::Generate { name, output, weights, seed } => name.write(weights, seed, &output),
    }
}
