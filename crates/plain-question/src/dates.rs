//! Times that people name: days, months, years, and spans that end today.
//!
//! A span is half-open. Its ends are SQL; relative ones start from `current_date` (or `now()`, for
//! hours), so that "today" is the database's own. Weeks begin on Monday. "Last week" is the previous
//! calendar week; "the last 7 days" are the seven before today, and today.

use crate::query::Unit;
use crate::words::{Kind, Word, days_in};

/// A span of time: `from` is included, `until` is not. `None` leaves that end open.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Span {
    pub(crate) from: Option<String>,
    pub(crate) until: Option<String>,
}

impl Span {
    fn between(from: String, until: String) -> Self {
        Span {
            from: Some(from),
            until: Some(until),
        }
    }
}

/// The numbers that are read as years, so that others are not taken for one by chance.
const YEARS: std::ops::RangeInclusive<u32> = 1800..=2199;

const MONTHS: [&str; 12] = [
    "january",
    "february",
    "march",
    "april",
    "may",
    "june",
    "july",
    "august",
    "september",
    "october",
    "november",
    "december",
];

const UNITS: [(&str, Unit); 6] = [
    ("hour", Unit::Hour),
    ("day", Unit::Day),
    ("week", Unit::Week),
    ("month", Unit::Month),
    ("quarter", Unit::Quarter),
    ("year", Unit::Year),
];

/// Days with a name of their own, and how many days after today they are.
const NAMED_DAYS: [(&str, i32); 3] = [("today", 0), ("yesterday", -1), ("tomorrow", 1)];

/// Words before a span that mean the whole of it.
const INSIDE: [&str; 6] = ["in", "on", "during", "for", "from", "of"];

/// Reads a unit of time.
pub(crate) fn unit(word: &Word) -> Option<Unit> {
    let found = UNITS.iter().find(|(name, _)| *name == word.stem)?;
    Some(found.1)
}

/// The name of a unit, as `date_trunc` and intervals take it.
pub(crate) fn unit_name(unit: Unit) -> &'static str {
    UNITS
        .iter()
        .find(|(_, other)| *other == unit)
        .map_or("day", |(name, _)| name)
}

/// Reads a span at the beginning of the words, and returns how many words it took.
pub(crate) fn span(words: &[Word]) -> Option<(usize, Span)> {
    bounded(words)
        .or_else(|| ranged(words))
        .or_else(|| rolling(words))
        .or_else(|| ago(words))
        .or_else(|| inside(words))
        .or_else(|| bare(words))
}

fn says(words: &[Word], expected: &[&str]) -> bool {
    words.len() >= expected.len()
        && words
            .iter()
            .zip(expected)
            .all(|(word, expected)| word.lower == *expected && word.kind == Kind::Plain)
}

/// The length, in words, of the first of the phrases that the words begin with.
fn any(words: &[Word], phrases: &[&[&str]]) -> Option<usize> {
    phrases
        .iter()
        .find(|phrase| says(words, phrase))
        .map(|phrase| phrase.len())
}

/// "since March 2024", "before 2024-05-01", "after 2023".
fn bounded(words: &[Word]) -> Option<(usize, Span)> {
    let first = words.first()?;
    let rest = &words[1..];
    let open = |from, until| Some(Span { from, until });
    let (took, point) = match first.lower.as_str() {
        "since" => since_month(rest).or_else(|| period(rest)),
        "before" | "after" | "until" | "till" | "through" => period(rest),
        _ => None,
    }?;
    let span = match first.lower.as_str() {
        "since" => open(point.from, None),
        "after" => open(point.until, None),
        "before" => open(None, point.from),
        _ => open(None, point.until),
    };
    Some((took + 1, span?))
}

