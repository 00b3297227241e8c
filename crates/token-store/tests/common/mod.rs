//! Tokens for tests.
#![allow(dead_code, clippy::unwrap_used)]

use std::process::Command;

use proptest::prelude::*;
use time::{Duration, OffsetDateTime, macros::datetime};
use token_store::{
    EditError, Edited, Names, Networks, NewToken, Policy, Previous, Secret, Token, TokenFile,
    TokenHash, TokenId, TokenSet,
};

pub(crate) const NOW: OffsetDateTime = datetime!(2026-01-02 03:04:05 UTC);

/// A secret that is different for each number.
pub(crate) fn secret(number: u64) -> Secret {
    let mut bytes = [7; 32];
    bytes[..8].copy_from_slice(&number.to_le_bytes());
    Secret::from_random_bytes(&bytes)
}

pub(crate) fn numbered_set(count: u64) -> TokenSet {
    let token = |number| {
        let created_at = NOW + Duration::seconds(i64::try_from(number).unwrap());
        let mut token = Token::new(
            TokenId::numbered(1_700_000_000 + number),
            TokenHash::from_hex(&format!("fa{number:062x}")).unwrap(),
            created_at,
        );
        token.note = format!("Service {number} - Q4 2026").into();
        token.expires_at = Some(NOW + Duration::days(90));
        token
    };
    TokenSet::new((0..count).map(token).collect()).unwrap()
}

pub(crate) fn add(file: &TokenFile, number: u64) -> TokenId {
    let made: Edited<_> = file
        .edit(|draft| {
            Ok::<_, EditError>(draft.create(&secret(number), NewToken::default(), NOW)?)
        })
        .unwrap();
    made.value.id.clone()
}

pub(crate) fn remove(file: &TokenFile, id: &TokenId) {
    file.edit(|draft| {
        draft.remove(id).expect("the token is there");
        Ok::<_, EditError>(())
    })
    .unwrap();
}

/// Returns whether the test of this name may mount things, which no other process sees. If it may not, it has been run
/// again where it may, and passed.
pub(crate) fn among_own_mounts(name: &str) -> bool {
    const INSIDE: &str = "TEST_HAS_ITS_OWN_MOUNTS";
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let run = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name])
        .env(INSIDE, "1")
        .output()
        .expect("unshare of util-linux is installed");
    assert!(
        run.status.success(),
        "{run:?}\nwhere unshare is not permitted, run as root or allow namespaces: sysctl -w user.max_user_namespaces=10000"
    );
    false
}

prop_compose! {
    pub(crate) fn any_time()(seconds in -62_000_000_000_i64..253_000_000_000, nanosecond in prop_oneof![4 => Just(0), 1 => 0..1_000_000_000_u32]) -> OffsetDateTime {
        OffsetDateTime::from_unix_timestamp(seconds).unwrap().replace_nanosecond(nanosecond).unwrap()
    }
}

/// Texts that YAML readers are known to trip over, and arbitrary ones.
pub(crate) fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        "[A-Za-z][A-Za-z0-9 _./()+@-]{0,20}",
        any::<String>(),
        "\\PC{0,30}",
        "[\\x00-\\x7f\u{80}-\u{a0}\u{2028}\u{2029}\u{feff}\u{fffe}\u{1f600}]{0,20}",
        proptest::sample::select(vec![
            "",
            " ",
            "~",
            "null",
            "Null",
            "true",
            "YES",
            "no",
            "on",
            "y",
            "N",
            "1",
            "1.5",
            "0x1F",
            "1e3",
            ".nan",
            "inf",
            "Infinity",
            "2024-10-30",
            "12:30:45",
            "- a",
            "? a",
            ": a",
            "a: b",
            "a #b",
            "#",
            "&a",
            "*a",
            "!a",
            "|",
            ">",
            "%YAML",
            "@a",
            "`a",
            "[",
            "{",
            "]",
            "}",
            ",",
            "'",
            "\"",
            "\\",
            "\"\"",
            "a\nb",
            "a\r\nb",
            "a\tb",
            "\u{85}",
            "---",
            "...",
            "--- a",
            "<<",
            "=",
            "a ",
            " a",
            "tokens:",
            "note: x\n    hash: y",
        ])
        .prop_map(str::to_owned),
        "x{2000,3000}",
    ]
}

