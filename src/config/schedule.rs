//! When a backup is due: crontab's five fields, and the moments that they name.
//!
//! Written here because the crates for it read other dialects than crontab's and bring ten packages
//! each; what is needed is small: the last moment and the next.
//!
//! As in crontab, a day counts when both the day of the month and the day of the week fit, but when
//! neither field begins with `*`, one of them is enough.

use jiff::civil::Date;
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{Timestamp, ToSpan};

/// A date that comes at all comes within this time: 29 February on one day of the week, across a
/// year like 1900 that is no leap year.
const FARTHEST_DAYS: usize = 41 * 366;

const NICKNAMES: [(&str, &str); 7] = [
    ("@yearly", "0 0 1 1 *"),
    ("@annually", "0 0 1 1 *"),
    ("@monthly", "0 0 1 * *"),
    ("@weekly", "0 0 * * 0"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@hourly", "0 * * * *"),
];
const MONTHS: [&str; 12] =
    ["jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"];
const WEEKDAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

/// Moments that come again and again. Where clocks are put forward, a moment that does not exist is
/// left out; where they are put back, the first of the two counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Schedule {
    minutes: Set,
    hours: Set,
    days: Set,
    months: Set,
    /// Sunday is 0.
    weekdays: Set,
    /// Both fields of days are restricted: one of them is enough.
    either: bool,
    zone: TimeZone,
}

/// Numbers below 64.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Set(u64);

impl Set {
    fn has(self, number: i8) -> bool {
        u32::try_from(number).is_ok_and(|bit| bit < 64 && self.0 & (1 << bit) != 0)
    }

    fn add(&mut self, number: u32) {
        self.0 |= 1 << number;
    }
}

/// What one field may hold.
struct Field {
    name: &'static str,
    least: u32,
    most: u32,
    names: &'static [&'static str],
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", least: 0, most: 59, names: &[] },
    Field { name: "hour", least: 0, most: 23, names: &[] },
    Field { name: "day of the month", least: 1, most: 31, names: &[] },
    Field { name: "month", least: 1, most: 12, names: &MONTHS },
    Field { name: "day of the week", least: 0, most: 7, names: &WEEKDAYS },
];

impl Schedule {
    /// Five fields as in crontab, or `@daily` and the like; the moments are those of clocks in `zone`.
    /// With `seconds`, six fields are taken too, the first of them seconds, as Kubernetes operators
    /// write them: the seconds are left out.
    ///
    /// # Errors
    /// What is wrong with it, as the rest of a sentence that begins with the text.
    pub fn parse(text: &str, zone: TimeZone, seconds: bool) -> Result<Self, String> {
        let text = text.trim();
        let text = match NICKNAMES.iter().find(|(name, _)| *name == text) {
            Some((_, fields)) => fields,
            None => text,
        };
        let mut fields: Vec<&str> = text.split_whitespace().collect();
        if seconds && fields.len() == 6 {
            read(fields.remove(0), &FIELDS[0])?;
        }
        let [minutes, hours, days, months, weekdays] = fields[..] else {
            return Err("is no schedule".to_owned());
        };
        let any = |field: &str| field.starts_with('*') || field == "?";
        let mut week = read(weekdays, &FIELDS[4])?;
        if week.has(7) {
            week.add(0);
        }
        let schedule = Self {
            minutes: read(minutes, &FIELDS[0])?,
            hours: read(hours, &FIELDS[1])?,
            days: read(days, &FIELDS[2])?,
            months: read(months, &FIELDS[3])?,
            weekdays: week,
            either: !any(days) && !any(weekdays),
            zone,
        };
        let start = Timestamp::from_second(946_684_800).unwrap_or(Timestamp::UNIX_EPOCH);
        if schedule.next(start).is_none() {
            return Err("names a day that never comes".to_owned());
        }
        Ok(schedule)
    }

    /// The last moment at or before `at`.
    pub fn last(&self, at: Timestamp) -> Option<Timestamp> {
        let mut date = self.zone.to_datetime(at).date();
        for _ in 0..FARTHEST_DAYS {
            if self.has_day(date)
                && let Some(found) = self.moments(date, true).find(|moment| *moment <= at)
            {
                return Some(found);
            }
            date = date.checked_sub(1.day()).ok()?;
        }
        None
    }

    /// The first moment after `at`.
    pub fn next(&self, at: Timestamp) -> Option<Timestamp> {
        let mut date = self.zone.to_datetime(at).date();
        for _ in 0..FARTHEST_DAYS {
            if self.has_day(date)
                && let Some(found) = self.moments(date, false).find(|moment| *moment > at)
            {
                return Some(found);
            }
            date = date.checked_add(1.day()).ok()?;
        }
        None
    }

