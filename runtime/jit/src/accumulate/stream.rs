//! The lookups of outputs, in the order and form in which [`super::code::Accumulate`] reads them.

use super::code::READ_BEHIND;

/// One lookup of an output: the entry's offset from the table, in bytes, and whether it is subtracted.
pub(crate) type Lookup = (u16, bool);

/// The lookups of passes over some outputs, one pass behind the other, each sorted into classes by how many of them are subtracted.
#[derive(Clone, Debug, Default)]
pub(crate) struct Stream {
    /// Outputs of each class.
    pub counts: Vec<u32>,
    /// Output by output, class by class: the offset of its sums as two halves, the lower first, then its lookups, those
    /// that are subtracted last. At the end some that are read and not used.
    pub words: Vec<u16>,
}

impl Stream {
    /// Appends a pass over outputs that make `lookups` lookups each, which follow each other in `all`; the sums of an output are
    /// `sums_bytes` behind those of the one before.
    pub fn push(&mut self, lookups: usize, sums_bytes: u32, all: &[Lookup]) {
        let Stream { counts, words } = self;
        let row = |output: u32| &all[output as usize * lookups..][..lookups];
        let negatives = |output: u32| row(output).iter().filter(|(_, negative)| *negative).count();
        let outputs = (all.len() / lookups.max(1)) as u32;
        let mut order: Vec<(usize, u32)> = (0..outputs).map(|output| (negatives(output), output)).collect();
        order.sort_unstable();
        let classes = counts.len();
        counts.resize(classes + lookups + 1, 0);
        words.reserve(order.len() * (lookups + 2));
        for (class, output) in order {
            counts[classes + class] += 1;
            let offset = output * sums_bytes;
            words.extend([offset as u16, (offset >> 16) as u16]);
            // Those that are added fill the front, the others the back.
            let (mut added, mut subtracted) = (words.len(), words.len() + lookups - class);
            words.resize(words.len() + lookups, 0);
            for &(offset, negative) in row(output) {
                let next = if negative { &mut subtracted } else { &mut added };
                words[*next] = offset;
                *next += 1;
            }
        }
    }

    /// Ends it, behind the last pass.
    pub fn end(&mut self) {
        self.words.resize(self.words.len() + READ_BEHIND, 0);
        self.words.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_sorted_by_their_negative_lookups() {
        let outputs = [[(1, true), (2, false)], [(3, false), (4, false)], [(5, true), (6, true)]];
        let mut stream = Stream::default();
        stream.push(2, 0x1_8000, outputs.as_flattened());
        stream.push(1, 4, &[(7, true)]);
        assert_eq!(stream.counts, [1, 1, 1, 0, 1]);
        assert_eq!(stream.words, [0x8000, 1, 3, 4, 0, 0, 2, 1, 0, 3, 5, 6, 0, 0, 7]);
    }
}
