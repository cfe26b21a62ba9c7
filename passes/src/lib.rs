//! The passes that ship with twnc.
//!
//! A pass rewrites a [`Graph`](twnc_ir::Graph) through a [`Rewriter`](twnc_ir::Rewriter); this crate is written against
//! `twnc-ir` alone, as any pass of a user's is. [`default_pipeline`] is the one list of what runs, in which order, and why.
//! One file per pass; its header says what the pass does, whether it is exact, and what it leaves alone with which remark.
//!
//! | module | owns |
//! |---|---|
//! | [`pipeline`] | the default pipeline |
//! | [`options`] | what a user chooses, and which layers that selects |
//! | [`decompose_custom`], [`fold_constants`], [`sink_transposes`], [`simplify`], [`dead_code`] | passes that prepare and clean |
//! | [`detect_ternary`], [`ternarise`] | passes that make ternary layers |
//! | [`fold_scales`], [`flip_signs`] | passes that order the scales behind them |
//! | [`sub_pixel`] | the pass that takes the zeros out of transposed convolutions |
//! | [`egraph`] | the pass that finds where scales cost least, and which accumulations become one |
//! | [`drop_logits_scale`] | the pass that leaves out scales that no order of outputs depends on |
//! | [`fix_point`] | the pass that lets ternary layers sum whole numbers |
//! | [`threshold`] | rounding to ternary, as functions of numbers |
//! | [`affine`] | which nodes scale and shift, and by what |
//! | `non_negative`, `walk`, `near` | the signs of values; the order in which passes walk a graph; names that are nearly right |

#![forbid(unsafe_code)]

pub mod affine;
pub mod dead_code;
pub mod decompose_custom;
pub mod detect_ternary;
pub mod drop_logits_scale;
pub mod egraph;
pub mod fix_point;
pub mod flip_signs;
pub mod fold_constants;
pub mod fold_scales;
mod near;
mod non_negative;
pub mod options;
pub mod pipeline;
pub mod simplify;
pub mod sink_transposes;
pub mod sub_pixel;
pub mod ternarise;
pub mod threshold;
mod walk;

pub use dead_code::DeadCode;
pub use decompose_custom::DecomposeCustom;
pub use detect_ternary::DetectTernary;
pub use drop_logits_scale::DropLogitsScale;
pub use egraph::{Limits, Rule, RuleError, Saturate};
pub use fix_point::FixPoint;
pub use flip_signs::FlipSigns;
pub use fold_constants::FoldConstants;
pub use fold_scales::FoldScales;
pub use options::{Activations, Mode, Options, OptionsError, Scale, Threshold};
pub use pipeline::{default_pipeline, pipeline_with};
pub use simplify::Simplify;
pub use sink_transposes::SinkTransposes;
pub use sub_pixel::SubPixel;
pub use ternarise::Ternarise;

/// The page's example is compiled and run.
#[cfg(doctest)]
#[doc = include_str!("../../docs/writing-a-pass.md")]
struct WritingAPass;
