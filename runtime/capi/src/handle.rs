//! Handles: what C takes for pointers are numbers, looked up in a table of what is open.
//!
//! No number is given out twice, in whichever table. So a handle that is freed, made up or of another kind is found to be so, without looking at
//! memory; and what one thread frees lives on until the calls of others that work with it have returned.

use crate::error::{Failure, TWNC_INTERNAL, TWNC_INVALID_HANDLE};
use std::collections::BTreeMap;
use std::ptr::without_provenance_mut;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

/// What is open of one kind.
#[derive(Debug)]
pub(crate) struct Table<T> {
    kind: &'static str,
    open: RwLock<BTreeMap<usize, Arc<T>>>,
}

/// The next number; 0 is NULL.
static NEXT: AtomicUsize = AtomicUsize::new(1);

impl<T> Table<T> {
    pub(crate) const fn new(kind: &'static str) -> Table<T> {
        Table { kind, open: RwLock::new(BTreeMap::new()) }
    }

    /// A handle for a value.
    pub(crate) fn open(&self, value: T) -> Result<*mut T, Failure> {
        let number = NEXT
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |number| number.checked_add(1))
            .map_err(|_| Failure::new(TWNC_INTERNAL, "there are no numbers left for handles"))?;
        self.open.write().unwrap_or_else(PoisonError::into_inner).insert(number, Arc::new(value));
        Ok(without_provenance_mut(number))
    }

    /// The value of a handle.
    pub(crate) fn get(&self, handle: *const T) -> Result<Arc<T>, Failure> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.get(&handle.addr()).cloned().ok_or_else(|| self.not_open(handle))
    }

    /// Closes a handle; NULL is none.
    pub(crate) fn close(&self, handle: *mut T) -> Result<(), Failure> {
        if handle.is_null() {
            return Ok(());
        }
        let closed = self.open.write().unwrap_or_else(PoisonError::into_inner).remove(&handle.addr());
        // What it held is freed here, where the table is not locked.
        closed.map(drop).ok_or_else(|| self.not_open(handle))
    }

    fn not_open(&self, handle: *const T) -> Failure {
        let kind = self.kind;
        let message = match handle.is_null() {
            true => format!("the {kind} is NULL"),
            false => format!("the {kind} is not open: it was freed, or is the handle of something else"),
        };
        Failure::new(TWNC_INVALID_HANDLE, message)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn handles_are_open_until_they_are_closed() {
        static TEXTS: Table<String> = Table::new("text");
        static OTHERS: Table<String> = Table::new("other");
        let first = TEXTS.open("first".into()).expect("a number");
        let other = OTHERS.open("other".into()).expect("a number");
        assert_eq!(*TEXTS.get(first).expect("open"), "first");
        assert!(TEXTS.get(other).is_err() && OTHERS.get(first).is_err(), "of another kind");
        assert!(TEXTS.get(std::ptr::null()).is_err());

        let kept = TEXTS.get(first).expect("open");
        TEXTS.close(first).expect("open");
        assert_eq!(*kept, "first", "what is in use lives on");
        let second = TEXTS.open("second".into()).expect("a number");
        assert_ne!(first, second, "no number twice");
        assert!(TEXTS.get(first).is_err() && TEXTS.close(first).is_err());
        TEXTS.close(std::ptr::null_mut()).expect("nothing to close");
        TEXTS.close(second).expect("open");
    }
}
