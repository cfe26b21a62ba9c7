//! Tables that fit into vector registers, and the indices that select their sums: one lane for each output.
//!
//! A form says what a table holds and how an output's lane packs its indices. With signed sums an index of a group of g weights
//! is the number that its trits are in base 3. With subsets a group has two indices of a bit per weight: which inputs
//! are added, and which are subtracted; both select from one table.

use super::{IntegerRange, Weights};
use crate::geometry::Geometry;
use crate::machine::Element;

/// What tables in registers and their indices look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form {
    pub element: Element,
    /// Bytes of a vector.
    pub vector: usize,
    /// Inputs of a group.
    pub group: usize,
    /// Signed sums, otherwise subsets.
    pub signed: bool,
    /// Sums of a table, with those that no index selects.
    pub entries: usize,
    /// Bits of the indices of a group.
    pub bits: usize,
    /// Bytes of a lane of indices, which has those of as many groups as fit.
    pub lane: usize,
    /// Vectors that hold a table.
    pub table: usize,
    /// Bits of the lower bytes of a table that is split into bytes; 0 of others.
    pub low: u32,
    /// Vectors that hold the sums of as many outputs as a vector has lanes of indices.
    pub sums: usize,
    /// Groups whose tables the registers hold.
    pub most_groups: usize,
}

impl Form {
    /// The form for vectors of so many bytes and integers of this range, if there is one.
    pub fn of(element: Element, vector: usize, range: Option<IntegerRange>) -> Option<Form> {
        let form = match (element, vector) {
            (Element::F32, 64) => Form {
                element,
                vector,
                group: 3,
                signed: true,
                entries: 32,
                bits: 5,
                lane: 4,
                table: 2,
                low: 0,
                sums: 1,
                most_groups: 12,
            },
            (Element::I16, 64) => Form {
                element,
                vector,
                group: 3,
                signed: true,
                entries: 32,
                bits: 5,
                lane: 2,
                table: 1,
                low: 0,
                sums: 1,
                most_groups: 24,
            },
            (Element::F32, 32) => Form {
                element,
                vector,
                group: 3,
                signed: false,
                entries: 8,
                bits: 6,
                lane: 4,
                table: 1,
                low: 0,
                sums: 1,
                most_groups: 10,
            },
            // Bytes select bytes: a table is the lower bits of its sums and the upper ones. Of inputs of 8 bits these are so
            // few that what a pass selects, 4 times added and 4 times subtracted, adds up in bytes: the differences of lower
            // ones are at most 31 each; a sum of four is below 1024, so those of upper ones are as well.
            (Element::I16, 32) => {
                let of_8_bits =
                    range.is_some_and(|range| range.largest <= if range.signed { 127 } else { 255 });
                let (low, sums) = if of_8_bits { (5, 4) } else { (8, 3) };
                Form {
                    element,
                    vector,
                    group: 4,
                    signed: false,
                    entries: 16,
                    bits: 8,
                    lane: 1,
                    table: 2,
                    low,
                    sums,
                    most_groups: 4,
                }
            }
            _ => return None,
        };
        Some(form)
    }

    /// Whether tables and sums are split into bytes.
    pub fn bytes(&self) -> bool {
        self.low > 0
    }

    /// Whether what a pass selects is summed in bytes, and in words only at its end.
    pub fn bytes_of_a_pass(&self) -> bool {
        self.low == 5
    }

    /// Outputs of a vector of indices: a chunk.
    pub fn outputs(&self) -> usize {
        self.vector / self.lane
    }

    /// Groups whose indices are in a lane.
    pub fn fields(&self) -> usize {
        self.lane * 8 / self.bits
    }

    /// Vectors of indices of a chunk for so many groups.
    pub fn words(&self, groups: usize) -> usize {
        groups.div_ceil(self.fields())
    }

    /// Vectors that a table takes before it is split into bytes.
    pub fn table_numbers(&self) -> usize {
        self.entries * self.element.bytes() / self.vector
    }

