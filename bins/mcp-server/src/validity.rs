//! From when until when clients accept a certificate.

use std::fmt;

use rustls::pki_types::CertificateDer;
use time::{Duration, OffsetDateTime, format_description::well_known::Rfc3339};
use x509_cert::{Certificate, der::Decode};

/// How long before its end a certificate is warned about: somebody who renews by hand needs days,
/// and programs renew earlier.
const SOON: Duration = Duration::days(7);

/// From when until when a certificate is valid.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Validity {
    begins: OffsetDateTime,
    ends: OffsetDateTime,
}

/// How clients treat a certificate at some time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// They refuse it: its time begins only then.
    TooEarly(OffsetDateTime),
    /// They accept it.
    Valid,
    /// They accept it until then, which is soon.
    Ending(OffsetDateTime),
    /// They refuse it: its time ended then.
    Ended(OffsetDateTime),
}

impl Validity {
    /// Reads it; what cannot be read is left to clients to judge.
    pub(crate) fn of(certificate: &CertificateDer<'_>) -> Option<Self> {
        let read = Certificate::from_der(certificate).ok()?;
        let validity = read.tbs_certificate.validity;
        let instant = |at: x509_cert::time::Time| {
            let seconds = i64::try_from(at.to_unix_duration().as_secs()).ok()?;
            OffsetDateTime::from_unix_timestamp(seconds).ok()
        };
        Some(Validity {
            begins: instant(validity.not_before)?,
            ends: instant(validity.not_after)?,
        })
    }

    pub(crate) fn end(&self) -> OffsetDateTime {
        self.ends
    }

    pub(crate) fn state(&self, now: OffsetDateTime) -> State {
        if now < self.begins {
            State::TooEarly(self.begins)
        } else if now > self.ends {
            State::Ended(self.ends)
        } else if now + SOON > self.ends {
            State::Ending(self.ends)
        } else {
            State::Valid
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (told, at) = match self {
            State::Valid => return out.write_str("is valid"),
            State::TooEarly(at) => (
                "is not valid yet, so that clients refuse it; it begins at",
                at,
            ),
            State::Ending(at) => ("must be renewed; it ends at", at),
            State::Ended(at) => (
                "has expired, so that clients refuse it; renew it, it ended at",
                at,
            ),
        };
        let at = at.format(&Rfc3339).unwrap_or_default();
        write!(out, "{told} {at}")
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use rcgen::{CertificateParams, KeyPair};

    #[test]
    fn a_certificate_is_judged_by_its_times() {
        let at = |day| OffsetDateTime::UNIX_EPOCH + Duration::days(day);
        let mut params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        (params.not_before, params.not_after) = (at(100), at(190));
        let made = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let validity = Validity::of(made.der()).unwrap();
        for (day, state) in [
            (99, State::TooEarly(at(100))),
            (100, State::Valid),
            (183, State::Valid),
            (184, State::Ending(at(190))),
            (190, State::Ending(at(190))),
            (191, State::Ended(at(190))),
        ] {
            assert_eq!(validity.state(at(day)), state, "day {day}");
        }
        let told = State::Ended(at(190)).to_string();
        assert!(told.ends_with("it ended at 1970-07-10T00:00:00Z"), "{told}");
        assert!(Validity::of(&CertificateDer::from(&b"no certificate"[..])).is_none());
    }
}
