//! External data: layouts that are read, and paths that lead out of the model's folder.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod fixture;

use fixture::{bytes, external, graph, model};
use std::fs;
use std::path::Path;
use twnc_onnx::{ImportOptions, import_bytes, import_file};

/// Keys and values of a tensor's `external_data`.
type Entries<'a> = &'a [(&'a str, &'a str)];

/// Imports a model in `folder/model` whose output is a constant of two elements with these entries.
fn read(folder: &Path, entries: Entries<'_>) -> Result<Vec<f32>, String> {
    let path = folder.join("model").join("m.onnx");
    fs::write(&path, bytes(&model(13, graph(vec![], vec![], vec![external("w", &[2], entries)], &["w"]))))
        .unwrap();
    let import = import_file(path, &ImportOptions::default()).map_err(|error| error.to_string())?;
    let output = import.graph.outputs()[0].value;
    Ok(import.graph.constant(output).unwrap().as_f32().unwrap().to_vec())
}

/// `model/` with files of the floats 0, 1, 2, 3, and a file outside of it.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let floats: Vec<u8> = (0..4).flat_map(|n| (n as f32).to_le_bytes()).collect();
    fs::create_dir_all(folder.path().join("model/below/deep")).unwrap();
    let inside =
        ["w.bin", "below/w.bin", "below/deep/w.bin", "linked.bin", "..w.bin", "weights of größe 1.bin"];
    for name in inside.map(|name| format!("model/{name}")).iter().map(String::as_str).chain(["outside.bin"]) {
        fs::write(folder.path().join(name), &floats).unwrap();
    }
    fs::hard_link(folder.path().join("model/linked.bin"), folder.path().join("other name.bin")).unwrap();
    folder
}

/// The floats 0, 1, 2 from their second byte on.
const SHIFTED: [f32; 2] = [f32::from_bits(0x0000_0000), f32::from_bits(0x003f_8000)];

#[test]
fn accepted() {
    let folder = folder();
    let cases: &[(Entries<'_>, [f32; 2])] = &[
        (&[("location", "w.bin"), ("length", "8")], [0.0, 1.0]),
        (&[("location", "w.bin"), ("offset", "4"), ("length", "8")], [1.0, 2.0]),
        (&[("location", "w.bin"), ("offset", "8")], [2.0, 3.0]),
        (&[("location", "below/w.bin"), ("length", "8")], [0.0, 1.0]),
        (&[("location", "./w.bin"), ("length", "8"), ("checksum", "?")], [0.0, 1.0]),
        (&[("location", "w.bin"), ("offset", ""), ("length", "8")], [0.0, 1.0]),
        (&[("location", "w.bin"), ("offset", "1"), ("length", "8")], SHIFTED),
        (&[("offset", "0"), ("length", "8"), ("location", "below/./deep/w.bin")], [0.0, 1.0]),
        (&[("location", "..w.bin"), ("length", "8")], [0.0, 1.0]),
        (&[("location", "weights of größe 1.bin"), ("offset", "8"), ("length", "8")], [2.0, 3.0]),
        (&[("location", "below//w.bin"), ("length", "8")], [0.0, 1.0]),
    ];
    for (entries, expected) in cases {
        assert_eq!(read(folder.path(), entries), Ok(expected.to_vec()), "{entries:?}");
    }
}

#[test]
fn refused() {
    let folder = folder();
    #[cfg(unix)]
    for (target, link) in [
        ("../outside.bin", "model/link.bin"),
        ("w.bin", "model/inside.bin"),
        ("..", "model/up"),
        ("../..", "model/below/up"),
    ] {
        std::os::unix::fs::symlink(target, folder.path().join(link)).unwrap();
    }
    #[cfg(unix)]
    assert!(
        std::process::Command::new("mkfifo")
            .arg(folder.path().join("model/pipe"))
            .status()
            .unwrap()
            .success()
    );
    let absolute = folder.path().join("outside.bin");
    let at = |location| vec![("location", location), ("length", "8")];
    let cases: Vec<(Vec<(&str, &str)>, &str)> = vec![
        (at("../outside.bin"), "leaves the model's folder"),
        (at("below/../../outside.bin"), "leaves the model's folder"),
        (at("below/../w.bin"), "leaves the model's folder"),
        (at(absolute.to_str().unwrap()), "leaves the model's folder"),
        (at("..\\outside.bin"), "a backslash in the path"),
        (at("link.bin"), "is a symbolic link"),
        (at("inside.bin"), "is a symbolic link"),
        (at("up/outside.bin"), "is a symbolic link"),
        (at("linked.bin"), "has a second hard link"),
        (at("below"), "is no regular file"),
        (at("."), "is no regular file"),
        (at(""), "is no regular file"),
        (at("absent.bin"), "the file belongs into the folder of the model"),
        (at("w.bin/x"), "cannot be read"),
        (at(".."), "leaves the model's folder"),
        (at("./../model/w.bin"), "leaves the model's folder"),
        (at("below/deep/../../../outside.bin"), "leaves the model's folder"),
        (at("/dev/zero"), "leaves the model's folder"),
        (at("~/outside.bin"), "the file belongs into the folder of the model"),
        (at("file:///outside.bin"), "the file belongs into the folder of the model"),
        (at("C:\\outside.bin"), "a backslash in the path"),
        (at("w.bin\0.txt"), "cannot be read"),
        (at("below/up/outside.bin"), "is a symbolic link"),
        (at("pipe"), "is no regular file"),
        (vec![], "is no regular file"),
        (
            vec![("location", "w.bin"), ("offset", "16"), ("length", "8")],
            "are not inside of the file, which has 16 bytes",
        ),
        (vec![("location", "w.bin"), ("offset", "17")], "offset 17 is outside of the file"),
        (vec![("location", "w.bin"), ("offset", "18446744073709551615")], "is outside of the file"),
        (vec![("location", "w.bin"), ("length", "18446744073709551615")], "are not inside of the file"),
        (vec![("location", "w.bin"), ("offset", "-4")], "its offset `-4` is not a whole number"),
        (vec![("location", "w.bin"), ("length", "x")], "its length `x` is not a whole number"),
        (vec![("location", "w.bin")], "16 bytes of data where type and shape ask for 8"),
        (vec![("location", "w.bin"), ("length", "4")], "4 bytes of data where type and shape ask for 8"),
    ];
    for (entries, expected) in cases {
        let message = read(folder.path(), &entries).unwrap_err();
        assert!(message.contains("tensor `w`") && message.contains(expected), "{entries:?}: {message}");
    }
}

#[test]
fn a_model_in_memory_has_no_folder() {
    let model = model(13, graph(vec![], vec![], vec![external("w", &[2], &[("location", "w.bin")])], &["w"]));
    let error = import_bytes(&bytes(&model), &ImportOptions::default()).unwrap_err().to_string();
    assert!(error.contains("the model is not a file; import it from its path"), "{error}");
}