    /// The weight that a member has in a sum of the table.
    fn sign(&self, entry: usize, member: usize) -> i8 {
        match self.signed {
            true if entry >= 3usize.pow(self.group as u32) => 0,
            true => [0, 1, -1][entry / 3usize.pow(member as u32) % 3],
            false => (entry >> member & 1) as i8,
        }
    }

    /// Where the sums of bytes of a pass begin, so that they stay within 0 to 255.
    const START: u32 = 128;

    /// What so many passes that begin with [`Form::START`] add to each sum.
    pub fn excess(&self, passes: usize) -> i16 {
        match self.bytes_of_a_pass() {
            true => (passes as i16).wrapping_mul((Form::START + (Form::START << self.low)) as i16),
            false => 0,
        }
    }

    /// What the function that looks up needs to build tables, vectors one after the other. For each vector of a table, for each
    /// member: all bits set where the member is in the sum, then, of signed sums, the bits to flip where it is subtracted. Then, of
    /// signed integers, the ones that flipping all bits leaves to be added. Last, if tables are split into bytes, vectors of
    /// words: of the lower bits, of the upper ones, of the lower halves of bytes, and of bytes that are [`Form::START`].
    pub fn constants(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let lanes = self.vector / self.element.bytes();
        let mut push = |lane: u32| bytes.extend(&lane.to_le_bytes()[..self.element.bytes()]);
        let flips = match self.element {
            Element::F32 => 1 << 31,
            Element::I16 => u32::MAX,
        };
        for vector in 0..self.table_numbers() {
            let entries = vector * lanes..(vector + 1) * lanes;
            for member in 0..self.group {
                entries.clone().for_each(|e| push(if self.sign(e, member) == 0 { 0 } else { u32::MAX }));
                if self.signed {
                    entries.clone().for_each(|e| push(if self.sign(e, member) < 0 { flips } else { 0 }));
                }
            }
            if self.signed && self.element == Element::I16 {
                let negative = |entry| (0..self.group).filter(|&member| self.sign(entry, member) < 0).count();
                entries.for_each(|entry| push(negative(entry) as u32));
            }
        }
        if self.bytes() {
            let words = [(1 << self.low) - 1, 0x00FF, 0x0F0F, Form::START * 0x0101];
            words.into_iter().for_each(|word| (0..lanes).for_each(|_| push(word)));
        }
        bytes
    }

    /// Which output of a chunk a lane of indices belongs to. Bytes are summed in words, those at even places apart from
    /// those at odd places.
    fn output_of(&self, lane: usize) -> usize {
        if self.bytes() { lane / 2 + lane % 2 * self.outputs() / 2 } else { lane }
    }

    /// The indices of all outputs for passes of so many groups: by pass, then chunk by chunk its [`Form::words`], each with a
    /// lane per output.
    pub fn pack(&self, geometry: &Geometry, weights: &Weights, groups: usize) -> Vec<Vec<u8>> {
        let (outputs, depth) = (geometry.outputs, geometry.channels);
        let chunks = outputs.div_ceil(self.outputs());
        let mut rows: Vec<i8> = Vec::new();
        let (mut codes, mut lanes) = (vec![0u8; outputs], vec![0u32; chunks * self.outputs()]);
        let passes = (0..depth).step_by(groups * self.group).map(|first| {
            let end = (first + groups * self.group).min(depth);
            let words = self.words((end - first).div_ceil(self.group));
            let mut bytes = vec![0; chunks * words * self.vector];
            for word in 0..words {
                let first = first + word * self.fields() * self.group;
                let channels = first..(first + self.fields() * self.group).min(end);
                let rows = weights.rows(geometry, channels, &mut rows);
                lanes.fill(0);
                for (field, rows) in rows.chunks(self.group * outputs.max(1)).enumerate() {
                    self.codes(rows, &mut codes);
                    let shift = field * self.bits;
                    lanes.iter_mut().zip(&codes).for_each(|(lane, &code)| *lane |= u32::from(code) << shift);
                }
                let places = bytes.chunks_exact_mut(self.vector).skip(word).step_by(words);
                for (place, lanes) in places.zip(lanes.chunks_exact(self.outputs())) {
                    match self.lane {
                        4 => store(place, |lane| lanes[lane].to_le_bytes()),
                        2 => store(place, |lane| (lanes[lane] as u16).to_le_bytes()),
                        _ => store(place, |lane| [lanes[self.output_of(lane)] as u8]),
                    }
                }
            }
            bytes
        });
        passes.collect()
    }

