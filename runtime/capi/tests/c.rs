//! The library as C and C++ have it: installed, compiled against, linked, run; then again under AddressSanitizer, UndefinedBehaviorSanitizer and valgrind.
//!
//! What the machine lacks (a compiler, sanitizers, valgrind, pkg-config, CMake) is skipped, and said so: `cargo test -p twnc-capi --test c -- --nocapture`. By valgrind
//! one program is run, all of them if `TWNC_ENDURANCE` is set.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::LazyLock;
use tempfile::TempDir;
use twnc::Compiler;
use twnc_ir::custom::CustomRegistry;

/// Inputs and outputs of several types, sizes that are open and computed, and a division that can fail.
const TYPES: &str = r#"
graph "types" (%0 "x": f32[N,2], %1 "n": i64[2], %2 "mask": bool[N]) -> (%3 "doubled", %5 "quotient", %6 "flags", %7 "joined", %8 "nonzero") {
  %3 = add(%0, %0) "doubled" : f32[N,2]
  %4 = const i64[2] "hundred" [100, 100]
  %5 = div(%4, %1) "quotient" : i64[2]
  %6 = cast(%2) {to=f32} "flags" : f32[N]
  %7 = concat(%0, %0) {axis=0} "joined" : f32[2*N,2]
  %8 = cast(%5) {to=bool} "nonzero" : bool[2]
}
"#;

const CLASSIFY: &str = "examples/classify.c";
const CLASSIFY_SEVERAL: &str = "examples/classify.cpp";
const REFUSALS: &str = "tests/programs/refusals.c";
const THREADS: &str = "tests/programs/threads.c";
const ALL: [&str; 4] = [CLASSIFY, CLASSIFY_SEVERAL, REFUSALS, THREADS];

/// An installation, and models beside it.
struct Installed {
    folder: TempDir,
}

/// How programs get at the library.
#[derive(Clone, Copy)]
enum Link {
    Shared,
    Static,
    /// Not before it runs.
    Loaded,
}

static INSTALLED: LazyLock<Installed> = LazyLock::new(|| {
    let folder = TempDir::new().expect("a folder");
    let path = |name: &str| folder.path().join(name);
    let compiler = Compiler::builder().build().expect("a compiler");
    let lenet = compiler.compile_file(source("../../testsuite/models/lenet5_twn.onnx")).expect("LeNet-5");
    lenet.program.write_file(&path("lenet5.bin")).expect("a file");
    let types = twnc_ir::text::parse(TYPES, &CustomRegistry::default()).expect("a graph");
    let types = compiler.compile(types, &mut |_, _| {}).expect("a program");
    types.program.write_file(&path("types.bin")).expect("a file");

    // Cargo has put the libraries beside this test.
    let test = std::env::current_exe().expect("this test");
    let built = test.parent().expect("a folder");
    done(Command::new("bash").args([source("install.sh"), folder.path().into(), built.into()]));
    Installed { folder }
});

fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

/// What a command prints, if it succeeds.
fn done(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(output.status.success(), "{command:?}: {}\n{}", output.status, text(&output));
    String::from_utf8(output.stdout).expect("UTF-8")
}

fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Whether the machine has a tool; says so if not.
fn has(tool: &str) -> bool {
    let found = Command::new(tool).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        println!("SKIPPED: there is no {tool}");
    }
    found
}

impl Installed {
    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// A program of C or, by its extension, C++, compiled without a warning; nothing where there is no compiler.
    fn compile(&self, name: &str, link: Link, flags: &[&str]) -> Option<PathBuf> {
        let cxx = Path::new(name).extension() == Some(OsStr::new("cpp"));
        let compiler = if cxx { "c++" } else { "cc" };
        if !has(compiler) {
            return None;
        }
        let program = TempDir::new_in(&self.folder).expect("a folder").keep().join("program");
        let mut command = Command::new(compiler);
        command.arg(if cxx { "-std=c++17" } else { "-std=c99" });
        command
            .args(["-D_POSIX_C_SOURCE=200809L", "-Wall", "-Wextra", "-pedantic", "-Werror", "-g"])
            .args(flags);
        command.arg(source(name)).arg("-o").arg(&program);
        command.arg("-I").arg(self.path("include")).arg("-L").arg(self.path("lib"));
        match link {
            Link::Shared => command.arg("-ltwnc_c"),
            Link::Static => command.args(["-l:libtwnc_c.a", "-lgcc_s", "-lutil", "-lrt", "-lm", "-ldl"]),
            Link::Loaded => command.arg("-ldl"),
        };
        done(command.arg("-lpthread"));
        Some(program)
    }

