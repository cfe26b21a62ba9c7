//! The commands of `docs`, run as a reader runs them: what is typed, the files that are written and what is shown for it are taken out of the pages.
//!
//! * A line with `$ ` in a block of `console` is a command. All commands of a page run in one shell, in a folder that looks like a clone of the
//!   repository. One fails the test if its exit code is not 0, unless the next one is `echo $?`.
//! * The lines behind it are what it writes. Numbers may be others, for machines differ; words may not. A line `...` stands for any lines, and
//!   where nothing is shown, nothing is compared. `TWNC_BOOK=write` puts what was written into the page.
//! * A block behind a line that ends with `` `NAME`: `` is a file of that name.
//! * A block of `console needs-pytorch` (or `-python`, `-time`) is run where `TWNC_BOOK_NEEDS` names what it needs: `pytorch,python,time`. Elsewhere the
//!   files in the folder of the page's name, which these commands have written, take its place.

#![cfg(unix)]
#![allow(clippy::unwrap_used)] // A page that cannot be run is a failure of the test.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A test for each page, so that they run side by side, and their list.
macro_rules! pages {
    ($($test:ident: $page:literal),* $(,)?) => {
        $(#[test]
        fn $test() {
            run($page);
        })*
        const PAGES: &[&str] = &[$($page),*];
    };
}

pages! {
    command: "command.md",
    errors: "errors.md",
    install: "install.md",
    brevitas: "tutorials/brevitas.md",
    float_network: "tutorials/float-network.md",
    training: "tutorials/training.md",
}

#[test]
fn every_page_with_commands_is_run() {
    let pages =
        pages().into_iter().filter(|path| std::fs::read_to_string(path).unwrap().contains("```console"));
    let names = pages.map(|path| path.strip_prefix(docs()).unwrap().to_str().unwrap().to_owned());
    assert_eq!(
        names.collect::<BTreeSet<_>>(),
        PAGES.iter().map(|name| (*name).to_owned()).collect(),
        "`pages!` lists them"
    );
}

#[test]
fn every_command_is_in_the_reference() {
    let reference = std::fs::read_to_string(docs().join("command.md")).unwrap();
    for command in subcommands() {
        let heading = format!("$ twnc {command} --help\n");
        assert!(reference.contains(&heading), "docs/command.md has no block of `twnc {command} --help`");
    }
}

