//! A thread's scratch for reading: nobody holds a buffer while waiting.

use std::cell::RefCell;

use crate::limits::READ_BYTES;

thread_local! {
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_BYTES].into_boxed_slice());
}

/// Lends the thread's scratch of [`READ_BYTES`] for one synchronous step.
///
/// Not to be nested: the body of a step that holds it calls only [`crate::Exchange::send`] and an origin's
/// reading functions, which never ask for it.
pub fn with_scratch<R>(step: impl FnOnce(&mut [u8]) -> R) -> R {
    SCRATCH.with(|scratch| match scratch.try_borrow_mut() {
        Ok(mut scratch) => step(&mut scratch),
        // A nested use costs an allocation instead of a panic.
        Err(_) => step(&mut vec![0; READ_BYTES]),
    })
}
