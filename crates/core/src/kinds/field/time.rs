//! Durations and times of day.

use std::time::Duration;

use super::{Complaint, TextField};
use crate::action::policy::TimeOfDay;

/// How long something may take: more than nothing, at most a day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span(pub(crate) Duration);

impl TextField for Span {
    const FORMAT: &'static str = "duration";
    const WHAT: &'static str = "a duration (300ms, 10s, 5m, 24h)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        let complaint = || Complaint::not::<Self>("bad-duration", text);
        let split = text.find(|c: char| !c.is_ascii_digit());
        let (digits, unit) = text.split_at(split.unwrap_or(text.len()));
        let factor = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "" => return Err(complaint().hint("add a unit: `10s`")),
            _ => return Err(complaint().hint("units are ms, s, m and h")),
        };
        let count: u64 = digits.parse().map_err(|_| complaint())?;
        match count.checked_mul(factor) {
            Some(millis @ 1..=86_400_000) => Ok(Self(Duration::from_millis(millis))),
            _ => Err(complaint().hint("between 1ms and 24h")),
        }
    }
}

impl TextField for TimeOfDay {
    const FORMAT: &'static str = "time-of-day";
    const WHAT: &'static str = "a time of day (HH:MM, from 00:00 to 23:59)";

    fn parse(text: &str) -> Result<Self, Complaint> {
        text.parse()
            .map_err(|_| Complaint::not::<Self>("bad-time-of-day", text))
    }
}
