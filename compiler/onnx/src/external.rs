//! Elements of tensors that are in other files.
//!
//! A location is a relative path to a regular file in the model's folder or below it. No component of it may be `..`, a
//! symbolic link, or a file with a second hard link; what the path leads to is checked once more after the file is open. A
//! range outside the file is refused before anything is allocated.

use crate::error::TensorProblem;
use crate::proto::StringStringEntryProto;
use std::fs::{self, File};
use std::io::{Read, Seek, SeekFrom};
use std::path::{Component, Path, PathBuf};

/// Reads the elements that a model keeps in files beside it.
#[derive(Clone, Debug)]
pub struct ExternalData {
    /// The model's folder; `None` for a model that is not a file.
    folder: Option<PathBuf>,
}

impl ExternalData {
    /// Files in the folder of the model of this path.
    pub fn beside(model: &Path) -> ExternalData {
        let folder = match model.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        ExternalData { folder: Some(folder.to_owned()) }
    }

    /// No files: external data are refused.
    pub fn refused() -> ExternalData {
        ExternalData { folder: None }
    }

    /// The bytes at the place that the entries name, of which there must be `expected`.
    pub fn read(
        &self,
        entries: &[StringStringEntryProto],
        expected: usize,
    ) -> Result<Vec<u8>, TensorProblem> {
        let entry =
            |key: &str| entries.iter().find(|entry| entry.key == key).map(|entry| entry.value.as_str());
        let location = entry("location").unwrap_or_default();
        let refuse = |reason: String| TensorProblem::External { location: location.to_owned(), reason };
        let number = |key: &str| match entry(key) {
            None | Some("") => Ok(None),
            Some(text) => match text.parse::<u64>() {
                Ok(n) => Ok(Some(n)),
                Err(_) => Err(refuse(format!("its {key} `{text}` is not a whole number of bytes"))),
            },
        };
        let (offset, length) = (number("offset")?.unwrap_or(0), number("length")?);

        let (mut file, size) = self.open(location).map_err(refuse)?;
        let available = size.checked_sub(offset).ok_or_else(|| {
            refuse(format!("offset {offset} is outside of the file, which has {size} bytes"))
        })?;
        let length = length.unwrap_or(available);
        if length > available {
            return Err(refuse(format!(
                "{length} bytes from offset {offset} are not inside of the file, which has {size} bytes"
            )));
        }
        if usize::try_from(length) != Ok(expected) {
            let found = usize::try_from(length).unwrap_or(usize::MAX);
            return Err(TensorProblem::Length { unit: "bytes", expected, found });
        }
        let mut bytes = vec![0; expected];
        file.seek(SeekFrom::Start(offset))
            .and_then(|_| file.read_exact(&mut bytes))
            .map_err(|error| refuse(format!("cannot be read: {error}")))?;
        Ok(bytes)
    }

    /// The file of a location, and its size. An error is the reason.
    fn open(&self, location: &str) -> Result<(File, u64), String> {
        let folder = self.folder.as_ref().ok_or("the model is not a file; import it from its path")?;
        let folder = fs::canonicalize(folder).map_err(|error| format!("the model's folder: {error}"))?;
        let mut path = folder.clone();
        let mut is_file = false;
        // A backslash separates components for writers on Windows only; here it could hide a `..`.
        if location.contains('\\') {
            return Err("a backslash in the path; write it with `/`".into());
        }
        for component in Path::new(location).components() {
            match component {
                Component::Normal(name) => path.push(name),
                Component::CurDir => continue,
                _ => {
                    return Err(
                        "leaves the model's folder; move the file into it and name it without a path".into(),
                    );
                }
            }
            let metadata = fs::symlink_metadata(&path).map_err(|error| {
                format!("cannot be read: {error}; the file belongs into the folder of the model")
            })?;
            if metadata.file_type().is_symlink() {
                return Err(
                    "is a symbolic link, which may lead out of the model's folder; copy the file".into()
                );
            }
            is_file = metadata.is_file();
        }
        if !is_file {
            return Err("is no regular file; the location must name one in the model's folder".into());
        }
        let resolved = fs::canonicalize(&path).map_err(|error| format!("cannot be read: {error}"))?;
        if !resolved.starts_with(&folder) {
            return Err("leaves the model's folder; move the file into it".into());
        }
        let file = File::open(&resolved).map_err(|error| format!("cannot be read: {error}"))?;
        let metadata = file.metadata().map_err(|error| format!("cannot be read: {error}"))?;
        if !metadata.is_file() {
            return Err("is no regular file; the location must name one in the model's folder".into());
        }
        if has_other_links(&metadata) {
            return Err(
                "has a second hard link, which may be outside of the model's folder; copy the file".into()
            );
        }
        Ok((file, metadata.len()))
    }
}

#[cfg(unix)]
fn has_other_links(metadata: &fs::Metadata) -> bool {
    std::os::unix::fs::MetadataExt::nlink(metadata) > 1
}

/// Elsewhere the standard library does not say.
#[cfg(not(unix))]
fn has_other_links(_metadata: &fs::Metadata) -> bool {
    false
}
