//! Waiting for a condition with a deadline, and showing the last state when it never came.

use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};

use crate::slowness::slowed;

/// How often the condition is looked at, by a machine at full speed: a look takes longer on a slow one.
const STEP: Duration = Duration::from_millis(10);

/// Asks `look` until it returns a value, `limit` being that of a machine at full speed. What it said last explains why
/// that never happened.
///
/// # Errors
/// When the deadline passes.
pub fn eventually<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> Result<T>,
) -> Result<T> {
    let limit = slowed(limit);
    let deadline = Instant::now() + limit;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() >= deadline => {
                return Err(anyhow!("{what}: not within {limit:?}: {error:#}"));
            }
            Err(_) => std::thread::sleep(slowed(STEP)),
        }
    }
}
