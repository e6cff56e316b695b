//! What an executor says when it is asked to look.

use api::action::plan::Facts;
use api::action::protocol::Effect;

/// The last answer about one intent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Seconds since it was given.
    pub age: u64,
    /// What was seen; or why it could not be.
    pub said: Result<Looked, String>,
}

/// What a cloud has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Looked {
    /// Whether what is asked for is there.
    pub effect: Effect,
    /// The facts about it.
    pub facts: Facts,
    /// The cloud's clock less ours, in seconds, where its answer tells.
    pub clock_offset: Option<i64>,
}
