//! This machine's clock is right, as far as anything here knows the time.

use super::hybrid;
use crate::doctor::findings::{Entry, Findings};
use crate::doctor::scene::Scene;

pub(super) const CHECK: Entry = hybrid("clock-skew", check);

/// A difference that an answer's way and whole seconds do not explain.
const NOTICEABLE: u64 = 10;
/// Clouds refuse signatures and tokens beyond this (AWS: 5 minutes; the others are no more patient).
const REFUSED: u64 = 300;

const REMEDY: &str = "timedatectl set-ntp true";

fn check(scene: &Scene<'_>, findings: &mut Findings) {
    let answers = scene.runtime.providers.values();
    let offsets = answers.filter_map(|answer| answer.said.as_ref().ok()?.clock_offset);
    if let Some(offset) = offsets.max_by_key(|offset| offset.unsigned_abs()) {
        return compared(offset, findings);
    }
    match scene.host.observed.clock {
        Some(clock) if clock.synchronised => {
            let detail = format!(
                "the kernel's clock is kept in step, to {} ms",
                clock.max_error_ms
            );
            findings.pass("clock", detail);
        }
        // It may well be right; nobody here could tell.
        Some(_) => findings.skip(
            "clock",
            "nothing keeps the kernel's clock in step, and no provider was asked",
        ),
        None => findings.skip("clock", "the kernel does not tell how its clock is kept"),
    }
}

/// Against the clock of a cloud.
fn compared(offset: i64, findings: &mut Findings) {
    let seconds = offset.unsigned_abs();
    let way = if offset > 0 { "behind" } else { "ahead of" };
    let detail = format!("{seconds}s {way} the provider's clock");
    match seconds {
        0 => findings.pass("clock", "as the provider's clock"),
        1..NOTICEABLE => findings.pass("clock", detail),
        NOTICEABLE..REFUSED => findings.warn("clock", detail, REMEDY),
        _ => findings.fail("clock", detail, REMEDY),
    }
}
