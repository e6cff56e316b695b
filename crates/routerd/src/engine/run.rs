//! The one loop: it takes what happens, waits for the pace, and lets the engine look.

use std::collections::BTreeSet;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::Instant;

use api::control::ApplyReport;
use linux::watch::Wake;
use tokio::sync::oneshot;

use super::pace::Pace;
use super::{ApplyError, Candidate, Engine};

/// Wakes that may pile up during a pass; more say nothing new.
const CAPACITY: usize = 256;

/// What is told when a request is done.
pub(crate) type Reply = oneshot::Sender<Result<ApplyReport, ApplyError>>;

/// What happens to the loop.
#[derive(Debug)]
pub(crate) enum Message {
    /// Something may have changed; the word is for the log.
    Wake(&'static str),
    /// Put this configuration into force.
    Apply(Box<Candidate>, Reply),
    /// Give the host back.
    Teardown(Reply),
    /// End.
    Stop,
}

/// The loop's end of the channel.
pub(crate) type Inbox = Receiver<Message>;

/// Everybody else's end.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(SyncSender<Message>);

/// The loop has ended.
#[derive(Debug, thiserror::Error)]
#[error("the reconcile loop has ended")]
pub(crate) struct Ended;

/// Makes the channel into the loop.
pub(crate) fn channel() -> (Outbox, Inbox) {
    let (sender, inbox) = sync_channel(CAPACITY);
    (Outbox(sender), inbox)
}

impl Outbox {
    /// Wakes the loop. With a full channel it is awake already.
    pub(crate) fn wake(&self, why: &'static str) {
        let _ = self.0.try_send(Message::Wake(why));
    }

    /// Wakes the loop for a notification of the kernel.
    pub(crate) fn kernel(&self, wake: Wake) {
        self.wake(word(wake));
    }

    /// Hands a request over without waiting for it.
    pub(crate) fn request(&self, message: Message) -> Result<(), Ended> {
        match self.0.try_send(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Disconnected(_)) => Err(Ended),
            // Wakes fill the channel for the length of a pass at most.
            Err(TrySendError::Full(message)) => self.0.send(message).map_err(|_| Ended),
        }
    }
}

/// Runs until told to stop.
pub(crate) fn run(mut engine: Engine, inbox: &Inbox) {
    let mut pace = Pace::new(Instant::now());
    let mut woke = BTreeSet::from(["start"]);
    loop {
        let now = Instant::now();
        let alarm = engine.alarm(now);
        if alarm.is_some_and(|at| at <= now) && woke.insert("time") {
            pace.wake(now);
        }
        let due = pace.due();
        if due <= now {
            let why = woke.iter().copied().collect::<Vec<_>>().join(",");
            let outcome = engine.repair(if why.is_empty() { "resync" } else { &why });
            pace.passed(now, Instant::now(), outcome);
            woke.clear();
            continue;
        }
        // An alarm that has rung already waits for the pace.
        let next = alarm.filter(|at| *at > now).map_or(due, |at| at.min(due));
        match inbox.recv_timeout(next - now) {
            Ok(Message::Wake(why)) => {
                woke.insert(why);
            }
            // A client that went away does not undo what it asked for.
            Ok(Message::Apply(candidate, reply)) => drop(reply.send(engine.apply(*candidate))),
            Ok(Message::Teardown(reply)) => drop(reply.send(engine.teardown())),
            Err(RecvTimeoutError::Timeout) => continue,
            Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return,
        }
        pace.wake(Instant::now());
    }
}

fn word(wake: Wake) -> &'static str {
    match wake {
        Wake::Link => "link",
        Wake::Address => "address",
        Wake::Route => "route",
        Wake::Neighbour => "neighbour",
        Wake::Sysctl => "sysctl",
        Wake::Firewall => "firewall",
        Wake::Tunnel => "tunnel",
        Wake::Overrun => "overrun",
    }
}
