//! What C hands over as what Rust works with: every pointer of the caller's is read and written here.

use crate::error::Failure;
use std::ffi::{CStr, c_char};
use std::marker::PhantomData;
use std::ptr::NonNull;

/// Elements that C lends; none where there are none, wherever the pointer points.
///
/// # Safety
/// Unless it is refused, `pointer` points to `count` elements that live and are not written while the result is used.
pub(crate) unsafe fn elements<'a, T>(
    pointer: *const T,
    count: usize,
    what: impl Fn() -> String,
) -> Result<&'a [T], Failure> {
    if count == 0 {
        return Ok(&[]);
    }
    check(pointer, count, what)?;
    // SAFETY: not null, aligned, of a size that memory can have, and by the caller's promise readable.
    Ok(unsafe { std::slice::from_raw_parts(pointer, count) })
}

/// Elements that C lends to be written.
///
/// # Safety
/// Unless it is refused, `pointer` points to `count` elements that live, and that nobody else uses, while the result is used.
pub(crate) unsafe fn elements_mut<'a, T>(
    pointer: *mut T,
    count: usize,
    what: impl Fn() -> String,
) -> Result<&'a mut [T], Failure> {
    if count == 0 {
        return Ok(&mut []);
    }
    check(pointer, count, what)?;
    // SAFETY: not null, aligned, of a size that memory can have, and by the caller's promise ours alone.
    Ok(unsafe { std::slice::from_raw_parts_mut(pointer, count) })
}

fn check<T>(pointer: *const T, count: usize, what: impl Fn() -> String) -> Result<(), Failure> {
    let bytes = count.checked_mul(size_of::<T>()).filter(|&bytes| isize::try_from(bytes).is_ok());
    let problem = match bytes {
        _ if pointer.is_null() => "is NULL".to_owned(),
        _ if !pointer.is_aligned() => format!("lies at no multiple of {} bytes", align_of::<T>()),
        // One that ends behind the last address would wrap.
        Some(bytes) if pointer.addr().checked_add(bytes).is_some() => return Ok(()),
        _ => "is larger than memory can be".to_owned(),
    };
    Err(Failure::argument(format!("{} {problem}", what())))
}

/// A text that C lends.
///
/// # Safety
/// `pointer` is null, or points to bytes up to a zero that live and are not written while the result is used.
pub(crate) unsafe fn text<'a>(pointer: *const c_char, what: &str) -> Result<&'a str, Failure> {
    if pointer.is_null() {
        return Err(Failure::argument(format!("`{what}` is NULL")));
    }
    // SAFETY: not null, and by the caller's promise there is a zero.
    let text = unsafe { CStr::from_ptr(pointer) };
    text.to_str().map_err(|_| Failure::argument(format!("`{what}` is not UTF-8")))
}

/// Where a result goes.
#[derive(Debug)]
pub(crate) struct Place<'a, T>(NonNull<T>, PhantomData<&'a mut T>);

impl<T> Place<'_, T> {
    /// # Safety
    /// Unless it is refused, `pointer` points to where a value may be written while the result is used.
    pub(crate) unsafe fn new(pointer: *mut T, what: &str) -> Result<Self, Failure> {
        check(pointer, 1, || format!("`{what}`"))?;
        let pointer = NonNull::new(pointer).ok_or_else(|| Failure::argument(format!("`{what}` is NULL")))?;
        Ok(Place(pointer, PhantomData))
    }

    pub(crate) fn put(&self, value: T) {
        // SAFETY: not null, aligned, and writable by the promise that was made for it.
        unsafe { self.0.write(value) }
    }
}

impl<T> Place<'_, *mut T> {
    /// A place for a handle, which is NULL until there is one.
    ///
    /// # Safety
    /// As for [`Place::new`].
    pub(crate) unsafe fn of_handle(pointer: *mut *mut T, what: &str) -> Result<Self, Failure> {
        // SAFETY: the caller's promise is that of `new`.
        let place = unsafe { Place::new(pointer, what) }?;
        place.put(std::ptr::null_mut());
        Ok(place)
    }
}