/// A month without a year: the last one that has begun.
fn since_month(words: &[Word]) -> Option<(usize, Span)> {
    let month = month(words.first()?)?;
    if words.get(1).and_then(year).is_some() || day_of(words, month).is_some() {
        return None;
    }
    let from = format!(
        "make_date(extract(year FROM current_date)::int \
         - CASE WHEN extract(month FROM current_date) < {month} THEN 1 ELSE 0 END, {month}, 1)"
    );
    Some((
        1,
        Span {
            from: Some(from),
            until: None,
        },
    ))
}

/// "between March 2024 and May 2024", "from 2024-01-01 to 2024-01-31".
fn ranged(words: &[Word]) -> Option<(usize, Span)> {
    let joints: &[&str] = match words.first()?.lower.as_str() {
        "between" => &["and"],
        "from" => &["to", "until", "till", "through"],
        _ => return None,
    };
    let (first, from) = period(&words[1..])?;
    let joint = words.get(1 + first)?;
    let (second, until) = period(&words[2 + first..])?;
    let is_joined = joints.contains(&joint.lower.as_str());
    is_joined.then(|| {
        let span = Span {
            from: from.from,
            until: until.until,
        };
        (2 + first + second, span)
    })
}

/// "in the last 7 days", "past month".
fn rolling(words: &[Word]) -> Option<(usize, Span)> {
    let before = any(
        words,
        &[
            &["in", "the"],
            &["during", "the"],
            &["within", "the"],
            &["over", "the"],
            &["from", "the"],
            &["of", "the"],
            &["for", "the"],
            &["in"],
            &["the"],
        ],
    )
    .unwrap_or(0);
    let which = words.get(before)?;
    let is_past = which.lower == "past";
    if !is_past && which.lower != "last" && which.lower != "previous" {
        return None;
    }
    let (took, count) = match words.get(before + 1)? {
        word if word.kind == Kind::Number => (2, word.lower.parse::<u32>().ok()?),
        // "The last week" without a number is the previous calendar week.
        _ if is_past => (1, 1),
        _ => return None,
    };
    let unit = unit(words.get(before + took)?)?;
    let span = if unit == Unit::Hour {
        Span::between(back_from("now()", count, unit)?, "now()".to_owned())
    } else {
        Span::between(back_from("current_date", count, unit)?, day_after(0))
    };
    Some((before + took + 1, span))
}

/// The SQL for `count` units before a moment; `None` unless there are 1 to 10,000 (of months, for quarters).
fn back_from(moment: &str, count: u32, unit: Unit) -> Option<String> {
    let name = unit_name(unit);
    let (count, name) = if unit == Unit::Quarter {
        (count.checked_mul(3)?, "month")
    } else {
        (count, name)
    };
    (1..=10_000)
        .contains(&count)
        .then(|| format!("{moment} - interval '{count} {name}'"))
}

fn day_after(days: i32) -> String {
    match days + 1 {
        0 => "current_date".to_owned(),
        after if after < 0 => format!("current_date - {}", -after),
        after => format!("current_date + {after}"),
    }
}

/// "more than 30 days ago", "older than 2 weeks".
fn ago(words: &[Word]) -> Option<(usize, Span)> {
    let (before, is_ago) = match any(words, &[&["more", "than"]]) {
        Some(length) => (length, true),
        None => (any(words, &[&["older", "than"]])?, false),
    };
    let count = words.get(before).filter(|word| word.kind == Kind::Number)?;
    let unit = unit(words.get(before + 1)?).filter(|unit| *unit != Unit::Hour)?;
    let until = back_from("current_date", count.lower.parse().ok()?, unit)?;
    let has_ago = says(&words[before + 2..], &["ago"]);
    let span = Span {
        from: None,
        until: Some(until),
    };
    (has_ago == is_ago).then_some((before + 2 + usize::from(has_ago), span))
}

