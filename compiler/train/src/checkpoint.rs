//! Work on disk that is not done yet: what work it is, in words, and what it has come to.
//!
//! In [postcard](https://docs.rs/postcard)'s format, with a checksum (CRC-32) at the end. The reader allocates no more than a small multiple of what is there.

use crate::samples::{Samples, hash};
use serde::Serialize;
use serde::de::DeserializeOwned;
use twnc_ir::{Graph, text};

const MAGIC: &[u8; 16] = b"twnc-checkpoint2";

/// Work that `identity` tells from all other, with its state.
pub(crate) fn write(identity: &str, state: &impl Serialize) -> Vec<u8> {
    let mut out = [MAGIC.as_slice(), &encode(&(identity, state))].concat();
    let sum = crc32fast::hash(&out);
    out.extend(sum.to_le_bytes());
    out
}

/// Reads the state of the work that `identity` says. The message says what is wrong with it.
pub(crate) fn read<T: DeserializeOwned>(bytes: &[u8], identity: &str) -> Result<T, String> {
    let damaged = || {
        "the checkpoint is damaged: it is cut off, or its bytes were changed; begin anew without it"
            .to_owned()
    };
    if !bytes.starts_with(MAGIC) {
        return Err("it is no checkpoint of this version of twnc".to_owned());
    }
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or_else(damaged)?;
    if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
        return Err(damaged());
    }
    let body = body.get(MAGIC.len()..).ok_or_else(damaged)?;
    let (found, rest) = postcard::take_from_bytes::<&str>(body).map_err(|_| damaged())?;
    if found != identity {
        return Err(format!(
            "the checkpoint is of other work: it is of `{found}`, this is `{identity}`; give the same options, or begin anew"
        ));
    }
    decode(rest).ok_or_else(damaged)
}

/// A checksum of a network and of the data that work on it goes by.
pub(crate) fn origin(graph: &Graph, samples: &Samples, labels: Option<&[usize]>) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(text::print(graph).as_bytes());
    graph.value_ids().filter_map(|value| graph.constant(value)).for_each(|tensor| hash(tensor, &mut sum));
    sum.update(&samples.checksum().to_le_bytes());
    labels.into_iter().flatten().for_each(|&label| sum.update(&(label as u64).to_le_bytes()));
    sum.finalize()
}

/// A piece of a state, in bytes.
pub(crate) fn encode(piece: &impl Serialize) -> Vec<u8> {
    postcard::to_stdvec(piece).expect("numbers, text and lists of them have a form, and memory takes all")
}

/// The piece that bytes are, all of them.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Option<T> {
    let (piece, rest) = postcard::take_from_bytes(bytes).ok()?;
    rest.is_empty().then_some(piece)
}