    /// The indices of every output for one group, whose weights are `rows`, one for each member that there is.
    fn codes(&self, rows: &[i8], codes: &mut [u8]) {
        codes.fill(0);
        let group = self.group;
        for row in rows.chunks_exact(codes.len().max(1)).rev() {
            let digits = codes.iter_mut().zip(row);
            match self.signed {
                // In base 3, of the digits 0, 1 and, for -1, 2.
                true => digits.for_each(|(code, &t)| *code = *code * 3 + (t as u8 & 1) + (t as u8 >> 7)),
                false => digits.for_each(|(code, &t)| {
                    let minus = t as u8 >> 7;
                    *code = *code * 2 + ((t as u8 & 1) - minus + (minus << group));
                }),
            }
        }
    }
}

/// Fills a vector lane by lane.
fn store<const N: usize>(vector: &mut [u8], lane: impl Fn(usize) -> [u8; N]) {
    for (i, place) in vector.chunks_exact_mut(N).enumerate() {
        place.copy_from_slice(&lane(i));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use twnc_program::step::Contraction;

    fn forms() -> [Form; 5] {
        let range = |largest| Some(IntegerRange { largest, signed: true });
        let forms = [
            (Element::F32, 64, None),
            (Element::I16, 64, range(127)),
            (Element::F32, 32, None),
            (Element::I16, 32, range(127)),
            (Element::I16, 32, range(128)),
        ];
        forms.map(|(element, vector, range)| Form::of(element, vector, range).expect("a form"))
    }

    /// The signs that a group's indices stand for, by the table's own account.
    fn signs(form: &Form, code: usize) -> Vec<i8> {
        let sign = |member| match form.signed {
            true => form.sign(code, member),
            false => form.sign(code % form.entries, member) - form.sign(code >> form.group, member),
        };
        (0..form.group).map(sign).collect()
    }

    #[test]
    fn indices_are_where_the_function_reads_them() {
        let (depth, outputs) = (101, 77);
        let trit = |i: usize| (i * i / 7 % 3) as i8 - 1;
        for form in forms() {
            let vector = form.vector;
            for transposed in [true, false] {
                let geometry =
                    Geometry::new(&[1, depth], &[depth, outputs], &Contraction::MatMul, 1).expect("fits");
                let weights = Weights { trits: (0..depth * outputs).map(trit).collect(), transposed };
                for groups in [1, 2, form.most_groups] {
                    let passes = form.pack(&geometry, &weights, groups);
                    assert_eq!(passes.len(), depth.div_ceil(groups * form.group));
                    for (k, output) in (0..depth).flat_map(|k| (0..outputs).map(move |o| (k, o))) {
                        let (pass, group) = (k / form.group / groups, k / form.group % groups);
                        let present = (depth.div_ceil(form.group) - pass * groups).min(groups);
                        let (word, field) = (group / form.fields(), group % form.fields());
                        let chunk = output / form.outputs();
                        let lane =
                            (0..form.outputs()).find(|&l| form.output_of(l) == output % form.outputs());
                        let at =
                            (chunk * form.words(present) + word) * vector + lane.expect("a lane") * form.lane;
                        let mut lane = [0; 4];
                        lane[..form.lane].copy_from_slice(&passes[pass][at..][..form.lane]);
                        let code = u32::from_le_bytes(lane) >> (field * form.bits) & ((1 << form.bits) - 1);
                        assert_eq!(
                            signs(&form, code as usize)[k % form.group],
                            weights.at(&geometry, output, k, [0, 0])
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn constants_are_whole_vectors() {
        let vectors = forms().map(|form| {
            let bytes = form.constants().len();
            assert!(bytes.is_multiple_of(form.vector));
            bytes / form.vector
        });
        assert_eq!(vectors, [12, 7, 3, 8, 8]);
    }
}
