//! How tokens' entries change, what that ends, and how it is logged.

use std::sync::Arc;

use token_store::{Changes, Policy, Token};

/// Says whether a change of a token's entry takes away something that anything running with the
/// token may be using: then all of that must end.
///
/// A change that only gives something, or that limits new calls, leaves running calls alone. If a
/// database is taken away, the session ends what runs on that one alone; a tool, an address or a
/// secret that is taken away ends only the calls that use it.
pub(crate) fn takes_something(before: &Token, now: &Token) -> bool {
    let apart = |token: &Token| Policy {
        tools: None,
        allow_from: None,
        ..token.policy.read()
    };
    now.policy != before.policy && !apart(now).covers(&apart(before))
}

/// Describes the changes, as in `1 added: token-1; 2 removed: token-2, token-3`.
pub(crate) fn told(changes: &Changes) -> String {
    let changed: Vec<Arc<Token>> = changes.changed.iter().map(|(_, now)| now.clone()).collect();
    let parts: Vec<String> = [
        (&changes.added, "added"),
        (&changes.removed, "removed"),
        (&changed, "changed"),
    ]
    .into_iter()
    .filter(|(tokens, _)| !tokens.is_empty())
    .map(|(tokens, what)| counted(tokens, what))
    .collect();
    if parts.is_empty() {
        "no change".to_owned()
    } else {
        parts.join("; ")
    }
}

/// Counts tokens and names the first five of them.
pub(crate) fn counted(tokens: &[Arc<Token>], what: &str) -> String {
    const MOST: usize = 5;
    let names: Vec<&str> = tokens
        .iter()
        .take(MOST)
        .map(|token| token.id.as_str())
        .collect();
    let more = if tokens.len() > MOST { ", ..." } else { "" };
    format!("{} {what}: {}{more}", tokens.len(), names.join(", "))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use time::{Duration, OffsetDateTime, macros::datetime};
    use token_store::{Names, Previous, TokenHash, TokenId};

    const WALL: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

    fn token(change: impl FnOnce(&mut Token)) -> Token {
        let hash = TokenHash::of("now");
        let mut token = Token::new(TokenId::numbered(1), hash, WALL - Duration::days(1));
        change(&mut token);
        token
    }

    fn with(settings: &[(&str, &str)]) -> Token {
        token(|token| {
            let mut policy = token.policy.read();
            for (field, text) in settings {
                policy.set(field, Some(text)).unwrap();
            }
            token.policy = (&policy).into();
        })
    }

    fn on(databases: &[&str]) -> Token {
        token(|token| token.databases = Names::new(databases.iter().copied()))
    }

    fn replaced(old: &str, left: Duration) -> Token {
        token(|token| {
            let (hash, until) = (TokenHash::of(old), WALL + left);
            token.previous = Some(Box::new(Previous { hash, until }));
        })
    }

    #[test]
    fn only_a_change_that_takes_something_ends_what_runs() {
        let day = Duration::days(1);
        let table = [
            ("nothing", with(&[]), with(&[]), false),
            (
                "a note",
                with(&[]),
                token(|token| token.note = "x".into()),
                false,
            ),
            ("a limit", with(&[]), with(&[("limits.rows", "1")]), false),
            (
                "more tools",
                with(&[("tools", "a")]),
                with(&[("tools", "a,b")]),
                false,
            ),
            ("all tools", with(&[("tools", "a")]), with(&[]), false),
            (
                "fewer tools",
                with(&[("tools", "a,b")]),
                with(&[("tools", "a")]),
                false,
            ),
            ("a list of tools", with(&[]), with(&[("tools", "a")]), false),
            ("writing", with(&[]), with(&[("access", "write")]), false),
            ("no writing", with(&[("access", "write")]), with(&[]), true),
            (
                "a schema less",
                with(&[("schemas", "a,b")]),
                with(&[("schemas", "b")]),
                true,
            ),
            (
                "a wider net",
                with(&[("allow_from", "10.1.0.0/16")]),
                with(&[("allow_from", "10.0.0.0/8")]),
                false,
            ),
            (
                "a closer net",
                with(&[("allow_from", "10.0.0.0/8")]),
                with(&[("allow_from", "10.1.0.0/16")]),
                false,
            ),
            ("a role", with(&[]), with(&[("set_role", "a")]), true),
            (
                "another role",
                with(&[("set_role", "b")]),
                with(&[("set_role", "a")]),
                true,
            ),
            ("a database more", on(&["a"]), on(&["a", "b"]), false),
            ("another first", on(&["a", "b"]), on(&["b", "a"]), false),
            ("a database less", on(&["a", "b"]), on(&["a"]), false),
            ("bound", with(&[]), on(&["a"]), false),
            ("an old secret", with(&[]), replaced("old", day), false),
            (
                "the old secret ended",
                replaced("old", day),
                with(&[]),
                false,
            ),
            (
                "the old secret ends sooner",
                replaced("old", 2 * day),
                replaced("old", day),
                false,
            ),
            (
                "the old secret ends later",
                replaced("old", day),
                replaced("old", 2 * day),
                false,
            ),
            (
                "an ended one tidied up",
                replaced("old", -day),
                with(&[]),
                false,
            ),
        ];
        for (name, before, now, ends) in table {
            assert_eq!(takes_something(&before, &now), ends, "{name}");
        }
    }
}
