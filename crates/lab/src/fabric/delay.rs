//! Holds things back until their time has come.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::thread::Builder;
use std::time::{Duration, Instant};

/// How long to wait for the next arrival when nothing is held back.
const IDLE: Duration = Duration::from_secs(3600);

/// Something and when it is due.
#[derive(Debug)]
pub(super) struct Delayed<T> {
    pub(super) due: Instant,
    pub(super) item: T,
}

struct Entry<T> {
    key: Reverse<(Instant, u64)>,
    item: T,
}

impl<T> PartialEq for Entry<T> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<T> Eq for Entry<T> {}

impl<T> PartialOrd for Entry<T> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<T> Ord for Entry<T> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// Starts a thread that calls `release` for everything that comes in, when it is due, in order of arrival
/// among what is due at the same time. It ends when the sending side is gone.
pub(super) fn spawn<T: Send + 'static>(
    incoming: Receiver<Delayed<T>>,
    release: impl Fn(T) + Send + 'static,
) -> io::Result<()> {
    let serve = move || {
        let mut waiting = BinaryHeap::<Entry<T>>::new();
        let mut arrivals = 0;
        loop {
            let now = Instant::now();
            let next = waiting.peek().map(|entry| entry.key.0.0);
            if next.is_some_and(|due| due <= now) {
                if let Some(entry) = waiting.pop() {
                    release(entry.item);
                }
                continue;
            }
            let pause = next.map_or(IDLE, |due| due - now);
            match incoming.recv_timeout(pause) {
                Ok(Delayed { due, item }) => {
                    arrivals += 1;
                    let key = Reverse((due, arrivals));
                    waiting.push(Entry { key, item });
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
        }
    };
    Builder::new().name("delay".to_owned()).spawn(serve)?;
    Ok(())
}
