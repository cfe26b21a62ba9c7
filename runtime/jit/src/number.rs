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
    type Wide: Total;

    /// The elements of an input; none if they are of another type.
    fn elements(view: View<'_>) -> &[Self];

    /// A sum of which `widened` was taken off before.
    fn total(self, widened: i32) -> Self::Wide;
}

/// A whole sum. In the place of an output it has as many bits.
pub(crate) trait Total: Pod {
    /// As f32.
    fn to_f32(self) -> f32;

    /// Together with the sum that waits in the place of an output.
    fn plus(self, place: &f32) -> Self;

    /// Leaves it in the place of an output.
    fn wait(self, place: &mut f32);
}

impl Total for f32 {
    fn to_f32(self) -> f32 {
        self
    }

    fn plus(self, place: &f32) -> f32 {
        *place + self
    }

    fn wait(self, place: &mut f32) {
        *place = self;
    }
}

impl Total for i32 {
    fn to_f32(self) -> f32 {
        self as f32
    }

    fn plus(self, place: &f32) -> i32 {
        // Plans are made for sums that fit.
        self.wrapping_add(*bytemuck::cast_ref::<f32, i32>(place))
    }

    fn wait(self, place: &mut f32) {
        *bytemuck::cast_mut::<f32, i32>(place) = self;
    }
}

impl Number for f32 {
    const ELEMENT: Element = Element::F32;
    const TYPE: ElementType = ElementType::F32;
    type Wide = f32;

    fn elements(view: View<'_>) -> &[f32] {
        if let View::F32(elements) = view { elements } else { &[] }
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

    fn total(self, widened: i32) -> i32 {
        widened + i32::from(self)
    }
}
