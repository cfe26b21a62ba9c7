//! `twnc opt`: text in, passes, text out.

use super::arguments::Opt;
use super::failure::Failure;
use super::{err, out};
use std::path::Path;
use twnc_ir::{CountingCost, CustomRegistry, Graph, PassContext, RunOptions, text};

/// The largest text that is read, in bytes.
const MAX_TEXT_BYTES: u64 = 256 << 20;

/// Runs the passes that the options name and prints the graph.
pub fn run(options: &Opt) -> Result<(), Failure> {
    let mut graph = read(&options.file, options)?;
    let pipeline =
        twnc_passes::default_pipeline(&options.options.passes()).map_err(twnc::CompileError::from)?;
    let pipeline = pipeline.select(&options.passes).map_err(twnc::CompileError::from)?;
    let mut cx = PassContext::new(&CountingCost);
    let run = RunOptions { verify: true, ..RunOptions::default() };
    pipeline.run(&mut graph, &mut cx, &run, &mut |_, _| {}).map_err(twnc::CompileError::from)?;
    for remark in cx.remarks() {
        err!("{}: `{}`: {}", remark.pass, remark.node, remark.message);
    }
    let printed = if options.full { text::print_full(&graph) } else { text::print(&graph) };
    out!("{}", printed.trim_end());
    Ok(())
}

fn read(path: &Path, options: &Opt) -> Result<Graph, Failure> {
    if path.extension().is_some_and(|extension| extension == "onnx") {
        let import = twnc_onnx::import_file(path, &options.options.import());
        return Ok(import.map_err(twnc::CompileError::from)?.graph);
    }
    let fail =
        |e: std::io::Error| Failure::unacceptable(format!("cannot be read: {e}")).in_file(path.display());
    let size = std::fs::metadata(path).map_err(fail)?.len();
    if size > MAX_TEXT_BYTES {
        let message = format!("{size} bytes; at most {MAX_TEXT_BYTES} of text are read");
        return Err(Failure::new(super::failure::Kind::Limit, message).in_file(path.display()));
    }
    let source = std::fs::read_to_string(path).map_err(fail)?;
    text::parse(&source, &CustomRegistry::default()).map_err(|e| {
        Failure::unacceptable(e)
            .in_file(path.display())
            .help("docs/ir.md has the grammar; an ONNX file must be named .onnx")
    })
}
