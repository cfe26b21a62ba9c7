//! The operators of ONNX, and of other domains that exporters use, one file a family. Each file opens with the table of its operators.

mod activation;
mod attention;
mod bitwise;
mod classical;
mod columns;
mod constant;
mod contrib;
mod convolution;
mod einsum;
mod elementwise;
mod indexing;
mod integer;
mod layout;
mod linear;
mod logic;
mod movement;
mod nbits;
mod normalisation;
mod order;
mod pool;
mod qonnx;
mod quantise;
mod reduce;
mod resample;
mod sampling;
mod softmax;
mod transposed;
mod trigonometry;

pub(super) use layout::reshaped;
pub(super) use movement::{slice_ranges, split_sizes};
pub(super) use nbits::range as nbits_range;
pub(super) use qonnx::codes as codes_of_bits;
pub(super) use quantise::whole_numbers;

use super::call::{Call, Translated};
use super::model::operator_name;

/// An operator of ONNX that is imported.
#[derive(Clone, Debug)]
pub struct Operator {
    /// Its name; `domain::name` beyond ONNX's own domain.
    pub name: &'static str,
    /// The first operator set of ONNX (1 or newer) in which it is accepted.
    pub since: i64,
    /// The least and the largest number of operands.
    pub operands: (usize, usize),
    /// What it becomes in the graph.
    pub becomes: &'static str,
    pub(super) translate: Translate,
}

/// Adds what a node computes to the graph.
pub(super) type Translate = fn(&mut Call<'_, '_>) -> Translated;

/// Every operator that is imported, by family.
pub fn operators() -> impl Iterator<Item = &'static Operator> {
    [
        convolution::OPERATORS,
        transposed::OPERATORS,
        linear::OPERATORS,
        einsum::OPERATORS,
        pool::OPERATORS,
        normalisation::OPERATORS,
        activation::OPERATORS,
        elementwise::OPERATORS,
        trigonometry::OPERATORS,
        logic::OPERATORS,
        softmax::OPERATORS,
        reduce::OPERATORS,
        layout::OPERATORS,
        movement::OPERATORS,
        indexing::OPERATORS,
        order::OPERATORS,
        resample::OPERATORS,
        sampling::OPERATORS,
        columns::OPERATORS,
        attention::OPERATORS,
        constant::OPERATORS,
        quantise::OPERATORS,
        integer::OPERATORS,
        bitwise::OPERATORS,
        nbits::OPERATORS,
        contrib::OPERATORS,
        qonnx::OPERATORS,
        classical::OPERATORS,
    ]
    .into_iter()
    .flatten()
}

/// The operator of this name and domain, whichever of its domains that is.
pub(super) fn find(domain: &str, name: &str) -> Option<&'static Operator> {
    let domain = if qonnx::OLDER_DOMAINS.contains(&domain) { qonnx::DOMAIN } else { domain };
    let name = operator_name(domain, name);
    operators().find(|operator| operator.name == name)
}

/// Any number of operands.
const MANY: usize = usize::MAX;

const fn operator(
    name: &'static str,
    since: i64,
    operands: (usize, usize),
    becomes: &'static str,
    translate: Translate,
) -> Operator {
    Operator { name, since, operands, becomes, translate }
}
