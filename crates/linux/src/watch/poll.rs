//! What the kernel does not announce.

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use netlink_sys::protocols::NETLINK_ROUTE;
use nix::poll::PollTimeout;

use crate::netlink::{Error, Socket, neighbour};

/// The shortest time between two looks.
pub(super) const FASTEST: Duration = Duration::from_millis(100);
/// So many entries are looked at every [`FASTEST`], more of them more rarely in proportion: a look costs about a
/// microsecond an entry, so that an idle host gives one thousandth of a core for it, however many there are.
const ENTRIES: u32 = 100;

/// Compares the proxy neighbours with those of the last look. Two looks may see the same though one was added in
/// between and has gone again, so what this process added counts as a change too.
#[derive(Debug)]
pub(super) struct ProxyPoll {
    socket: Socket,
    seen: Vec<(u32, Ipv4Addr)>,
    added: u64,
    due: Instant,
}

impl ProxyPoll {
    pub(super) fn open() -> Result<Self, Error> {
        let mut poll = Self {
            socket: Socket::open(NETLINK_ROUTE)?,
            seen: Vec::new(),
            added: neighbour::added(),
            due: Instant::now(),
        };
        poll.changed()?;
        Ok(poll)
    }

    /// How long until the next look.
    pub(super) fn timeout(&self) -> PollTimeout {
        let left = self.due.saturating_duration_since(Instant::now());
        // Rounded up: poll in whole milliseconds must not return just before the time.
        let milliseconds = left.as_micros().div_ceil(1000);
        PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX)
    }

    /// Looks, if it is time.
    pub(super) fn changed(&mut self) -> Result<bool, Error> {
        let start = Instant::now();
        if start < self.due {
            return Ok(false);
        }
        let added = neighbour::added();
        let now = neighbour::dump_keys(&mut self.socket)?;
        let entries = u32::try_from(now.len()).unwrap_or(u32::MAX);
        self.due = start + FASTEST * entries.div_ceil(ENTRIES).max(1);
        let changed = now != self.seen || added != self.added;
        self.seen = now;
        self.added = added;
        Ok(changed)
    }
}
