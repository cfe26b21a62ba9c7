//! Imports a file and writes what it became: `reexport IN.onnx OUT.onnx [INPUT-SHAPE]`.

use twnc_onnx::{ImportOptions, export, import_file};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(from), Some(to)) = (arguments.next(), arguments.next()) else {
        return Err("usage: reexport IN.onnx OUT.onnx [INPUT-SHAPE]".into());
    };
    let input_shapes = arguments.map(|text| text.parse()).collect::<Result<_, _>>()?;
    let import = import_file(from, &ImportOptions { input_shapes, ..ImportOptions::default() })?;
    import.notes.iter().for_each(|note| eprintln!("{note}"));
    std::fs::write(to, export(&import.graph)?)?;
    Ok(())
}
