//! numpy's arrays as what the runtime reads and writes, without copies.

use crate::errors;
use numpy::{
    Element, PyArray, PyArrayDyn, PyArrayMethods, PyReadonlyArrayDyn, PyReadwriteArrayDyn, PyUntypedArray,
    PyUntypedArrayMethods,
};
use pyo3::prelude::*;
use twnc_runtime::{Input, Output, OutputMut};

macro_rules! arrays {
    ($($variant:ident($t:ty)),*) => {
        /// An array that a run reads. Nothing else in this process writes to it through this crate meanwhile.
        pub enum Given<'py> {
            $($variant(PyReadonlyArrayDyn<'py, $t>),)*
        }

        /// An array that a run writes. Nothing else in this process has it through this crate meanwhile.
        pub enum Target<'py> {
            $($variant(PyReadwriteArrayDyn<'py, $t>),)*
        }

        impl<'py> Given<'py> {
            /// An array as it is; a copy of one whose elements are not where elements of the type may be.
            pub fn of(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Given<'py>> {
                $(
                    if let Ok(array) = value.cast::<PyArrayDyn<$t>>() {
                        let array = if is_in_place(array) { array.clone() } else { copy(array)? };
                        let array = array.try_readonly().map_err(|_| in_use(value.py(), name))?;
                        return Ok(Given::$variant(array));
                    }
                )*
                Err(unknown(name, value))
            }

            /// It as an input.
            pub fn view(&self) -> Input<'_> {
                match self { $(Given::$variant(array) => array.as_array().into(),)* }
            }

            /// A copy of it.
            pub fn to_owned(&self) -> Output {
                match self { $(Given::$variant(array) => Output::$variant(array.as_array().to_owned()),)* }
            }
        }

        impl<'py> Target<'py> {
            /// An array to write to, row-major without gaps.
            pub fn of(name: &str, value: &Bound<'py, PyAny>) -> PyResult<Target<'py>> {
                $(
                    if let Ok(array) = value.cast::<PyArrayDyn<$t>>() {
                        if !array.is_c_contiguous() || !is_in_place(array) {
                            let message = format!(
                                "the array for output `{name}` is scattered; give one that is contiguous (numpy.empty)"
                            );
                            return Err(errors::new(value.py(), "OutputError", &message));
                        }
                        let array = array.try_readwrite().map_err(|_| in_use(value.py(), name))?;
                        return Ok(Target::$variant(array));
                    }
                )*
                Err(unknown(name, value))
            }

            /// It as a place for an output.
            pub fn view(&mut self) -> OutputMut<'_> {
                match self { $(Target::$variant(array) => array.as_array_mut().into(),)* }
            }
        }

        /// An output as an array that owns the memory in which the runtime has computed it.
        pub fn array(py: Python<'_>, output: Output) -> Bound<'_, PyAny> {
            match output { $(Output::$variant(array) => PyArray::from_owned_array(py, array).into_any(),)* }
        }
    };
}

arrays! { F32(f32), I64(i64), I32(i32), U8(u8), I8(i8), I16(i16), Bool(bool) }

/// Whether the elements lie at multiples of their size, as a view of the array takes them to.
fn is_in_place<T: Element>(array: &Bound<'_, PyArrayDyn<T>>) -> bool {
    let size = size_of::<T>();
    let strides = array.shape().iter().zip(array.strides());
    array.data().addr().is_multiple_of(align_of::<T>())
        && strides.filter(|(n, _)| **n > 1).all(|(_, stride)| stride.unsigned_abs().is_multiple_of(size))
}

fn copy<'py, T: Element>(array: &Bound<'py, PyArrayDyn<T>>) -> PyResult<Bound<'py, PyArrayDyn<T>>> {
    Ok(array.call_method0("copy")?.cast_into()?)
}

fn in_use(py: Python<'_>, name: &str) -> PyErr {
    let message = format!(
        "the array for `{name}` cannot be written to, or a run that has not ended reads or writes it; give each run arrays of its own for its outputs"
    );
    errors::new(py, "OutputError", &message)
}

/// What is wrong with something that is no array of a type that networks take.
fn unknown(name: &str, value: &Bound<'_, PyAny>) -> PyErr {
    let found = match value.cast::<PyUntypedArray>() {
        Ok(array) => format!("`{name}` is an array of {}", array.dtype()),
        Err(_) => match value.get_type().name() {
            Ok(class) => format!("`{name}` is a {class}"),
            Err(_) => format!("`{name}` is something else"),
        },
    };
    let help = "give an array of float32, int64, int32, int16, int8, uint8 or bool, for instance numpy.asarray(x, numpy.float32)";
    errors::new(value.py(), "ElementError", &format!("{found}; {help}"))
}