fn any_name() -> impl Strategy<Value = String> {
    any_text().prop_filter("a name", |name| {
        !name.trim().is_empty() && !name.contains(char::is_control)
    })
}

pub(crate) fn any_names() -> impl Strategy<Value = Names> {
    proptest::collection::vec(any_name(), 1..4).prop_filter_map("different names", |names| {
        Names::new(names.iter().map(String::as_str))
    })
}

/// Fields as [`Policy::set`] accepts them.
fn any_field() -> impl Strategy<Value = (&'static str, String)> {
    let limits = "[1-9][0-9]{0,8}";
    let role = "[ -~\u{e9}]{1,60}";
    prop_oneof![
        Just(("access", "write".to_owned())),
        Just(("access", "read".to_owned())),
        limits.prop_map(|text| ("limits.rows", text)),
        limits.prop_map(|text| ("limits.concurrent", text)),
        limits.prop_map(|text| ("limits.calls_per_minute", text)),
        limits.prop_map(|text| ("limits.connections", text)),
        "[1-9][0-9]{0,2}(KiB|MiB)?".prop_map(|text| ("limits.bytes", text)),
        "[1-9]h[1-9][0-9]{0,5}ms".prop_map(|text| ("limits.statement_timeout", text)),
        role.prop_map(|text| ("set_role", text)),
        role.prop_map(|text| ("role.user", text)),
        "[A-Z_]{1,9}".prop_map(|text| ("role.password_env", text)),
        "/[ -~\u{e9}]{0,30}".prop_map(|text| ("role.password_file", text)),
    ]
}

prop_compose! {
    pub(crate) fn any_policy()(
        fields in proptest::collection::vec(any_field(), 0..6),
        tools in proptest::option::weighted(0.3, any_names()),
        schemas in proptest::option::weighted(0.2, any_names()),
        networks in proptest::collection::vec((any::<std::net::IpAddr>(), any::<bool>()), 0..3),
    ) -> Policy {
        let mut policy = Policy { tools, schemas, ..Policy::default() };
        for (field, text) in fields {
            // A password without a user, or a blank role, is refused.
            let _ = policy.set(field, Some(&text));
        }
        let networks: Vec<String> = networks.into_iter().map(|(address, whole)| {
            let address = address.to_canonical();
            match (whole, address) {
                (true, address) => address.to_string(),
                (false, std::net::IpAddr::V4(four)) => format!("{}.0.0.0/8", four.octets()[0]),
                (false, std::net::IpAddr::V6(six)) => format!("{:x}::/16", six.segments()[0] | 0x1000),
            }
        }).collect();
        policy.allow_from = Networks::read(networks.iter().map(String::as_str)).ok();
        policy
    }
}

prop_compose! {
    pub(crate) fn any_token()(
        id in prop_oneof!["token-[0-9]{1,12}", "[A-Za-z0-9][A-Za-z0-9._-]{0,58}", Just("null".to_owned()), Just("12".to_owned())],
        hash in prop_oneof!["[0-9a-f]{64}", "[0-9]{64}", "[0-9]{2}e[0-9]{61}"],
        note in any_text(),
        databases in proptest::option::weighted(0.4, any_names()),
        created_at in any_time(),
        expires_at in proptest::option::of(any_time()),
        previous in proptest::option::weighted(0.3, ("[0-9a-f]{64}", any_time())),
        policy in prop_oneof![Just(Policy::default()), any_policy()],
    ) -> Token {
        let mut token = Token::new(id.parse().unwrap(), TokenHash::from_hex(&hash).unwrap(), created_at);
        token.note = note.into();
        token.databases = databases;
        token.expires_at = expires_at;
        token.previous = previous.map(|(hash, until)| {
            Box::new(Previous { hash: TokenHash::from_hex(&hash).unwrap(), until })
        });
        token.policy = (&policy).into();
        token
    }
}

prop_compose! {
    pub(crate) fn any_set()(tokens in proptest::collection::vec(any_token(), 0..6)) -> TokenSet {
        let mut unique: Vec<Token> = Vec::new();
        for token in tokens {
            if unique.iter().all(|other| other.id != token.id && other.hash != token.hash) {
                unique.push(token);
            }
        }
        TokenSet::new(unique).unwrap()
    }
}
