//! Token buckets: so many requests at once, so many a second.

use std::time::Duration;

/// The size of a bucket and how fast it fills.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate {
    /// Requests at once.
    pub burst: f64,
    /// Requests a second.
    pub per_second: f64,
}

/// A bucket.
#[derive(Debug, Clone)]
pub struct Bucket {
    rate: Rate,
    tokens: f64,
    filled: Duration,
}

impl Bucket {
    /// A full bucket.
    pub fn new(rate: Rate) -> Self {
        Self {
            rate,
            tokens: rate.burst,
            filled: Duration::ZERO,
        }
    }

    /// Takes one token: how many are left, or how long until there is one.
    ///
    /// # Errors
    /// When the bucket is empty.
    pub fn take(&mut self, now: Duration) -> Result<u64, Duration> {
        let since = now.saturating_sub(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * self.rate.per_second).min(self.rate.burst);
        self.filled = now;
        if self.tokens < 1.0 {
            let seconds = (1.0 - self.tokens) / self.rate.per_second;
            return Err(Duration::from_secs_f64(seconds));
        }
        self.tokens -= 1.0;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "between 0 and the burst, and the fraction is of no interest"
        )]
        Ok(self.tokens as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_and_fills() {
        let mut bucket = Bucket::new(Rate {
            burst: 2.0,
            per_second: 4.0,
        });
        let at = Duration::from_millis;
        assert_eq!(bucket.take(at(0)), Ok(1));
        assert_eq!(bucket.take(at(0)), Ok(0));
        assert_eq!(bucket.take(at(0)), Err(at(250)));
        assert_eq!(bucket.take(at(250)), Ok(0));
        assert_eq!(bucket.take(at(10_000)), Ok(1));
    }
}
