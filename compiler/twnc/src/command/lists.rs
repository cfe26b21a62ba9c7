//! `twnc passes` and `twnc ops`.

use super::failure::Failure;
use super::host::Host;
use super::out;
use crate::Compiler;
use twnc_passes::{Activations, Options};

/// Lists the passes in order, with the reason for each one's place.
pub fn passes(host: &Host, json: bool) -> Result<(), Failure> {
    // With the passes that only options ask for.
    let options = Options { activations: Activations::Int, logits_scale_free: true, ..Options::default() };
    let compiler = Compiler::builder().passes(options).build()?;
    let entries = compiler.pipeline().entries();
    if json {
        let list = entries.iter().map(|e| serde_json::json!({"name": e.pass.name(), "why": e.why}));
        out!(host, "{}", serde_json::Value::from_iter(list));
        return Ok(());
    }
    let width = entries.iter().map(|e| e.pass.name().len()).max().unwrap_or(0);
    for entry in entries {
        out!(host, "{:width$}  {}", entry.pass.name(), entry.why);
    }
    Ok(())
}

/// Lists the ONNX operators that are accepted.
pub fn operators(host: &Host, json: bool) -> Result<(), Failure> {
    let operators: Vec<_> = twnc_onnx::operators().collect();
    if json {
        let list = operators
            .iter()
            .map(|o| serde_json::json!({"name": o.name, "since": o.since, "becomes": o.becomes}));
        out!(host, "{}", serde_json::Value::from_iter(list));
        return Ok(());
    }
    for operator in operators {
        out!(host, "{:24} since opset {:2}  {}", operator.name, operator.since, operator.becomes);
    }
    Ok(())
}
