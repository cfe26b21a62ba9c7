//! A plane cut so that what all windows see under one tap is a single run of numbers, however narrow its rows are.
//!
//! With padding, and by strides: a phase is every `stride`-th element of each axis. Rows of all phases have one length, which is that of a row of windows and as
//! many elements more as taps reach. So the windows, laid out with rows of that length, read under each tap the numbers from one place on.
//! Between the rows of windows are numbers that mean nothing: [`Phases::spread`] makes them 0, and [`Phases::gather`] leaves them out.

use super::vectors::{add, vectors};
use super::window::Windows;

/// See the module.
pub struct Phases {
    windows: Windows,
    /// Extents of a phase.
    size: [usize; 3],
    /// Where the run of each tap begins.
    taps: Vec<usize>,
}

/// Phases have at most so many times the numbers that a plane and its windows have, and this many more.
const GROWTH: usize = 4;
const FEW: usize = 1 << 12;

impl Phases {
    /// `None` where strides or dilations are so wide that phases would hold little but what no window sees.
    pub fn new(windows: Windows) -> Option<Phases> {
        let axes = windows.axes;
        let size = axes.map(|axis| axis.out + axis.kernel.saturating_sub(1) * axis.dilation / axis.stride);
        let extents = size.into_iter().chain(axes.map(|axis| axis.stride));
        let numbers = extents.fold(1usize, usize::saturating_mul);
        if numbers > GROWTH * (windows.extent() + windows.count()) + FEW {
            return None;
        }
        let [_, height, width] = axes;
        let start = |tap: usize| {
            let tap =
                [tap / width.kernel / height.kernel, tap / width.kernel % height.kernel, tap % width.kernel];
            let (mut phase, mut shift) = (0, 0);
            for ((axis, tap), size) in axes.iter().zip(tap).zip(size) {
                phase = phase * axis.stride + tap * axis.dilation % axis.stride;
                shift = shift * size + tap * axis.dilation / axis.stride;
            }
            phase * size.iter().product::<usize>() + shift
        };
        Some(Phases { windows, size, taps: (0..windows.taps()).map(start).collect() })
    }

    /// Numbers of all phases of a plane.
    pub fn len(&self) -> usize {
        let phases: usize = self.windows.axes.iter().map(|axis| axis.stride).product();
        phases * self.size.iter().product::<usize>()
    }

    /// Numbers of a run: from the first window to the last.
    pub fn run(&self) -> usize {
        let ([depth, height, width], [_, rows, columns]) = (self.windows.axes, self.size);
        if self.windows.count() == 0 {
            return 0;
        }
        ((depth.out - 1) * rows + height.out - 1) * columns + width.out
    }

    /// Where the runs of the taps begin.
    pub fn taps(&self) -> &[usize] {
        &self.taps
    }

    /// Walks the elements that have a place: `(first element, how many, how far apart, first place)`; places follow each other.
    fn rows(&self, mut row: impl FnMut(usize, usize, usize, usize)) {
        let ([depth, height, width], [planes, rows, columns]) = (self.windows.axes, self.size);
        // No window sees what is behind the last place.
        for z in 0..depth.size.min((planes * depth.stride).saturating_sub(depth.begin)) {
            let (phase_z, at_z) = ((z + depth.begin) % depth.stride, (z + depth.begin) / depth.stride);
            for y in 0..height.size.min((rows * height.stride).saturating_sub(height.begin)) {
                let (phase_y, at_y) =
                    ((y + height.begin) % height.stride, (y + height.begin) / height.stride);
                for phase_x in 0..width.stride {
                    // The first element of this phase.
                    let first = (phase_x + width.stride - width.begin % width.stride) % width.stride;
                    let at_x = (first + width.begin) / width.stride;
                    let count = width.size.saturating_sub(first).div_ceil(width.stride);
                    let count = count.min(columns.saturating_sub(at_x));
                    let phase = (phase_z * height.stride + phase_y) * width.stride + phase_x;
                    let place = ((phase * planes + at_z) * rows + at_y) * columns + at_x;
                    if count > 0 {
                        row((z * height.size + y) * width.size + first, count, width.stride, place);
                    }
                }
            }
        }
    }

    /// A plane's phases, with zeros where there is padding.
    pub fn cut(&self, plane: &[f32], phases: &mut Vec<f32>) {
        phases.clear();
        phases.resize(self.len(), 0.0);
        self.rows(|element, count, stride, place| {
            let into = &mut phases[place..place + count];
            match stride {
                1 => into.copy_from_slice(&plane[element..element + count]),
                // The last element may end the plane; the others come in pairs.
                2 => {
                    let (pairs, rest) = plane[element..].as_chunks::<2>();
                    let numbers = pairs.iter().map(|pair| pair[0]).chain(rest.iter().copied());
                    vectors(|| into.iter_mut().zip(numbers).for_each(|(to, x)| *to = x));
                }
                _ => {
                    into.iter_mut().zip(plane[element..].iter().step_by(stride)).for_each(|(to, &x)| *to = x)
                }
            }
        });
    }

    /// Adds phases to the elements that they are cut from.
    pub fn add(&self, phases: &[f32], plane: &mut [f32]) {
        self.rows(|element, count, stride, place| {
            let from = &phases[place..place + count];
            match stride {
                1 => add(&mut plane[element..element + count], from),
                _ => plane[element..].iter_mut().step_by(stride).zip(from).for_each(|(x, &d)| *x += d),
            }
        });
    }

    /// Walks the rows of windows: the first one's number, how many, and its place in a run.
    fn windows(&self) -> impl Iterator<Item = (usize, usize, usize)> {
        let ([depth, height, width], [_, rows, columns]) = (self.windows.axes, self.size);
        (0..depth.out * height.out).map(move |i| {
            let place = (i / height.out * rows + i % height.out) * columns;
            (i * width.out, width.out, place)
        })
    }

    /// A run of what windows have, with zeros between their rows.
    pub fn spread(&self, windows: &[f32], run: &mut Vec<f32>) {
        run.clear();
        run.resize(self.run(), 0.0);
        for (window, count, place) in self.windows() {
            run[place..place + count].copy_from_slice(&windows[window..window + count]);
        }
    }

    /// What windows have out of a run.
    pub fn gather(&self, run: &[f32], windows: &mut [f32]) {
        for (window, count, place) in self.windows() {
            windows[window..window + count].copy_from_slice(&run[place..place + count]);
        }
    }
}
