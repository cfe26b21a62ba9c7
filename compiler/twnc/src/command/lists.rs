//! `twnc passes` and `twnc ops`.

use super::failure::Failure;
use super::out;
use twnc::Compiler;
use twnc_passes::{Activations, Options};

/// Lists the passes in order, with the reason for each one's place.
pub fn passes(json: bool) -> Result<(), Failure> {
    // With the passes that only options ask for.
    let options = Options { activations: Activations::Int, logits_scale_free: true, ..Options::default() };
    let compiler = Compiler::builder().passes(options).build()?;
    let entries = compiler.pipeline().entries();
    if json {
        let list = entries.iter().map(|e| serde_json::json!({"name": e.pass.name(), "why": e.why}));
        out!("{}", serde_json::Value::from_iter(list));
        return Ok(());
    }
    let width = entries.iter().map(|e| e.pass.name().len()).max().unwrap_or(0);
    for entry in entries {
        out!("{:width$}  {}", entry.pass.name(), entry.why);
    }
    Ok(())
}

/// Lists the ONNX operators that are accepted.
pub fn operators(json: bool) -> Result<(), Failure> {
    let operators: Vec<_> = twnc_onnx::operators().collect();
    if json {
        let list = operators
            .iter()
            .map(|o| serde_json::json!({"name": o.name, "since": o.since, "becomes": o.becomes}));
        out!("{}", serde_json::Value::from_iter(list));
        return Ok(());
    }
    for operator in operators {
        out!("{:24} since opset {:2}  {}", operator.name, operator.since, operator.becomes);
    }
    Ok(())
}