    /// Runs programs, by a tool if one is named, and looks at what they say. Threads do so many `runs` each.
    fn run(&self, programs: &[&str], link: Link, flags: &[&str], tool: &[&str], runs: &str) {
        let [seven, two, no_model, folder] =
            ["examples/seven.pgm", "examples/two.pgm", "tests/c.rs", "tests"].map(source);
        let (lenet, types) = (self.path("lenet5.bin"), self.path("types.bin"));
        for name in programs {
            let (arguments, expected): (Vec<&Path>, _) = match *name {
                CLASSIFY => (vec![&lenet, &seven], "7\n"),
                CLASSIFY_SEVERAL => (vec![&lenet, &seven, &two, &seven], "7\n2\n7\n"),
                REFUSALS => (vec![&lenet, &types, &no_model, &folder], " calls, 0 wrong\n"),
                THREADS => (vec![&lenet, "4".as_ref(), runs.as_ref()], " runs each\n"),
                _ => panic!("how {name} is run"),
            };
            let Some(program) = self.compile(name, link, flags) else { continue };
            let words = tool.iter().map(OsStr::new).chain([program.as_os_str()]);
            let words: Vec<&OsStr> = words.chain(arguments.into_iter().map(Path::as_os_str)).collect();
            let mut command = Command::new(words[0]);
            let printed = done(command.args(&words[1..]).env("LD_LIBRARY_PATH", self.path("lib")));
            assert!(printed.ends_with(expected), "{name} printed {printed:?}, not {expected:?}");
            println!("{name}: {}", printed.lines().last().unwrap_or_default());
        }
    }
}

#[test]
fn shared_library() {
    INSTALLED.run(&ALL, Link::Shared, &[], &[], "10");
}

#[test]
fn examples_say_what_is_wrong() {
    for (name, expected) in [(CLASSIFY, "error 3: missing.bin: "), (CLASSIFY_SEVERAL, "missing.bin: ")] {
        let Some(program) = INSTALLED.compile(name, Link::Shared, &[]) else { continue };
        let mut command = Command::new(program);
        command.arg("missing.bin").arg(source("examples/seven.pgm"));
        let output = command.env("LD_LIBRARY_PATH", INSTALLED.path("lib")).output().expect("it is run");
        assert_eq!(output.status.code(), Some(1), "{name}: {}", text(&output));
        assert!(text(&output).starts_with(expected), "{name}: {}", text(&output));
    }
}

#[test]
fn loaded_by_several_threads() {
    let Some(program) = INSTALLED.compile("tests/programs/loaded.c", Link::Loaded, &[]) else { return };
    let arguments = [INSTALLED.path("lib/libtwnc_c.so"), INSTALLED.path("lenet5.bin"), "5".into()];
    let printed = done(Command::new(program).args(arguments));
    assert!(printed.ends_with("4 threads loaded it, 5 times each\n"), "{printed}");
}

#[test]
fn found_by_pkg_config_and_cmake() {
    let classified = |program: &Path| {
        let images = ["examples/seven.pgm", "examples/two.pgm"].map(source);
        let mut command = Command::new(program);
        command.arg(INSTALLED.path("lenet5.bin")).args(images).env("LD_LIBRARY_PATH", INSTALLED.path("lib"));
        assert_eq!(done(&mut command), "7\n2\n");
    };
    if has("pkg-config") && has("c++") {
        let program = INSTALLED.path("by_pkg_config");
        let script = "exec c++ -std=c++17 \"$0\" $(pkg-config --cflags --libs twnc) -o \"$1\"";
        let mut command = Command::new("sh");
        command.args(["-c", script]).arg(source(CLASSIFY_SEVERAL)).arg(&program);
        done(command.env("PKG_CONFIG_PATH", INSTALLED.path("lib/pkgconfig")));
        classified(&program);
    }
    if has("cmake") && has("c++") {
        let build = INSTALLED.path("by_cmake");
        let define = format!("-DCMAKE_PREFIX_PATH={}", INSTALLED.path("").display());
        done(Command::new("cmake").arg("-S").arg(source("examples")).arg("-B").arg(&build).arg(define));
        done(Command::new("cmake").arg("--build").arg(&build));
        classified(&build.join("classify"));
        classified(&build.join("classify_static"));
    }
}

#[test]
fn static_library() {
    INSTALLED.run(&[CLASSIFY], Link::Static, &[], &[], "");
}

#[test]
fn sanitizers() {
    let flags = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all"];
    // Compilers take the flags also where the libraries for them are not installed.
    let mut trial = Command::new("cc");
    trial.args(flags).args(["-shared", "-x", "c", "/dev/null", "-o"]).arg(INSTALLED.path("trial"));
    match trial.output().is_ok_and(|output| output.status.success()) {
        true => INSTALLED.run(&ALL, Link::Shared, &flags, &[], "3"),
        false => println!("SKIPPED: cc has no sanitizers"),
    }
}

#[test]
fn valgrind() {
    if has("valgrind") {
        let tool = ["valgrind", "--quiet", "--leak-check=full", "--error-exitcode=9"];
        let all = std::env::var_os("TWNC_ENDURANCE").is_some_and(|value| value != "0");
        if !all {
            println!("SKIPPED: all programs but one; TWNC_ENDURANCE=1 runs them");
        }
        INSTALLED.run(if all { &ALL } else { &ALL[..1] }, Link::Shared, &[], &tool, "1");
    }
}
