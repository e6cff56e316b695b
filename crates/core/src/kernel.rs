//! The seam between decisions and the host: real in the `linux` crate, a fake in tests.

use api::ResourceId;

use crate::observed::{Observed, Query};
use crate::plan::Step;

/// Something that can be looked at and changed like a Linux host.
pub trait Kernel {
    /// Looks.
    ///
    /// # Errors
    /// When the kernel refuses to answer; nothing was changed.
    fn observe(&mut self, query: &Query) -> Result<Observed, KernelError>;

    /// Does the steps in order and stops at the first that fails.
    ///
    /// # Errors
    /// Names the step that failed; those before it are done.
    fn apply(&mut self, steps: &[Step]) -> Result<(), StepError>;
}

/// The host could not be observed.
#[derive(Debug, thiserror::Error)]
#[error("{operation}: {reason}")]
pub struct KernelError {
    /// What was tried: `dump routes`.
    pub operation: String,
    /// What the kernel said.
    pub reason: String,
}

/// A step failed.
#[derive(Debug, thiserror::Error)]
#[error("{step}: {reason}")]
pub struct StepError {
    /// Index of the step in what was passed in.
    pub index: usize,
    /// The resource on whose behalf it was to be done.
    pub owner: ResourceId,
    /// The step as the plan prints it.
    pub step: String,
    /// What the kernel said.
    pub reason: String,
}
