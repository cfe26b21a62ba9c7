//! The rules of style that a machine can check, each with its reason. A failure lists every place that breaks the rule.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

/// The crates that may be unsafe: one writes machine code and jumps to it, the other is handed pointers by C.
const UNSAFE: [&str; 2] = ["runtime/jit/src/lib.rs", "runtime/capi/src/lib.rs"];
const TEXT: &[&str] = &["rs", "toml", "md", "py", "sh", "snap", "twir", "txt"];

#[test]
fn sources_open_with_a_header() {
    check(&["rs"], "a file opens with `//!`: what it owns and what it promises", |source| {
        lines_where(source, |number, line| number == 1 && !line.starts_with("//!"))
    });
}

#[test]
fn sources_are_short() {
    check(&["rs"], "a file of more than 600 lines is two files: nobody reads the end of it", |source| {
        lines_where(source, |number, _| number == 601)
    });
}

#[test]
fn nothing_is_left_to_do() {
    // Spelled in two parts, or this file would break its own rule.
    let left_over = [concat!("todo", "!("), concat!("dbg", "!("), concat!("unimplemented", "!(")];
    check(&["rs"], "a stub compiles and then panics at a user: finish it, or leave it out", |source| {
        lines_where(source, |_, line| left_over.iter().any(|word| line.contains(word)))
    });
}

#[test]
fn ignored_tests_say_why() {
    check(
        &["rs"],
        "write `#[ignore = \"reason\"]`: without it nobody dares to run the test again",
        |source| lines_where(source, |_, line| line.trim() == concat!("#[", "ignore]")),
    );
}

#[test]
fn crates_forbid_unsafe_code() {
    check(
        &["rs"],
        "unsafe code is reviewed in two crates; all others begin with `#![forbid(unsafe_code)]`",
        |source| {
            let crate_root = source.path.ends_with("src/lib.rs")
                && !UNSAFE.iter().any(|known| source.path == Path::new(known));
            let forbids = source.text.lines().any(|line| line == "#![forbid(unsafe_code)]");
            if crate_root && !forbids { vec![1] } else { vec![] }
        },
    );
}

#[test]
fn lines_end_where_they_end() {
    check(TEXT, "blanks at the end of a line make noise in every later diff", |source| {
        lines_where(source, |_, line| line.ends_with([' ', '\t']))
    });
}

#[test]
fn no_path_of_one_machine() {
    let paths = [concat!("/wo", "rk/"), concat!("/tm", "p/"), concat!("/ho", "me/"), concat!("/ro", "ot/")];
    check(
        TEXT,
        "a path of the author's machine exists on no other: use an argument or std::env::temp_dir",
        |source| lines_where(source, |_, line| paths.iter().any(|path| line.contains(path))),
    );
}

#[test]
fn relative_links_resolve() {
    check(&["md"], "a link to a file or a heading that is not there leads nowhere", |source| {
        let path = root().join(&source.path);
        let folder = path.parent().map(Path::to_owned).unwrap_or_default();
        let resolves = |(target, heading): (&str, &str)| {
            let target = if target.is_empty() { path.clone() } else { folder.join(target) };
            let page = target.extension().is_some_and(|extension| extension == "md");
            target.exists()
                && (heading.is_empty()
                    || !page
                    || fs::read_to_string(&target).is_ok_and(|text| headings(&text).contains(heading)))
        };
        prose(source, |line| relative_links(line).any(|link| !resolves(link)))
    });
}

#[test]
fn paths_in_prose_are_there() {
    let folders = ["compiler/", "passes/", "runtime/", "testsuite/", "docs/"];
    let ignored = ["testsuite/zoo", "testsuite/fuzz/corpus", "testsuite/fuzz/artifacts"];
    check(&["md"], "a path that moved sends the reader looking", |source| {
        // `V` and `NAME` stand for something.
        let is_placeholder = |part: &str| {
            let stem = part.split('.').next().unwrap_or_default();
            !stem.is_empty() && stem.chars().all(|c| c.is_ascii_uppercase())
        };
        lines_where(source, |_, line| {
            let words = line.split(|c: char| c.is_whitespace() || "`()|,;'\"=#".contains(c));
            let paths = words.filter(|word| folders.iter().any(|folder| word.starts_with(folder)));
            let written_out = paths.filter(|path| {
                !path.contains(['*', '{', '<'])
                    && !path.split('/').any(is_placeholder)
                    && !ignored.iter().any(|start| path.starts_with(start))
            });
            written_out
                .map(|path| path.split('#').next().unwrap_or(path).trim_end_matches(['.', ':', '/']))
                .any(|path| !root().join(path).exists())
        })
    });
}

#[test]
fn pages_link_to_pages() {
    let docs = Path::new("docs");
    check(
        &["md"],
        "the book holds the folder docs and nothing else: name what is outside as code",
        |source| {
            let Ok(page) = source.path.strip_prefix(docs) else { return vec![] };
            let depth = page.components().count() - 1;
            let leaves = |target: &str| target.matches("../").count() > depth;
            prose(source, |line| relative_links(line).any(|(target, _)| leaves(target)))
        },
    );
}

