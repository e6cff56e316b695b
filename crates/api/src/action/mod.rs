//! Provider actions: changes of a cloud's network that somebody proposes, a policy admits and an executor makes.
//!
//! - [`plan`]: what is to be done;
//! - [`protocol`]: how the daemon asks an executor to look, to do and to undo, one JSON object each way;
//! - [`journal`]: what was done, append-only;
//! - [`control`]: how `routerctl action` talks to the daemon about it.
//!
//! All of it is routerd's own format: unknown fields are refused.

pub mod control;
pub mod journal;
pub mod plan;
pub mod protocol;

pub use plan::{ActionPlan, Facts, Parameters, ProviderName, Target, Verb};
pub use protocol::{ErrorClass, ExecutorRequest, ExecutorResult, Mode};

#[cfg(test)]
mod tests;
