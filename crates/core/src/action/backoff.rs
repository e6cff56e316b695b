//! How long to leave a failing target alone.

use sha2::{Digest, Sha256};

const FIRST_MS: u64 = 5_000;
const LONGEST_MS: u64 = 15 * 60_000;

/// Milliseconds to wait after this many failures in a row: doubling from five seconds to a quarter of an hour,
/// spread by up to a quarter so that many routers do not come back at once, and never less than the cloud asked
/// for. The spread is drawn from the key: the same journal always gives the same times.
pub(crate) fn wait_millis(key: &str, failures: u32, asked_seconds: Option<u64>) -> u64 {
    let doublings = failures.saturating_sub(1).min(16);
    let base = (FIRST_MS << doublings).min(LONGEST_MS);
    let digest = Sha256::digest(format!("{key}/{failures}"));
    let share = digest.first().map_or(0, |byte| u64::from(*byte));
    let spread = base / 4 * share / 255;
    (base + spread).max(asked_seconds.unwrap_or(0).saturating_mul(1000))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_a_limit_and_obeys_the_cloud() {
        let wait = |failures| wait_millis("k", failures, None);
        assert!((5_000..=6_250).contains(&wait(1)));
        assert!((10_000..=12_500).contains(&wait(2)));
        assert!((900_000..=1_125_000).contains(&wait(100)));
        assert_eq!(wait_millis("k", 1, Some(60)), 60_000);
        assert_ne!(wait_millis("a", 5, None), wait_millis("b", 5, None));
    }
}