/// No page keeps the name of an option that is gone.
#[test]
fn options_in_the_documentation_are_options() {
    let helps: BTreeMap<String, BTreeSet<String>> =
        subcommands().into_iter().chain([String::new()]).map(|name| (name.clone(), help(&name))).collect();
    let (mut count, mut wrong) = (0, String::new());
    for path in
        pages().into_iter().chain([docs().join("../README.md"), docs().join("../testsuite/README.md")])
    {
        for line in std::fs::read_to_string(&path).unwrap().lines() {
            for command in mentioned(line) {
                let words: Vec<&str> = command.split_whitespace().collect();
                let help = helps.get(words[0]).unwrap_or(&helps[""]);
                let options = words.iter().filter(|word| word.starts_with("--"));
                for option in options.map(|word| word.split('=').next().unwrap_or_default()) {
                    count += 1;
                    if !help.contains(option) {
                        writeln!(wrong, "{}: twnc {command}: no {option}", path.display()).unwrap();
                    }
                }
            }
        }
    }
    assert!(count > 50, "{count} options were found in all pages");
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn text_is_compared_but_for_its_numbers() {
    let same = |shown: &[&str], written: &str| {
        let shown: Vec<String> = shown.iter().map(|line| (*line).to_owned()).collect();
        agree(&shown, &written.lines().collect::<Vec<_>>())
    };
    assert!(same(&["loss  -0.5 at step 12"], "loss 1e-3 at step 7"));
    assert!(same(&["a", "...", "z"], "a\nb\nc\nz"));
    assert!(same(&["..."], ""));
    assert!(!same(&["a", "..."], "b\na"));
    assert!(!same(&["one"], "one\ntwo"));
    assert!(!same(&["no such layer"], "no such output"));
}

/// What stands behind `twnc` in a line of Markdown: all of a code span, or of a line of a block up to where another command begins.
fn mentioned(line: &str) -> Vec<String> {
    let block =
        ["    $ twnc ", "    twnc ", "$ twnc "].into_iter().find_map(|start| line.strip_prefix(start));
    let texts: Vec<&str> = match block {
        Some(text) => vec![text],
        None => line.split('`').skip(1).step_by(2).filter_map(|span| span.strip_prefix("twnc ")).collect(),
    };
    let own = |text: &str| {
        let words = text.split_whitespace();
        words.take_while(|word| !["&&", "||", "|", ";", "#"].contains(word)).collect::<Vec<_>>().join(" ")
    };
    texts.into_iter().map(own).filter(|text| !text.is_empty()).collect()
}

/// The words of a help, without signs around them.
fn help(subcommand: &str) -> BTreeSet<String> {
    let mut command = Command::new(env!("CARGO_BIN_EXE_twnc"));
    let output = command.args(subcommand.split_whitespace()).arg("--help").output().unwrap();
    assert!(output.status.success(), "twnc {subcommand} --help");
    let text = String::from_utf8(output.stdout).unwrap();
    let words = text.split(|c: char| c.is_whitespace() || ",[]()`'=:;".contains(c));
    words.map(|word| word.trim_end_matches('.').to_owned()).collect()
}

fn subcommands() -> Vec<String> {
    let output = Command::new(env!("CARGO_BIN_EXE_twnc")).arg("-h").output().unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    let list = text.split("Commands:\n").nth(1).unwrap_or_default().split("\n\n").next().unwrap_or_default();
    // What goes on from the line above stands further to the right.
    let names = list.lines().filter(|line| line.len() - line.trim_start().len() == 2);
    let names: Vec<String> =
        names.filter_map(|line| line.split_whitespace().next().map(str::to_owned)).collect();
    assert!(names.contains(&"run".to_owned()), "twnc -h lists the commands: {text}");
    names.into_iter().filter(|name| name != "help").collect()
}

/// All pages of the book.
fn pages() -> Vec<PathBuf> {
    let (mut pages, mut folders) = (Vec::new(), vec![docs()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            match path.extension() {
                _ if path.is_dir() => folders.push(path),
                Some(extension) if extension == "md" => pages.push(path),
                _ => {}
            }
        }
    }
    pages
}

enum Item {
    File {
        name: String,
        text: String,
    },
    /// Files of the page's folder take the place of commands that cannot run here.
    Stored,
    Command(Typed),
}

struct Typed {
    /// Of the first line of what is shown, from 0.
    line: usize,
    text: String,
    shown: Vec<String>,
}

/// Runs a page, and fails with every command that does otherwise than it says.
fn run(name: &str) {
    // The commands choose the path of execution by themselves, as a reader's do; running them once more for each path would show nothing.
    if std::env::var_os("TWNC_ISA").is_some() {
        return eprintln!("skipped: {name} is run without TWNC_ISA");
    }
    let path = docs().join(name);
    let source = std::fs::read_to_string(&path).unwrap();
    let items = items(&source);
    let scratch = tempfile::tempdir().unwrap();
    let (clone, outputs) = (scratch.path().join("clone"), scratch.path().join("outputs"));
    std::fs::create_dir(&outputs).unwrap();
    std::fs::create_dir(&clone).unwrap();
    for entry in std::fs::read_dir(docs().join("..")).unwrap() {
        let entry = entry.unwrap();
        // What a reader of the tutorials leaves behind in a clone is not part of it.
        if entry.file_name() != "tutorial" {
            std::os::unix::fs::symlink(entry.path(), clone.join(entry.file_name())).unwrap();
        }
    }
    let built = Path::new(env!("CARGO_BIN_EXE_twnc")).parent().unwrap().to_owned();
    let searched = std::env::var_os("PATH").unwrap();
    let mut shell = Command::new("bash");
    shell.arg("-c").arg(script(&items, &path.with_extension(""), &outputs));
    shell.current_dir(&clone).stdin(Stdio::null()).env("LC_ALL", "C.UTF-8").env_remove("COLUMNS");
    shell.env(
        "PATH",
        std::env::join_paths([built].into_iter().chain(std::env::split_paths(&searched))).unwrap(),
    );
    assert!(shell.status().unwrap().success());

    let write = std::env::var_os("TWNC_BOOK").is_some_and(|word| word == "write");
    let mut lines: Vec<&str> = source.lines().collect();
    let mut wrong = Vec::new();
    let written: Vec<String> = (0..items.len())
        .map(|number| std::fs::read_to_string(outputs.join(format!("{number}.written"))).unwrap_or_default())
        .collect();
    // From the end, so that what is corrected moves nothing that is still to come.
    for (number, item) in items.iter().enumerate().rev() {
        let Item::Command(typed) = item else { continue };
        let code = std::fs::read_to_string(outputs.join(format!("{number}.code"))).unwrap_or_default();
        let asked = matches!(items.get(number + 1), Some(Item::Command(next)) if next.text == "echo $?");
        let written: Vec<&str> = written[number].trim_end().lines().map(str::trim_end).collect();
        let mut complain = |what: &str| {
            wrong.push(format!("{name}:{}: `{}` {what}\n{}\n", typed.line, typed.text, written.join("\n")));
        };
        if code.trim() != "0" && !asked {
            complain(&format!("ended with {code}"));
        }
        if typed.shown.is_empty() {
            continue;
        }
        if write && !typed.shown.iter().any(|line| line == "...") {
            lines.splice(typed.line..typed.line + typed.shown.len(), written);
        } else if !agree(&typed.shown, &written) {
            complain("writes");
        }
    }
    wrong.reverse();
    assert!(wrong.is_empty(), "{}(TWNC_BOOK=write puts into the page what is written)", wrong.concat());
    if write {
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    }
}

fn items(source: &str) -> Vec<Item> {
    let wanted = std::env::var("TWNC_BOOK_NEEDS").unwrap_or_default();
    let here = |need: &str| wanted.split(',').any(|word| word == need);
    let mut items = Vec::new();
    let mut lines = source.lines().enumerate();
    let mut before = "";
    while let Some((_, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            before = if line.is_empty() { before } else { line };
            continue;
        };
        let block: Vec<(usize, &str)> = lines.by_ref().take_while(|(_, line)| *line != "```").collect();
        let named = before.strip_suffix("`:").and_then(|text| text.rsplit_once('`')).map(|(_, name)| name);
        let mut words = info.split(' ');
        let console = words.next() == Some("console");
        let missing = words.filter_map(|word| word.strip_prefix("needs-")).any(|need| !here(need));
        match (console, named) {
            (true, _) if missing => items.push(Item::Stored),
            (true, _) => items.extend(commands(&block)),
            (false, Some(name)) => {
                let text = block.iter().map(|(_, line)| format!("{line}\n")).collect();
                items.push(Item::File { name: name.to_owned(), text });
            }
            (false, None) => {}
        }
        before = "";
    }
    items
}

/// The commands of a block. A line that ends with `\` goes on in the next.
fn commands(block: &[(usize, &str)]) -> Vec<Item> {
    let mut found: Vec<Typed> = Vec::new();
    for &(number, line) in block {
        if let Some(text) = line.strip_prefix("$ ") {
            found.push(Typed { line: number + 1, text: text.to_owned(), shown: vec![] });
            continue;
        }
        let command = found.last_mut().expect("a block of console begins with a command");
        if command.shown.is_empty() && command.text.ends_with('\\') {
            command.text = format!("{}\n{line}", command.text);
            command.line = number + 1;
        } else {
            command.shown.push(line.to_owned());
        }
    }
    for typed in &mut found {
        // A blank line before the next command is for the eye.
        let end = typed.shown.iter().rposition(|line| !line.is_empty()).map_or(0, |last| last + 1);
        typed.shown.truncate(end);
    }
    found.into_iter().map(Item::Command).collect()
}

/// One shell for all, so that folders and variables stay. Of each command it leaves behind what it wrote and its exit code.
fn script(items: &[Item], stored: &Path, outputs: &Path) -> String {
    let mut script = String::new();
    for (number, item) in items.iter().enumerate() {
        match item {
            Item::File { name, text } => write!(script, "cat > {name} <<'THE_END'\n{text}THE_END\n"),
            Item::Stored if stored.is_dir() => writeln!(script, "cp -R '{}'/. .", stored.display()),
            Item::Stored => Ok(()),
            Item::Command(typed) => {
                let at = outputs.join(number.to_string());
                let (text, at) = (&typed.text, at.display());
                // The exit code is there for the next command too.
                writeln!(
                    script,
                    "{{ {text}\n}} > {at}.written 2>&1; code=$?; echo $code > {at}.code; (exit $code)"
                )
            }
        }
        .unwrap();
    }
    script + "exit 0\n"
}

/// Whether what is written is what is shown, but for numbers and blanks.
fn agree(shown: &[String], written: &[&str]) -> bool {
    match (shown.split_first(), written.split_first()) {
        (Some((any, rest)), None) => any == "..." && agree(rest, written),
        (Some((any, rest)), Some((_, after))) if any == "..." => agree(rest, written) || agree(shown, after),
        (Some((line, rest)), Some((other, after))) => words(line) == words(other) && agree(rest, after),
        (None, _) => written.is_empty(),
    }
}

/// A line without its numbers.
fn words(line: &str) -> String {
    let mut words = String::new();
    let mut rest = line;
    while let Some(at) = rest.find(|c: char| c.is_ascii_digit()) {
        let before = &rest[..at];
        words.push_str(before.strip_suffix('-').unwrap_or(before));
        words.push('#');
        let digits = |text: &str| text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        rest = &rest[at..][digits(&rest[at..])..];
        if let Some(power) = rest.strip_prefix("e-").or_else(|| rest.strip_prefix('e')) {
            let length = digits(power);
            rest = if length > 0 { &power[length..] } else { rest };
        }
    }
    words.push_str(rest);
    words.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn docs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}
