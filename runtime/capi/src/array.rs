//! The caller's arrays as what the runtime reads and writes, without copies; nothing is read of one that does not fit its input or output.

use crate::error::{Code, Failure, TWNC_INPUT, TWNC_MODEL, TWNC_OUTPUT};
use crate::module::Ports;
use crate::pointer;
use ndarray::{ArrayView, ArrayViewMut, IxDyn};
use std::ffi::{c_char, c_void};
use std::ops::Range;
use twnc_runtime::{ElementType, Input, OutputMut, PortInfo};

/// A type of elements. Numbers stay; others may join.
#[allow(clippy::module_name_repetitions)]
pub type ElementCode = i32;

/// float.
pub const TWNC_F32: ElementCode = 0;
/// int8_t.
pub const TWNC_I8: ElementCode = 1;
/// uint8_t.
pub const TWNC_U8: ElementCode = 2;
/// int16_t.
pub const TWNC_I16: ElementCode = 3;
/// int32_t.
pub const TWNC_I32: ElementCode = 4;
/// int64_t.
pub const TWNC_I64: ElementCode = 5;
/// A byte that is 0 or 1, as bool is.
pub const TWNC_BOOL: ElementCode = 6;

/// An array of the caller's, for an input or an output: row-major elements without gaps, aligned as their type is in C.
#[derive(Debug)]
#[repr(C)]
pub struct Array {
    /// Which input or output it is for; NULL: the one that has this array's place among those of the model.
    pub name: *const c_char,
    /// The elements. May be NULL where there are none.
    pub data: *mut c_void,
    /// How many bytes there are at `data`: as many as the elements take, or more.
    pub bytes: usize,
    /// What an element is.
    pub element: ElementCode,
    /// How many axes it has.
    pub rank: usize,
    /// The size of each axis. May be NULL where there are none.
    pub shape: *const i64,
}

/// The types, in the order of their numbers.
const ELEMENTS: [ElementType; 7] = [
    ElementType::F32,
    ElementType::I8,
    ElementType::U8,
    ElementType::I16,
    ElementType::I32,
    ElementType::I64,
    ElementType::Bool,
];

/// The number of a type.
pub(crate) fn element_code(element: ElementType) -> Result<ElementCode, Failure> {
    let place = ELEMENTS.iter().position(|known| *known == element).and_then(|n| i32::try_from(n).ok());
    place.ok_or_else(|| Failure::new(TWNC_MODEL, format!("no array in C has elements that are {element}")))
}

/// Inputs or outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Role {
    Input,
    Output,
}

impl Role {
    fn word(self) -> &'static str {
        match self {
            Role::Input => "input",
            Role::Output => "output",
        }
    }

    fn failure(self, message: String) -> Failure {
        let code: Code = if self == Role::Input { TWNC_INPUT } else { TWNC_OUTPUT };
        Failure::new(code, message)
    }
}

/// An array that fits the type and rank of what it is for, and has a buffer for its elements.
#[derive(Clone, Debug)]
pub(crate) struct Given<'a> {
    role: Role,
    pub(crate) info: &'a PortInfo,
    data: *mut c_void,
    bytes: usize,
    /// How many elements.
    count: usize,
    pub(crate) shape: Vec<usize>,
}

