//! `dead_code`: removes nodes whose results no output needs.
//!
//! **Exact.** Graph inputs stay, also those that nothing reads: they are the network's interface.

use twnc_ir::{Changed, Graph, Pass, PassContext, PassError, Rewriter};

/// The pass.
#[derive(Clone, Copy, Debug, Default)]
pub struct DeadCode;

impl Pass for DeadCode {
    fn name(&self) -> &str {
        "dead_code"
    }

    fn run(&self, graph: &mut Graph, _cx: &mut PassContext<'_>) -> Result<Changed, PassError> {
        let mut rewriter = Rewriter::new(graph);
        rewriter.remove_dead("no output needs it");
        Ok(rewriter.finish())
    }
}
