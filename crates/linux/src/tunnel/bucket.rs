//! How many handshakes one sender may begin: a bucket of tokens for each address.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

/// Tokens that a bucket holds: many peers may stand behind one address.
const BURST: u32 = 50;

/// The time that a token takes to come back.
const REFILL: Duration = Duration::from_millis(50);

/// Senders that are remembered at most. Who has to be forgotten for others starts with a full bucket, which
/// costs no more than a sender that was never seen.
const MAX_SENDERS: usize = 8_192;

/// Buckets by sender; for IPv6 a sender is a `/64`, since whoever has one address has them all.
#[derive(Debug, Default)]
pub(super) struct Buckets {
    senders: HashMap<IpAddr, Bucket>,
}

#[derive(Debug)]
struct Bucket {
    tokens: u32,
    filled: Instant,
}

impl Buckets {
    /// Takes a token of a sender, if it has one left.
    pub(super) fn take(&mut self, sender: IpAddr, now: Instant) -> bool {
        let sender = match sender {
            IpAddr::V6(address) => {
                IpAddr::from((u128::from(address) & (u128::MAX << 64)).to_be_bytes())
            }
            v4 => v4,
        };
        if self.senders.len() >= MAX_SENDERS && !self.senders.contains_key(&sender) {
            let full = REFILL * BURST;
            self.senders
                .retain(|_, bucket| now.duration_since(bucket.filled) < full);
            if self.senders.len() >= MAX_SENDERS {
                self.senders.clear();
            }
        }
        let bucket = self.senders.entry(sender).or_insert(Bucket {
            tokens: BURST,
            filled: now,
        });
        bucket.refill(now);
        let taken = bucket.tokens.checked_sub(1);
        bucket.tokens = taken.unwrap_or_default();
        taken.is_some()
    }
}

impl Bucket {
    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.filled);
        let gained = u32::try_from(passed.as_millis() / REFILL.as_millis()).unwrap_or(u32::MAX);
        if gained >= BURST {
            self.filled = now;
        } else {
            self.filled += REFILL * gained;
        }
        self.tokens = self.tokens.saturating_add(gained).min(BURST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(buckets: &mut Buckets, sender: &str, tries: usize, now: Instant) -> usize {
        let sender = sender.parse().expect("address");
        (0..tries).filter(|_| buckets.take(sender, now)).count()
    }

    #[test]
    fn a_sender_has_its_share_and_no_more() {
        let mut buckets = Buckets::default();
        let start = Instant::now();
        assert_eq!(taken(&mut buckets, "192.0.2.1", 500, start), 50);
        assert_eq!(
            taken(&mut buckets, "192.0.2.2", 500, start),
            50,
            "others have theirs"
        );
        let later = start + Duration::from_millis(1_040);
        assert_eq!(taken(&mut buckets, "192.0.2.1", 500, later), 20);
        let later = start + Duration::from_secs(1_000);
        assert_eq!(taken(&mut buckets, "192.0.2.1", 500, later), 50);
        assert_eq!(taken(&mut buckets, "2001:db8::1", 50, start), 50);
        assert_eq!(
            taken(&mut buckets, "2001:db8::2", 50, start),
            0,
            "one /64, one sender"
        );
    }

    #[test]
    fn any_number_of_senders_takes_bounded_memory() {
        let mut buckets = Buckets::default();
        let now = Instant::now();
        for number in 0..100_000_u32 {
            assert!(buckets.take(IpAddr::from(number.to_be_bytes()), now));
            assert!(buckets.senders.len() <= MAX_SENDERS);
        }
    }
}
