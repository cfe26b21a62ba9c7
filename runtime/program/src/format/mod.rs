//! `model.bin`: a program on disk. `docs/model-bin.md` is the specification.
//!
//! The encoding is canonical: one program has one file, and the reader accepts no other bytes for it. Everything is checked before it is
//! used: the frame (magic, version, lengths, checksums), then the metadata, then the program as a whole
//! ([`Program::validate`]). What the reader allocates is bounded by a small multiple of the constants' size, and by a few hundred times
//! the metadata's (four bytes can be a step), which therefore has a limit of its own.

mod decode;
mod encode;
mod frame;
mod message;

use crate::error::ProgramError;
use crate::program::Program;
use prost::Message as _;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use thiserror::Error;

/// The first bytes of every file.
pub const MAGIC: [u8; 8] = *b"\x89TWNC\r\n\x1a";
/// The format version that this release reads and writes.
pub const VERSION: u32 = 1;
/// The largest file that is read.
pub const MAX_FILE_BYTES: u64 = 4 << 30;
/// The largest metadata that is read. A layer takes some hundred bytes of it.
pub const MAX_METADATA_BYTES: usize = 8 << 20;

/// Why a file is not read or written.
#[derive(Debug, Error)]
pub enum FormatError {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It is not a file of this kind.
    #[error("not a model.bin: it does not begin with the format's signature")]
    Magic,
    /// It was written by another release.
    #[error(
        "format version {found}, but this release reads version {VERSION}; compile the model again with this release"
    )]
    Version {
        /// The file's version.
        found: u32,
    },
    /// It is damaged or was not written by a compiler.
    #[error("damaged: {0}")]
    Damaged(String),
    /// What it holds is no valid program.
    #[error("not a valid program: {0}")]
    Program(#[from] ProgramError),
    /// It is larger than any program should be.
    #[error("{bytes} bytes; at most {MAX_FILE_BYTES} are read")]
    TooLarge {
        /// Its size.
        bytes: u64,
    },
    /// It is not a regular file.
    #[error("not a regular file")]
    NotAFile,
}

impl Program {
    /// The bytes of the program's file.
    pub fn to_bytes(&self) -> Vec<u8> {
        let metadata = encode::metadata(self).encode_to_vec();
        frame::write(&[&metadata, &encode::dense(self), &encode::ternary(self)])
    }

    /// The program in the bytes of a file, validated.
    pub fn from_bytes(bytes: &[u8]) -> Result<Program, FormatError> {
        let program = Program::decode(bytes)?;
        if program.to_bytes() != bytes {
            return Err(FormatError::Damaged("it is not in the canonical encoding".into()));
        }
        Ok(program)
    }

    /// The valid program in bytes that may be in another than the canonical encoding.
    fn decode(bytes: &[u8]) -> Result<Program, FormatError> {
        let [metadata, dense, ternary] = frame::read(bytes)?;
        if metadata.len() > MAX_METADATA_BYTES {
            let message =
                format!("{} bytes of metadata; at most {MAX_METADATA_BYTES} are read", metadata.len());
            return Err(FormatError::Damaged(message));
        }
        let metadata = message::Program::decode(metadata)
            .map_err(|e| FormatError::Damaged(format!("the metadata is not readable ({e})")))?;
        let program = decode::program(&metadata, dense, ternary)?;
        program.validate()?;
        Ok(program)
    }

    /// Writes the program's file: to a temporary file beside it, synced, then renamed, so that `path` holds either what it held or all of
    /// the new file. A program that [`Program::read_file`] would refuse is refused here.
    pub fn write_file(&self, path: &Path) -> Result<(), FormatError> {
        let bytes = self.to_bytes();
        check_size(bytes.len() as u64)?;
        // Not `from_bytes`: bytes that were just encoded are the canonical ones, and need not be encoded again to see it.
        Program::decode(&bytes)?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let mut builder = tempfile::Builder::new();
        builder.prefix(".twnc-").suffix(".tmp");
        #[cfg(unix)]
        {
            // What a plain new file gets: the process's umask takes away from this.
            use std::os::unix::fs::PermissionsExt as _;
            builder.permissions(std::fs::Permissions::from_mode(0o666));
        }
        let mut file = builder.tempfile_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        // The rename itself is durable once the folder is synced; not every file system can do that.
        let _ = File::open(folder).and_then(|folder| folder.sync_all());
        Ok(())
    }

    /// Reads and validates a program's file.
    pub fn read_file(path: &Path) -> Result<Program, FormatError> {
        // Asked before it is opened: opening a pipe would wait for its writer.
        let metadata = std::fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(FormatError::NotAFile);
        }
        check_size(metadata.len())?;
        let mut bytes = Vec::new();
        File::open(path)?.take(MAX_FILE_BYTES).read_to_end(&mut bytes)?;
        Program::from_bytes(&bytes)
    }
}

fn check_size(bytes: u64) -> Result<(), FormatError> {
    if bytes > MAX_FILE_BYTES { Err(FormatError::TooLarge { bytes }) } else { Ok(()) }
}
