//! `twnc opt`: text in, passes, text out.

use super::arguments::Opt;
use super::data;
use super::failure::Failure;
use super::host::Host;
use super::{err, out};
use std::path::Path;
use twnc_ir::{CountingCost, CustomRegistry, Graph, PassContext, RunOptions, text};

/// Runs the passes that the options name and prints the graph.
pub fn run(host: &Host, options: &Opt) -> Result<(), Failure> {
    if !options.explain.is_empty() && !options.passes.iter().any(|pass| pass == "saturate") {
        let passes = options.passes.iter().map(|pass| format!("{pass},")).collect::<String>();
        return Err(Failure::usage(
            "--explain says what the pass saturate did, which --passes does not name",
        )
        .help(format!("--passes {passes}saturate")));
    }
    let mut graph = read(&options.file, options)?;
    let passes = twnc_passes::Options { explain: options.explain.clone(), ..options.options.passes()? };
    let pipeline =
        twnc_passes::default_pipeline(&passes).map_err(|error| options.options.refused(error.into()))?;
    let pipeline = pipeline.select(&options.passes).map_err(crate::CompileError::from)?;
    let mut cx = PassContext::new(&CountingCost);
    let run = RunOptions { verify: true, ..RunOptions::default() };
    pipeline.run(&mut graph, &mut cx, &run, &mut |_, _| {}).map_err(crate::CompileError::from)?;
    for remark in cx.remarks() {
        err!(host, "{}: `{}`: {}", remark.pass, remark.node, remark.message);
    }
    let printed = if options.full { text::print_full(&graph) } else { text::print(&graph) };
    out!(host, "{}", printed.trim_end());
    Ok(())
}

fn read(path: &Path, options: &Opt) -> Result<Graph, Failure> {
    if path.extension().is_some_and(|extension| extension == "onnx") {
        let import = twnc_onnx::import_file(path, &options.options.import());
        return Ok(import.map_err(crate::CompileError::from)?.graph);
    }
    let source = data::text(path)?;
    text::parse(&source, &CustomRegistry::default()).map_err(|e| {
        Failure::unacceptable(e)
            .in_file(path.display())
            .help("docs/ir.md has the grammar; an ONNX file must be named .onnx")
    })
}