/// The arrays for all inputs or all outputs, in the model's order.
///
/// # Safety
/// Unless they are refused, `arrays` points to `count` arrays whose names and shapes are what the header asks for.
pub(crate) unsafe fn assign<'a>(
    role: Role,
    ports: &'a Ports,
    arrays: *const Array,
    count: usize,
) -> Result<Vec<Given<'a>>, Failure> {
    let (word, infos) = (role.word(), &ports.infos);
    if count != infos.len() {
        let message = format!("the model has {} {word}s, but {count} arrays came for them", infos.len());
        return Err(role.failure(message));
    }
    // SAFETY: as the caller promises.
    let arrays = unsafe { pointer::elements(arrays, count, || format!("the array of {word}s")) }?;
    let mut given: Vec<Option<Given<'a>>> = vec![None; count];
    for (i, array) in arrays.iter().enumerate() {
        let place = if array.name.is_null() {
            i
        } else {
            // SAFETY: as the caller promises.
            let name = unsafe { pointer::text(array.name, "name") }?;
            infos.iter().position(|info| info.name == name).ok_or_else(|| {
                let known: Vec<_> = infos.iter().map(|info| format!("`{}`", info.name)).collect();
                role.failure(format!("the model has no {word} `{name}`; it has {}", known.join(", ")))
            })?
        };
        if given[place].is_some() {
            return Err(role.failure(format!("two arrays came for {word} `{}`", infos[place].name)));
        }
        // SAFETY: as the caller promises.
        given[place] = Some(unsafe { Given::new(role, &infos[place], array) }?);
    }
    // As many as there are places, and no two in one.
    Ok(given.into_iter().flatten().collect())
}

/// Refuses outputs that overlap inputs or one another.
pub(crate) fn keep_apart(inputs: &[Given<'_>], outputs: &[Given<'_>]) -> Result<(), Failure> {
    for (i, output) in outputs.iter().enumerate() {
        let own = output.extent();
        let mut others = inputs.iter().chain(&outputs[..i]);
        let overlaps = |other: &&Given<'_>| {
            let other = other.extent();
            !own.is_empty() && !other.is_empty() && other.start < own.end && own.start < other.end
        };
        if let Some(other) = others.find(overlaps) {
            let message =
                format!("the arrays for {} and {} overlap; give each its own", output.what(), other.what());
            return Err(Failure::argument(message));
        }
    }
    Ok(())
}