/// "in the first quarter of 2024"
fn told_quarter(words: &[Word]) -> Option<(usize, Span)> {
    const QUARTERS: [&str; 4] = ["first", "second", "third", "fourth"];
    let which = QUARTERS.iter().position(|name| says(words, &[name]))?;
    let quarter = 1 + u32::try_from(which).ok()?;
    let of = any(&words[1..], &[&["quarter", "of"], &["quarter"]])?;
    let year = year(words.get(1 + of)?)?;
    Some((2 + of, months(year, 3 * quarter - 2, 3)))
}

/// "in 2024", "on 2024-05-01", "for today", "during March 2024", "of the year 2024".
fn inside(words: &[Word]) -> Option<(usize, Span)> {
    let first = words.first()?;
    if !INSIDE.contains(&first.lower.as_str()) {
        return None;
    }
    let the = any(&words[1..], &[&["the", "year"], &["year"], &["the"]]).unwrap_or(0);
    let rest = &words[1 + the..];
    // "In the last year" may mean the previous calendar year, or the twelve months before today.
    if the > 0 && says(rest, &["last"]) {
        return None;
    }
    let (took, span) = told_quarter(rest).or_else(|| period(rest))?;
    Some((1 + the + took, span))
}

/// A span without a preposition: "last week", "today", "March 2024".
fn bare(words: &[Word]) -> Option<(usize, Span)> {
    let is_number = words.first()?.kind == Kind::Number;
    if is_number { None } else { period(words) }
}

/// Reads a day, a month, a quarter or a year.
fn period(words: &[Word]) -> Option<(usize, Span)> {
    let first = words.first()?;
    if let Some((_, days)) = NAMED_DAYS.iter().find(|(name, _)| *name == first.lower) {
        return Some((1, Span::between(day_after(days - 1), day_after(*days))));
    }
    calendar(words).or_else(|| dated(words))
}

/// "this month", "last year", "next week".
fn calendar(words: &[Word]) -> Option<(usize, Span)> {
    let the = usize::from(words.first()?.lower == "the");
    let steps = match words.get(the)?.lower.as_str() {
        "this" | "current" => 0,
        "last" | "previous" => -1,
        "next" => 1,
        _ => return None,
    };
    let unit = unit(words.get(the + 1)?).filter(|unit| *unit != Unit::Hour)?;
    let name = unit_name(unit);
    let start = format!("date_trunc('{name}', current_date)");
    let (step, name) = match unit {
        Unit::Quarter => (3, "month"),
        _ => (1, name),
    };
    let at = |steps: i32| match steps * step {
        0 => start.clone(),
        after if after < 0 => format!("{start} - interval '{} {name}'", -after),
        after => format!("{start} + interval '{after} {name}'"),
    };
    Some((the + 2, Span::between(at(steps), at(steps + 1))))
}

/// Calendar dates and periods: "2024-05-01", "May 2024", "May 3, 2024", "3 May 2024", "Q2 2024", "2024".
fn dated(words: &[Word]) -> Option<(usize, Span)> {
    let first = words.first()?;
    if first.kind == Kind::Day {
        let day = format!("DATE '{}'", first.lower);
        let after = format!("{day} + 1");
        return Some((1, Span::between(day, after)));
    }
    if let Some(year) = year(first) {
        return Some((1, months(year, 1, 12)));
    }
    if let Some(quarter) = quarter(first) {
        let year = year(words.get(1)?)?;
        return Some((2, months(year, 3 * quarter - 2, 3)));
    }
    if let Some(month) = month(first) {
        if let Some(found) = day_of(words, month) {
            return Some(found);
        }
        let year = year(words.get(1)?)?;
        return Some((2, months(year, month, 1)));
    }
    let month = month(words.get(1)?)?;
    let year = year(words.get(2)?)?;
    Some((3, day(year, month, first)?))
}

/// "May 3, 2024": the words begin with the month.
fn day_of(words: &[Word], month: u32) -> Option<(usize, Span)> {
    let comma = usize::from(words.get(2)?.lower == ",");
    let year = year(words.get(2 + comma)?)?;
    Some((3 + comma, day(year, month, words.get(1)?)?))
}

