//! `policy.hours`: when this house trains, by its own wall clock.
//!
//! ```text
//! hours = ["mon-fri 20:00-06:00", "sat-sun"]     entry = DAYS, SPAN or DAYS SPAN; together they are what one of them has
//! DAYS    mon, or mon-fri; left out: every day   the days on which the span begins
//! SPAN    HH:MM-HH:MM; left out: the whole day   the first minute is in it, the last one is not; past midnight into the next day
//! ```
//!
//! The wall clock is this machine's local time, which is what its owner means by 22:00 in summer and in winter: `TZ` of the environment, else the system's zone,
//! else UTC. Where clocks are put back, an hour's minutes come twice; where they are put forward, never.

use std::fmt;

use chrono::{DateTime, Datelike as _, Local, Offset as _, Timelike as _};
use serde::Deserialize;

const DAYS: [&str; 7] = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"];
const DAY: u16 = 24 * 60;
const WEEK: u16 = 7 * DAY;

/// When a house trains.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(try_from = "Vec<String>")]
pub struct Hours {
    entries: Vec<String>,
    windows: Vec<Window>,
}

/// Minutes of the week, from `start` on; past the week's end it goes on at its beginning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Window {
    start: u16,
    length: u16,
}

/// A minute of the week, from 0 for Monday 00:00 to 10,079.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct MinuteOfWeek(u16);

/// What a wall clock shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WallTime {
    /// Weekday and time.
    pub minute: MinuteOfWeek,
    /// Minutes that it is ahead of UTC.
    pub ahead_minutes: i32,
}

/// Why `policy.hours` can not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HoursError {
    /// An empty list.
    #[error("policy.hours has no entry, so that nothing would ever be trained: leave it out for all hours, or `pause`")]
    Empty,
    /// An entry that says no hours.
    #[error("policy.hours: `{entry}` {rule}")]
    Entry {
        /// The entry.
        entry: String,
        /// What it must be.
        rule: &'static str,
    },
}

/// It is not within the hours of this house.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "it is {now} here, and policy.hours is {allowed}: this house says ready for no round and begins no training before {next}"
)]
pub struct OutsideHours {
    /// What the house's clock shows.
    pub now: WallTime,
    /// What the policy allows.
    pub allowed: Hours,
    /// When the hours begin next.
    pub next: MinuteOfWeek,
}

const GRAMMAR: &str = "is none of `mon-fri`, `22:00-06:00` and `mon-fri 22:00-06:00`, in this spelling";

impl TryFrom<Vec<String>> for Hours {
    type Error = HoursError;

    fn try_from(entries: Vec<String>) -> Result<Self, HoursError> {
        let mut windows = Vec::new();
        for entry in &entries {
            windows.extend(read(entry).map_err(|rule| HoursError::Entry { entry: entry.clone(), rule })?);
        }
        if windows.is_empty() { Err(HoursError::Empty) } else { Ok(Self { entries, windows }) }
    }
}

impl Hours {
    /// As they were written.
    #[must_use]
    pub fn entries(&self) -> &[String] {
        &self.entries
    }

    /// Whether this minute is one of them.
    #[must_use]
    pub fn have(&self, minute: MinuteOfWeek) -> bool {
        self.windows.iter().any(|window| after(window.start, minute) < window.length)
    }

    /// When the next of their spans begins; at `minute` itself, if one begins then.
    #[must_use]
    pub fn next_after(&self, minute: MinuteOfWeek) -> MinuteOfWeek {
        let wait = |window: &Window| after(minute.0, MinuteOfWeek(window.start));
        self.windows.iter().min_by_key(|window| wait(window)).map_or(minute, |window| MinuteOfWeek(window.start))
    }

    /// Refuses what is to begin outside of them.
    ///
    /// # Errors
    /// [`OutsideHours`].
    pub fn check(&self, now: WallTime) -> Result<(), OutsideHours> {
        if self.have(now.minute) {
            return Ok(());
        }
        Err(OutsideHours { now, allowed: self.clone(), next: self.next_after(now.minute) })
    }
}

impl MinuteOfWeek {
    /// Of the weekday `day`, from 0 for Monday, and `minute` of that day; both go on where a week or a day ends.
    #[must_use]
    pub fn new(day: u32, minute: u32) -> Self {
        let minutes = (u64::from(day) * u64::from(DAY) + u64::from(minute)) % u64::from(WEEK);
        Self(u16::try_from(minutes).unwrap_or_default())
    }
}

impl WallTime {
    /// What this machine's clock shows now.
    #[must_use]
    pub fn now() -> Self {
        let now = i64::try_from(crate::round::now_ms()).ok().and_then(DateTime::from_timestamp_millis);
        let now = now.unwrap_or_default().with_timezone(&Local);
        let minute = MinuteOfWeek::new(now.weekday().num_days_from_monday(), now.hour() * 60 + now.minute());
        Self { minute, ahead_minutes: now.offset().fix().local_minus_utc() / 60 }
    }
}

