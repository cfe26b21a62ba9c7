//! What goes in and comes out: n-dimensional arrays of the element types that a program has.

use crate::memory;
use bytemuck::{Pod, Zeroable};
use ndarray::{
    Array1, ArrayD, ArrayView, ArrayViewD, ArrayViewMut, ArrayViewMutD, Axis, Dimension, IxDyn, Slice,
};
use twnc_jit::Line;
use twnc_program::{ElementType, element_count};

/// A type of array elements.
pub trait Element: Copy + Default + Stored {}

mod sealed {
    use super::{ElementType, Pod};

    /// How an element lies in a buffer.
    pub trait Stored: Sized {
        type Bytes: Pod;
        const TYPE: ElementType;
        fn store(self) -> Self::Bytes;
        fn load(bytes: Self::Bytes) -> Self;

        /// The bytes of elements.
        fn bytes(elements: &[Self]) -> &[u8];

        /// The bytes of elements, if any bytes are elements.
        fn bytes_mut(elements: &mut [Self]) -> Option<&mut [u8]>;
    }
}
use sealed::Stored;

macro_rules! arrays {
    ($($variant:ident($t:ty) as $bytes:ty, $store:expr, $load:expr, $bytes_mut:expr, $doc:literal;)*) => {
        /// An input: a view of the caller's array, with any strides.
        #[derive(Clone, Debug)]
        pub enum Input<'a> {
            $(#[doc = $doc] $variant(ArrayViewD<'a, $t>),)*
        }

        /// An output that the runtime allocates.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Output {
            $(#[doc = $doc] $variant(ArrayD<$t>),)*
        }

        /// An output that the caller has allocated, with any strides.
        #[derive(Debug)]
        pub enum OutputMut<'a> {
            $(#[doc = $doc] $variant(ArrayViewMutD<'a, $t>),)*
        }

        impl<'a> Input<'a> {
            /// The bytes of the elements, if they lie row-major one after the other.
            pub(crate) fn bytes(&self) -> Option<&'a [u8]> {
                match self { $(Input::$variant(array) => array.to_slice().map(<$t>::bytes),)* }
            }

            /// What an element is.
            pub fn element(&self) -> ElementType {
                match self { $(Input::$variant(_) => ElementType::$variant,)* }
            }

            /// Sizes of the axes.
            pub fn shape(&self) -> &[usize] {
                match self { $(Input::$variant(array) => array.shape(),)* }
            }

            /// Copies the elements, row-major, over `bytes`, which has room for exactly them.
            pub(crate) fn copy_to(&self, bytes: &mut [u8]) {
                match self { $(Input::$variant(array) => store(array, bytes),)* }
            }
        }

        impl Output {
            /// What an element is.
            pub fn element(&self) -> ElementType {
                match self { $(Output::$variant(_) => ElementType::$variant,)* }
            }

            /// Sizes of the axes.
            pub fn shape(&self) -> &[usize] {
                match self { $(Output::$variant(array) => array.shape(),)* }
            }

            /// The array as a place to write to.
            pub fn view_mut(&mut self) -> OutputMut<'_> {
                match self { $(Output::$variant(array) => OutputMut::$variant(array.view_mut()),)* }
            }

            /// The array as an input.
            pub fn view(&self) -> Input<'_> {
                match self { $(Output::$variant(array) => Input::$variant(array.view()),)* }
            }

            /// Zeros, of which the first is at a multiple of 64 bytes; `None` for an element type that no buffer has, and where there is no memory for so many.
            pub fn zeros(element: ElementType, shape: &[usize]) -> Option<Output> {
                match element {
                    $(ElementType::$variant => zeros(shape).map(Output::$variant),)*
                    ElementType::Ternary => None,
                }
            }
        }

        impl OutputMut<'_> {
            /// What an element is.
            pub fn element(&self) -> ElementType {
                match self { $(OutputMut::$variant(_) => ElementType::$variant,)* }
            }

            /// Sizes of the axes.
            pub fn shape(&self) -> &[usize] {
                match self { $(OutputMut::$variant(array) => array.shape(),)* }
            }

            /// The bytes of the elements, if they lie row-major one after the other and may be any.
            pub(crate) fn bytes_mut(&mut self) -> Option<&mut [u8]> {
                match self { $(OutputMut::$variant(array) => array.as_slice_mut().and_then(<$t>::bytes_mut),)* }
            }

            /// Copies row-major elements out of `bytes`.
            pub(crate) fn copy_from(&mut self, bytes: &[u8]) {
                match self { $(OutputMut::$variant(array) => load(array, bytes),)* }
            }
        }

        $(
            impl Element for $t {}

            impl Stored for $t {
                type Bytes = $bytes;
                const TYPE: ElementType = ElementType::$variant;
                fn store(self) -> $bytes { ($store)(self) }
                fn load(bytes: $bytes) -> $t { ($load)(bytes) }
                fn bytes(elements: &[$t]) -> &[u8] { bytemuck::cast_slice(elements) }
                fn bytes_mut(elements: &mut [$t]) -> Option<&mut [u8]> { ($bytes_mut)(elements) }
            }

            impl<'a, D: Dimension> From<ArrayView<'a, $t, D>> for Input<'a> {
                fn from(view: ArrayView<'a, $t, D>) -> Input<'a> {
                    Input::$variant(view.into_dyn())
                }
            }

            impl<'a, D: Dimension> From<ArrayViewMut<'a, $t, D>> for OutputMut<'a> {
                fn from(view: ArrayViewMut<'a, $t, D>) -> OutputMut<'a> {
                    OutputMut::$variant(view.into_dyn())
                }
            }

            impl TryFrom<Output> for ArrayD<$t> {
                type Error = Output;

                /// The array, if its elements are of this type; else the output as it was.
                fn try_from(output: Output) -> Result<ArrayD<$t>, Output> {
                    match output {
                        Output::$variant(array) => Ok(array),
                        other => Err(other),
                    }
                }
            }
        )*
    };
}

