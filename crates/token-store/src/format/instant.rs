//! Times in the file: RFC 3339 with an offset, held in UTC.

use time::{
    Date, Month, OffsetDateTime, PrimitiveDateTime, Time, UtcOffset,
    format_description::well_known::Rfc3339, macros::datetime,
};

use super::Problem;

/// Why a text is not a moment in time.
pub(crate) enum NoInstant {
    Malformed,
    Naive,
}

impl NoInstant {
    /// Returns the problem for the field of this name.
    pub(super) fn of(self, field: &'static str) -> Problem {
        match self {
            Self::Malformed => Problem::Time(field),
            Self::Naive => Problem::NaiveTime(field),
        }
    }
}

/// The years that RFC 3339 can express.
const YEARS: std::ops::RangeInclusive<i32> = 0..=9999;

/// The first and the last moment that can be written.
const FIRST: OffsetDateTime = datetime!(0000-01-01 0:00 UTC);
const LAST: OffsetDateTime = datetime!(9999-12-31 23:59:59 UTC);

/// Converts a moment to UTC; `None` if its year there cannot be written.
pub(crate) fn in_utc(instant: OffsetDateTime) -> Option<OffsetDateTime> {
    let utc = instant.checked_to_offset(UtcOffset::UTC);
    utc.filter(|utc| YEARS.contains(&utc.year()))
}

pub(crate) fn parse(text: &str) -> Result<OffsetDateTime, NoInstant> {
    if let Some(instant) = whole_seconds(text) {
        return Ok(instant);
    }
    match OffsetDateTime::parse(text, &Rfc3339) {
        Ok(instant) => in_utc(instant).ok_or(NoInstant::Malformed),
        Err(_) if OffsetDateTime::parse(&format!("{text}Z"), &Rfc3339).is_ok() => {
            Err(NoInstant::Naive)
        }
        Err(_) => Err(NoInstant::Malformed),
    }
}

/// Writes a moment as [`parse`] reads it, `2025-10-30T10:15:30Z`. One that cannot be written becomes the nearest that
/// can.
pub(crate) fn write(instant: OffsetDateTime) -> String {
    let nearest = || if instant < FIRST { FIRST } else { LAST };
    let instant = in_utc(instant).unwrap_or_else(nearest);
    let (year, month, day) = instant.to_calendar_date();
    let (hour, minute, second, nanosecond) = instant.to_hms_nano();
    if nanosecond == 0 {
        let month = u8::from(month);
        return format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z");
    }
    instant
        .format(&Rfc3339)
        .expect("it is in UTC and in the years 0 to 9999")
}

/// Reads the one form that is written, `2025-10-30T10:15:30Z`, some 20 times faster than the general parser.
pub(super) fn whole_seconds(text: &str) -> Option<OffsetDateTime> {
    let text: &[u8; 20] = text.as_bytes().try_into().ok()?;
    let number = |from: usize, to: usize| {
        text[from..to].iter().try_fold(0_u16, |sum, digit| {
            digit
                .is_ascii_digit()
                .then(|| sum * 10 + u16::from(digit - b'0'))
        })
    };
    let pair = |from: usize| number(from, from + 2).and_then(|pair| u8::try_from(pair).ok());
    let marks = [
        (4, b'-'),
        (7, b'-'),
        (10, b'T'),
        (13, b':'),
        (16, b':'),
        (19, b'Z'),
    ];
    if marks.iter().any(|(place, mark)| text[*place] != *mark) {
        return None;
    }
    let month = Month::try_from(pair(5)?).ok()?;
    let date = Date::from_calendar_date(i32::from(number(0, 4)?), month, pair(8)?).ok()?;
    let time = Time::from_hms(pair(11)?, pair(14)?, pair(17)?).ok()?;
    Some(PrimitiveDateTime::new(date, time).assume_utc())
}
