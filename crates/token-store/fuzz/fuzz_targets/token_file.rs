//! A token file, from bytes to tokens and back: nothing panics, the YAML parser reads everything that the scanner
//! accepts in the same way, what is written can be read back, and a snapshot that shares tokens with another equals one
//! that does not.
//!
//! `scripts/fuzz.sh SECONDS` runs it.
#![no_main]

use std::sync::LazyLock;

use libfuzzer_sys::fuzz_target;
use token_store::{TokenSet, readers};

/// The set that the tokens of the seeds are shared with.
static BEFORE: LazyLock<TokenSet> = LazyLock::new(|| {
    TokenSet::parse(include_bytes!("../seeds/policies")).expect("the seed is a token file")
});

fuzz_target!(|content: &[u8]| {
    if let Ok(text) = str::from_utf8(content)
        && let Some(scanned) = readers::scanner(text)
    {
        assert_eq!(readers::parser(text), Ok(scanned));
    }
    let alone = TokenSet::parse(content);
    assert_eq!(BEFORE.parse_next(content), alone);
    let Ok(alone) = alone else {
        return;
    };
    let _ = alone.changes_since(&BEFORE).to_string();
    assert_eq!(TokenSet::parse(alone.to_yaml().as_bytes()), Ok(alone));
});
