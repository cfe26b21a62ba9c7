//! Graphs to ONNX files.
use crate::error::OnnxError;
use twnc_ir::Graph;
/// Writes.
pub fn export(_graph: &Graph) -> Result<Vec<u8>, OnnxError> {
    Ok(vec![])
}
