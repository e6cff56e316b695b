//! Between the speaker, which never waits, and a thread that writes as fast as somebody reads.

use std::collections::VecDeque;
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use crate::view::lock;

/// Octets that wait at most. Beyond it who reads is too slow, and is told everything anew later.
pub(super) const LIMIT: usize = 64 << 20;
/// Below it there is room for more of what can wait.
pub(super) const LOW: usize = 1 << 20;

/// What waits, in order; for one use after the other, each with a number.
#[derive(Debug)]
pub(super) struct Queue<T> {
    state: Mutex<State<T>>,
    filled: Condvar,
}

#[derive(Debug)]
struct State<T> {
    /// The number of the use at hand; none while nobody reads.
    open: Option<u64>,
    uses: u64,
    items: VecDeque<(T, usize)>,
    octets: usize,
    /// Nothing comes any more; what waits is still written.
    ended: bool,
    /// Whether somebody wants to know when there is room again.
    wanted: bool,
    counts: Counts,
}

/// What became of it so far.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts {
    pub(super) open: bool,
    /// Octets written.
    pub(super) written: u64,
    /// Octets that wait.
    pub(super) waiting: usize,
    /// How often more came than could wait.
    pub(super) overruns: u64,
    /// What last went wrong.
    pub(super) error: Option<String>,
}

/// What there is for who writes.
#[derive(Debug)]
pub(super) enum Taken<T> {
    /// These; and whether the speaker wants to know that there is room again.
    Items(Vec<T>, bool),
    /// Nothing for now.
    Nothing,
    /// Too much came meanwhile: what is missing is not known.
    Overrun,
    /// Nothing any more.
    End,
}

impl<T> Queue<T> {
    pub(super) fn new() -> Self {
        Self {
            state: Mutex::new(State {
                open: None,
                uses: 0,
                items: VecDeque::new(),
                octets: 0,
                ended: false,
                wanted: false,
                counts: Counts::default(),
            }),
            filled: Condvar::new(),
        }
    }

    /// Begins a use, empty; its number.
    pub(super) fn open(&self) -> u64 {
        let mut state = lock(&self.state);
        state.uses += 1;
        state.open = Some(state.uses);
        state.items.clear();
        state.octets = 0;
        state.wanted = false;
        state.counts.error = None;
        state.uses
    }

    /// Ends a use: what waits is dropped.
    pub(super) fn close(&self, error: Option<String>) {
        let mut state = lock(&self.state);
        state.open = None;
        state.items.clear();
        state.octets = 0;
        if error.is_some() {
            state.counts.error = error;
        }
    }

    /// Adds an item of a size. False: this use is over, or is over now, since too much waits.
    pub(super) fn push(&self, number: u64, item: T, size: usize) -> bool {
        let mut state = lock(&self.state);
        if state.open != Some(number) || state.ended {
            return false;
        }
        if state.octets + size > LIMIT && !state.items.is_empty() {
            state.open = None;
            state.items.clear();
            state.octets = 0;
            state.counts.overruns += 1;
        } else {
            state.octets += size;
            state.items.push_back((item, size));
        }
        self.filled.notify_all();
        state.open.is_some()
    }

    /// Whether there is room for what can wait; if not, [`Taken::Items`] will say so once there is.
    pub(super) fn has_room(&self) -> bool {
        let mut state = lock(&self.state);
        state.wanted = state.octets >= LOW;
        !state.wanted
    }

    /// Nothing is added any more.
    pub(super) fn end(&self) {
        lock(&self.state).ended = true;
        self.filled.notify_all();
    }

    pub(super) fn has_ended(&self) -> bool {
        lock(&self.state).ended
    }

    /// Waits until it has ended, for a while.
    pub(super) fn rest(&self, patience: Duration) {
        let state = lock(&self.state);
        let ends = |state: &mut State<T>| !state.ended;
        // Somebody's panic does not matter here.
        drop(self.filled.wait_timeout_while(state, patience, ends));
    }

    /// Items of at most so many octets, but at least one; waits for them for a while.
    pub(super) fn take(&self, most: usize, patience: Duration) -> Taken<T> {
        let state = lock(&self.state);
        let idle =
            |state: &mut State<T>| state.items.is_empty() && state.open.is_some() && !state.ended;
        let Ok((mut state, _)) = self.filled.wait_timeout_while(state, patience, idle) else {
            return Taken::End;
        };
        if state.open.is_none() {
            return Taken::Overrun;
        }
        let mut items = Vec::new();
        let mut octets = 0;
        while let Some((_, size)) = state.items.front()
            && (items.is_empty() || octets + size <= most)
        {
            octets += size;
            items.extend(state.items.pop_front().map(|(item, _)| item));
        }
        state.octets -= octets;
        match items.is_empty() {
            true if state.ended => Taken::End,
            true => Taken::Nothing,
            false => {
                let room = state.octets < LOW && std::mem::take(&mut state.wanted);
                Taken::Items(items, room)
            }
        }
    }

    pub(super) fn wrote(&self, octets: usize) {
        lock(&self.state).counts.written += octets as u64;
    }

    /// Notes what is wrong, or that nothing is.
    pub(super) fn note(&self, error: Option<String>) {
        lock(&self.state).counts.error = error;
    }

    pub(super) fn counts(&self) -> Counts {
        let state = lock(&self.state);
        Counts {
            open: state.open.is_some(),
            waiting: state.octets,
            ..state.counts.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Duration = Duration::ZERO;

    #[test]
    fn a_reader_that_is_too_slow_loses_the_use_and_nothing_else() {
        let queue = Queue::new();
        assert!(!queue.push(1, 'a', 1), "nobody reads yet");
        let first = queue.open();
        assert!(queue.push(first, 'a', LIMIT - 1));
        assert!(!queue.has_room());
        assert!(!queue.push(first, 'b', 2), "beyond the limit");
        assert!(matches!(queue.take(LIMIT, NOW), Taken::Overrun));
        let counts = queue.counts();
        assert_eq!((counts.overruns, counts.waiting), (1, 0));
        let second = queue.open();
        assert!(!queue.push(first, 'c', 1), "of the use before");
        assert!(queue.push(second, 'd', 1));
        assert!(matches!(queue.take(LIMIT, NOW), Taken::Items(items, false) if items == ['d']));
        assert!(matches!(queue.take(LIMIT, NOW), Taken::Nothing));
    }

    #[test]
    fn what_waits_at_the_end_is_still_written() {
        let queue = Queue::new();
        let number = queue.open();
        assert!(queue.push(number, 'a', LOW));
        assert!(!queue.has_room(), "said again when there is some");
        queue.end();
        assert!(!queue.push(number, 'b', 1));
        assert!(matches!(queue.take(1, NOW), Taken::Items(items, true) if items == ['a']));
        assert!(matches!(queue.take(1, NOW), Taken::End));
    }
}
