//! How the wire to PostgreSQL is protected: libpq's `sslmode`, in rustls's terms.

use std::{path::Path, sync::Arc};

use authorities::Untrusted;
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    },
    crypto::{CryptoProvider, aws_lc_rs, verify_tls12_signature, verify_tls13_signature},
    pki_types::{CertificateDer, ServerName, UnixTime},
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
    /// There is nothing to trust.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
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
            Verification::Authority => Arc::new(lenient(Some(authority(roots, &provider)?))),
            Verification::Host => authority(roots, &provider)?,
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

fn authority(
    roots: Option<&Path>,
    provider: &Arc<CryptoProvider>,
) -> Result<Arc<WebPkiServerVerifier>, TlsError> {
    let roots = Arc::new(authorities::trusted(roots)?);
    WebPkiServerVerifier::builder_with_provider(roots, provider.clone())
        .build()
        .map_err(|error| TlsError::Verifier(error.to_string()))
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
