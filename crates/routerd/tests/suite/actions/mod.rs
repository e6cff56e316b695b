//! Provider actions from the command line down to an executor in its sandbox, and what of it survives a kill.

#[expect(dead_code, reason = "gates and faults use the rest of it")]
mod bench;
mod story;
