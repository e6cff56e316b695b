//! Points in time as they cross process boundaries: RFC 3339 in UTC with milliseconds.
//!
//! This crate reads no clock: a [`Timestamp`] always comes from somewhere else.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

const MS_PER_DAY: u64 = 86_400_000;

/// Milliseconds since 1970-01-01T00:00:00Z, leap seconds not counted. Prints and serializes as
/// `2026-05-31T01:30:55.000Z`; reads any RFC 3339 form, offsets included. Years 1970 to 9999.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

/// A text is not a point in time.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a point in time (RFC 3339, as 2026-05-31T01:30:55Z)")]
pub struct TimeError(String);

impl Timestamp {
    /// The last representable millisecond: 9999-12-31T23:59:59.999Z.
    pub const MAX: Self = Self(253_402_300_799_999);

    /// From milliseconds since the epoch; later than [`Self::MAX`] becomes [`Self::MAX`].
    pub fn from_millis(millis: u64) -> Self {
        Self(millis.min(Self::MAX.0))
    }

    /// Milliseconds since the epoch.
    pub fn as_millis(self) -> u64 {
        self.0
    }

    /// This much later.
    #[must_use]
    pub fn plus_millis(self, millis: u64) -> Self {
        Self::from_millis(self.0.saturating_add(millis))
    }

    /// Milliseconds since `earlier`; 0 if that lies in the future.
    pub fn millis_since(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }

    /// Minutes since midnight, UTC.
    pub fn minute_of_day(self) -> u16 {
        u16::try_from(self.0 % MS_PER_DAY / 60_000).unwrap_or(0)
    }

    /// Day of the week, UTC: 0 is Monday.
    pub fn weekday(self) -> u8 {
        // 1970-01-01 was a Thursday.
        u8::try_from((self.0 / MS_PER_DAY + 3) % 7).unwrap_or(0)
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = civil(self.0 / MS_PER_DAY);
        let ms = self.0 % MS_PER_DAY;
        let text = format!(
            "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
            ms / 3_600_000,
            ms / 60_000 % 60,
            ms / 1000 % 60,
            ms % 1000
        );
        f.pad(&text)
    }
}

impl FromStr for Timestamp {
    type Err = TimeError;

    fn from_str(text: &str) -> Result<Self, TimeError> {
        parse(text).ok_or_else(|| TimeError(text.to_owned()))
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimeError;

    fn try_from(text: String) -> Result<Self, TimeError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

fn parse(text: &str) -> Option<Timestamp> {
    let (date, rest) = text.split_at_checked(10)?;
    let clock_and_zone = rest.strip_prefix(['T', 't', ' '])?;
    let (clock, zone) = clock_and_zone.split_at_checked(8)?;
    let [year, month, day] = numbers(date, '-', [4, 2, 2])?;
    let [hour, minute, second] = numbers(clock, ':', [2, 2, 2])?;
    let (fraction, offset) = split_fraction(zone)?;
    let valid = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !valid {
        return None;
    }
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    let millis = (seconds - offset_seconds(offset)?) * 1000 + fraction;
    let millis = u64::try_from(millis).ok()?;
    (millis <= Timestamp::MAX.0).then_some(Timestamp(millis))
}

/// Exactly three numbers of these widths.
fn numbers(text: &str, separator: char, widths: [usize; 3]) -> Option<[i64; 3]> {
    let parts: Vec<&str> = text.split(separator).collect();
    let parts: [&str; 3] = parts.try_into().ok()?;
    let mut out = [0; 3];
    for ((part, width), slot) in parts.iter().zip(widths).zip(&mut out) {
        let digits = part.len() == width && part.bytes().all(|b| b.is_ascii_digit());
        *slot = digits.then(|| part.parse().ok()).flatten()?;
    }
    Some(out)
}

/// Milliseconds of `.123456` (rounded down) and what follows them.
fn split_fraction(text: &str) -> Option<(i64, &str)> {
    let Some(rest) = text.strip_prefix('.') else {
        return Some((0, text));
    };
    let len = rest.bytes().take_while(u8::is_ascii_digit).count();
    let digits = rest.get(..len).filter(|digits| !digits.is_empty())?;
    let padded: String = digits.chars().chain("00".chars()).take(3).collect();
    Some((padded.parse().ok()?, rest.get(len..)?))
}

fn offset_seconds(text: &str) -> Option<i64> {
    if matches!(text, "Z" | "z") {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let [hours, minutes, _] = numbers(&format!("{}:00", text.get(1..)?), ':', [2, 2, 2])?;
    (hours < 24 && minutes < 60).then_some(sign * (hours * 3600 + minutes * 60))
}

fn leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days since 1970-01-01. Years are counted from March, so that the leap day comes last.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    365 * y + y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400) + (153 * m + 2) / 5 + day
        - 719_469
}

/// The inverse of [`days`] for days from 1970 on.
fn civil(days: u64) -> (u64, u64, u64) {
    // 400 years have 146,097 days; 719,468 lie between 0000-03-01 and 1970-01-01.
    let z = days + 719_468;
    let (era, of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let m = (5 * of_year + 2) / 153;
    let day = of_year - (153 * m + 2) / 5 + 1;
    let (month, carry) = if m < 10 { (m + 3, 0) } else { (m - 9, 1) };
    (era * 400 + year_of_era + carry, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().expect("a point in time")
    }

    #[test]
    fn known_points() {
        assert_eq!(at("1970-01-01T00:00:00Z").as_millis(), 0);
        assert_eq!(at("2000-02-29T12:00:00Z").as_millis(), 951_825_600_000);
        assert_eq!(
            at("2026-05-31T01:30:55.123456Z").as_millis(),
            1_780_191_055_123
        );
        assert_eq!(at("2026-05-31T10:30:55+09:00"), at("2026-05-31T01:30:55Z"));
        assert_eq!(at("9999-12-31T23:59:59.999Z"), Timestamp::MAX);
        assert_eq!(
            at("2026-05-31T01:30:55Z").to_string(),
            "2026-05-31T01:30:55.000Z"
        );
        assert_eq!(
            (
                at("2026-05-31T01:30:55Z").weekday(),
                at("2026-05-31T01:30:55Z").minute_of_day()
            ),
            (6, 90)
        );
    }

    #[test]
    fn every_day_round_trips() {
        // Four hundred years hold every kind of year; then the last ones that there are.
        let last = Timestamp::MAX.0 / MS_PER_DAY;
        for day in (0..146_097).chain(last - 800..=last) {
            let time = Timestamp(day * MS_PER_DAY + day % MS_PER_DAY);
            assert_eq!(at(&time.to_string()), time);
        }
    }

    #[test]
    fn what_is_not_a_point_in_time() {
        for bad in [
            "",
            "now",
            "2026-05-31",
            "2026-02-29T00:00:00Z",
            "2026-13-01T00:00:00Z",
            "2026-05-31T24:00:00Z",
            "2026-05-31T00:00:00",
            "2026-05-31T00:00:00.Z",
            "2026-05-31T00:00:00+9:00",
            "1969-12-31T23:59:59Z",
            "+026-05-31T00:00:00Z",
            "2026-05-31T00:00:00Zulu",
            "２０26-05-31T00:00:00Z",
        ] {
            assert!(bad.parse::<Timestamp>().is_err(), "{bad}");
        }
    }
}