#[test]
fn pages_are_in_the_book() {
    let summary = fs::read_to_string(root().join("docs/SUMMARY.md")).expect("the book has a summary");
    let listed: Vec<&str> = summary.lines().flat_map(relative_links).map(|(target, _)| target).collect();
    let mut once = listed.clone();
    once.sort_unstable();
    once.dedup();
    assert_eq!(once.len(), listed.len(), "docs/SUMMARY.md lists each page once");
    check(&["md"], "the book shows what docs/SUMMARY.md lists, and nothing else", |source| {
        let Ok(page) = source.path.strip_prefix("docs") else { return vec![] };
        let is_listed =
            page == Path::new("SUMMARY.md") || listed.iter().any(|listed| Path::new(listed) == page);
        if is_listed { vec![] } else { vec![1] }
    });
}

#[test]
fn links_are_found() {
    let line =
        "[a](b.md#c), [`d`](../e), [web](https://example.org), `f[0](g)`, [mail](mailto:h@i), [top](#j)";
    assert_eq!(relative_links(line).collect::<Vec<_>>(), [("b.md", "c"), ("../e", ""), ("", "j")]);
}

#[test]
fn headings_have_names() {
    let text = "# Über `twnc run`, a\n## 2. Two\n```\n# none\n```\n## [Link](x.md)\n## 2. Two\n";
    let expected = ["über-twnc-run-a", "2-two", "link", "2-two-1"].map(str::to_owned);
    assert_eq!(headings(text), HashSet::from(expected));
}

struct Source {
    /// From the root of the repository.
    path: PathBuf,
    text: String,
}

/// Fails with every line of the files with these extensions that `breaks` gives.
fn check(extensions: &[&str], reason: &str, breaks: impl Fn(&Source) -> Vec<usize>) {
    let sources = sources(extensions);
    assert!(!sources.is_empty(), "no {extensions:?} file under {}", root().display());
    let places: Vec<String> = sources
        .iter()
        .flat_map(|source| {
            breaks(source).into_iter().map(|line| format!("  {}:{line}", source.path.display()))
        })
        .collect();
    assert!(places.is_empty(), "{reason}:\n{}", places.join("\n"));
}

/// The numbers, from 1, of the lines that a rule picks. An empty file has one empty line.
fn lines_where(source: &Source, mut rule: impl FnMut(usize, &str) -> bool) -> Vec<usize> {
    let numbered = source.text.split('\n').enumerate();
    numbered.filter_map(|(index, line)| rule(index + 1, line).then_some(index + 1)).collect()
}

/// The numbers of the lines outside of fenced code that a rule picks.
fn prose(source: &Source, mut rule: impl FnMut(&str) -> bool) -> Vec<usize> {
    let mut fenced = false;
    lines_where(source, |_, line| {
        let fence = line.trim_start().starts_with("```");
        fenced ^= fence;
        !fenced && !fence && rule(line)
    })
}

/// What a line of Markdown links to inside the repository: the file and the heading. Code spans hold no links.
fn relative_links(line: &str) -> impl Iterator<Item = (&str, &str)> {
    let outside_code = line.split('`').step_by(2);
    let targets = outside_code.flat_map(|text| text.split("](").skip(1)).filter_map(|rest| {
        let (target, _) = rest.split_once(')')?;
        Some(target)
    });
    let relative = targets.filter(|target| !target.contains("://") && !target.starts_with("mailto:"));
    relative.map(|target| target.split_once('#').unwrap_or((target, "")))
}

/// The names by which links reach the headings of a page, as the book and most hosts of repositories make them.
fn headings(text: &str) -> HashSet<String> {
    let mut found = HashSet::new();
    let mut fenced = false;
    for line in text.lines() {
        fenced ^= line.starts_with("```");
        let title = line.trim_start_matches('#');
        if fenced || title.len() == line.len() || !title.starts_with(' ') {
            continue;
        }
        // Of a link the words are left.
        let (mut words, mut rest) = (String::new(), title.trim());
        while let Some((before, after)) = rest.split_once("](") {
            words.push_str(before);
            rest = after.split_once(')').map_or("", |(_, rest)| rest);
        }
        words.push_str(rest);
        let name = words.chars().filter_map(|c| match c {
            ' ' => Some('-'),
            c if c.is_alphanumeric() || c == '-' || c == '_' => Some(c),
            _ => None,
        });
        let name: String = name.flat_map(char::to_lowercase).collect();
        let again = (1..).map(|number| format!("{name}-{number}"));
        let free = std::iter::once(name.clone()).chain(again).find(|name| !found.contains(name));
        found.extend(free);
    }
    found
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("this crate is in a folder of the workspace")
        .to_owned()
}

fn sources(extensions: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    let mut folders = vec![root()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository can be listed") {
            let path = entry.expect("an entry of a folder of the repository can be read").path();
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            // Build products and fetched networks are not ours to keep tidy.
            let skipped = name.starts_with('.') || ["target", "zoo", "__pycache__"].contains(&&*name);
            if path.is_dir() && !skipped {
                folders.push(path);
            } else if path
                .extension()
                .is_some_and(|extension| extensions.iter().any(|known| extension == *known))
            {
                let text = fs::read_to_string(&path).expect("a source file is UTF-8");
                let path = path.strip_prefix(root()).expect("found below the root").to_owned();
                found.push(Source { path, text });
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}
