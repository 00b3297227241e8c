//! Values that PostgreSQL sends in binary form, and the text that it would have sent.
//!
//! Only of types whose text costs PostgreSQL more than all else about a value, and hangs on nothing
//! but how it writes dates (`docs/decisions/0022-forms.md`). The forms are those of the types' `_send` functions.

use std::{io, sync::Arc};

use tokio_postgres::{SimpleQueryMessage, types::Type};

use super::{Column, malformed};

/// How a connection's dates and times are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DateStyle {
    /// As ISO 8601 has them.
    pub(crate) is_iso: bool,
    /// In Coordinated Universal Time.
    pub(crate) is_utc: bool,
}

/// Names of the time zone in which nothing is added to UTC.
const UTC: [&str; 4] = ["UTC", "Etc/UTC", "GMT", "Etc/GMT"];

const DATE_STYLE: &str = "DateStyle";
const TIME_ZONE: &str = "TimeZone";

impl DateStyle {
    /// Asks how they are written now.
    pub(crate) const QUESTION: &str =
        "SELECT pg_catalog.current_setting('DateStyle'), pg_catalog.current_setting('TimeZone')";

    /// Gives the settings that were asked for.
    pub(crate) fn read(answer: &[SimpleQueryMessage]) -> Vec<(&'static str, &str)> {
        let rows = answer.iter().filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => Some(row),
            _ => None,
        });
        let settings = rows.flat_map(|row| [(DATE_STYLE, row.get(0)), (TIME_ZONE, row.get(1))]);
        let said = settings.filter_map(|(setting, value)| Some((setting, value?)));
        said.collect()
    }

    /// Heeds what PostgreSQL says of a setting; says whether it is another style then.
    pub(crate) fn heed(&mut self, setting: &str, value: &str) -> bool {
        let before = *self;
        match setting {
            DATE_STYLE => self.is_iso = value.starts_with("ISO"),
            TIME_ZONE => self.is_utc = UTC.contains(&value),
            _ => {}
        }
        *self != before
    }
}

/// How the values of a column are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Form {
    /// As the type's own text.
    Text,
    /// 16 bytes.
    Uuid,
    /// Days since 2000, 4 bytes.
    Date,
    /// Microseconds since 2000, 8 bytes.
    Timestamp,
    /// The same, in UTC.
    TimestampInUtc,
}

/// In microseconds.
const A_SECOND: i64 = 1_000_000;
const A_DAY: i64 = 86_400 * A_SECOND;

impl Form {
    /// The forms to ask for, unless all are texts.
    pub(crate) fn of(columns: &[Column], style: DateStyle) -> Option<Arc<[Form]>> {
        let forms = columns
            .iter()
            .map(|column| match Type::from_oid(column.type_oid) {
                Some(Type::UUID) => Form::Uuid,
                Some(Type::DATE) if style.is_iso => Form::Date,
                Some(Type::TIMESTAMP) if style.is_iso => Form::Timestamp,
                Some(Type::TIMESTAMPTZ) if style.is_iso && style.is_utc => Form::TimestampInUtc,
                _ => Form::Text,
            });
        let forms: Arc<[Form]> = forms.collect();
        forms
            .iter()
            .any(|form| *form != Form::Text)
            .then_some(forms)
    }

    /// The format's number in the protocol.
    pub(super) fn code(self) -> i16 {
        i16::from(self != Form::Text)
    }

    /// Writes a value as text. One of another length than its form's is an error.
    pub(super) fn write(self, value: &[u8], out: &mut Vec<u8>) -> io::Result<()> {
        match self {
            Form::Text => out.extend_from_slice(value),
            Form::Uuid => push_uuid(out, value.try_into().map_err(|_| malformed())?),
            Form::Date => {
                let days = i32::from_be_bytes(value.try_into().map_err(|_| malformed())?);
                push_date(out, days);
            }
            Form::Timestamp | Form::TimestampInUtc => {
                let micros = i64::from_be_bytes(value.try_into().map_err(|_| malformed())?);
                let zone: &[u8] = match self {
                    Form::TimestampInUtc => b"+00",
                    _ => b"",
                };
                push_timestamp(out, micros, zone);
            }
        }
        Ok(())
    }
}