impl<'a> Given<'a> {
    /// # Safety
    /// Unless it is refused, the array's shape is what the header asks for.
    unsafe fn new(role: Role, info: &'a PortInfo, array: &Array) -> Result<Given<'a>, Failure> {
        let element = usize::try_from(array.element).ok().and_then(|number| ELEMENTS.get(number));
        let what = || format!("{} `{}`", role.word(), info.name);
        let Some(&element) = element else {
            let message =
                format!("{}: there is no type of elements with the number {}", what(), array.element);
            return Err(Failure::argument(message));
        };
        if element != info.element || array.rank != info.shape.len() {
            return Err(role.failure(format!(
                "{} is {} of rank {}, but the array for it is {element} of rank {}",
                what(),
                info.element,
                info.shape.len(),
                array.rank
            )));
        }
        // SAFETY: as the caller promises.
        let sizes =
            unsafe { pointer::elements(array.shape, array.rank, || format!("the shape of {}", what())) }?;
        let size = |(axis, &size): (usize, &i64)| {
            let refusal = || {
                let help = "an axis that the model leaves open takes the size of the array";
                Failure::argument(format!("{}: axis {axis} has the size {size}; {help}", what()))
            };
            usize::try_from(size).map_err(|_| refusal())
        };
        let shape = sizes.iter().enumerate().map(size).collect::<Result<Vec<_>, _>>()?;
        // A size of 0 makes no other one possible: ndarray wants each to be so by itself.
        let possible =
            |n: usize, &size: &usize| n.checked_mul(size.max(1)).filter(|&n| isize::try_from(n).is_ok());
        let width = element.size().unwrap_or(1);
        if shape.iter().try_fold(width, possible).is_none() {
            let message = format!("{}: an array of the shape {shape:?} is larger than memory can be", what());
            return Err(Failure::argument(message));
        }
        let count = shape.iter().product::<usize>();
        if array.bytes < count * width {
            let (needed, bytes) = (count * width, array.bytes);
            let message =
                format!("{}: {shape:?} elements take {needed} bytes, but its array has {bytes}", what());
            return Err(Failure::argument(message));
        }
        Ok(Given { role, info, data: array.data, bytes: count * width, count, shape })
    }

    fn what(&self) -> String {
        format!("{} `{}`", self.role.word(), self.info.name)
    }

    /// Where its elements are.
    fn extent(&self) -> Range<usize> {
        let start = self.data.addr();
        start..start.saturating_add(self.bytes)
    }

    /// It as an input.
    ///
    /// # Safety
    /// Unless it is refused, its elements are there, and are not written while the result is used.
    pub(crate) unsafe fn input<'d>(&self) -> Result<Input<'d>, Failure> {
        // SAFETY: as the caller promises.
        unsafe {
            match self.info.element {
                ElementType::F32 => self.view::<f32>(),
                ElementType::I8 => self.view::<i8>(),
                ElementType::U8 => self.view::<u8>(),
                ElementType::I16 => self.view::<i16>(),
                ElementType::I32 => self.view::<i32>(),
                ElementType::I64 => self.view::<i64>(),
                ElementType::Bool => {
                    let bytes = self.elements::<u8>()?;
                    let elements: &[bool] = bytemuck::checked::try_cast_slice(bytes).map_err(|_| {
                        Failure::argument(format!("{}: a byte is neither 0 nor 1", self.what()))
                    })?;
                    Ok(ArrayView::from_shape(self.axes(), elements).map_err(odd)?.into())
                }
                ElementType::Ternary => Err(odd("ternary")),
            }
        }
    }

    /// It as a place for an output.
    ///
    /// # Safety
    /// Unless it is refused, there is room for its elements, which nobody else uses while the result is used.
    pub(crate) unsafe fn output<'d>(&self) -> Result<OutputMut<'d>, Failure> {
        // SAFETY: as the caller promises.
        unsafe {
            match self.info.element {
                ElementType::F32 => self.view_mut::<f32>(),
                ElementType::I8 => self.view_mut::<i8>(),
                ElementType::U8 => self.view_mut::<u8>(),
                ElementType::I16 => self.view_mut::<i16>(),
                ElementType::I32 => self.view_mut::<i32>(),
                ElementType::I64 => self.view_mut::<i64>(),
                ElementType::Bool => {
                    // What is there need be no booleans yet.
                    pointer::elements_mut(self.data.cast::<u8>(), self.count, || self.what())?.fill(0);
                    self.view_mut::<bool>()
                }
                ElementType::Ternary => Err(odd("ternary")),
            }
        }
    }

    /// # Safety
    /// As for [`Given::input`]; the elements are values of `T`.
    unsafe fn view<'d, T: 'd>(&self) -> Result<Input<'d>, Failure>
    where
        Input<'d>: From<ArrayView<'d, T, IxDyn>>,
    {
        // SAFETY: as the caller promises.
        let elements = unsafe { self.elements::<T>() }?;
        Ok(ArrayView::from_shape(self.axes(), elements).map_err(odd)?.into())
    }

    /// # Safety
    /// As for [`Given::input`]; the elements are values of `T`.
    unsafe fn elements<'d, T>(&self) -> Result<&'d [T], Failure> {
        // SAFETY: as the caller promises.
        unsafe {
            pointer::elements(self.data.cast_const().cast(), self.count, || {
                format!("the array for {}", self.what())
            })
        }
    }

    /// # Safety
    /// As for [`Given::output`]; the elements are values of `T`.
    unsafe fn view_mut<'d, T: 'd>(&self) -> Result<OutputMut<'d>, Failure>
    where
        OutputMut<'d>: From<ArrayViewMut<'d, T, IxDyn>>,
    {
        let what = || format!("the array for {}", self.what());
        // SAFETY: as the caller promises.
        let elements = unsafe { pointer::elements_mut(self.data.cast::<T>(), self.count, what) }?;
        Ok(ArrayViewMut::from_shape(self.axes(), elements).map_err(odd)?.into())
    }

    fn axes(&self) -> IxDyn {
        IxDyn(&self.shape)
    }
}

/// What cannot be: type and shape were checked.
fn odd(what: impl ToString) -> Failure {
    Failure::new(crate::error::TWNC_INTERNAL, what.to_string())
}
