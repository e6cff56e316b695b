//! A gate before the descriptors: while it is shut, nobody reads from them.

use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

/// Readers pass it for a batch at a time; who shuts it waits until the last batch is done with.
#[derive(Debug, Default)]
pub(crate) struct Gate(RwLock<()>);

/// A batch in the works.
#[derive(Debug)]
pub(crate) struct Turn<'a>(#[expect(dead_code, reason = "held, not read")] RwLockReadGuard<'a, ()>);

/// The gate is shut as long as this is there.
#[derive(Debug)]
pub(crate) struct Shut<'a>(
    #[expect(dead_code, reason = "held, not read")] RwLockWriteGuard<'a, ()>,
);

impl Gate {
    /// Waits for the gate to be open.
    pub(crate) fn enter(&self) -> Turn<'_> {
        Turn(self.0.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Shuts the gate, waiting for those inside.
    pub(crate) fn shut(&self) -> Shut<'_> {
        Shut(self.0.write().unwrap_or_else(PoisonError::into_inner))
    }
}
