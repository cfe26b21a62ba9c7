//! What must hold for long: files that are never half written, memory that does not grow, runs side by side.
//!
//! A process of its own, and one test at a time, since memory is measured. Each goes on for seconds here; with `TWNC_ENDURANCE=1` for as long as `docs/security.md` says.

#![allow(clippy::unwrap_used)] // What cannot be done is a failure of the test.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use twnc::Compiler;
use twnc_runtime::{Module, Output, Session, SessionOptions};

fn at_length() -> bool {
    std::env::var_os("TWNC_ENDURANCE").is_some_and(|value| value != "0")
}

/// Held by the test that runs.
fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::new(());
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn lenet() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../testsuite/models/lenet5_twn.onnx")
}

fn compile(output: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twnc"));
    command.arg(lenet()).arg("-o").arg(output).args(options);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[test]
fn a_compilation_that_is_killed_leaves_the_old_file_or_the_new_one() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("model.bin");
    let options: [&[&str]; 2] = [&[], &["--activations", "int"]];
    let start = Instant::now();
    let whole = options.map(|options| {
        assert!(compile(&path, options).status().unwrap().success());
        std::fs::read(&path).unwrap()
    });
    // The longest wait is somewhat more than a compilation takes.
    let longest = start.elapsed().as_micros() as u64 * 3 / 4;
    let kills = if at_length() { 1_000 } else { 40 };
    let (mut old, mut new) = (0, 0);
    for number in 0..kills {
        let before = std::fs::read(&path).unwrap();
        let mut child = compile(&path, options[number % 2]).spawn().unwrap();
        std::thread::sleep(Duration::from_micros(longest * number as u64 / kills as u64));
        child.kill().unwrap();
        child.wait().unwrap();
        let after = std::fs::read(&path).unwrap();
        let written = &whole[number % 2];
        assert!(after == before || after == *written, "kill {number} left {} bytes", after.len());
        if after == *written { new += 1 } else { old += 1 }
    }
    println!("{kills} kills: {old} times the old file, {new} times the new one");
    assert!(old > 0, "no compilation was killed before its end");
}

/// A module of LeNet-5, from a file.
fn module(folder: &Path) -> Module {
    let path = folder.join("lenet.bin");
    if !path.exists() {
        let compiled = Compiler::builder().build().unwrap().compile_file(lenet()).unwrap();
        compiled.program.write_file(&path).unwrap();
    }
    Module::open(path).unwrap()
}

fn run(session: &Session) -> Vec<u32> {
    let image =
        ndarray::Array4::from_shape_fn([1, 1, 28, 28], |(_, _, y, x)| ((y * 5 + x * 3) % 17) as f32 / 17.0);
    let outputs = session.run(&[("image", image.view())]).unwrap();
    let Output::F32(logits) = &outputs[0].1 else { panic!("logits are f32") };
    logits.iter().map(|x| x.to_bits()).collect()
}

#[test]
fn eight_threads_that_run_one_module_get_the_same_bytes() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let module = module(folder.path());
    let expected = run(&module.session(SessionOptions::default()).unwrap());
    let end = Instant::now() + Duration::from_secs(if at_length() { 60 } else { 1 });
    let shared = module.session(SessionOptions::default().threads(2)).unwrap();
    let runs: usize = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|number| {
                let (module, shared, expected) = (&module, &shared, &expected);
                scope.spawn(move || {
                    let own = module.session(SessionOptions::default()).unwrap();
                    let session = if number % 2 == 0 { shared } else { &own };
                    let mut runs = 0;
                    while Instant::now() < end {
                        assert_eq!(&run(session), expected);
                        runs += 1;
                    }
                    runs
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).sum()
    });
    println!("{runs} runs");
}

/// Pages that are resident, and mappings.
#[cfg(target_os = "linux")]
fn memory() -> [usize; 2] {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap();
    let resident = pages.split(' ').nth(1).unwrap().parse().unwrap();
    [resident, std::fs::read_to_string("/proc/self/maps").unwrap().lines().count()]
}

#[cfg(target_os = "linux")]
#[test]
fn loads_leave_nothing_behind() {
    let _alone = alone();
    let folder = tempfile::tempdir().unwrap();
    let once = || {
        run(&module(folder.path()).session(SessionOptions::default().threads(2)).unwrap());
    };
    // The allocator keeps what the first loads took.
    (0..20).for_each(|_| once());
    let before = memory();
    let loads = if at_length() { 1_000 } else { 60 };
    (0..loads).for_each(|_| once());
    let after = memory();
    println!("{loads} loads: {before:?} pages and mappings before, {after:?} behind");
    // 1 MB is the allocator's to keep or give back; stacks of threads come and go.
    assert!(after[0] <= before[0] + 256, "{before:?} to {after:?} pages and mappings");
    assert!(after[1] <= before[1] + 8, "{before:?} to {after:?} pages and mappings");
}
