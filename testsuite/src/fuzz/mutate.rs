//! Changes to bytes that readers tend to stumble over.

use twnc_random::Random;

/// The longest input that mutations make.
const LONGEST: usize = 64 << 10;

/// Numbers at the ends of ranges, and beside them.
const EDGES: [u64; 16] = [
    0,
    1,
    2,
    7,
    8,
    127,
    128,
    255,
    1 << 15,
    (1 << 16) - 1,
    (1 << 31) - 1,
    1 << 31,
    (1 << 32) - 1,
    1 << 40,
    i64::MAX as u64,
    u64::MAX,
];

/// Words that stand for numbers in texts.
const WORDS: [&str; 12] = [
    "0",
    "1",
    "-1",
    "3",
    "255",
    "65536",
    "2147483648",
    "9223372036854775807",
    "-9223372036854775808",
    "18446744073709551616",
    "1e39",
    "nan",
];

/// A changed copy of one of the `seeds`, which are no empty list: one change, or two with half the chance, and so on.
pub fn mutate(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut bytes = seeds[random.below(seeds.len())].clone();
    change(&mut bytes, seeds, random);
    while random.below(2) == 0 {
        change(&mut bytes, seeds, random);
    }
    bytes.truncate(LONGEST);
    bytes
}

fn change(bytes: &mut Vec<u8>, seeds: &[Vec<u8>], random: &mut Random) {
    if bytes.is_empty() {
        bytes.push(random.bits() as u8);
        return;
    }
    let at = random.below(bytes.len());
    match random.below(10) {
        0 => bytes[at] ^= 1 << random.below(8),
        1 => bytes[at] = random.bits() as u8,
        2 => bytes[at] = bytes[at].wrapping_add(if random.below(2) == 0 { 1 } else { 255 }),
        3 => {
            let edge = EDGES[random.below(EDGES.len())].to_le_bytes();
            let width = [2, 4, 8][random.below(3)];
            bytes.iter_mut().skip(at).zip(&edge[..width]).for_each(|(byte, edge)| *byte = *edge);
        }
        4 => {
            let varint = varint(EDGES[random.below(EDGES.len())]);
            let end = (at + 1 + random.below(3)).min(bytes.len());
            bytes.splice(at..end, varint);
        }
        5 => bytes.truncate(at),
        6 => {
            let end = (at + 1 + random.below(16)).min(bytes.len());
            bytes.drain(at..end);
        }
        7 => {
            let end = (at + 1 + random.below(64)).min(bytes.len());
            let piece = bytes[at..end].to_vec();
            let to = random.below(bytes.len() + 1);
            bytes.splice(to..to, piece);
        }
        8 => {
            let other = &seeds[random.below(seeds.len())];
            let from = random.below(other.len() + 1);
            let end = (from + random.below(256)).min(other.len());
            let until = (at + random.below(16)).min(bytes.len());
            bytes.splice(at..until, other[from..end].iter().copied());
        }
        _ => replace_word(bytes, at, random),
    }
}

/// Replaces the number at or behind a place in a text.
fn replace_word(bytes: &mut Vec<u8>, at: usize, random: &mut Random) {
    let Some(start) = bytes[at..].iter().position(u8::is_ascii_digit).map(|n| at + n) else { return };
    let length = bytes[start..].iter().take_while(|byte| byte.is_ascii_digit()).count();
    bytes.splice(start..start + length, WORDS[random.below(WORDS.len())].bytes());
}

/// A number as protobuf writes it.
fn varint(mut number: u64) -> Vec<u8> {
    let mut bytes = vec![];
    while number >= 128 {
        bytes.push(number as u8 | 128);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
