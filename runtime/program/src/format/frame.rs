//! The frame of a file: header, section table, sections.

use super::{FormatError, MAGIC, VERSION};

/// Sections start at multiples of this.
const ALIGNMENT: usize = 64;
/// magic, version, number of sections, file length, checksum of the table, checksum of the header before it
const HEADER: usize = 32;
/// kind, checksum, offset, length, zero
const ENTRY: usize = 32;
const SECTIONS: usize = 3;

/// The file of these sections.
pub(super) fn write(sections: &[&[u8]; SECTIONS]) -> Vec<u8> {
    let mut table = vec![];
    let mut body = vec![];
    let first = (HEADER + SECTIONS * ENTRY).next_multiple_of(ALIGNMENT);
    for (kind, section) in (1u32..).zip(sections) {
        body.resize(body.len().next_multiple_of(ALIGNMENT), 0);
        table.extend(kind.to_le_bytes());
        table.extend(crc32fast::hash(section).to_le_bytes());
        table.extend(((first + body.len()) as u64).to_le_bytes());
        table.extend((section.len() as u64).to_le_bytes());
        table.extend([0; 8]);
        body.extend(*section);
    }
    let mut file = MAGIC.to_vec();
    file.extend(VERSION.to_le_bytes());
    file.extend((SECTIONS as u32).to_le_bytes());
    file.extend(((first + body.len()) as u64).to_le_bytes());
    file.extend(crc32fast::hash(&table).to_le_bytes());
    file.extend(crc32fast::hash(&file).to_le_bytes());
    file.extend(table);
    file.resize(first, 0);
    file.extend(body);
    file
}

/// The sections of a file whose frame is right.
pub(super) fn read(file: &[u8]) -> Result<[&[u8]; SECTIONS], FormatError> {
    let damaged = |what: &str| FormatError::Damaged(what.to_owned());
    if file.get(..8) != Some(&MAGIC) {
        return Err(FormatError::Magic);
    }
    let cut = || damaged("it ends too early");
    let version = u32_at(file, 8).ok_or_else(cut)?;
    if version != VERSION {
        return Err(FormatError::Version { found: version });
    }
    let header = file.get(..HEADER).ok_or_else(cut)?;
    if u32_at(header, 28) != Some(crc32fast::hash(&header[..28])) {
        return Err(damaged("the header's checksum is wrong"));
    }
    if u32_at(header, 12) != Some(SECTIONS as u32) {
        return Err(damaged("it has another number of sections"));
    }
    if u64_at(header, 16) != Some(file.len() as u64) {
        return Err(damaged("it has not the length that its header says; it was cut or something was added"));
    }
    let table = file.get(HEADER..HEADER + SECTIONS * ENTRY).ok_or_else(cut)?;
    if u32_at(header, 24) != Some(crc32fast::hash(table)) {
        return Err(damaged("the section table's checksum is wrong"));
    }
    let mut sections = [&[][..]; SECTIONS];
    let mut next = (HEADER + SECTIONS * ENTRY).next_multiple_of(ALIGNMENT);
    for (number, (entry, section)) in table.chunks(ENTRY).zip(&mut sections).enumerate() {
        let (offset, length) = (u64_at(entry, 8), u64_at(entry, 16));
        let range = offset.zip(length).and_then(|(offset, length)| {
            let (start, length) = (usize::try_from(offset).ok()?, usize::try_from(length).ok()?);
            Some(start..start.checked_add(length)?)
        });
        let range = range.filter(|range| range.start == next);
        let bytes =
            range.and_then(|range| file.get(range)).ok_or_else(|| damaged("a section is misplaced"))?;
        if u32_at(entry, 0) != Some(number as u32 + 1) || u32_at(entry, 4) != Some(crc32fast::hash(bytes)) {
            return Err(damaged(&format!("the checksum or kind of section {} is wrong", number + 1)));
        }
        next = (next + bytes.len()).next_multiple_of(ALIGNMENT);
        *section = bytes;
    }
    Ok(sections)
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map(u32::from_le_bytes)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map(u64::from_le_bytes)
}
