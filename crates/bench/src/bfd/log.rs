//! What each implementation says of its sessions.

use std::net::Ipv4Addr;

/// A session changed its state.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Change {
    /// Seconds since the epoch.
    pub(super) at: f64,
    pub(super) remote: Ipv4Addr,
    pub(super) from_up: bool,
    pub(super) up: bool,
}

/// `SECONDS ADDRESS FROM TO`.
pub(super) fn ours(line: &str) -> Option<Change> {
    let mut words = line.split(' ');
    let (at, remote) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
    let (from, to) = (words.next()?, words.next()?);
    Some(Change {
        at,
        remote,
        from_up: from == "up",
        up: to == "up",
    })
}

/// `2026-11-21 18:00:00.123456 <TRACE> b: Session to 10.98.0.2 changed state from Up to Down`.
pub(super) fn bird(line: &str) -> Option<Change> {
    let (head, tail) = line.split_once("Session to ")?;
    let (remote, states) = tail.split_once(" changed state from ")?;
    let (from, to) = states.split_once(" to ")?;
    Some(Change {
        at: stamp(head)?,
        remote: remote.parse().ok()?,
        from_up: from == "Up",
        up: to.trim() == "Up",
    })
}

/// `2026/11/21 18:00:00.123456 BFD: […] state-change: [… peer:10.98.0.2 …] up -> down …`.
pub(super) fn frr(line: &str) -> Option<Change> {
    let (head, tail) = line.split_once("state-change:")?;
    let remote = tail.split_once("peer:")?.1.split(' ').next()?;
    let (before, after) = tail.split_once(" -> ")?;
    Some(Change {
        at: stamp(head)?,
        remote: remote.parse().ok()?,
        from_up: before.split(' ').next_back() == Some("up"),
        up: after.split([' ', '\n']).next() == Some("up"),
    })
}

/// A date and a time of UTC at the beginning of a line, in seconds since the epoch.
fn stamp(text: &str) -> Option<f64> {
    let mut words = text.split(' ');
    let (date, time) = (words.next()?, words.next()?);
    let mut date = date.split(['-', '/']).map(str::parse::<i64>);
    let mut next = || date.next()?.ok();
    let (year, month, day) = (next()?, next()?, next()?);
    let mut time = time.split(':').map(str::parse::<f64>);
    let mut next = || time.next()?.ok();
    let (hours, minutes, seconds) = (next()?, next()?, next()?);
    // Days of the civil calendar: years begin in March, so that the leap day is the last one.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, month) = (year.div_euclid(400), (month + 9) % 12);
    let year = year.rem_euclid(400);
    let days = era * 146_097 + year * 365 + year / 4 - year / 100 + (153 * month + 2) / 5 + day - 1;
    let days = days - 719_468;
    Some(days as f64 * 86_400.0 + hours * 3_600.0 + minutes * 60.0 + seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_three_logs_say_the_same() {
        let remote = Ipv4Addr::new(10, 98, 0, 2);
        let same = Change {
            at: 1_795_284_000.25,
            remote,
            from_up: true,
            up: false,
        };
        let lines = [
            ours("1795284000.25 10.98.0.2 up down"),
            bird(
                "2026-11-21 18:00:00.250000 <TRACE> b: Session to 10.98.0.2 changed state from Up to Down",
            ),
            frr(
                "2026/11/21 18:00:00.250000 BFD: [A-B] state-change: [mhop:no peer:10.98.0.2 local:10.98.0.1 \
                 vrf:default ifname:a00] up -> down reason:control-expired",
            ),
        ];
        assert_eq!(lines, [Some(same); 3]);
        assert_eq!(bird("something else"), None);
    }
}