impl fmt::Display for MinuteOfWeek {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (day, minute) = (usize::from(self.0 / DAY), self.0 % DAY);
        write!(f, "{} {:02}:{:02}", DAYS.get(day).unwrap_or(&"?"), minute / 60, minute % 60)
    }
}

impl fmt::Display for WallTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, ahead) = (if self.ahead_minutes < 0 { '-' } else { '+' }, self.ahead_minutes.unsigned_abs());
        write!(f, "{} (UTC{sign}{:02}:{:02})", self.minute, ahead / 60, ahead % 60)
    }
}

impl fmt::Display for Hours {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.entries.join(", "))
    }
}

/// Minutes from `start` to the next time that it is `minute`.
fn after(start: u16, minute: MinuteOfWeek) -> u16 {
    (minute.0 + WEEK - start) % WEEK
}

/// The windows of an entry.
fn read(entry: &str) -> Result<Vec<Window>, &'static str> {
    let words: Vec<&str> = entry.split(' ').collect();
    let (days, span) = match words.as_slice() {
        [span] if span.contains(':') => (None, Some(*span)),
        [days] => (Some(*days), None),
        [days, span] => (Some(*days), Some(*span)),
        _ => return Err(GRAMMAR),
    };
    let (start, length) = span.map_or(Ok((0, DAY)), read_span)?;
    let days = days.map_or(Ok((0..7).collect()), read_days)?;
    Ok(days.into_iter().map(|day: u16| Window { start: day * DAY + start, length }).collect())
}

/// One weekday, or all from one to another, past Sunday too.
fn read_days(text: &str) -> Result<Vec<u16>, &'static str> {
    let day = |name: &str| (0..).zip(DAYS).find_map(|(day, known)| (known == name).then_some(day)).ok_or(GRAMMAR);
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (day(first)?, day(last)?),
        None => (day(text)?, day(text)?),
    };
    let count = (last + 7 - first) % 7 + 1;
    Ok((first..first + count).map(|day| day % 7).collect())
}

/// First minute of the day, and how many minutes.
fn read_span(text: &str) -> Result<(u16, u16), &'static str> {
    let (from, to) = text.split_once('-').ok_or(GRAMMAR)?;
    let (from, to) = (read_time(from)?, read_time(to)?);
    match to {
        _ if from == DAY => Err("begins at 24:00: write 00:00, and the day after"),
        to if to == from => Err("begins and ends at the same minute; for whole days leave the times out"),
        to if to > from => Ok((from, to - from)),
        to => Ok((from, DAY - from + to)),
    }
}

