//! ONNX's backend suite, through the evaluator and through the compiled program: what passes, what is out of scope and why.
//!
//! The suite's files are read, and results compared, without `twnc-onnx`. The list of tests that pass is in the repository; one that no
//! longer passes is an error.

mod case;
mod data;
mod report;
mod scope;

pub use case::ReadError;

use report::Entry;
use std::fs;
use std::path::{Path, PathBuf};

/// The folders of the suite that are read.
const SUITES: [&str; 5] = ["node", "simple", "pytorch-converted", "pytorch-operator", "light"];

/// Why the suite does not do.
#[derive(Debug, thiserror::Error)]
pub enum ConformanceError {
    /// It cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The list or the page cannot be read or written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// Tests of the list do not pass.
    #[error("{} tests that passed no longer do:\n{}", .0.len(), .0.join("\n"))]
    Regressions(Vec<String>),
}

/// Runs the suite in `folder` and compares with the list of tests that pass; with `write`, writes the list and the page anew, beside it.
/// Returns a summary of a few lines.
///
/// # Errors
/// Where the suite cannot be read, and where a test of the list does not pass, unless the list is written.
pub fn run(folder: &Path, write: bool) -> Result<String, ConformanceError> {
    let mut entries = vec![];
    for suite in SUITES {
        for case in case::cases(folder, suite)? {
            entries.push(Entry::new(&case, scope::excluded(&case), case.run()));
        }
    }
    let (list, page) = (report::list(&entries), report::page(&entries));
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let (list_path, page_path) = (here.join("conformance.txt"), here.join("conformance.md"));
    let named = |path: &Path, source| ConformanceError::File { path: path.display().to_string(), source };
    if write {
        fs::write(&list_path, &list).map_err(|source| named(&list_path, source))?;
        fs::write(&page_path, &page).map_err(|source| named(&page_path, source))?;
    } else {
        let committed = fs::read_to_string(&list_path).map_err(|source| named(&list_path, source))?;
        let passes = |path: &str| list.lines().any(|line| line == path);
        let lost = committed.lines().filter(|path| !passes(path)).map(|path| {
            let entry = entries.iter().find(|entry| entry.path == path);
            format!("{path}: {}", entry.map_or("is not there".to_owned(), Entry::said))
        });
        let lost: Vec<String> = lost.collect();
        if !lost.is_empty() {
            return Err(ConformanceError::Regressions(lost));
        }
    }
    Ok(report::summary(&entries))
}
