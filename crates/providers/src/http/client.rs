//! What every cloud needs around one exchange: a deadline, retry with back-off, throttling.
//!
//! A request is repeated here only when repeating cannot execute anything twice: reads, requests that never
//! arrived, and those that the server refused to look at (429). A change whose answer was lost is given back
//! as such; its verb reads the state again and decides.

use std::cell::Cell;
use std::time::Duration;

use api::action::ErrorClass;

use super::{Request, Response, Transport, TransportError};
use crate::clock::Clock;
use crate::fault::Fault;

/// The longest one exchange may take, so that a dead connection leaves time to try again.
const EXCHANGE_TIMEOUT: Duration = Duration::from_secs(30);
/// The first pause between tries; it doubles each time.
const FIRST_PAUSE: Duration = Duration::from_millis(250);
/// The longest pause that we choose ourselves; a server may ask for more.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);
/// How often a request is sent at most when it is not throttled.
const TRIES: u32 = 6;

/// What became of a request.
#[derive(Debug)]
pub(crate) enum Reply {
    /// The server answered.
    Answered(Response),
    /// The request may have been executed; nobody told.
    Lost(Fault),
}

/// Sends requests until the deadline.
pub(crate) struct Client<'a> {
    transport: &'a dyn Transport,
    clock: &'a dyn Clock,
    deadline: Cell<Duration>,
}

impl<'a> Client<'a> {
    /// `deadline` counts on the clock's own scale.
    pub(crate) fn new(
        transport: &'a dyn Transport,
        clock: &'a dyn Clock,
        deadline: Duration,
    ) -> Self {
        Self {
            transport,
            clock,
            deadline: Cell::new(deadline),
        }
    }

    /// Time left.
    pub(crate) fn remaining(&self) -> Duration {
        self.deadline.get().saturating_sub(self.clock.elapsed())
    }

    /// Runs `work` with `reserve` less time, so that what must follow it still has some.
    pub(crate) fn reserving<T>(&self, reserve: Duration, work: impl FnOnce() -> T) -> T {
        let deadline = self.deadline.get();
        self.deadline.set(deadline.saturating_sub(reserve));
        let result = work();
        self.deadline.set(deadline);
        result
    }

    /// Waits, unless the deadline would pass meanwhile.
    ///
    /// # Errors
    /// [`ErrorClass::Timeout`], at once, when there is not that much time left.
    pub(crate) fn pause(&self, duration: Duration, waiting_for: &str) -> Result<(), Fault> {
        if duration >= self.remaining() {
            return Err(Fault::new(
                ErrorClass::Timeout,
                format!("no time left to wait for {waiting_for}"),
            )
            .hint("give the executor's plugin a longer timeout"));
        }
        self.clock.sleep(duration);
        Ok(())
    }

    /// The pause before try number `attempt` (from 1): doubling, with a random half.
    pub(crate) fn backoff(&self, attempt: u32) -> Duration {
        let full = FIRST_PAUSE
            .saturating_mul(1 << attempt.saturating_sub(1).min(16))
            .min(LONGEST_PAUSE);
        full.mul_f64(0.5 + self.clock.jitter() / 2.0)
    }

    /// Sends a request.
    ///
    /// # Errors
    /// When the server could not be reached, throttled beyond the deadline, or there was no time to begin.
    pub(crate) fn send(&self, request: &Request) -> Result<Reply, Fault> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let answer = self.exchange(request)?;
            let Some((pause, fault)) = self.retry(request, &answer, attempt) else {
                return answer.map_or_else(
                    |error| settle(request, &error),
                    |response| Ok(Reply::Answered(response)),
                );
            };
            if pause >= self.remaining() {
                return Err(fault);
            }
            self.clock.sleep(pause);
        }
    }

    fn exchange(&self, request: &Request) -> Result<Result<Response, TransportError>, Fault> {
        let remaining = self.remaining();
        if remaining.is_zero() {
            return Err(Fault::new(
                ErrorClass::Timeout,
                format!("no time left for {} {}", request.method, request.place()),
            )
            .hint("give the executor's plugin a longer timeout"));
        }
        Ok(self
            .transport
            .exchange(request, remaining.min(EXCHANGE_TIMEOUT)))
    }

    /// How long to wait before sending again, and what to report should there be no time for it. Nothing:
    /// this answer is final.
    fn retry(
        &self,
        request: &Request,
        answer: &Result<Response, TransportError>,
        attempt: u32,
    ) -> Option<(Duration, Fault)> {
        match answer {
            Ok(response) if response.status == 429 => {
                let pause = response
                    .retry_after()
                    .unwrap_or_else(|| self.backoff(attempt));
                Some((pause, throttled(request, pause)))
            }
            Ok(response) if request.method.is_safe() && may_pass(response.status) => {
                let pause = response
                    .retry_after()
                    .unwrap_or_else(|| self.backoff(attempt));
                let fault = Fault::new(
                    ErrorClass::Transient,
                    format!(
                        "{} {} answered {}",
                        request.method,
                        request.place(),
                        response.status
                    ),
                );
                (attempt < TRIES).then_some((pause, fault))
            }
            Ok(_) => None,
            Err(error) => {
                let again =
                    request.method.is_safe() || matches!(error, TransportError::Unreachable { .. });
                let fault = Fault::new(ErrorClass::Transient, error.to_string());
                (again && attempt < TRIES).then(|| (self.backoff(attempt), fault))
            }
        }
    }
}

/// Statuses after which the same request may succeed.
fn may_pass(status: u16) -> bool {
    matches!(status, 408 | 500 | 502 | 503 | 504)
}

fn throttled(request: &Request, pause: Duration) -> Fault {
    Fault::new(
        ErrorClass::Throttled,
        format!(
            "{} {} is throttled for {} s more",
            request.method,
            request.place(),
            pause.as_secs()
        ),
    )
    .retry_after(pause)
    .hint("the cloud limits calls per subscription and region; the action is tried again later")
}

fn settle(request: &Request, error: &TransportError) -> Result<Reply, Fault> {
    let fault = Fault::new(
        ErrorClass::Transient,
        format!("{} {}: {error}", request.method, request.place()),
    );
    match error {
        TransportError::Lost { .. } if !request.method.is_safe() => Ok(Reply::Lost(fault)),
        _ => Err(fault),
    }
}
