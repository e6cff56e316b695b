//! `routerctl events`: what happened of late.

use api::control::Event;

use crate::cli::Show;
use crate::client::Client;
use crate::failure::{Failure, OK};
use crate::output::{Table, print};
use crate::terminal::Terminal;

pub(super) fn run(show: Show, client: &Client, terminal: &mut Terminal<'_>) -> Result<u8, Failure> {
    let events: Vec<Event> = client.get("/v1/events")?;
    print(terminal, show.output, &events, |events, terminal| {
        let mut table = Table::new(["TIME", "EVENT", "WHAT"]);
        for event in events {
            let row = [utc(event.at), event.kind.clone(), event.text.clone()];
            table.row(row.map(Into::into));
        }
        table.print(terminal)
    })?;
    Ok(OK)
}

/// `2026-05-30T03:12:47Z` for milliseconds since the epoch (RFC 3339), by the civil calendar.
pub(super) fn utc(at: i64) -> String {
    let seconds = at.div_euclid(1_000);
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (h, m, s) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{h:02}:{m:02}:{s:02}Z")
}

/// Year, month and day of a number of days since 1970-01-01. Counts from 1 March, so that a leap day is the
/// last day of a year, in eras of 400 years.
fn civil(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::utc;

    #[test]
    fn times_are_those_of_date() {
        // `date -u -d @N +%FT%TZ`
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_780_110_767, "2026-05-30T03:12:47Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (4_107_542_400, "2100-03-01T00:00:00Z"),
            (-1, "1969-12-31T23:59:59Z"),
        ] {
            assert_eq!(utc(seconds * 1_000), text);
        }
    }
}
