//! For whom a command works: where what it names lies, where its results go, and who hears of its progress.
//!
//! A command line names files. Of a [`Host`] in memory some of these names stand for what the caller holds instead: a model, arrays, or an empty
//! place for a result. Such names never reach the file system, and everything else is a file as on the terminal.

use super::data;
use super::failure::{Failure, Kind};
use crate::arrays::Arrays;
use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use twnc_onnx::{Import, ImportOptions};
use twnc_program::{FormatError, Program};
use twnc_runtime::{Module, Output};

/// Where a command finds things and leaves them.
#[derive(Default)]
pub struct Host {
    memory: BTreeMap<PathBuf, Arc<Mutex<Content>>>,
    listener: Option<Listener>,
    /// What was printed as a result, where it does not go to the terminal.
    results: Mutex<String>,
    stop: Arc<AtomicBool>,
}

/// Is told what happens, from any thread; whether the command should go on. Those that can stop early (training) do.
pub type Listener = Arc<dyn Fn(Event<'_>) -> bool + Send + Sync>;

/// Writes one thing whole or not at all, as often as it is called.
pub(super) type Writer = Box<dyn Fn(Vec<u8>) -> Result<(), Failure> + Send + Sync>;

/// What happens while a command works.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// Something that a user may want to know.
    Note(&'a str),
    /// Something that a user should know.
    Warning(&'a str),
    /// So many pieces of some work are done.
    Progress {
        /// The work.
        what: &'static str,
        /// Pieces that are done.
        done: u64,
        /// All of them.
        total: u64,
    },
}

/// What a name stands for.
#[derive(Clone)]
pub enum Content {
    /// The bytes of a file.
    Bytes(Arc<dyn AsRef<[u8]> + Send + Sync>),
    /// Arrays by name, as of a `.npz`.
    Arrays(Arrays),
    /// An array, as of a `.npy`.
    Array(Output),
}

/// Text as a terminal may have it: names come from files, and what controls a terminal is written out as JSON does (`\u001b`). Lines and tabs
/// stay.
pub(super) fn printable(text: &str) -> Cow<'_, str> {
    let controls = |c: char| c.is_control() && !matches!(c, '\n' | '\t');
    if !text.contains(controls) {
        return Cow::Borrowed(text);
    }
    let write = |c: char| if controls(c) { format!("\\u{:04x}", u32::from(c)) } else { c.to_string() };
    Cow::Owned(text.chars().map(write).collect())
}

impl Host {
    /// Files, standard output and standard error.
    pub fn terminal() -> Host {
        Host::default()
    }

    /// Nothing is printed: results are kept for [`Host::results`], the listener hears of the rest.
    pub fn in_memory(listener: impl Fn(Event<'_>) -> bool + Send + Sync + 'static) -> Host {
        Host { listener: Some(Arc::new(listener)), ..Host::default() }
    }

    /// Lets a name stand for something. A result that is written under a name takes the place of what it stood for.
    pub fn give(&mut self, name: impl Into<PathBuf>, content: Content) {
        self.memory.insert(name.into(), Arc::new(Mutex::new(content)));
    }

    /// What a name stands for now.
    pub fn content(&self, name: impl AsRef<Path>) -> Option<Content> {
        let place = self.memory.get(name.as_ref())?;
        Some(place.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }

    /// What the command has printed as its results.
    pub fn results(&self) -> String {
        self.results.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Whether somebody hears of what happens, other than a terminal.
    pub(super) fn is_heard(&self) -> bool {
        self.listener.is_some()
    }

    pub(super) fn listener(&self) -> Option<Listener> {
        let (listener, stop) = (self.listener.clone()?, Arc::clone(&self.stop));
        Some(Arc::new(move |event| {
            let goes_on = listener(event);
            if !goes_on {
                stop.store(true, Ordering::Relaxed);
            }
            goes_on
        }))
    }

    /// Set when whoever waits for the command wants it to stop. On a terminal, whoever wants it twice does not wait for it.
    pub(super) fn interruption(&self) -> Result<Arc<AtomicBool>, Failure> {
        let stop = Arc::clone(&self.stop);
        if self.listener.is_none() {
            let asked = Arc::clone(&stop);
            let handler = move || {
                if asked.swap(true, Ordering::Relaxed) {
                    std::process::exit(Kind::Interrupted as i32);
                }
            };
            ctrlc::set_handler(handler)
                .map_err(|e| Failure::unacceptable(format!("an interruption cannot be waited for: {e}")))?;
        }
        Ok(stop)
    }

    /// A line of the results. A closed standard output is no failure of ours.
    pub(super) fn result(&self, line: fmt::Arguments<'_>) {
        use std::io::Write as _;
        match &self.listener {
            None => drop(writeln!(std::io::stdout(), "{}", printable(&line.to_string()))),
            Some(_) => {
                let mut results = self.results.lock().unwrap_or_else(PoisonError::into_inner);
                *results += &line.to_string();
                results.push('\n');
            }
        }
    }

    /// Tells of something. A closed standard error changes no exit code.
    pub(super) fn note(&self, text: fmt::Arguments<'_>) {
        self.tell(text, |text| Event::Note(text));
    }

    /// Warns of something.
    pub(super) fn warn(&self, text: fmt::Arguments<'_>) {
        self.tell(text, |text| Event::Warning(text));
    }

    fn tell(&self, text: fmt::Arguments<'_>, event: fn(&str) -> Event<'_>) {
        use std::io::Write as _;
        match self.listener() {
            None => drop(writeln!(std::io::stderr(), "{}", printable(&text.to_string()))),
            Some(listener) => drop(listener(event(&text.to_string()))),
        }
    }

    fn is_in_memory(&self, path: &Path) -> bool {
        self.memory.contains_key(path)
    }

    /// The graph of an ONNX model.
    pub(super) fn import(&self, path: &Path, options: &ImportOptions) -> Result<Import, Failure> {
        match self.content(path) {
            Some(Content::Bytes(bytes)) => twnc_onnx::import_bytes((*bytes).as_ref(), options)
                .map_err(|e| Failure::from(crate::CompileError::from(e)).in_file(path.display())),
            Some(_) => Err(is_not(path, "a model")),
            None => Ok(twnc_onnx::import_file(path, options).map_err(crate::CompileError::from)?),
        }
    }

    /// A compiled model.
    pub(super) fn module(&self, path: &Path) -> Result<Module, Failure> {
        match self.content(path) {
            Some(Content::Bytes(bytes)) => Ok(Module::from_bytes((*bytes).as_ref())?),
            Some(_) => Err(is_not(path, "a model")),
            None => Ok(Module::open(path)?),
        }
    }

    /// Arrays by name.
    pub(super) fn arrays(&self, path: &Path) -> Result<Arrays, Failure> {
        match self.content(path) {
            Some(Content::Arrays(arrays)) => Ok(arrays),
            Some(_) => Err(is_not(path, "arrays by name")),
            None => data::read_arrays(path),
        }
    }

    /// The bytes of a file.
    pub(super) fn size(&self, path: &Path) -> u64 {
        match self.content(path) {
            Some(Content::Bytes(bytes)) => (*bytes).as_ref().len() as u64,
            Some(_) => 0,
            None => std::fs::metadata(path).map(|m| m.len()).unwrap_or(0),
        }
    }

    /// Writes bytes whole or not at all.
    pub(super) fn write(&self, path: &Path, bytes: Vec<u8>) -> Result<(), Failure> {
        self.writer(path)(bytes)
    }

    /// What writes bytes as [`Host::write`] does, from any thread.
    pub(super) fn writer(&self, path: &Path) -> Writer {
        match self.memory.get(path).cloned() {
            Some(place) => Box::new(move |bytes| {
                *place.lock().unwrap_or_else(PoisonError::into_inner) = Content::Bytes(Arc::new(bytes));
                Ok(())
            }),
            None => {
                let path = path.to_owned();
                Box::new(move |bytes| data::write(&path, &bytes))
            }
        }
    }

    /// Writes a compiled model.
    pub(super) fn write_program(&self, path: &Path, program: &Program) -> Result<(), Failure> {
        if self.is_in_memory(path) {
            return self.write(path, program.to_bytes());
        }
        program.write_file(&data::destination(path)).map_err(|error| match error {
            FormatError::Io(error) => data::unwritten(path, &error),
            error => Failure::unacceptable(format!("cannot be written: {error}")).in_file(path.display()),
        })
    }

    /// Refuses outputs over files that are read or over each other, and where no file can be written: before there is anything to write.
    pub(super) fn check_outputs(&self, outputs: &[&Path], read: &[&Path]) -> Result<(), Failure> {
        for (i, output) in outputs.iter().enumerate() {
            self.keep_apart(output, read.iter().copied())?;
            if self.is_in_memory(output) {
                continue;
            }
            data::check_writable(output)?;
            if outputs[..i].iter().any(|other| data::is_same(output, other)) {
                return Err(Failure::usage(format!("{} would be written twice", output.display()))
                    .help("give each output a file of its own"));
            }
        }
        Ok(())
    }

    /// Refuses to write `output` over a file that is read, and in the place of a device or pipe.
    pub(super) fn keep_apart<'a>(
        &self,
        output: &Path,
        read: impl IntoIterator<Item = &'a Path>,
    ) -> Result<(), Failure> {
        let files = read.into_iter().filter(|path| !self.is_in_memory(path));
        if self.is_in_memory(output) { Ok(()) } else { data::keep_apart(output, files) }
    }
}

fn is_not(path: &Path, what: &str) -> Failure {
    Failure::unacceptable(format!("this is not {what}")).in_file(path.display())
}

impl Default for Content {
    /// An empty place.
    fn default() -> Content {
        Content::Bytes(Arc::new([]))
    }
}

impl fmt::Debug for Host {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Host").field("memory", &self.memory.keys()).finish_non_exhaustive()
    }
}
