//! `mimi-gateway quarantine`: what was set aside, read from the store, or asked of the gateway that has it.

use super::{CliError, table};
use crate::{admin::AsideRow, config::Config, runtime};

/// Prints what was set aside as a table, or as JSON lines.
pub(super) fn run(config: &Config, json: bool) -> Result<(), CliError> {
    let rows =
        runtime::list_set_aside(config).map_err(|e| CliError::of_runtime("cannot list what was set aside", e))?;
    print!("{}", render(&rows, json));
    Ok(())
}

fn render(rows: &[AsideRow], json: bool) -> String {
    if json {
        return rows.iter().map(|row| serde_json::json!(row).to_string() + "\n").collect();
    }
    if rows.is_empty() {
        return "Nothing was set aside.\n".to_owned();
    }
    let cells: Vec<Vec<String>> = rows
        .iter()
        .map(|row| {
            vec![utc(row.when), row.place.clone(), row.event.clone().unwrap_or_else(|| "-".to_owned()), row.why.clone()]
        })
        .collect();
    table::render(&["WHEN (UTC)", "WHERE", "EVENT", "WHY"], &cells)
}

/// A time in milliseconds since the UNIX epoch as people write it, to the second.
fn utc(millis: u64) -> String {
    let (days, seconds) = (millis / 86_400_000, millis / 1000 % 86_400);
    // The Gregorian calendar repeats every 400 years, 146,097 days; years begin in March here, so that leap days come last.
    let shifted = days + 719_468;
    let (era, day) = (shifted / 146_097, shifted % 146_097);
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02} {:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00");
        assert_eq!(utc(951_782_399_000), "2000-02-28 23:59:59");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00");
        assert_eq!(utc(1_709_251_200_999), "2024-03-01 00:00:00");
        assert_eq!(utc(4_102_444_799_000), "2099-12-31 23:59:59");
    }

    #[test]
    fn a_table_for_people_and_json_for_programs() {
        let row = AsideRow { when: 1000, place: "!r".into(), event: None, why: "bad\u{1b}[1m".into() };
        let text = render(std::slice::from_ref(&row), false);
        assert_eq!(text.lines().last(), Some("1970-01-01 00:00:01  !r     -      bad\\u{1b}[1m"));
        let json: serde_json::Value = serde_json::from_str(&render(&[row], true)).unwrap();
        assert_eq!((json["when"].as_u64(), json["event"].is_null()), (Some(1000), true));
        assert_eq!((render(&[], true).as_str(), render(&[], false).lines().count()), ("", 1));
    }
}