fn day(year: u32, month: u32, word: &Word) -> Option<Span> {
    let digits = ["st", "nd", "rd", "th"]
        .iter()
        .find_map(|ending| word.lower.strip_suffix(ending))
        .unwrap_or(&word.lower);
    let day: u32 = digits.parse().ok()?;
    let exists = (1..=days_in(year, month)).contains(&day);
    let date = format!("DATE '{year:04}-{month:02}-{day:02}'");
    let after = format!("{date} + 1");
    exists.then(|| Span::between(date, after))
}

fn months(year: u32, month: u32, count: u32) -> Span {
    let end = month - 1 + count;
    let (until_year, until_month) = (year + end / 12, end % 12 + 1);
    Span::between(
        format!("DATE '{year:04}-{month:02}-01'"),
        format!("DATE '{until_year:04}-{until_month:02}-01'"),
    )
}

fn year(word: &Word) -> Option<u32> {
    let is_year = word.kind == Kind::Number && word.lower.len() == 4;
    let year = word.lower.parse().ok()?;
    (is_year && YEARS.contains(&year)).then_some(year)
}

fn quarter(word: &Word) -> Option<u32> {
    let digit = word.lower.strip_prefix('q')?;
    let quarter = digit.parse().ok()?;
    (digit.len() == 1 && (1..=4).contains(&quarter)).then_some(quarter)
}

/// Reads a month's name, or its first three letters.
fn month(word: &Word) -> Option<u32> {
    let is_it = |name: &str| word.lower == name || word.lower == name[..3];
    let index = MONTHS.iter().position(|name| is_it(name))?;
    u32::try_from(index + 1).ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use crate::words::read;

    #[test]
    fn spans_are_half_open_and_take_all_their_words() {
        let date = |text: &str| format!("DATE '{text}'");
        for (text, from, until) in [
            ("in 2024", &*date("2024-01-01"), &*date("2025-01-01")),
            (
                "during December 2024",
                &date("2024-12-01"),
                &date("2025-01-01"),
            ),
            ("in Q4 2024", &date("2024-10-01"), &date("2025-01-01")),
            (
                "on May 3, 2024",
                &date("2024-05-03"),
                "DATE '2024-05-03' + 1",
            ),
            (
                "on 3 May 2024",
                &date("2024-05-03"),
                "DATE '2024-05-03' + 1",
            ),
            (
                "in the second quarter of 2024",
                &date("2024-04-01"),
                &date("2024-07-01"),
            ),
            ("since March 2024", &date("2024-03-01"), ""),
            ("before 2024-05-01", "", &date("2024-05-01")),
            ("after 2023", &date("2024-01-01"), ""),
            (
                "between Jan 2024 and Mar 2024",
                &date("2024-01-01"),
                &date("2024-04-01"),
            ),
            ("today", "current_date", "current_date + 1"),
            ("yesterday", "current_date - 1", "current_date"),
            (
                "in the last 7 days",
                "current_date - interval '7 day'",
                "current_date + 1",
            ),
            (
                "last week",
                "date_trunc('week', current_date) - interval '1 week'",
                "date_trunc('week', current_date)",
            ),
            (
                "more than 30 days ago",
                "",
                "current_date - interval '30 day'",
            ),
        ] {
            let words = read(text);
            let (took, span) = super::span(&words).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(took, words.len(), "{text}");
            assert_eq!(span.from.as_deref().unwrap_or(""), from, "{text}");
            assert_eq!(span.until.as_deref().unwrap_or(""), until, "{text}");
        }
    }

    #[test]
    fn what_may_be_two_times_is_none() {
        for text in [
            "2024",
            "in March",
            "on 3/4/2024",
            "on 2024-02-30",
            "on February 30, 2024",
            "last spring",
            "in the last year",
        ] {
            assert!(super::span(&read(text)).is_none(), "{text}");
        }
    }
}
