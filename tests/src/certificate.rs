//! Certificates made on the spot.

use rcgen::{CertificateParams, KeyPair, date_time_ymd};

/// A self-signed certificate and its key, in PEM; the certificate is its own authority.
pub struct Pair {
    /// The certificate.
    pub certificate: String,
    /// The private key.
    pub key: String,
}

/// Makes a pair that is valid for `localhost` and `127.0.0.1`.
pub fn for_localhost() -> Pair {
    for_localhost_until(4096)
}

/// Makes such a pair that expires on 1 January of a year.
pub fn for_localhost_until(year: i32) -> Pair {
    let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = CertificateParams::new(names).expect("names are valid");
    params.not_after = date_time_ymd(year, 1, 1);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.self_signed(&key).expect("a certificate");
    Pair {
        certificate: certificate.pem(),
        key: key.serialize_pem(),
    }
}