/// Minutes since midnight, 24:00 for the end of a day.
fn read_time(text: &str) -> Result<u16, &'static str> {
    let digits = |text: &str| {
        if text.len() == 2 && text.bytes().all(|byte| byte.is_ascii_digit()) { text.parse().ok() } else { None }
    };
    let parts = text.split_once(':').and_then(|(hour, minute)| Some((digits(hour)?, digits(minute)?)));
    match parts {
        Some((hour @ 0..24, minute @ 0..60)) => Ok(hour * 60 + minute),
        Some((24, 0)) => Ok(DAY),
        _ => Err("has a time that is not between 00:00 and 24:00, with two digits each"),
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "tests")]
    use proptest::prelude::*;

    use super::*;

    fn hours(entries: &[&str]) -> Result<Hours, HoursError> {
        Hours::try_from(entries.iter().map(|&entry| entry.to_owned()).collect::<Vec<_>>())
    }

    fn at(day: &str, hour: u32, minute: u32) -> MinuteOfWeek {
        let day = DAYS.iter().position(|known| *known == day).unwrap();
        MinuteOfWeek::new(u32::try_from(day).unwrap(), hour * 60 + minute)
    }

    #[test]
    fn the_first_minute_is_in_the_last_is_not_and_a_night_belongs_to_the_day_on_which_it_begins() {
        let hours = hours(&["mon-fri 20:00-06:00", "sun"]).unwrap();
        for (day, hour, minute, within) in [
            ("mon", 0, 0, false),
            ("mon", 5, 59, false),
            ("mon", 19, 59, false),
            ("mon", 20, 0, true),
            ("tue", 5, 59, true),
            ("tue", 6, 0, false),
            ("fri", 23, 59, true),
            ("sat", 0, 0, true),
            ("sat", 5, 59, true),
            ("sat", 6, 0, false),
            ("sat", 20, 0, false),
            ("sat", 23, 59, false),
            ("sun", 0, 0, true),
            ("sun", 23, 59, true),
        ] {
            assert_eq!(hours.have(at(day, hour, minute)), within, "{day} {hour}:{minute}");
        }
        assert_eq!(hours.next_after(at("wed", 12, 0)), at("wed", 20, 0));
        assert_eq!(hours.next_after(at("sat", 6, 0)), at("sun", 0, 0));
        assert_eq!(hours.next_after(at("mon", 0, 0)), at("mon", 20, 0));
    }

    #[test]
    fn outside_of_them_it_is_said_what_time_it_is_what_is_allowed_and_when_they_begin() {
        let hours = hours(&["22:00-06:00", "sat-sun"]).unwrap();
        let outside = hours.check(WallTime { minute: at("fri", 14, 3), ahead_minutes: 120 }).unwrap_err();
        assert_eq!(
            outside.to_string(),
            "it is fri 14:03 (UTC+02:00) here, and policy.hours is 22:00-06:00, sat-sun: this house says ready for no round and begins no training before fri 22:00"
        );
        hours.check(WallTime { minute: at("sat", 14, 3), ahead_minutes: -210 }).unwrap();
        assert_eq!(WallTime { minute: at("sat", 14, 3), ahead_minutes: -210 }.to_string(), "sat 14:03 (UTC-03:30)");
    }

    #[test]
    fn what_says_no_hours_is_refused_and_named() {
        assert_eq!(hours(&[]), Err(HoursError::Empty));
        for wrong in [
            "",
            " ",
            "22:00",
            "22-06",
            "9:00-17:00",
            "09:00-17:60",
            "09:00-24:01",
            "24:00-06:00",
            "25:00-26:00",
            "08:00-08:00",
            "+9:00-17:00",
            "monday",
            "Mon",
            "mon-",
            "mon-fri-sun",
            "mon fri",
            "20:00-06:00 mon",
            "mon  20:00-06:00",
            "mon 20:00-06:00 sun",
            "mon,tue",
            "möñ",
            "２２:00-06:00",
        ] {
            let refused = hours(&["sat", wrong]).unwrap_err();
            assert!(matches!(&refused, HoursError::Entry { entry, .. } if entry == wrong), "{wrong}: {refused}");
            assert!(refused.to_string().starts_with("policy.hours"), "{refused}");
        }
    }

    /// An entry as somebody would say it: from that day to that day, from that minute on, so many minutes.
    #[derive(Debug, Clone)]
    struct Said {
        days: Option<(usize, usize)>,
        span: Option<(usize, usize)>,
    }

    impl Said {
        fn text(&self) -> String {
            let time = |minute: usize| format!("{:02}:{:02}", minute / 60, minute % 60);
            let days = self.days.map(|(first, last)| {
                if first == last { DAYS[first].to_owned() } else { format!("{}-{}", DAYS[first], DAYS[last]) }
            });
            let span = self.span.map(|(from, to)| format!("{}-{}", time(from), time(to)));
            [days, span].into_iter().flatten().collect::<Vec<_>>().join(" ")
        }

        /// Walks a day at a time and a minute at a time, and marks what it passes.
        fn mark(&self, week: &mut [bool]) {
            let (first, last) = self.days.unwrap_or((0, 6));
            let mut day = first;
            loop {
                let (from, to) = self.span.unwrap_or((0, 1440));
                let (mut today, mut minute) = (day, from);
                loop {
                    week[today * 1440 + minute] = true;
                    minute += 1;
                    if minute == to {
                        break;
                    }
                    if minute == 1440 {
                        (today, minute) = ((today + 1) % 7, 0);
                        if to == 0 {
                            break;
                        }
                    }
                }
                if day == last {
                    break;
                }
                day = (day + 1) % 7;
            }
        }
    }

    fn said() -> impl Strategy<Value = Said> {
        let days = proptest::option::of((0_usize..7, 0_usize..7));
        let span =
            proptest::option::of((0_usize..1440, 0_usize..=1440).prop_filter("some minutes", |(from, to)| from != to));
        (days, span)
            .prop_filter("says something", |(days, span)| days.is_some() || span.is_some())
            .prop_map(|(days, span)| Said { days, span })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        #[test]
        fn every_minute_of_the_week_is_as_a_walk_through_it_finds(said in proptest::collection::vec(said(), 1..4)) {
            let texts: Vec<String> = said.iter().map(Said::text).collect();
            let hours = Hours::try_from(texts.clone()).unwrap();
            let mut week = vec![false; 7 * 1440];
            said.iter().for_each(|said| said.mark(&mut week));
            for (minute, marked) in week.iter().enumerate() {
                let now = MinuteOfWeek::new(0, u32::try_from(minute).unwrap());
                prop_assert_eq!(hours.have(now), *marked, "{} of {:?}", now, &texts);
                if !marked {
                    let wait = (1..).find(|wait| week[(minute + wait) % week.len()]).unwrap();
                    let next = MinuteOfWeek::new(0, u32::try_from((minute + wait) % week.len()).unwrap());
                    prop_assert_eq!(hours.next_after(now), next, "from {} of {:?}", now, &texts);
                }
            }
        }
    }
}