    /// The last moment before `at`.
    pub fn before(&self, at: Timestamp) -> Option<Timestamp> {
        self.last(at.checked_sub(1.nanosecond()).ok()?)
    }

    fn has_day(&self, date: Date) -> bool {
        let day = self.days.has(date.day());
        let weekday = self.weekdays.has(date.weekday().to_sunday_zero_offset());
        self.months.has(date.month()) && if self.either { day || weekday } else { day && weekday }
    }

    /// The moments of one day, in order or backwards.
    fn moments(&self, date: Date, backwards: bool) -> impl Iterator<Item = Timestamp> + '_ {
        let turned = move |number: i8, most: i8| if backwards { most - number } else { number };
        (0..24).map(move |hour| turned(hour, 23)).filter(|hour| self.hours.has(*hour)).flat_map(
            move |hour| {
                (0..60)
                    .map(move |minute| turned(minute, 59))
                    .filter(|minute| self.minutes.has(*minute))
                    .filter_map(move |minute| {
                        let clock = date.at(hour, minute, 0, 0);
                        let ambiguous = self.zone.to_ambiguous_timestamp(clock);
                        if let AmbiguousOffset::Gap { .. } = ambiguous.offset() {
                            return None;
                        }
                        ambiguous.earlier().ok()
                    })
            },
        )
    }
}

/// One field: `*`, numbers, names, ranges, steps, and lists of them.
fn read(text: &str, field: &Field) -> Result<Set, String> {
    let mut set = Set::default();
    for part in text.split(',') {
        let wrong = || format!("has no {} `{part}`", field.name);
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => {
                let step = step.parse().ok().filter(|step| (1..=60).contains(step));
                (range, Some(step.ok_or_else(wrong)?))
            }
            None => (part, None),
        };
        let (first, last) = match range.split_once('-') {
            _ if range == "*" || range == "?" => (field.least, field.most),
            Some((first, last)) => {
                (number(first, field).ok_or_else(wrong)?, number(last, field).ok_or_else(wrong)?)
            }
            None => {
                let first = number(range, field).ok_or_else(wrong)?;
                // `5/15` goes on to the end, as most readers of crontab's fields take it.
                (first, if step.is_some() { field.most } else { first })
            }
        };
        if first > last {
            return Err(wrong());
        }
        (first..=last).step_by(step.unwrap_or(1)).for_each(|number| set.add(number));
    }
    Ok(set)
}

