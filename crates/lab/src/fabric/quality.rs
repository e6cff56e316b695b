//! What a link is like while nothing is broken: how long it takes, how evenly, what it loses. Pure.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The longest delay that makes sense on this planet, a satellite included.
const LONGEST: Duration = Duration::from_secs(10);

/// The quality of a link, each direction by itself. Written `delay=50ms,jitter=20ms,loss=1%,reorder=2%`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct LinkQuality {
    /// How long a packet takes on the average.
    pub delay: Duration,
    /// A packet takes up to so much more or less than that, evenly spread; so packets overtake each other.
    pub jitter: Duration,
    /// Share of packets that is lost, 0 to 1.
    pub loss: f64,
    /// Share of packets that takes no time at all and overtakes all others, 0 to 1.
    pub reorder: f64,
}

impl LinkQuality {
    /// The least that a packet takes.
    pub fn fastest(&self) -> Duration {
        match self.reorder > 0.0 {
            true => Duration::ZERO,
            false => self.delay.saturating_sub(self.jitter),
        }
    }

    /// How long a packet is held back; two numbers in [0, 1) decide.
    pub fn hold(&self, fate: f64, share: f64) -> Duration {
        if fate < self.reorder {
            return Duration::ZERO;
        }
        let least = self.delay.saturating_sub(self.jitter);
        least + self.jitter.mul_f64(2.0 * share)
    }
}

/// Why a quality cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum QualityError {
    /// A part that is none.
    #[error("`{0}`: expected delay=50ms, jitter=20ms, loss=1% or reorder=2%, joined by commas")]
    Part(String),
    /// A part that stands there twice.
    #[error("`{0}` stands there twice")]
    Twice(String),
    /// A time that is none or too long.
    #[error("`{0}` is not a time between 0 and 10 s, such as 50ms or 0.2s")]
    Time(String),
    /// A share that is none.
    #[error("`{0}` is not a percentage from 0% to 100%")]
    Share(String),
    /// More jitter than delay.
    #[error("a packet cannot arrive before it is sent: jitter must not be more than delay")]
    Jitter,
    /// Nothing to overtake.
    #[error("reorder needs a delay: a packet overtakes by not being delayed")]
    Reorder,
}

impl FromStr for LinkQuality {
    type Err = QualityError;

    fn from_str(text: &str) -> Result<Self, QualityError> {
        let mut quality = Self::default();
        let mut seen = Vec::new();
        for part in text.split(',') {
            let malformed = || QualityError::Part(part.to_owned());
            let (name, value) = part.trim().split_once('=').ok_or_else(malformed)?;
            if seen.contains(&name) {
                return Err(QualityError::Twice(name.to_owned()));
            }
            seen.push(name);
            match name {
                "delay" => quality.delay = time(value)?,
                "jitter" => quality.jitter = time(value)?,
                "loss" => quality.loss = share(value)?,
                "reorder" => quality.reorder = share(value)?,
                _ => return Err(malformed()),
            }
        }
        if quality.jitter > quality.delay {
            return Err(QualityError::Jitter);
        }
        if quality.reorder > 0.0 && quality.delay.is_zero() {
            return Err(QualityError::Reorder);
        }
        Ok(quality)
    }
}

fn time(text: &str) -> Result<Duration, QualityError> {
    let unit = |suffix, factor| text.strip_suffix(suffix).map(|number| (number, factor));
    let read = unit("ms", 0.001).or_else(|| unit("s", 1.0));
    let seconds = read.and_then(|(number, factor)| Some(number.parse::<f64>().ok()? * factor));
    let time = seconds.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    time.filter(|time| *time <= LONGEST)
        .ok_or_else(|| QualityError::Time(text.to_owned()))
}

fn share(text: &str) -> Result<f64, QualityError> {
    let number = text.strip_suffix('%').and_then(|n| n.parse::<f64>().ok());
    number
        .filter(|percent| (0.0..=100.0).contains(percent))
        .map(|percent| percent / 100.0)
        .ok_or_else(|| QualityError::Share(text.to_owned()))
}

impl fmt::Display for LinkQuality {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Duration| time.as_secs_f64() * 1000.0;
        let (delay, jitter) = (ms(self.delay), ms(self.jitter));
        let (loss, reorder) = (self.loss * 100.0, self.reorder * 100.0);
        write!(
            f,
            "delay={delay}ms,jitter={jitter}ms,loss={loss}%,reorder={reorder}%"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quality_is_read_and_nonsense_is_not() {
        let quality: LinkQuality = "delay=50ms,jitter=20ms,loss=1%,reorder=2%"
            .parse()
            .expect("read");
        assert_eq!(quality.delay, Duration::from_millis(50));
        assert_eq!(quality.jitter, Duration::from_millis(20));
        assert!((quality.loss - 0.01).abs() < 1e-9 && (quality.reorder - 0.02).abs() < 1e-9);
        assert_eq!(quality.to_string().parse(), Ok(quality));
        let nonsense = [
            ("", "expected delay"),
            ("delay", "expected delay"),
            ("speed=3ms", "expected delay"),
            ("delay=5ms,delay=6ms", "twice"),
            ("delay=5", "not a time"),
            ("delay=-5ms", "not a time"),
            ("delay=60s", "not a time"),
            ("loss=1", "not a percentage"),
            ("loss=101%", "not a percentage"),
            ("loss=NaN%", "not a percentage"),
            ("delay=5ms,jitter=6ms", "before it is sent"),
            ("reorder=1%", "needs a delay"),
        ];
        for (text, expected) in nonsense {
            let said = text
                .parse::<LinkQuality>()
                .map_err(|error| error.to_string());
            assert!(
                said.clone().is_err_and(|said| said.contains(expected)),
                "{text}: {said:?}"
            );
        }
    }

    #[test]
    fn packets_are_spread_around_the_delay_and_some_overtake() {
        let quality: LinkQuality = "delay=50ms,jitter=20ms,reorder=2%".parse().expect("read");
        let hold = |fate, share| quality.hold(fate, share).as_millis();
        assert_eq!(
            [hold(0.5, 0.0), hold(0.5, 0.5), hold(0.5, 0.75)],
            [30, 50, 60]
        );
        assert_eq!(quality.fastest(), Duration::ZERO);
        let even = LinkQuality {
            reorder: 0.0,
            ..quality
        };
        assert_eq!(even.fastest(), Duration::from_millis(30));
        assert_eq!([hold(0.019, 0.5), hold(0.02, 0.5)], [0, 50]);
    }
}
