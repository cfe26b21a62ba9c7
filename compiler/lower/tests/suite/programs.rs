//! Graphs and their programs, side by side. Each snapshot is a claim about what is fused and what is not.

use crate::listing::listing;
use crate::opaque::parse;
use std::path::Path;
use twnc_program::Program;

#[test]
fn each_graph_has_its_program() {
    for entry in Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases").read_dir().unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_stem().unwrap().to_string_lossy().into_owned();
        let source = std::fs::read_to_string(&path).unwrap();
        let graph = parse(&source);
        twnc_ir::verify::verify(&graph).unwrap();
        let program = twnc_lower::lower(&graph).unwrap();
        program.validate().unwrap();
        assert_eq!(Program::from_bytes(&program.to_bytes()).unwrap(), program, "{name}");
        insta::assert_snapshot!(name, format!("{source}\n{}", listing(&program)));
    }
}
