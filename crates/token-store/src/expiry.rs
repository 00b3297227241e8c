//! How long a token lives, as people write it: `90d`, `12h`, `never`.

use std::{fmt, num::NonZeroU32, str::FromStr};

use time::{Duration, OffsetDateTime, UtcOffset};

/// A unit of time that an expiry may be written in.
#[derive(Debug, PartialEq, Eq)]
pub struct Unit {
    /// The letter after the number.
    pub letter: char,
    /// The name, in the plural.
    pub name: &'static str,
    /// The length in hours.
    pub hours: u32,
}

/// All units. The grammar, the help and the messages are generated from this table.
pub static UNITS: [Unit; 4] = [
    Unit {
        letter: 'h',
        name: "hours",
        hours: 1,
    },
    Unit {
        letter: 'd',
        name: "days",
        hours: 24,
    },
    Unit {
        letter: 'w',
        name: "weeks",
        hours: 7 * 24,
    },
    Unit {
        letter: 'y',
        name: "years of 365 days",
        hours: 365 * 24,
    },
];

/// Letters that people try, and what to write instead: `180d` for `6m`.
const NOT_UNITS: [(char, &str, u32, char); 3] = [
    ('m', "months have no fixed length", 30, 'd'),
    ('s', "seconds are too short", 1, 'h'),
    ('q', "quarters have no fixed length", 90, 'd'),
];

/// How long a token lives.
///
/// ```
/// use time::{Duration, OffsetDateTime};
/// use token_store::Expiry;
///
/// let made = OffsetDateTime::UNIX_EPOCH;
/// assert_eq!("90d".parse::<Expiry>()?.end(made)?, Some(made + Duration::days(90)));
/// assert_eq!("never".parse::<Expiry>()?.end(made)?, None);
/// assert!("6m".parse::<Expiry>().unwrap_err().to_string().contains("180d"));
/// # Ok::<(), token_store::ExpiryError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// Until it is removed.
    Never,
    /// A number of units after its creation.
    After(NonZeroU32, &'static Unit),
}

/// Why a text is not an expiry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ExpiryError {
    /// It does not have the form of an expiry.
    #[error("the expiry \"{text}\" is not understood: {accepted}", accepted = Expiry::accepted())]
    Form {
        /// What was given, escaped and cut.
        text: String,
    },
    /// The token would expire at once.
    #[error("the expiry \"{text}\" is zero: {accepted}", accepted = Expiry::accepted())]
    Zero {
        /// What was given, escaped and cut.
        text: String,
    },
    /// Its unit is not supported.
    #[error("the expiry \"{text}\" is refused: {reason}, use {instead}")]
    Unit {
        /// What was given.
        text: String,
        /// Why this unit is not supported.
        reason: &'static str,
        /// The same time in a supported unit.
        instead: String,
    },
    /// The token would expire after the year 9999.
    #[error(
        "the expiry \"{text}\" is too far away: use a shorter one, such as 90d or 1y, or never"
    )]
    TooFar {
        /// What was given, escaped and cut.
        text: String,
    },
}

impl Expiry {
    /// Says what is accepted, for help texts and messages.
    #[must_use]
    pub fn accepted() -> String {
        let units: Vec<String> = UNITS
            .iter()
            .map(|unit| format!("{} ({})", unit.letter, unit.name))
            .collect();
        format!(
            "write a whole number and one of {}, such as 12h, 90d, 2w or 1y; or never",
            units.join(", ")
        )
    }

    /// Computes when a token made at `created_at` expires, in UTC.
    ///
    /// # Errors
    /// [`ExpiryError::TooFar`]: the end, in UTC, is after the year 9999.
    pub fn end(self, created_at: OffsetDateTime) -> Result<Option<OffsetDateTime>, ExpiryError> {
        let Self::After(count, unit) = self else {
            return Ok(None);
        };
        let hours = i64::from(count.get()) * i64::from(unit.hours);
        created_at
            .checked_to_offset(UtcOffset::UTC)
            .and_then(|utc| utc.checked_add(Duration::hours(hours)))
            .filter(|end| end.year() <= 9999)
            .map(Some)
            .ok_or_else(|| ExpiryError::TooFar {
                text: self.to_string(),
            })
    }
}

impl FromStr for Expiry {
    type Err = ExpiryError;

    fn from_str(text: &str) -> Result<Self, ExpiryError> {
        if text == "never" {
            return Ok(Self::Never);
        }
        let shown = shown(text);
        let digits = text.trim_end_matches(|last: char| !last.is_ascii_digit());
        let mut rest = text[digits.len()..].chars();
        let (Some(letter), None) = (rest.next(), rest.next()) else {
            return Err(ExpiryError::Form { text: shown });
        };
        if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_digit()) {
            return Err(ExpiryError::Form { text: shown });
        }
        let count = digits.parse::<u32>().ok();
        if let Some(error) = no_unit(letter, count, &shown) {
            return Err(error);
        }
        let Some(unit) = UNITS.iter().find(|unit| unit.letter == letter) else {
            return Err(ExpiryError::Form { text: shown });
        };
        let count = count.ok_or_else(|| ExpiryError::TooFar {
            text: shown.clone(),
        })?;
        let count = NonZeroU32::new(count).ok_or(ExpiryError::Zero { text: shown })?;
        Ok(Self::After(count, unit))
    }
}

impl fmt::Display for Expiry {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Never => out.write_str("never"),
            Self::After(count, unit) => write!(out, "{count}{}", unit.letter),
        }
    }
}

fn no_unit(letter: char, count: Option<u32>, shown: &str) -> Option<ExpiryError> {
    let (_, reason, each, unit) = NOT_UNITS.iter().find(|(tried, ..)| *tried == letter)?;
    let count = count.filter(|count| *count > 0).unwrap_or(1);
    let count = if letter == 's' {
        count.div_ceil(3600)
    } else {
        count.saturating_mul(*each)
    };
    Some(ExpiryError::Unit {
        text: shown.to_owned(),
        reason,
        instead: format!("{count}{unit}"),
    })
}

/// Returns at most 20 characters of the input, with control characters escaped.
fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(20).collect();
    if shown.len() < text.len() {
        shown.push_str("...");
    }
    shown.escape_debug().to_string()
}
