//! Jitter, drawn from a seed that is an argument.

use std::time::Duration;

/// `SplitMix64`: good enough to keep peers from acting in step, and the same in every replay.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// Between three quarters and all of it (RFC 4271, section 10).
    pub(crate) fn jitter(&mut self, whole: Duration) -> Duration {
        let parts = u32::try_from(self.next() % 257).unwrap_or(0);
        whole * 3 / 4 + whole / 4 * parts / 256
    }
}
