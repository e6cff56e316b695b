//! From the TUN device to the other end: cut, put the header before, send.

use std::io;
use std::os::fd::AsFd;

use super::{Carrier, too_big};
use crate::tunnel::mmsg::{self, BATCH, Outgoing};
use crate::tunnel::split::{SPARE, split};
use crate::tunnel::urgency;

/// The largest packet that the kernel hands over.
const MAX_PACKET: usize = 65_535;

/// Packets of the kernel that are gathered before they are sent, if there are as many.
const GATHER: usize = 16;

/// Segmentation offload: a message to the kernel may hold this many datagrams and bytes.
const MAX_SEGMENTS: usize = 64;
const MAX_MESSAGE: usize = 65_000;

/// Carries packets until the device is gone.
pub(super) fn run(carrier: &Carrier) -> io::Result<()> {
    urgency::go_first();
    let mut buffer = vec![0; MAX_PACKET + SPARE];
    let mut outbox = Outbox::default();
    while carrier.tun.lane(0).wait()? {
        loop {
            let _turn = carrier.gate.enter();
            let mut gathered = 0;
            while gathered < GATHER {
                let read = carrier.tun.lane(0).read(&mut buffer[..MAX_PACKET])?;
                let Some((header, length)) = read else { break };
                // Nothing but IPv4 is carried. Without padding: the length in the packet says where it ends.
                if buffer[0] >> 4 == 4 {
                    let cut = split(&header, &mut buffer, length, 0, |packet| {
                        outbox.push(carrier.header.bytes(), packet);
                    });
                    if cut.is_err() {
                        tracing::debug!(length, "a packet of the kernel is malformed");
                    }
                }
                gathered += 1;
            }
            outbox.flush(carrier);
            if gathered < GATHER {
                break;
            }
        }
    }
    Ok(())
}

/// Packets with their headers, back to back.
#[derive(Default)]
struct Outbox {
    bytes: Vec<u8>,
    lengths: Vec<usize>,
}

/// Packets that go to the kernel together: where they begin, and how long each but the last is.
struct Run {
    start: usize,
    end: usize,
    segment: usize,
}

impl Outbox {
    fn push(&mut self, header: &[u8], packet: &[u8]) {
        self.bytes.extend_from_slice(header);
        self.bytes.extend_from_slice(packet);
        self.lengths.push(header.len() + packet.len());
    }

    /// Sends everything.
    fn flush(&mut self, carrier: &Carrier) {
        let join = !carrier.outer.is_raw();
        let to = carrier.outer.remote().into();
        let runs: Vec<_> = runs(&self.lengths, join).collect();
        let messages: Vec<_> = runs
            .iter()
            .map(|run| Outgoing {
                to,
                bytes: &self.bytes[run.start..run.end],
                segment: run.segment,
            })
            .collect();
        send(carrier, &messages);
        self.bytes.clear();
        self.lengths.clear();
    }
}

/// Neighbours of one length make a run, if the kernel cuts runs; a shorter one ends it.
fn runs(lengths: &[usize], join: bool) -> impl Iterator<Item = Run> {
    let (mut next, mut start) = (0, 0);
    std::iter::from_fn(move || {
        let segment = *lengths.get(next)?;
        let mut end = start + segment;
        let first = next;
        next += 1;
        while join && next - first < MAX_SEGMENTS && end - start == segment * (next - first) {
            match lengths.get(next) {
                Some(more) if *more <= segment && end + more - start <= MAX_MESSAGE => {
                    end += more;
                    next += 1;
                }
                _ => break,
            }
        }
        let run = Run {
            start,
            end,
            segment,
        };
        start = end;
        Some(run)
    })
}

fn send(carrier: &Carrier, mut messages: &[Outgoing<'_>]) {
    let mut again = false;
    while let Some(first) = messages.first() {
        let batch = &messages[..messages.len().min(BATCH)];
        let error = match mmsg::send(carrier.outer.as_fd(), batch) {
            Ok(sent) => {
                messages = &messages[sent.max(1)..];
                again = false;
                continue;
            }
            Err(error) => error.raw_os_error(),
        };
        match error {
            Some(libc::EINTR) => continue,
            Some(libc::EAGAIN | libc::ENOBUFS) if carrier.outer.wait_for_room() => continue,
            // It may be an ICMP error about an earlier packet, which the kernel says once.
            _ if !again => {
                again = true;
                continue;
            }
            Some(libc::EMSGSIZE | libc::EINVAL | libc::EIO)
                if first.bytes.len() > first.segment =>
            {
                send_cut(carrier, first);
            }
            Some(libc::EMSGSIZE) => send_too_big(carrier, first),
            // No route: lost, as any packet may be.
            _ => {}
        }
        messages = &messages[1..];
        again = false;
    }
}

/// Sends the datagrams of a run one by one.
fn send_cut(carrier: &Carrier, message: &Outgoing<'_>) {
    let datagrams: Vec<_> = message
        .bytes
        .chunks(message.segment)
        .map(|bytes| Outgoing { bytes, ..*message })
        .collect();
    send(carrier, &datagrams);
}

/// A packet that the path does not carry whole: it is fragmented outside, or its sender is told.
fn send_too_big(carrier: &Carrier, message: &Outgoing<'_>) {
    let packet = &message.bytes[carrier.header.bytes().len()..];
    if too_big::may_fragment(packet) {
        let allowed = carrier.outer.forbid_fragments(false);
        if allowed.is_ok() {
            // Not sent is lost, as any packet may be.
            drop(mmsg::send(carrier.outer.as_fd(), &[*message]));
        }
        drop(carrier.outer.forbid_fragments(true));
        return;
    }
    let carries = carrier.outer.path_mtu().unwrap_or_default();
    let fits = carries.checked_sub(carrier.tunnel.encapsulation.overhead());
    let fits = fits.and_then(|fits| u16::try_from(fits).ok());
    if let Some(error) = fits.and_then(|fits| too_big::error(packet, fits)) {
        let header = crate::tunnel::vnet::Header::PLAIN.emit(4);
        let parts = [io::IoSlice::new(&header), io::IoSlice::new(&error)];
        // Not taken is lost: the sender repeats the packet, and hears of it then.
        drop(carrier.tun.lane(0).write(&parts));
    }
}

#[cfg(test)]
mod tests {
    use super::runs;

    #[test]
    fn a_run_is_of_one_length_and_a_shorter_one_ends_it() {
        let lengths = [100, 100, 60, 100, 120, 120];
        let all = |join| -> Vec<_> {
            let runs = runs(&lengths, join);
            runs.map(|run| (run.end - run.start, run.segment)).collect()
        };
        assert_eq!(all(true), [(260, 100), (100, 100), (240, 120)]);
        assert_eq!(all(false).len(), lengths.len());
        assert_eq!(runs(&[1000; 200], true).count(), 4, "64 at most");
    }
}
