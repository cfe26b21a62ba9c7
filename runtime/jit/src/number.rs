//! The numbers that kernels compute with: f32, and i16 whose sums are widened to i32 before they can overflow.

use crate::machine::Element;
use bytemuck::Pod;
use twnc_program::ElementType;
use twnc_program::interpret::View;

/// A number of an input, an output or a table.
pub(crate) trait Number: Pod + Send + Sync {
    /// Its kind in emitted code.
    const ELEMENT: Element;
    /// Its type in programs.
    const TYPE: ElementType;
    /// What single numbers are summed in.
    type Wide: Pod;

    /// The elements of an input; none if they are of another type.
    fn elements(view: View<'_>) -> &[Self];

    /// A single sum as f32.
    fn to_f32(wide: Self::Wide) -> f32;

    /// A sum of which `widened` was taken off before, as f32.
    fn total(self, widened: i32) -> f32;
}

impl Number for f32 {
    const ELEMENT: Element = Element::F32;
    const TYPE: ElementType = ElementType::F32;
    type Wide = f32;

    fn elements(view: View<'_>) -> &[f32] {
        if let View::F32(elements) = view { elements } else { &[] }
    }

    fn to_f32(wide: f32) -> f32 {
        wide
    }

    fn total(self, _: i32) -> f32 {
        self
    }
}

impl Number for i16 {
    const ELEMENT: Element = Element::I16;
    const TYPE: ElementType = ElementType::I16;
    type Wide = i32;

    fn elements(view: View<'_>) -> &[i16] {
        if let View::I16(elements) = view { elements } else { &[] }
    }

    fn to_f32(wide: i32) -> f32 {
        wide as f32
    }

    fn total(self, widened: i32) -> f32 {
        (widened + i32::from(self)) as f32
    }
}
