//! Which family a product takes, by a count of cycles.

use super::blocks::IntegerRange;
use super::channels::ChannelsKernel;
use super::direct::{DirectKernel, Factors};
use super::plan::Plan;
use super::registers::{Passes, RegisterKernel};
use super::rows::RowsKernel;
use super::table::{Sharing, TableKernel};
use super::{Family, Weights};
use crate::Jit;
use crate::epilogue::Epilogue;
use crate::error::JitError;
use crate::geometry::Geometry;
use crate::machine::{Element, Isa};
use crate::number::Number;
use std::cmp::Ordering;

/// A product of one input. With several epilogues it is several products in turns: each output of the geometry is one of as many
/// planes.
pub(super) struct Product {
    pub geometry: Geometry,
    pub weights: Weights,
    pub epilogues: Vec<Epilogue>,
    pub range: Option<IntegerRange>,
    /// Whether the input will be where a plan asks for it.
    pub laid_out: bool,
}

/// Which family a product takes.
#[derive(Clone)]
pub(super) enum Choice {
    Rows,
    Registers(Passes),
    Tables(Box<Plan>),
    /// With what it should take, in cycles.
    Direct(f64),
    /// Likewise.
    Channels(f64),
}

impl Choice {
    /// What a run should take, in cycles, where a model says.
    pub fn cycles(&self) -> Option<f64> {
        match self {
            Choice::Rows => None,
            Choice::Registers(passes) => Some(passes.cycles),
            Choice::Tables(plan) => Some(plan.cycles),
            Choice::Direct(cycles) | Choice::Channels(cycles) => Some(*cycles),
        }
    }
}

impl Product {
    /// The family and its plan: the one of this rank, where there are several.
    pub fn choose<T: Number>(&self, isa: Isa, rank: usize) -> Result<Choice, JitError> {
        let Product { geometry, weights, range, laid_out, .. } = self;
        let single = self.epilogues.len() == 1;
        let passes = Passes::of(geometry, T::ELEMENT, *range, isa);
        if passes.is_none() && geometry.output_len() > 0 && RowsKernel::<T>::suits(geometry) {
            return if single {
                Ok(Choice::Rows)
            } else {
                Err(JitError::Unsupported("planes in turns, by rows"))
            };
        }
        let choose = |rank| Plan::choose(geometry, T::ELEMENT, *range, *laid_out, isa, rank);
        let plan = match passes {
            None => choose(rank),
            Some(passes) => {
                let best = choose(0);
                // Where it is among the plans of tables: the first, or behind the best.
                let place = best.as_ref().map(|plan| usize::from(plan.cycles <= passes.cycles));
                if place.is_none_or(|place| rank == place) {
                    return Ok(Choice::Registers(passes));
                }
                rank.checked_sub(1).map_or(best, choose)
            }
        };
        let fits = range.is_none_or(|range| weights.never_overflow(geometry, range));
        let direct =
            fits.then(|| Choice::Direct(DirectKernel::<T>::cycles(geometry, weights.nonzero(), isa)));
        let channels = match T::ELEMENT {
            Element::F32 => ChannelsKernel::cycles(geometry, isa).map(Choice::Channels),
            Element::I16 => None,
        };
        let simple = [channels, direct].into_iter().flatten().filter(|_| single);
        let simple = simple.min_by(|a, b| a.cycles().partial_cmp(&b.cycles()).unwrap_or(Ordering::Equal));
        match (plan, simple) {
            (Some(plan), simple)
                if rank > 0 || simple.as_ref().is_none_or(|simple| Some(plan.cycles) < simple.cycles()) =>
            {
                Ok(Choice::Tables(Box::new(plan)))
            }
            (_, Some(simple)) => Ok(simple),
            (_, None) => Err(JitError::Unsupported("sums of integers that may overflow")),
        }
    }

    /// The kernel of a choice.
    pub fn family<T: Number + 'static>(
        mut self,
        jit: &Jit,
        choice: Choice,
        sharing: Sharing,
    ) -> Result<Box<dyn Family>, JitError> {
        let (compiler, isa) = (&jit.compiler, jit.isa);
        let mut single = || {
            let epilogue = self.epilogues.pop().filter(|_| self.epilogues.is_empty());
            epilogue.ok_or(JitError::Unsupported("planes in turns, without tables"))
        };
        Ok(match choice {
            Choice::Rows => {
                let epilogue = single()?;
                Box::new(RowsKernel::<T>::new(compiler, self.geometry, &self.weights, epilogue)?)
            }
            Choice::Direct(cycles) => {
                let epilogue = single()?;
                let (geometry, signs) = (self.geometry, Factors::Signs(&self.weights));
                Box::new(DirectKernel::<T>::new(compiler, isa, geometry, cycles, signs, epilogue)?)
            }
            Choice::Channels(cycles) => {
                let epilogue = single()?;
                let (geometry, signs) = (self.geometry, Factors::Signs(&self.weights));
                Box::new(ChannelsKernel::new(compiler, isa, geometry, cycles, signs, epilogue)?)
            }
            Choice::Registers(passes) => {
                let (geometry, weights) = (self.geometry, &self.weights);
                Box::new(RegisterKernel::<T>::new(compiler, geometry, passes, weights, self.epilogues)?)
            }
            Choice::Tables(plan) => {
                let Product { geometry, weights, epilogues, range, .. } = self;
                Box::new(TableKernel::<T>::new(
                    compiler, isa, geometry, *plan, &weights, range, epilogues, sharing,
                )?)
            }
        })
    }
}
