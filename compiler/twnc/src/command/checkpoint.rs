//! Long work that may be interrupted, and taken up again from a file.

use super::failure::{Failure, Kind};
use super::host::{Host, Writer};
use crate::{Due, Keeper};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How often a checkpoint is written, at least.
pub const INTERVAL: Duration = Duration::from_secs(60);

/// Keeps the checkpoints of a repair.
pub struct Checkpoints {
    file: Option<(PathBuf, Writer)>,
    stop: Arc<AtomicBool>,
    since: Mutex<Instant>,
}

impl Checkpoints {
    /// In a file, if there is one.
    pub fn new(host: &Host, path: Option<&Path>) -> Result<Checkpoints, Failure> {
        let file = path.map(|path| (path.to_owned(), host.writer(path)));
        Ok(Checkpoints { file, stop: host.interruption()?, since: Mutex::new(Instant::now()) })
    }
}

impl Keeper for Checkpoints {
    fn due(&self) -> Due {
        if self.stop.load(Ordering::Relaxed) {
            return Due::Stop;
        }
        let mut since = self.since.lock().unwrap_or_else(PoisonError::into_inner);
        if self.file.is_none() || since.elapsed() < INTERVAL {
            return Due::Nothing;
        }
        *since = Instant::now();
        Due::Checkpoint
    }

    fn keep(&self, checkpoint: Vec<u8>) -> Result<(), String> {
        let Some((_, write)) = &self.file else { return Ok(()) };
        write(checkpoint).map_err(|failure| failure.to_string())
    }

    fn name(&self) -> String {
        self.file.as_ref().map(|(path, _)| path.display().to_string()).unwrap_or_default()
    }
}

/// The checkpoint that work is to go on from, if there is one and that is asked for.
pub fn found(path: &Path, resume: bool) -> Result<Option<Vec<u8>>, Failure> {
    match (path.exists(), resume) {
        (true, true) => std::fs::read(path)
            .map(Some)
            .map_err(|e| Failure::unacceptable(format!("cannot be read: {e}")).in_file(path.display())),
        (true, false) => Err(Failure::usage(format!("{} is there already", path.display()))
            .help("go on from it with --resume, or give another file")),
        // So that the same command line serves to begin and to go on.
        (false, _) => Ok(None),
    }
}

/// Work that was interrupted; what was done so far is kept, if there is a place for it.
pub fn interrupted(message: impl Into<String>, path: Option<&Path>) -> Failure {
    Failure::new(Kind::Interrupted, message).help(match path {
        Some(path) => format!("go on with the same options and --resume; {} has it", path.display()),
        None => "with --checkpoint FILE, nothing is lost".to_owned(),
    })
}
