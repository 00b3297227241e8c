//! Certificates made on the spot.

use rcgen::{CertifiedKey, KeyPair, generate_simple_self_signed};

/// A self-signed certificate and its key, in PEM; the certificate is its own authority.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Makes a pair that is valid for `localhost` and `127.0.0.1`.
pub fn for_localhost() -> Pair {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let CertifiedKey { cert, signing_key } =
        generate_simple_self_signed(names).expect("names are valid");
    let signing_key: KeyPair = signing_key;
    Pair {
        certificate: cert.pem(),
        key: signing_key.serialize_pem(),
    }
}
