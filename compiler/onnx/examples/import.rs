//! Imports the files named on the command line, and says what came of it.

use twnc_onnx::{ImportOptions, import_file};

fn main() {
    for path in std::env::args().skip(1) {
        match import_file(&path, &ImportOptions::default()) {
            Ok(import) => println!("{path}: {} nodes", import.graph.node_ids().count()),
            Err(error) => println!("{error}"),
        }
    }
}
