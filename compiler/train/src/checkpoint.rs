//! A training on disk: numbers, what its epochs came to, and vectors of floats, behind a line that says what training it is.
//!
//! Everything is little-endian; a checksum (CRC-32) stands at the end. The reader allocates nothing that is not there.

use crate::train::Epoch;

const MAGIC: &[u8; 16] = b"twnc-checkpoint1";

/// What was read.
pub(crate) struct Checkpoint {
    pub numbers: [u64; 4],
    pub history: Vec<Epoch>,
    pub vectors: Vec<Vec<f32>>,
}

pub(crate) fn write(identity: &str, numbers: &[u64; 4], history: &[Epoch], vectors: &[&[f32]]) -> Vec<u8> {
    let mut out = MAGIC.to_vec();
    let number = |out: &mut Vec<u8>, n: u64| out.extend(n.to_le_bytes());
    number(&mut out, identity.len() as u64);
    out.extend(identity.as_bytes());
    numbers.iter().for_each(|&n| number(&mut out, n));
    number(&mut out, history.len() as u64);
    for epoch in history {
        let [loss, right] = epoch.validation.unwrap_or([f64::NAN; 2]).map(f64::to_bits);
        let numbers = [epoch.number as u64, epoch.loss.to_bits(), f64::from(epoch.rate).to_bits()];
        let flag = u64::from(epoch.validation.is_some());
        numbers.into_iter().chain([flag, loss, right]).for_each(|n| number(&mut out, n));
    }
    number(&mut out, vectors.len() as u64);
    for vector in vectors {
        number(&mut out, vector.len() as u64);
        out.extend(vector.iter().flat_map(|x| x.to_le_bytes()));
    }
    let sum = crc32fast::hash(&out);
    out.extend(sum.to_le_bytes());
    out
}

/// Reads a checkpoint of the training that `identity` says. The message says what is wrong with it.
pub(crate) fn read(bytes: &[u8], identity: &str) -> Result<Checkpoint, String> {
    let damaged = || {
        "the checkpoint is damaged: it is cut off, or its bytes were changed; begin anew without it"
            .to_owned()
    };
    if !bytes.starts_with(MAGIC) {
        return Err("it is no checkpoint of a training".to_owned());
    }
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
        return Err(damaged());
    }
    let mut rest = body.get(MAGIC.len()..).ok_or_else(damaged)?;
    let found =
        String::from_utf8_lossy(take(&mut rest).and_then(|n| bytes_of(&mut rest, n, 1)).ok_or_else(damaged)?);
    if found != identity {
        return Err(format!(
            "the checkpoint is of another training: it is of `{found}`, this is `{identity}`; give the same options, or begin anew"
        ));
    }
    parse(&mut rest).filter(|_| rest.is_empty()).ok_or_else(damaged)
}

fn parse(rest: &mut &[u8]) -> Option<Checkpoint> {
    let numbers = [take(rest)?, take(rest)?, take(rest)?, take(rest)?];
    let mut history = vec![];
    for _ in 0..take(rest)? {
        let [number, loss, rate, flag, a, b] =
            [take(rest)?, take(rest)?, take(rest)?, take(rest)?, take(rest)?, take(rest)?];
        history.push(Epoch {
            number: usize::try_from(number).ok()?,
            loss: f64::from_bits(loss),
            rate: f64::from_bits(rate) as f32,
            validation: (flag == 1).then_some([f64::from_bits(a), f64::from_bits(b)]),
        });
    }
    let mut vectors = vec![];
    for _ in 0..take(rest)? {
        let count = take(rest)?;
        let numbers = bytes_of(rest, count, 4)?.as_chunks::<4>().0;
        vectors.push(numbers.iter().map(|b| f32::from_le_bytes(*b)).collect());
    }
    Some(Checkpoint { numbers, history, vectors })
}

fn take(rest: &mut &[u8]) -> Option<u64> {
    let (number, behind) = rest.split_first_chunk::<8>()?;
    *rest = behind;
    Some(u64::from_le_bytes(*number))
}

fn bytes_of<'b>(rest: &mut &'b [u8], count: u64, size: usize) -> Option<&'b [u8]> {
    let length = usize::try_from(count).ok()?.checked_mul(size)?;
    let (bytes, behind) = rest.split_at_checked(length)?;
    *rest = behind;
    Some(bytes)
}
