//! What a user may ask of an import.

use std::str::FromStr;
use twnc_ir::{CustomRegistry, Dim};

/// What a user may ask of an import.
#[derive(Clone, Debug)]
pub struct ImportOptions {
    /// Shapes in the place of those that the file declares.
    pub input_shapes: Vec<ShapeOverride>,
    /// Sizes for named dimensions of inputs.
    pub dims: Vec<(String, i64)>,
    /// Values of the file to be outputs in the place of its own; empty for its own.
    pub outputs: Vec<String>,
    /// Operators beyond ONNX's, by `domain::op_type`.
    pub custom: CustomRegistry,
    /// The largest file that is read, in bytes. Protobuf itself ends at 2 GiB.
    pub max_bytes: u64,
}

/// A shape for an input: `1x3x224x224`, `image:Nx3x224x224`. A name in the place of a size is an open dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShapeOverride {
    /// Which input; `None` for the only one.
    pub input: Option<String>,
    /// Its shape.
    pub shape: Vec<Dim>,
}

impl Default for ImportOptions {
    fn default() -> ImportOptions {
        ImportOptions {
            input_shapes: vec![],
            dims: vec![],
            outputs: vec![],
            custom: CustomRegistry::default(),
            max_bytes: 2 << 30,
        }
    }
}

impl FromStr for ShapeOverride {
    type Err = String;

    fn from_str(text: &str) -> Result<ShapeOverride, String> {
        // Names of inputs may hold a colon (`input:0`), shapes do not.
        let (input, sizes) = match text.rsplit_once(':') {
            Some((name, sizes)) => (Some(name.to_owned()), sizes),
            None => (None, text),
        };
        let size = |word: &str| match word.parse::<u32>() {
            Ok(n) => Ok(Dim::fixed(n.into())),
            Err(_) if word.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') => {
                Ok(Dim::symbol(word))
            }
            Err(_) => {
                Err(format!("`{word}` in `{text}` is neither a size nor a name; write [NAME:]1x3x224x224"))
            }
        };
        let shape = sizes.split('x').map(size).collect::<Result<_, _>>()?;
        Ok(ShapeOverride { input, shape })
    }
}