fn push_uuid(out: &mut Vec<u8>, value: [u8; 16]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut text = [b'-'; 36];
    let mut at = 0;
    for byte in value {
        if matches!(at, 8 | 13 | 18 | 23) {
            at += 1;
        }
        text[at] = DIGITS[usize::from(byte >> 4)];
        text[at + 1] = DIGITS[usize::from(byte & 0xf)];
        at += 2;
    }
    out.extend_from_slice(&text);
}

fn push_date(out: &mut Vec<u8>, days: i32) {
    match days {
        i32::MAX => out.extend_from_slice(b"infinity"),
        i32::MIN => out.extend_from_slice(b"-infinity"),
        _ => {
            let mut text = *b"0000-00-00";
            let day = Day::of(days.into());
            day.write(&mut text, out);
            out.extend_from_slice(&text);
            day.push_era(out);
        }
    }
}

fn push_timestamp(out: &mut Vec<u8>, micros: i64, zone: &[u8]) {
    match micros {
        i64::MAX => return out.extend_from_slice(b"infinity"),
        i64::MIN => return out.extend_from_slice(b"-infinity"),
        _ => {}
    }
    let (days, micros) = (micros.div_euclid(A_DAY), micros.rem_euclid(A_DAY));
    let [seconds, fraction] = [micros / A_SECOND, micros % A_SECOND].map(small);
    let mut text = *b"0000-00-00 00:00:00.000000";
    let day = Day::of(days);
    day.write(&mut text, out);
    for (at, number) in [
        (11, seconds / 3_600),
        (14, seconds / 60 % 60),
        (17, seconds % 60),
        (20, fraction / 10_000),
        (22, fraction / 100 % 100),
        (24, fraction % 100),
    ] {
        [text[at], text[at + 1]] = two_digits(number);
    }
    let end = match fraction {
        0 => text.len() - ".000000".len(),
        _ => text
            .iter()
            .rposition(|digit| *digit != b'0')
            .map_or(0, |last| last + 1),
    };
    out.extend_from_slice(&text[..end]);
    out.extend_from_slice(zone);
    day.push_era(out);
}

/// A day of the Gregorian calendar; the year before 1 is 0.
struct Day {
    year: i64,
    month: u32,
    day: u32,
}

impl Day {
    /// Counts from 2000-01-01 on. Years begin in March here, so that a leap day is the last of its year.
    fn of(days: i64) -> Self {
        const OF_400_YEARS: i64 = 146_097;
        const FROM_MARCH_OF_0: i64 = 730_425;
        let days = days + FROM_MARCH_OF_0;
        let centuries = days.div_euclid(OF_400_YEARS);
        let day = small(days.rem_euclid(OF_400_YEARS));
        let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
        let day = day - (365 * year + year / 4 - year / 100);
        let month = (5 * day + 2) / 153;
        let is_next_year = month >= 10;
        Day {
            year: centuries * 400 + i64::from(year) + i64::from(is_next_year),
            month: if is_next_year { month - 9 } else { month + 3 },
            day: day - (153 * month + 2) / 5 + 1,
        }
    }

    /// Writes it at the beginning of a text, and what a year has before its last four digits before that.
    fn write(&self, text: &mut [u8], before: &mut Vec<u8>) {
        let year = if self.year > 0 {
            self.year
        } else {
            1 - self.year
        };
        if year > 9_999 {
            before.extend_from_slice((year / 10_000).to_string().as_bytes());
        }
        let year = small(year % 10_000);
        for (at, number) in [
            (0, year / 100),
            (2, year % 100),
            (5, self.month),
            (8, self.day),
        ] {
            [text[at], text[at + 1]] = two_digits(number);
        }
    }

    fn push_era(&self, out: &mut Vec<u8>) {
        if self.year <= 0 {
            out.extend_from_slice(b" BC");
        }
    }
}

/// Makes a number that is not negative, and no longer than a day, shorter.
fn small(number: i64) -> u32 {
    u32::try_from(number).unwrap_or_default()
}

/// Writes a number below 100.
fn two_digits(number: u32) -> [u8; 2] {
    [number / 10, number % 10].map(|digit| b'0' | (digit & 0xf) as u8)
}
