//! How the wire to PostgreSQL is protected: libpq's `sslmode`, in rustls's terms.

use std::{fs, path::Path, sync::Arc};

use rustls::{
    ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{
        CertificateDer, ServerName, UnixTime,
        pem::{self, PemObject},
    },
};
use tokio_postgres_rustls::MakeRustlsConnect;

/// How much the server must prove.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verification {
    /// TLS if the server offers it, whoever it is (`prefer`).
    Opportunistic,
    /// TLS, whoever it is (`require`).
    Encrypted,
    /// TLS with a certificate of a trusted authority, for whatever host (`verify-ca`).
    Authority,
    /// TLS with a certificate of a trusted authority for this host (`verify-full`).
    Host,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of trusted certificates cannot be read.
    #[error("cannot read certificates from {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// There is nothing to trust.
    #[error("no trusted certificates in {0}; name a PEM file that has some")]
    Empty(String),
    /// rustls refused the settings.
    #[error("TLS cannot be set up")]
    Refused(#[from] rustls::Error),
    /// The verifier refused the trusted certificates.
    #[error("the trusted certificates cannot be used: {0}")]
    Verifier(String),
}

/// How the wire to one database is protected.
#[derive(Clone)]
pub struct Tls {
    pub(crate) connector: Option<MakeRustlsConnect>,
    pub(crate) required: bool,
}

impl Tls {
    /// Talks in the clear.
    #[must_use]
    pub fn disabled() -> Self {
        Tls {
            connector: None,
            required: false,
        }
    }

    /// Talks TLS 1.2 or 1.3; `roots` is a PEM file, without one the system's authorities are trusted.
    ///
    /// # Errors
    /// When the certificates to trust cannot be read, or there are none.
    pub fn new(verification: Verification, roots: Option<&Path>) -> Result<Self, TlsError> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let lenient = |authority| Lenient {
            provider: provider.clone(),
            authority,
        };
        let verifier: Arc<dyn ServerCertVerifier> = match verification {
            Verification::Opportunistic | Verification::Encrypted => Arc::new(lenient(None)),
            Verification::Authority => Arc::new(lenient(Some(trusted(roots, &provider)?))),
            Verification::Host => trusted(roots, &provider)?,
        };
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .dangerous()
            .with_custom_certificate_verifier(verifier)
            .with_no_client_auth();
        Ok(Tls {
            connector: Some(MakeRustlsConnect::new(config)),
            required: verification != Verification::Opportunistic,
        })
    }
}

fn trusted(
    roots: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let mut store = RootCertStore::empty();
    let from = match roots {
        Some(path) => {
            let unreadable = |error: pem::Error| TlsError::Unreadable {
                path: path.display().to_string(),
                reason: reason(&error),
            };
            // Another kind may never end, nor begin.
            if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
                return Err(TlsError::Unreadable {
                    path: path.display().to_string(),
                    reason: "it is not a regular file".into(),
                });
            }
            for certificate in CertificateDer::pem_file_iter(path).map_err(unreadable)? {
                store.add(certificate.map_err(unreadable)?)?;
            }
            path.display().to_string()
        }
        None => {
            // A system's store may hold a certificate that rustls does not take; the others count.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            "the system's store".to_owned()
        }
    };
    if store.is_empty() {
        return Err(TlsError::Empty(from));
    }
    WebPkiServerVerifier::builder_with_provider(Arc::new(store), provider.clone())
        .build()
        .map_err(|error| TlsError::Verifier(error.to_string()))
}

/// Says what is wrong with a PEM file without a word of what is in it, for that may be a key: the error's
/// own text holds whole lines.
fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is none; it must be PEM".to_owned(),
        _ => {
            "it must be PEM: Base64 between BEGIN and END, which have lines of their own".to_owned()
        }
    }
}

/// Asks less of a certificate than that it is for this host; the server must prove in any case that
/// it has the key.
#[derive(Debug)]
struct Lenient {
    provider: Arc<CryptoProvider>,
    /// Who must have signed the certificate, if anybody must.
    authority: Option<Arc<WebPkiServerVerifier>>,
}

impl ServerCertVerifier for Lenient {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        host: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        use rustls::CertificateError::{NotValidForName, NotValidForNameContext};
        let Some(authority) = &self.authority else {
            return Ok(ServerCertVerified::assertion());
        };
        match authority.verify_server_cert(certificate, intermediates, host, ocsp, now) {
            // The chain has been verified by the time that the name is looked at.
            Err(rustls::Error::InvalidCertificate(
                NotValidForName | NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            other => other,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider
            .signature_verification_algorithms
            .supported_schemes()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_pem_is_told_without_what_is_in_it() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let one_line = "-----BEGIN PRIVATE KEY-----Y2FuYXJ5-----END PRIVATE KEY-----";
        std::fs::write(file.path(), one_line).unwrap();
        let error = trusted(Some(file.path()), &Arc::new(aws_lc_rs::default_provider()));
        let told = error.unwrap_err().to_string();
        // "Y2F", as a list of bytes.
        assert!(
            !told.contains("89, 50, 70") && told.contains("must be PEM"),
            "{told}"
        );
    }
}