arrays! {
    F32(f32) as f32, |x| x, |x| x, all_bytes, "binary32";
    I8(i8) as i8, |x| x, |x| x, all_bytes, "8 bits, signed";
    U8(u8) as u8, |x| x, |x| x, all_bytes, "8 bits, unsigned";
    I16(i16) as i16, |x| x, |x| x, all_bytes, "16 bits, signed";
    I32(i32) as i32, |x| x, |x| x, all_bytes, "32 bits, signed";
    I64(i64) as i64, |x| x, |x| x, all_bytes, "64 bits, signed";
    Bool(bool) as u8, u8::from, |x| x != 0, |_| None, "true or false";
}

/// The bytes of elements that may be any.
fn all_bytes<T: Pod>(elements: &mut [T]) -> Option<&mut [u8]> {
    Some(bytemuck::cast_slice_mut(elements))
}

/// Zeros that begin with a cache line, so that of vectors which are stored there, as few as possible lie in two lines.
fn zeros<T: Zeroable>(shape: &[usize]) -> Option<ArrayD<T>> {
    let (count, line) = (element_count(shape)?, size_of::<Line>());
    let more = line / size_of::<T>() - 1;
    let elements = memory::zeroed::<T>(count.checked_add(more)?).ok()?;
    let first = elements.as_ptr().align_offset(line).min(more);
    let mut array = Array1::from_vec(elements.into_vec());
    array.slice_axis_inplace(Axis(0), Slice::from(first..first + count));
    array.into_shape_with_order(IxDyn(shape)).ok()
}

fn store<T: Element>(array: &ArrayViewD<'_, T>, bytes: &mut [u8]) {
    let target: &mut [T::Bytes] = bytemuck::cast_slice_mut(bytes);
    match array.as_slice() {
        Some(elements) => target.iter_mut().zip(elements).for_each(|(to, from)| *to = from.store()),
        None => target.iter_mut().zip(array).for_each(|(to, from)| *to = from.store()),
    }
}

fn load<T: Element>(array: &mut ArrayViewMutD<'_, T>, bytes: &[u8]) {
    let source: &[T::Bytes] = bytemuck::cast_slice(bytes);
    match array.as_slice_mut() {
        Some(elements) => elements.iter_mut().zip(source).for_each(|(to, from)| *to = T::load(*from)),
        None => array.iter_mut().zip(source).for_each(|(to, from)| *to = T::load(*from)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zeros_as_far_as_there_is_memory() {
        assert_eq!(
            Output::zeros(ElementType::I16, &[2, 3]),
            Some(Output::I16(ArrayD::zeros(IxDyn(&[2, 3]))))
        );
        assert_eq!(
            Output::zeros(ElementType::Bool, &[0, 2]),
            Some(Output::Bool(ArrayD::default(IxDyn(&[0, 2]))))
        );
        for shape in [&[1][..], &[7], &[3, 5, 7], &[1 << 20], &[0]] {
            let starts = [ElementType::F32, ElementType::U8, ElementType::I64].map(|element| {
                match Output::zeros(element, shape) {
                    Some(Output::F32(array)) => array.as_ptr().addr(),
                    Some(Output::U8(array)) => array.as_ptr().addr(),
                    Some(Output::I64(array)) => array.as_ptr().addr(),
                    other => panic!("{other:?}"),
                }
            });
            assert!(
                shape == [0] || starts.iter().all(|start| start.is_multiple_of(64)),
                "{shape:?}: {starts:?}"
            );
        }
        let refused = [
            (ElementType::Ternary, &[1][..]),
            (ElementType::F32, &[1 << 58]),
            (ElementType::I64, &[usize::MAX, 2]),
            (ElementType::U8, &[usize::MAX, 0, usize::MAX]),
        ];
        for (element, shape) in refused {
            assert_eq!(Output::zeros(element, shape), None, "{element} {shape:?}");
        }
    }
}
