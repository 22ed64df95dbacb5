//! Work counted while this crate's own tests run, so that a test can say how work grows with what is read.
//!
//! Fuel bounds what a visitor costs by a price per byte; here is proven that the price is one: that no byte
//! makes all those before it be looked at again. Outside of tests it is nothing. It stands where names are
//! compared, texts are joined and characters are looked for. Read next: [`count`].

/// Counts work: bytes looked at or moved, names compared.
#[inline]
pub(crate) fn count(steps: usize) {
    #[cfg(test)]
    COUNTED.with(|counted| counted.set(counted.get() + steps));
    #[cfg(not(test))]
    let _ = steps;
}

#[cfg(test)]
thread_local! {
    static COUNTED: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

/// What some work counted on this thread.
#[cfg(test)]
pub(crate) fn of<T>(work: impl FnOnce() -> T) -> usize {
    let before = COUNTED.with(std::cell::Cell::get);
    work();
    COUNTED.with(std::cell::Cell::get) - before
}
