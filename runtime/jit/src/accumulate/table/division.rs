//! How the work of a table kernel is divided: which region and which outputs each unit has.
//!
//! A unit is a region with all outputs, whose tables it builds. Where regions are few, each is divided by outputs, and every part builds the tables anew.
//! Where one region would be left over, it alone is: of 13 regions two threads do six each, and a half of the last.
//! Where a pool follows in the same kernel, threads have outputs instead, of all regions: regions that several have would share rows of the pool.

use crate::accumulate::blocks::Chunk;
use std::ops::Range;

/// Fewer regions than this for each thread are worth an even division.
const FEW: usize = 4;
/// With so many for each thread, one more does not matter.
const MANY: usize = 24;

/// See above.
#[derive(Clone, Debug)]
pub(super) struct Division {
    /// What outputs a unit may have.
    chunks: Vec<Chunk>,
    /// Regions of all samples.
    places: usize,
    shared: Option<Shared>,
    /// All regions with some outputs come before those with the next.
    by_outputs: bool,
}

/// A place whose outputs are divided, where those of others are not.
#[derive(Clone, Copy, Debug)]
struct Shared {
    place: usize,
    /// By how many threads.
    threads: usize,
}

impl Division {
    /// The division of so many regions, and of convolution groups with so many outputs each, `together` at a time.
    pub fn new(channels: [usize; 2], places: usize, together: usize, threads: usize) -> Division {
        let whole = chunks(channels, together, 1);
        let parts = chunks(channels, together, threads);
        let left_over = (threads + 1..MANY * threads).contains(&places) && places % threads == 1;
        if left_over && threads > 1 && parts.len() == threads {
            // Between the threads, so that with two it lies beside what each of them does.
            let place = places / threads * (threads / 2);
            let chunks = [whole, parts].concat();
            let shared = Some(Shared { place, threads });
            return Division { chunks, places, shared, by_outputs: false };
        }
        let even = places > 0 && places.is_multiple_of(threads);
        let chunks = if places >= FEW * threads || even { whole } else { parts };
        Division { chunks, places, shared: None, by_outputs: false }
    }

    /// The division by outputs, of all regions.
    pub fn by_outputs(channels: [usize; 2], places: usize, together: usize, threads: usize) -> Division {
        let chunks = chunks(channels, together, threads);
        Division { chunks, places, shared: None, by_outputs: true }
    }

    /// Whether it is by outputs.
    pub fn is_by_outputs(&self) -> bool {
        self.by_outputs
    }

    /// What outputs units may have.
    pub fn chunks(&self) -> &[Chunk] {
        &self.chunks
    }

    /// How many units.
    pub fn units(&self) -> usize {
        match self.shared {
            None => self.places * self.chunks.len(),
            Some(Shared { threads, .. }) => self.places - 1 + threads,
        }
    }

    /// The units of a run of regions with a chunk of the outputs, where it is by outputs.
    pub fn units_of(&self, places: Range<usize>, chunk: usize) -> Range<usize> {
        debug_assert!(self.by_outputs, "regions are divided");
        chunk * self.places + places.start..chunk * self.places + places.end
    }

    /// The region and the chunk of a unit. As many units as there are threads in a row begin with, or end with, a part of the region that they share.
    pub fn at(&self, unit: usize) -> (usize, usize) {
        if self.by_outputs {
            return (unit % self.places, unit / self.places);
        }
        let Some(Shared { place, threads }) = self.shared else {
            return (unit / self.chunks.len(), unit % self.chunks.len());
        };
        let whole = self.places / threads;
        let (share, i) = (unit / (whole + 1), unit % (whole + 1));
        match i == if share < threads / 2 { whole } else { 0 } {
            true => (place, 1 + share),
            // Behind the divided region there is one more, and its part comes first.
            false => (share * whole + i, 0),
        }
    }
}

/// Divides the groups, or the outputs of all, by so many.
fn chunks([groups, outputs]: [usize; 2], together: usize, wanted: usize) -> Vec<Chunk> {
    let split = |n: usize, parts: usize| -> Vec<Range<usize>> {
        let parts = parts.min(n).max(1);
        (0..parts).map(|i| n * i / parts..n * (i + 1) / parts).collect()
    };
    if groups >= wanted {
        split(groups, wanted).into_iter().map(|g| (g, 0..outputs)).collect()
    } else {
        split(outputs / together, wanted.min(outputs / 16))
            .into_iter()
            .map(|o| (0..groups, o.start * together..o.end * together))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_all_of_the_work_once_and_shares_are_even() {
        for (places, threads, outputs) in (1..60).flat_map(|places| {
            (1..9).flat_map(move |threads| [8, 64].map(|outputs| (places, threads, outputs)))
        }) {
            let division = Division::new([1, outputs], places, 1, threads);
            let mut done = vec![0; places * outputs];
            let work = |unit: usize| {
                let (place, chunk) = division.at(unit);
                (place, division.chunks()[chunk].1.clone())
            };
            for (place, range) in (0..division.units()).map(work) {
                range.for_each(|output| done[place * outputs + output] += 1);
            }
            assert!(done.iter().all(|&n| n == 1), "{places} places, {threads} threads");
            if division.shared.is_some() {
                let share = |i: usize| division.units() * i / threads..division.units() * (i + 1) / threads;
                let of = |i: usize| share(i).map(|unit| work(unit).1.len()).sum::<usize>();
                let (least, most) = ((0..threads).map(of).min(), (0..threads).map(of).max());
                assert!(
                    most.unwrap() - least.unwrap() <= outputs.div_ceil(threads),
                    "{places} places, {threads} threads"
                );
            }
            let by_outputs = Division::by_outputs([1, outputs], places, 1, threads);
            let units = (0..by_outputs.chunks().len())
                .flat_map(|chunk| by_outputs.units_of(0..places, chunk).map(move |unit| (unit, chunk)));
            for (i, (unit, chunk)) in units.enumerate() {
                assert_eq!((unit, by_outputs.at(unit)), (i, (i % places, chunk)));
            }
            let chunked = by_outputs.chunks().iter().map(|(_, outputs)| outputs.len()).sum::<usize>();
            assert_eq!((by_outputs.units() / places, chunked), (by_outputs.chunks().len(), outputs));
        }
    }
}
