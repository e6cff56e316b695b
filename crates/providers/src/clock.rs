//! Time and chance as a seam, so that back-off is tested on a virtual clock.

use std::time::{Duration, Instant};

/// What the executor knows of time.
pub trait Clock {
    /// Time since the executor began; never goes back.
    fn elapsed(&self) -> Duration;
    /// Waits.
    fn sleep(&self, duration: Duration);
    /// A number in `0.0..1.0` that spreads retries of many executors.
    fn jitter(&self) -> f64;
}

/// The machine's clock.
pub struct SystemClock {
    began: Instant,
}

impl SystemClock {
    /// Starts counting.
    pub fn start() -> Self {
        Self {
            began: Instant::now(),
        }
    }
}

impl Clock for SystemClock {
    fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    fn sleep(&self, duration: Duration) {
        std::thread::sleep(duration);
    }

    fn jitter(&self) -> f64 {
        // Without random numbers the retries are merely not spread.
        getrandom::u32().map_or(0.5, |word| f64::from(word) / (f64::from(u32::MAX) + 1.0))
    }
}
