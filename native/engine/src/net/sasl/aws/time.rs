//! Times as AWS writes them, in UTC.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

const DAY: u64 = 24 * 3_600;

/// `20130524T000000Z`
pub(super) fn timestamp(time: SystemTime) -> String {
    let seconds = time
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_secs();
    let (year, month, day) = date(seconds / DAY);
    let (hour, minute, second) = (seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60);
    format!("{year:04}{month:02}{day:02}T{hour:02}{minute:02}{second:02}Z")
}

/// From `2013-05-24T00:00:00Z`; fractions of seconds are passed over.
pub(super) fn parse(text: &str) -> Option<SystemTime> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let time = time.split('.').next()?;
    let [year, month, day] = numbers(date, '-')?;
    let [hour, minute, second] = numbers(time, ':')?;
    let date_fits = (1970..=9999).contains(&year) && (1..=12).contains(&month);
    if !date_fits || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let seconds = days(year, month, day) * DAY + hour * 3_600 + minute * 60 + second;
    UNIX_EPOCH.checked_add(Duration::from_secs(seconds))
}

fn numbers(text: &str, separator: char) -> Option<[u64; 3]> {
    let mut numbers = text.split(separator).map(|number| {
        let digits = number.bytes().all(|byte| byte.is_ascii_digit());
        digits.then(|| number.parse().ok())?
    });
    let three = [numbers.next()??, numbers.next()??, numbers.next()??];
    numbers.next().is_none().then_some(three)
}

/// Days since 1970. Years begin in March here, so that a leap day is the last day of one.
fn days(year: u64, month: u64, day: u64) -> u64 {
    let (year, month) = if month < 3 {
        (year - 1, month + 9)
    } else {
        (year, month - 3)
    };
    let leap_days = year / 4 - year / 100 + year / 400;
    year * 365 + leap_days + (month * 153 + 2) / 5 + day - 1 - 719_468
}

fn date(days_since_1970: u64) -> (u64, u64, u64) {
    // In 365.2425 days a year it is the right one or the one before.
    let guess = 1970 + days_since_1970 * 400 / 146_097;
    let year = if days(guess + 1, 1, 1) <= days_since_1970 {
        guess + 1
    } else {
        guess
    };
    let year = if days(year, 1, 1) > days_since_1970 {
        year - 1
    } else {
        year
    };
    let month = (1..=12)
        .rev()
        .find(|&month| days(year, month, 1) <= days_since_1970);
    let month = month.unwrap_or(1);
    (year, month, days_since_1970 - days(year, month, 1) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn times_are_written_and_read_as_aws_does() {
        for (seconds, stamp, text) in [
            (0, "19700101T000000Z", "1970-01-01T00:00:00Z"),
            (951_782_399, "20000228T235959Z", "2000-02-28T23:59:59Z"),
            (951_782_400, "20000229T000000Z", "2000-02-29T00:00:00Z"),
            (1_369_353_600, "20130524T000000Z", "2013-05-24T00:00:00Z"),
            (
                1_735_689_599,
                "20241231T235959Z",
                "2024-12-31T23:59:59.999Z",
            ),
            (4_107_542_400, "21000301T000000Z", "2100-03-01T00:00:00Z"),
        ] {
            assert_eq!(timestamp(at(seconds)), stamp);
            assert_eq!(parse(text), Some(at(seconds)), "{text}");
        }
    }

    #[test]
    fn every_day_of_400_years_is_read_as_it_was_written() {
        for day in 0..146_097 {
            let (year, month, date) = date(day);
            assert_eq!(days(year, month, date), day, "{year}-{month}-{date}");
        }
    }

    #[test]
    fn what_is_no_time_is_none() {
        for text in [
            "",
            "Z",
            "T",
            "TZ",
            "2013-05-24",
            "2013-05-24T00:00:00",
            "2013-13-24T00:00:00Z",
            "2013-05-24T24:00:00Z",
            "1969-12-31T23:59:59Z",
            "2013-05-24-01T00:00:00Z",
            "99999999999999999999-01-01T00:00:00Z",
            "2013-05-+4T00:00:00Z",
            "2013-05-00T00:00:00Z",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_a_time_or_none(text in "[0-9]{0,21}-?[0-9]{0,3}-?[0-9]{0,3}T?[0-9]{0,3}(:[0-9]{0,3}){0,3}Z?") {
            if let Some(time) = parse(&text) {
                prop_assert!(time >= UNIX_EPOCH);
                prop_assert!(timestamp(time).ends_with('Z'));
            }
        }
    }
}
