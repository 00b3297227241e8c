//! State that a client carries between two rounds of a request and cannot change. It is authenticated, not encrypted.

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64ct::{Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use sha2::Sha256;

use crate::input::Inputs;

/// The version of the format.
const FORM: u8 = 1;
const MAC_BYTES: usize = 32;

/// What a sealed state is good for: the same request of the same principal, for a limited time.
#[derive(Debug)]
pub(crate) struct Purpose<'a> {
    pub(crate) principal: &'a str,
    pub(crate) method: &'a str,
    pub(crate) name: &'a str,
    pub(crate) arguments: &'a str,
}

/// Seals and opens states. Its key is random, so it opens states of this process only.
pub(crate) struct Sealer {
    key: Hmac<Sha256>,
    lifetime: Duration,
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Sealer")
            .field("lifetime", &self.lifetime)
            .finish_non_exhaustive()
    }
}

#[derive(Serialize)]
struct Sealed<'a> {
    state: &'a Option<String>,
    answers: &'a BTreeMap<String, Box<RawValue>>,
}

#[derive(Deserialize)]
struct Opened {
    state: Option<String>,
    answers: BTreeMap<String, Box<RawValue>>,
}

impl Sealer {
    pub(crate) fn new(key: [u8; 32], lifetime: Duration) -> Self {
        let key = Hmac::new_from_slice(&key).expect("HMAC takes keys of any length");
        Self { key, lifetime }
    }

    /// Seals what the next round needs, as an opaque text.
    pub(crate) fn seal(&self, inputs: &Inputs, purpose: &Purpose<'_>, now: SystemTime) -> String {
        let content = Sealed {
            state: &inputs.state,
            answers: &inputs.answers,
        };
        let content = serde_json::to_vec(&content).expect("strings and raw JSON can be written");
        let expiry = seconds(now + self.lifetime);
        let mut sealed = vec![FORM];
        sealed.extend_from_slice(&expiry.to_be_bytes());
        sealed.extend_from_slice(&content);
        let mac = self.mac(&sealed, purpose).finalize().into_bytes();
        sealed.extend_from_slice(&mac);
        Base64UrlUnpadded::encode_string(&sealed)
    }

    /// Opens a state, if this sealer made it for the same purpose and it is not too old.
    pub(crate) fn open(
        &self,
        text: &str,
        purpose: &Purpose<'_>,
        now: SystemTime,
    ) -> Option<Inputs> {
        let sealed = Base64UrlUnpadded::decode_vec(text).ok()?;
        let (sealed, mac) = sealed.split_at_checked(sealed.len().checked_sub(MAC_BYTES)?)?;
        self.mac(sealed, purpose).verify_slice(mac).ok()?;
        let (form, rest) = sealed.split_first()?;
        let (expiry, content) = rest.split_first_chunk()?;
        if *form != FORM || seconds(now) >= u64::from_be_bytes(*expiry) {
            return None;
        }
        let Opened { state, answers } = serde_json::from_slice(content).ok()?;
        Some(Inputs {
            answers,
            state,
            ..Inputs::default()
        })
    }

    fn mac(&self, sealed: &[u8], purpose: &Purpose<'_>) -> Hmac<Sha256> {
        let mut mac = self.key.clone();
        let Purpose {
            principal,
            method,
            name,
            arguments,
        } = purpose;
        for part in [principal, method, name, arguments] {
            // Each part comes with its length, so that no part can pass for another one.
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(sealed);
        mac
    }
}

fn seconds(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn sealer() -> Sealer {
        Sealer::new([7; 32], Duration::from_secs(60))
    }

    fn purpose() -> Purpose<'static> {
        Purpose {
            principal: "alice",
            method: "tools/call",
            name: "t",
            arguments: "{}",
        }
    }

    fn sealed(now: SystemTime) -> String {
        let inputs = Inputs {
            answers: BTreeMap::new(),
            state: Some("two".to_owned()),
            ..Inputs::default()
        };
        sealer().seal(&inputs, &purpose(), now)
    }

    #[test]
    fn a_state_comes_back_for_the_same_purpose() {
        let now = SystemTime::now();
        let opened = sealer().open(&sealed(now), &purpose(), now).unwrap();
        assert_eq!(opened.state.as_deref(), Some("two"));
    }

    #[test]
    fn a_state_is_good_for_nothing_else() {
        let now = SystemTime::now();
        let text = sealed(now);
        for other in [
            Purpose {
                principal: "bob",
                ..purpose()
            },
            Purpose {
                method: "prompts/get",
                ..purpose()
            },
            Purpose {
                name: "u",
                ..purpose()
            },
            Purpose {
                arguments: "{ }",
                ..purpose()
            },
            Purpose {
                principal: "alicet",
                method: "ools/call",
                ..purpose()
            },
        ] {
            assert!(sealer().open(&text, &other, now).is_none(), "{other:?}");
        }
        assert!(
            sealer()
                .open(&text, &purpose(), now + Duration::from_secs(60))
                .is_none(),
            "late"
        );
        let other_key = Sealer::new([8; 32], Duration::from_secs(60));
        assert!(
            other_key.open(&text, &purpose(), now).is_none(),
            "another key"
        );
    }

    #[test]
    fn a_changed_state_is_refused_wherever_it_was_changed() {
        let now = SystemTime::now();
        let bytes = Base64UrlUnpadded::decode_vec(&sealed(now)).unwrap();
        for position in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[position] ^= 1;
            let text = Base64UrlUnpadded::encode_string(&changed);
            assert!(
                sealer().open(&text, &purpose(), now).is_none(),
                "byte {position}"
            );
        }
        for text in ["", "AA", "!", &format!("{}-TAMPERED", sealed(now))] {
            assert!(sealer().open(text, &purpose(), now).is_none(), "{text}");
        }
    }
}
