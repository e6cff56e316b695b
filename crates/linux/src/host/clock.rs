//! How the kernel's clock is kept.

use routerd_core::observed::KernelClock;

/// Asks the kernel; nothing is changed. Absent where it does not tell, as in some containers.
pub(super) fn observe() -> Option<KernelClock> {
    // SAFETY: `timex` is a plain structure of numbers, for which zero is a value.
    #[expect(
        unsafe_code,
        reason = "the structure is the kernel's and has no constructor"
    )]
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    #[expect(unsafe_code, reason = "no crate here wraps adjtimex(2)")]
    // SAFETY: the structure is whole and lives over the call; with `modes` 0 the kernel only fills it in.
    let state = unsafe { libc::adjtimex(&raw mut timex) };
    (state >= 0).then(|| KernelClock {
        synchronised: state != libc::TIME_ERROR && timex.status & libc::STA_UNSYNC == 0,
        max_error_ms: u64::try_from(timex.maxerror / 1000).unwrap_or(0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_tells_and_keeps_its_clock() {
        let clock = observe().expect("adjtimex is open to everybody");
        // 16 s is what the kernel says when it knows nothing (NTP_PHASE_LIMIT).
        assert!(clock.synchronised || clock.max_error_ms >= 500, "{clock:?}");
    }
}
