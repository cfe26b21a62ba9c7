//! The lookups of outputs, in the order and form in which [`super::code::Accumulate`] reads them.

/// One lookup of an output: the entry's offset from the table, in numbers, and whether it is subtracted.
pub(crate) type Lookup = (u16, bool);

/// The lookups of a pass over some outputs, sorted into classes by how many of them are subtracted.
#[derive(Debug, Default)]
pub(crate) struct Stream {
    /// Outputs of each class.
    pub counts: Vec<u32>,
    /// Output by output, class by class: the offset of its sums as two halves, the lower first, then its lookups, those
    /// that are subtracted last.
    pub words: Vec<u16>,
}

impl Stream {
    /// The stream of outputs, each with `lookups` lookups and sums `sums_bytes` behind those of the one before.
    pub fn new(lookups: usize, sums_bytes: u32, outputs: &[Vec<Lookup>]) -> Stream {
        let negatives = |output: &Vec<Lookup>| output.iter().filter(|(_, negative)| *negative).count();
        let mut order: Vec<(usize, u32)> = outputs.iter().map(negatives).zip(0..).collect();
        order.sort_unstable();
        let mut counts = vec![0; lookups + 1];
        let mut words = Vec::with_capacity(outputs.len() * (lookups + 2));
        for (class, output) in order {
            counts[class] += 1;
            let offset = output * sums_bytes;
            words.extend([offset as u16, (offset >> 16) as u16]);
            for sign in [false, true] {
                let lookups = outputs[output as usize].iter();
                words.extend(lookups.filter(|(_, negative)| *negative == sign).map(|(offset, _)| offset));
            }
        }
        Stream { counts, words }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outputs_are_sorted_by_their_negative_lookups() {
        let outputs = [vec![(1, true), (2, false)], vec![(3, false), (4, false)], vec![(5, true), (6, true)]];
        let stream = Stream::new(2, 0x1_8000, &outputs);
        assert_eq!(stream.counts, [1, 1, 1]);
        assert_eq!(stream.words, [0x8000, 1, 3, 4, 0, 0, 2, 1, 0, 3, 5, 6]);
    }
}
