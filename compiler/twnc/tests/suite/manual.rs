//! What surrounds the command in a shell: completions, as bash makes of them, and manual pages, as groff reads them.

use crate::command::{text, twnc};
use std::process::Command;

/// What bash offers for the last word of a command line.
fn completed(script: &str, line: &str) -> Vec<String> {
    let words: Vec<&str> = line.split(' ').collect();
    let cursor = words.len() - 1;
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let call = format!(
        "{script}\nCOMP_WORDS=({}) COMP_CWORD={cursor}\n_twnc twnc '{}' '{}'\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words[cursor],
        words[cursor.saturating_sub(1)],
    );
    let folder = tempfile::tempdir().unwrap();
    let output = Command::new("bash").args(["--norc", "-c", &call]).current_dir(&folder).output().unwrap();
    assert!(output.stderr.is_empty(), "{line}: {}", text(&output.stderr));
    text(&output.stdout).split_whitespace().map(str::to_owned).collect()
}

#[test]
fn bash_completes_command_lines() {
    let script = twnc(&std::env::temp_dir(), "completions bash");
    let script = String::from_utf8(script.stdout).unwrap();
    let table: [(&str, &[&str]); 6] = [
        ("twnc ins", &["inspect"]),
        ("twnc com", &["compare", "completions"]),
        ("twnc bench --au", &["--autotune"]),
        ("twnc model.onnx --ternarise d", &["detected"]),
        ("twnc model.onnx --onnx-format q", &["qdq-int2", "qonnx"]),
        ("twnc completions f", &["fish"]),
    ];
    for (line, expected) in table {
        assert_eq!(completed(&script, line), expected, "{line}");
    }
}

#[test]
fn every_shell_has_a_script() {
    for shell in ["bash", "zsh", "fish", "powershell", "elvish"] {
        let output = twnc(&std::env::temp_dir(), &format!("completions {shell}"));
        assert!(output.status.success(), "{shell}");
        let script = text(&output.stdout);
        for word in ["inspect", "logits-scale-free", "detected"] {
            assert!(script.contains(word), "{word} is not in the script for {shell}");
        }
    }
    assert_eq!(twnc(&std::env::temp_dir(), "completions tcsh").status.code(), Some(2));
}

#[test]
fn manual_pages_are_written_and_read() {
    let folder = tempfile::tempdir().unwrap();
    let output = twnc(folder.path(), "man below/pages");
    assert!(output.status.success(), "{}", text(&output.stderr));
    let help = text(&twnc(folder.path(), "--help").stdout);
    let mut pages: Vec<_> =
        std::fs::read_dir(folder.path().join("below/pages")).unwrap().map(Result::unwrap).collect();
    pages.sort_by_key(std::fs::DirEntry::path);
    assert!(pages.len() > 10, "{pages:?}");
    for page in pages {
        let name = page.file_name().into_string().unwrap();
        let command = name.strip_suffix(".1").unwrap();
        let known = command.strip_prefix("twnc-").is_none_or(|command| help.contains(&format!("{command} ")));
        assert!(known, "{name} is about no command");
        // Warnings of every kind; the page itself is thrown away. Without groff there is nothing to ask.
        match Command::new("groff").args(["-man", "-Tutf8", "-ww", "-z"]).arg(page.path()).output() {
            Ok(output) => assert!(output.stderr.is_empty(), "{name}: {}", text(&output.stderr)),
            Err(e) => eprintln!("SKIPPED: {name} is not rendered: groff: {e}"),
        }
    }
    // A file is where the folder should be.
    std::fs::write(folder.path().join("file"), "").unwrap();
    let output = twnc(folder.path(), "man file");
    assert_eq!(output.status.code(), Some(3));
    assert!(
        text(&output.stderr).contains("file: manual pages cannot be written"),
        "{}",
        text(&output.stderr)
    );
}
