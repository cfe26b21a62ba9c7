//! The files of the released format versions (`runtime/program/tests/released`), run on every path that this machine has: their outputs are the numbers that
//! were kept with them, to the bit where these are exact, else to the contract. A version that is not read any more is refused by its number.

#[path = "../../program/tests/program/released/scaled.rs"]
mod scaled;

use ndarray::{ArrayD, IxDyn};
use scaled::functions;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use twnc_runtime::{Backend, Error, Input, Module, Output, SessionOptions};

/// A line of numbers.
struct Kept {
    what: String,
    name: String,
    values: Output,
}

#[test]
fn released_files_compute_what_they_did() {
    let released = Path::new(env!("CARGO_MANIFEST_DIR")).join("../program/tests/released");
    let mut ran = 0;
    for folder in entries(&released) {
        for path in entries(&folder).into_iter().filter(|path| path.extension().is_some_and(|e| e == "bin")) {
            match Module::open_with(&path, functions()) {
                Ok(module) => check(&module, &path),
                Err(Error::File { source, .. }) => {
                    let version = folder.file_name().unwrap_or_default().to_string_lossy();
                    let refused = format!("format version {version}, but this release reads version");
                    assert!(source.to_string().starts_with(&refused), "{}: {source}", path.display());
                    continue;
                }
                Err(e) => panic!("{}: {e}", path.display()),
            }
            ran += 1;
        }
    }
    assert!(ran >= 5, "{ran} files of this version");
}

fn entries(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
    let mut paths: Vec<_> = entries.map(|entry| entry.expect("it can be listed").path()).collect();
    paths.sort();
    paths
}

fn check(module: &Module, path: &Path) {
    let text = fs::read_to_string(path.with_extension("txt")).expect("its numbers are beside it");
    let (inputs, kept): (Vec<Kept>, Vec<Kept>) = text.lines().map(line).partition(|kept| kept.what == "in");
    let inputs: Vec<(&str, Input<'_>)> = inputs.iter().map(|x| (&*x.name, x.values.view())).collect();
    for backend in Backend::available() {
        for threads in [1, 2] {
            let options = SessionOptions::default().backend(backend).threads(threads);
            let session = module.session(options).expect("the path is available");
            let outputs = session.run(&inputs).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
            assert_eq!(outputs.len(), kept.len(), "{}", path.display());
            for ((name, output), kept) in outputs.iter().zip(&kept) {
                let place = format!("{}, {} by {}", path.display(), name, backend.name());
                assert_eq!(*name, kept.name, "{place}");
                match (kept.what.as_str(), output, &kept.values) {
                    ("near", Output::F32(found), Output::F32(kept)) => near(found, kept, &place),
                    // The text form tells -0 from 0 and takes all NaN for one.
                    _ => assert_eq!(format!("{output:?}"), format!("{:?}", kept.values), "{place}"),
                }
            }
        }
    }
}

/// Within 1e-5 of the largest number.
fn near(found: &ArrayD<f32>, kept: &ArrayD<f32>, place: &str) {
    assert_eq!(found.shape(), kept.shape(), "{place}");
    let largest = kept.iter().filter(|x| x.is_finite()).fold(0f32, |largest, x| largest.max(x.abs()));
    for (found, kept) in found.iter().zip(kept) {
        let same = found == kept || found.is_nan() && kept.is_nan() || (found - kept).abs() <= 1e-5 * largest;
        assert!(same, "{place}: {found} is not {kept}");
    }
}

/// `in f32 2x3 name: 1.5 ...`
fn line(line: &str) -> Kept {
    let (head, numbers) = line.split_once(':').expect("numbers are behind a colon");
    let [what, element, shape, name] = head.splitn(4, ' ').collect::<Vec<_>>()[..] else {
        panic!("`{head}` is not what, type, shape and name");
    };
    let shape: Vec<usize> = shape.split('x').map(parse).collect();
    let values = match element {
        "f32" => Output::F32(array(&shape, numbers)),
        "i8" => Output::I8(array(&shape, numbers)),
        "u8" => Output::U8(array(&shape, numbers)),
        "i16" => Output::I16(array(&shape, numbers)),
        "i32" => Output::I32(array(&shape, numbers)),
        "i64" => Output::I64(array(&shape, numbers)),
        "bool" => Output::Bool(array::<u8>(&shape, numbers).mapv(|byte| byte == 1)),
        _ => panic!("there is no type `{element}`"),
    };
    Kept { what: what.into(), name: name.into(), values }
}

fn array<T: FromStr<Err: Debug>>(shape: &[usize], numbers: &str) -> ArrayD<T> {
    let numbers = numbers.split_whitespace().map(parse).collect();
    ArrayD::from_shape_vec(IxDyn(shape), numbers).expect("the numbers fill the shape")
}

fn parse<T: FromStr<Err: Debug>>(word: &str) -> T {
    word.parse().unwrap_or_else(|e| panic!("`{word}`: {e:?}"))
}