fn number(text: &str, field: &Field) -> Option<u32> {
    if let Some(at) = field.names.iter().position(|name| name.eq_ignore_ascii_case(text)) {
        return u32::try_from(at).ok().map(|at| at + field.least);
    }
    let plain = !text.is_empty() && text.bytes().all(|c| c.is_ascii_digit());
    text.parse().ok().filter(|number| plain && (field.least..=field.most).contains(number))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn schedule(text: &str) -> Schedule {
        Schedule::parse(text, TimeZone::UTC, false).unwrap_or_else(|why| panic!("{text} {why}"))
    }

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn moments() {
        for (text, now, last, next) in [
            ("0 0 * * *", "2026-03-05T12:00:00Z", "2026-03-05T00:00:00Z", "2026-03-06T00:00:00Z"),
            ("0 0 * * *", "2026-03-05T00:00:00Z", "2026-03-05T00:00:00Z", "2026-03-06T00:00:00Z"),
            ("@hourly", "2026-01-01T00:59:59Z", "2026-01-01T00:00:00Z", "2026-01-01T01:00:00Z"),
            (
                "*/15 8-17 * * 1-5",
                "2026-03-07T12:00:00Z",
                "2026-03-06T17:45:00Z",
                "2026-03-09T08:00:00Z",
            ),
            (
                "30 2 * * sun",
                "2026-03-05T12:00:00Z",
                "2026-03-01T02:30:00Z",
                "2026-03-08T02:30:00Z",
            ),
            ("30 2 * * 7", "2026-03-05T12:00:00Z", "2026-03-01T02:30:00Z", "2026-03-08T02:30:00Z"),
            (
                "5/20 0 1 JAN,jul *",
                "2026-03-05T12:00:00Z",
                "2026-01-01T00:45:00Z",
                "2026-07-01T00:05:00Z",
            ),
            ("0 0 29 2 *", "2026-03-05T12:00:00Z", "2024-02-29T00:00:00Z", "2028-02-29T00:00:00Z"),
            // Both days are restricted: one is enough. One begins with a star: both count.
            (
                "0 0 13 * fri",
                "2026-03-12T12:00:00Z",
                "2026-03-06T00:00:00Z",
                "2026-03-13T00:00:00Z",
            ),
            (
                "0 0 13 * fri",
                "2026-04-11T12:00:00Z",
                "2026-04-10T00:00:00Z",
                "2026-04-13T00:00:00Z",
            ),
            (
                "0 0 */2 * sun",
                "2026-03-03T12:00:00Z",
                "2026-03-01T00:00:00Z",
                "2026-03-15T00:00:00Z",
            ),
        ] {
            let schedule = schedule(text);
            assert_eq!(schedule.last(at(now)), Some(at(last)), "{text}, last before {now}");
            assert_eq!(schedule.next(at(now)), Some(at(next)), "{text}, next after {now}");
        }
        let daily = schedule("@daily");
        assert_eq!(daily.before(at("2026-03-05T00:00:00Z")), Some(at("2026-03-04T00:00:00Z")));
    }

    #[test]
    fn clocks_of_a_zone() {
        let zone = TimeZone::get("Europe/Berlin").unwrap();
        let daily = Schedule::parse("30 2 * * *", zone, false).unwrap();
        assert_eq!(daily.last(at("2026-01-05T12:00:00Z")), Some(at("2026-01-05T01:30:00Z")));
        assert_eq!(daily.last(at("2026-07-05T12:00:00Z")), Some(at("2026-07-05T00:30:00Z")));
        // On 29 March half past two does not exist there; on 25 October it comes twice.
        assert_eq!(daily.last(at("2026-03-29T12:00:00Z")), Some(at("2026-03-28T01:30:00Z")));
        assert_eq!(daily.last(at("2026-10-25T12:00:00Z")), Some(at("2026-10-25T00:30:00Z")));
    }

    #[test]
    fn refused() {
        let parse = |text| Schedule::parse(text, TimeZone::UTC, false).unwrap_err();
        for text in ["", "daily", "0 0 * *", "0 0 * * * *", "@reboot", "@every 1h"] {
            assert_eq!(parse(text), "is no schedule", "{text}");
        }
        assert_eq!(parse("60 0 * * *"), "has no minute `60`");
        assert_eq!(parse("0 5-2 * * *"), "has no hour `5-2`");
        assert_eq!(parse("0 0 0 * *"), "has no day of the month `0`");
        assert_eq!(parse("0 0 * foo *"), "has no month `foo`");
        assert_eq!(parse("0 0 * * mon,8"), "has no day of the week `8`");
        assert_eq!(parse("*/0 * * * *"), "has no minute `*/0`");
        assert_eq!(parse("+5 * * * *"), "has no minute `+5`");
        assert_eq!(parse("0 0 30 2 *"), "names a day that never comes");
        let six = Schedule::parse("0 0 0 * * *", TimeZone::UTC, true).unwrap();
        assert_eq!(six, schedule("@daily"));
        assert!(Schedule::parse("0 0 * * *", TimeZone::UTC, true).is_ok());
    }

    proptest! {
        #[test]
        fn nothing_panics(text in "[-0-9a-z*/, ?@]{0,20}") {
            let _ = Schedule::parse(&text, TimeZone::UTC, true);
        }

        /// Against the fields read one minute at a time.
        #[test]
        fn as_minute_by_minute(
            minute in 0i8..60, step in 1u32..30, from in 0i8..24, hours in 0i8..12,
            weekday in 0i8..8, now in 1_700_000_000i64..1_900_000_000,
        ) {
            let to = (from + hours).min(23);
            let text = format!("{minute},*/{step} {from}-{to} * * {weekday}");
            let schedule = schedule(&text);
            let now = Timestamp::from_second(now).unwrap();
            let fits = |moment: Timestamp| {
                let clock = TimeZone::UTC.to_datetime(moment);
                (clock.minute() == minute || (clock.minute() as u32).is_multiple_of(step))
                    && (from..=to).contains(&clock.hour())
                    && clock.weekday().to_sunday_zero_offset() == weekday % 7
            };
            let whole = |moment: Timestamp| moment.as_second() - moment.as_second() % 60;
            let minutes = |turn: i64| (0..=8 * 1440)
                .map(move |n| Timestamp::from_second(whole(now) + turn * n * 60).unwrap());
            prop_assert_eq!(schedule.last(now), minutes(-1).find(|m| fits(*m)));
            prop_assert_eq!(schedule.next(now), minutes(1).find(|m| *m > now && fits(*m)));
        }
    }
}
