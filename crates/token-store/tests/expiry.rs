//! The grammar of expiries, as a table and as a property.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;
use time::{Duration, OffsetDateTime, macros::datetime};
use token_store::{Expiry, ExpiryError, UNITS};

const MADE: OffsetDateTime = datetime!(2024-10-30 10:15:30 UTC);

#[test]
fn every_documented_form_ends_when_it_says() {
    let table = [
        ("30d", Duration::days(30)),
        ("1y", Duration::days(365)),
        ("2w", Duration::days(14)),
        ("12h", Duration::hours(12)),
        ("90d", Duration::days(90)),
        ("180d", Duration::days(180)),
        ("1h", Duration::hours(1)),
    ];
    for (text, length) in table {
        let end = text.parse::<Expiry>().unwrap().end(MADE).unwrap();
        assert_eq!(end, Some(MADE + length), "{text}");
    }
    assert_eq!("never".parse::<Expiry>().unwrap().end(MADE), Ok(None));
}

#[test]
fn everything_else_is_refused_with_a_message_that_names_the_fix() {
    let table = [
        ("", "90d"),
        ("d", "90d"),
        ("30", "90d"),
        ("0d", "is zero"),
        ("00h", "is zero"),
        ("-5d", "whole number"),
        ("+5d", "whole number"),
        ("1.5d", "whole number"),
        ("1,5d", "whole number"),
        ("5d3h", "whole number"),
        ("3x0d", "whole number"),
        ("1d ", "whole number"),
        (" 1d", "whole number"),
        ("1 d", "whole number"),
        ("1D", "d (days)"),
        ("Never", "or never"),
        ("1e3d", "whole number"),
        ("0x10d", "whole number"),
        ("٣d", "whole number"),
        ("3ü", "whole number"),
        ("\u{dc}\u{90}", "whole number"),
        ("6m", "use 180d"),
        ("12m", "use 360d"),
        ("0m", "use 30d"),
        ("7200s", "use 2h"),
        ("2q", "use 180d"),
        ("99999999999y", "too far"),
        ("99999999999999999999999999h", "too far"),
        ("30d\u{1b}[31m", "\\u{1b}"),
    ];
    for (text, fix) in table {
        let message = text.parse::<Expiry>().unwrap_err().to_string();
        assert!(message.contains(fix), "{text:?}: {message}");
        assert!(!message.contains('\u{1b}'), "{text:?} reaches the terminal");
    }
}

#[test]
fn an_end_after_the_year_9999_is_refused() {
    for text in ["8000y", "4294967295y", "4294967295w"] {
        let error = text.parse::<Expiry>().unwrap().end(MADE).unwrap_err();
        assert!(matches!(error, ExpiryError::TooFar { .. }), "{text}");
    }
}

#[test]
fn the_help_is_made_from_the_table() {
    let help = Expiry::accepted();
    for unit in &UNITS {
        assert!(
            help.contains(&format!("{} ({})", unit.letter, unit.name)),
            "{help}"
        );
    }
}

proptest! {
    #[test]
    fn what_is_printed_is_parsed_back(count in 1_u32.., unit in 0..UNITS.len()) {
        let text = format!("{count}{}", UNITS[unit].letter);
        let expiry: Expiry = text.parse().unwrap();
        prop_assert_eq!(expiry.to_string(), text);
        prop_assert_eq!(expiry.to_string().parse::<Expiry>().unwrap(), expiry);
    }

    #[test]
    fn no_text_panics(text in "\\PC{0,12}|[0-9]{0,30}[a-zé]?|[^a]{0,6}") {
        if let Ok(expiry) = text.parse::<Expiry>() {
            let _ = expiry.end(MADE);
        }
    }
}
