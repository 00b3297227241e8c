//! Times that the file cannot hold, and times that are not in UTC.
#![allow(clippy::unwrap_used)]

mod common;

use common::{NOW, add, secret};
use time::{OffsetDateTime, macros::datetime};
use token_store::{
    DraftError, EditError, Expiry, ExpiryError, NewToken, Previous, Token, TokenFile, TokenId,
    TokenSet, Usage, UsageLog,
};

/// These are before the year 0 or after 9999, in UTC or in their own offset.
const NOT_HELD: [OffsetDateTime; 5] = [
    datetime!(9999-12-31 23:59:59 -12:00),
    datetime!(9999-12-31 23:59:59 -1:00),
    datetime!(0000-01-01 0:00 +05:00),
    datetime!(-0002-05-05 5:05 UTC),
    datetime!(-9999-01-01 0:00 +12:00),
];

/// The same times with an offset other than UTC, one of which has seconds.
const HELD: [(OffsetDateTime, OffsetDateTime); 3] = [
    (
        datetime!(2026-01-02 04:05:07 +01:02:03),
        datetime!(2026-01-02 03:03:04 UTC),
    ),
    (
        datetime!(-0001-12-31 23:00:00 -2:00),
        datetime!(0000-01-01 1:00 UTC),
    ),
    (
        datetime!(9999-12-31 23:59:59 +12:00),
        datetime!(9999-12-31 11:59:59 UTC),
    ),
];

fn file() -> (tempfile::TempDir, TokenFile) {
    let folder = tempfile::tempdir().unwrap();
    let file = TokenFile::new(folder.path().join("tokens.yaml"));
    (folder, file)
}

fn refused_field<T: std::fmt::Debug>(outcome: Result<T, EditError>) -> &'static str {
    let error = outcome.unwrap_err();
    assert!(error.to_string().contains("years 0 to 9999"), "{error}");
    match error {
        EditError::Draft(DraftError::Time { field, .. }) => field,
        other => panic!("{other}"),
    }
}

#[test]
fn a_time_that_the_file_cannot_hold_is_refused_wherever_it_is_given() {
    let (_folder, file) = file();
    let id = add(&file, 1);
    let before = file.load().unwrap();
    for time in NOT_HELD {
        let new = |expires_at| NewToken {
            expires_at,
            ..NewToken::default()
        };
        let created = file.edit(|draft| Ok(draft.create(&secret(2), new(Some(time)), NOW)?));
        assert_eq!(refused_field(created), "expires_at", "{time:?}");
        let created = file.edit(|draft| Ok(draft.create(&secret(2), new(None), time)?));
        assert_eq!(refused_field(created), "created_at", "{time:?}");
        let rotated = file.edit(|draft| Ok(draft.rotate(&id, &secret(2), Some(time))?));
        assert_eq!(refused_field(rotated), "previous.until", "{time:?}");
        let token = Token::new(TokenId::numbered(2), secret(2).hash(), time);
        let inserted = file.edit(|draft| Ok(draft.insert(token)?));
        assert_eq!(refused_field(inserted), "created_at", "{time:?}");
        let changed = file.edit(|draft| Ok(draft.change(&id, |token| token.created_at = time)));
        assert_eq!(refused_field(changed), "created_at", "{time:?}");
        let changed = file.edit(|draft| {
            Ok(draft.change(&id, |token| {
                token.previous = Some(Box::new(Previous {
                    hash: secret(2).hash(),
                    until: time,
                }));
            }))
        });
        assert_eq!(refused_field(changed), "previous.until", "{time:?}");
    }
    assert_eq!(file.load().unwrap().identity, before.identity);
}

#[test]
fn times_are_kept_in_utc() {
    for (given, kept) in HELD {
        let (_folder, file) = file();
        let new = NewToken {
            expires_at: Some(given),
            ..NewToken::default()
        };
        file.edit(|draft| {
            let token = draft.create(&secret(1), new, given)?;
            draft.insert(Token::new(TokenId::numbered(1), secret(2).hash(), given))?;
            draft.rotate(&token.id, &secret(3), Some(given))?;
            let changed = draft.change(&token.id, |token| token.created_at = given);
            assert!(changed.unwrap().created_at.offset().is_utc());
            Ok::<_, EditError>(())
        })
        .unwrap();
        for token in file.load().unwrap().set.iter() {
            assert_eq!(token.created_at, kept, "{given:?}");
            assert!(token.expires_at.is_none_or(|end| end == kept), "{given:?}");
            let until = token.previous.as_ref().map(|previous| previous.until);
            assert!(until.is_none_or(|until| until == kept), "{given:?}");
        }
    }
}

#[test]
fn where_nothing_can_be_refused_the_nearest_time_is_written() {
    let written = NOT_HELD.map(|at| {
        let set =
            TokenSet::new(vec![Token::new(TokenId::numbered(1), secret(1).hash(), at)]).unwrap();
        let set = TokenSet::parse(set.to_yaml().as_bytes()).unwrap();
        let usage = Usage {
            at,
            address: None,
            client: String::new(),
            calls: 1,
            rows: 1,
        };
        let text = UsageLog([(TokenId::numbered(1), usage)].into()).to_text();
        let used = UsageLog::parse(&text).0[&TokenId::numbered(1)].at;
        assert_eq!(set.iter().next().unwrap().created_at, used);
        used
    });
    let (first, last) = (
        datetime!(0000-01-01 0:00 UTC),
        datetime!(9999-12-31 23:59:59 UTC),
    );
    assert_eq!(written, [last, last, first, first, first]);
}

#[test]
fn an_end_is_too_far_when_it_is_after_the_year_9999_in_utc() {
    let expiry: Expiry = "12h".parse().unwrap();
    for made in [
        datetime!(9999-12-31 23:59:59 -12:00),
        datetime!(9999-12-31 10:00:00 -12:00),
        datetime!(9999-12-31 13:00:00 UTC),
    ] {
        let end = expiry.end(made);
        assert!(matches!(end, Err(ExpiryError::TooFar { .. })), "{end:?}");
    }
    let end = expiry.end(datetime!(9999-12-31 23:00:00 +12:00)).unwrap();
    assert_eq!(end, Some(datetime!(9999-12-31 23:00:00 UTC)));
}
