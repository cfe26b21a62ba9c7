//! Elements in memory: owned tensors, and views of slices.

use crate::constant::{Constant, ConstantData};
use crate::element::ElementType;
use crate::resolve::element_count;

/// An owned tensor, row-major.
#[derive(Clone, Debug, PartialEq)]
pub struct Tensor {
    /// Sizes of the axes.
    pub shape: Vec<usize>,
    /// As many elements as the product of `shape`.
    pub data: TensorData,
}

macro_rules! element_types {
    ($($variant:ident($t:ty): $doc:literal),* $(,)?) => {
        /// The elements of a tensor.
        #[derive(Clone, Debug, PartialEq)]
        pub enum TensorData {
            $(#[doc = $doc] $variant(Vec<$t>),)*
        }

        /// Elements to read.
        #[derive(Clone, Copy, Debug)]
        pub enum View<'a> {
            $(#[doc = $doc] $variant(&'a [$t]),)*
        }

        /// Elements to write.
        #[derive(Debug)]
        pub enum ViewMut<'a> {
            $(#[doc = $doc] $variant(&'a mut [$t]),)*
        }

        impl TensorData {
            /// The elements, to read.
            pub fn view(&self) -> View<'_> {
                match self { $(TensorData::$variant(v) => View::$variant(v),)* }
            }

            /// The elements, to write.
            pub fn view_mut(&mut self) -> ViewMut<'_> {
                match self { $(TensorData::$variant(v) => ViewMut::$variant(v),)* }
            }
        }

        impl View<'_> {
            /// What an element is.
            pub fn element(&self) -> ElementType {
                match self { $(View::$variant(_) => ElementType::$variant,)* }
            }

            /// How many elements.
            pub fn len(&self) -> usize {
                match self { $(View::$variant(v) => v.len(),)* }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }
        }

        impl ViewMut<'_> {
            /// What an element is.
            pub fn element(&self) -> ElementType {
                match self { $(ViewMut::$variant(_) => ElementType::$variant,)* }
            }

            /// How many elements.
            pub fn len(&self) -> usize {
                match self { $(ViewMut::$variant(v) => v.len(),)* }
            }

            /// Whether there are none.
            pub fn is_empty(&self) -> bool {
                self.len() == 0
            }

            /// The same elements for a shorter time.
            pub fn reborrow(&mut self) -> ViewMut<'_> {
                match self { $(ViewMut::$variant(v) => ViewMut::$variant(v),)* }
            }
        }

        impl Tensor {
            /// A tensor of zeros; `None` if there is no memory for it, or for ternary elements, which tensors do not have.
            pub fn zeros(element: ElementType, shape: &[usize]) -> Option<Tensor> {
                let count = element_count(shape)?;
                let data = match element {
                    $(ElementType::$variant => {
                        let mut elements = Vec::new();
                        elements.try_reserve_exact(count).ok()?;
                        elements.resize(count, Default::default());
                        TensorData::$variant(elements)
                    })*
                    ElementType::Ternary => return None,
                };
                Some(Tensor { shape: shape.to_vec(), data })
            }
        }

        impl<'a> View<'a> {
            /// The elements of a constant; `None` for a ternary one, which is packed.
            pub fn of_constant(constant: &'a Constant) -> Option<View<'a>> {
                match &constant.data {
                    $(ConstantData::$variant(v) => Some(View::$variant(v)),)*
                    ConstantData::Ternary(_) => None,
                }
            }
        }
    };
}

element_types! {
    F32(f32): "binary32",
    I8(i8): "8 bits, signed",
    U8(u8): "8 bits, unsigned",
    I16(i16): "16 bits, signed",
    I32(i32): "32 bits, signed",
    I64(i64): "64 bits, signed",
    Bool(u8): "0 or 1 each",
}

impl Tensor {
    /// An f32 tensor; `None` if the elements are not as many as the shape says.
    pub fn f32(shape: &[usize], elements: Vec<f32>) -> Option<Tensor> {
        let fits = element_count(shape) == Some(elements.len());
        fits.then(|| Tensor { shape: shape.to_vec(), data: TensorData::F32(elements) })
    }
}

impl Default for Tensor {
    /// No elements.
    fn default() -> Tensor {
        Tensor { shape: vec![0], data: TensorData::F32(vec![]) }
    }
}
