//! Datagrams on their way out, gathered so that one system call sends many.

use super::mmsg::{Endpoint, Outgoing};
use super::udp::Udp;

/// Bytes that are gathered at most.
const CAPACITY: usize = 128 * 1024;

/// The kernel's limits for one message with segmentation: segments, and bytes with the headers of UDP.
const MAX_SEGMENTS: usize = 64;
const MAX_BYTES: usize = 65_000;

/// Datagrams in the order in which they are to be sent.
pub(super) struct Outbox {
    bytes: Vec<u8>,
    used: usize,
    runs: Vec<Run>,
}

/// Datagrams of one size to one address; the last may be shorter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Run {
    to: Endpoint,
    start: usize,
    end: usize,
    segment: usize,
}

impl Run {
    fn takes(&self, length: usize, to: Endpoint) -> bool {
        let sent = self.end - self.start;
        self.to == to
            && length <= self.segment
            && sent.is_multiple_of(self.segment)
            && sent / self.segment < MAX_SEGMENTS
            && sent + length <= MAX_BYTES
    }
}

impl Outbox {
    pub(super) fn new() -> Self {
        Self {
            bytes: vec![0; CAPACITY],
            used: 0,
            runs: Vec::with_capacity(256),
        }
    }

    /// Whether there may be less than `length` bytes of room.
    pub(super) fn is_full(&self, length: usize) -> bool {
        self.bytes.len() - self.used < length
    }

    /// Where the next datagram is to be written.
    pub(super) fn space(&mut self) -> &mut [u8] {
        &mut self.bytes[self.used..]
    }

    /// Takes the first `length` bytes of [`Outbox::space`] as a datagram.
    pub(super) fn commit(&mut self, length: usize, to: Endpoint) {
        let start = self.used;
        self.used += length;
        match self.runs.last_mut() {
            Some(run) if run.takes(length, to) => run.end = self.used,
            _ => self.runs.push(Run {
                to,
                start,
                end: self.used,
                segment: length,
            }),
        }
    }

    /// Sends everything.
    pub(super) fn flush(&mut self, udp: &Udp) {
        if self.runs.is_empty() {
            return;
        }
        let bytes = &self.bytes;
        udp.send_all(self.runs.iter().map(|run| Outgoing {
            to: run.to,
            bytes: &bytes[run.start..run.end],
            segment: run.segment,
        }));
        self.runs.clear();
        self.used = 0;
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn runs_are_what_the_kernel_can_cut(
            datagrams in proptest::collection::vec((prop_oneof![Just(1_452_usize), 32..1_500_usize], 0..2_u16), 1..80),
        ) {
            let mut outbox = Outbox::new();
            for (length, port) in &datagrams {
                outbox.commit(*length, SocketAddr::from(([127, 0, 0, 1], *port)).into());
            }
            let mut sent = Vec::new();
            for run in &outbox.runs {
                let bytes = run.end - run.start;
                prop_assert!(bytes <= MAX_BYTES && bytes.div_ceil(run.segment) <= MAX_SEGMENTS);
                let mut left = bytes;
                while left > 0 {
                    sent.push((left.min(run.segment), run.to.remote.port()));
                    left -= left.min(run.segment);
                }
            }
            prop_assert_eq!(sent, datagrams);
        }
    }
}
