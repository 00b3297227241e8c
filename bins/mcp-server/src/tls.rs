//! The server's certificate, read again when its files change.

use std::{
    fs,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use anyhow::{Context, anyhow, bail};
use rustls::{
    ServerConfig,
    crypto::{CryptoProvider, aws_lc_rs},
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};
use server_config::{Tls, read_regular};
use time::OffsetDateTime;

use crate::validity::{State, Validity};

/// Sets TLS up with certificates.
pub(crate) fn server_config(certificates: Arc<Certificates>) -> anyhow::Result<Arc<ServerConfig>> {
    let mut config = ServerConfig::builder_with_provider(certificates.provider.clone())
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_cert_resolver(certificates);
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// A certificate's chain has a few KiB.
const MOST_BYTES: u64 = 1 << 20;

/// What tells one state of a file from another.
type Stamp = (u64, u64, u64, i64, i64);

/// The certificate of the files, or of the last state of them that could be read.
#[derive(Debug)]
pub(crate) struct Certificates {
    files: Tls,
    provider: Arc<CryptoProvider>,
    /// Held while the files are looked at, in each handshake and for each scrape of metrics.
    current: Mutex<Current>,
}

#[derive(Debug)]
struct Current {
    stamps: Vec<Stamp>,
    key: Arc<CertifiedKey>,
    validity: Option<Validity>,
    /// What the log was last told about it.
    told: State,
}

impl Certificates {
    /// Reads the files as they are now.
    pub(crate) fn load(files: Tls) -> anyhow::Result<Self> {
        let provider = Arc::new(aws_lc_rs::default_provider());
        let stamps = stamps(&files);
        let mut current = Current::of(stamps, read(&files, &provider)?);
        current.tell(&files, OffsetDateTime::now_utc());
        Ok(Certificates {
            files,
            provider,
            current: Mutex::new(current),
        })
    }

    /// Until when clients accept it, if that can be read.
    pub(crate) fn end(&self) -> Option<OffsetDateTime> {
        self.current().validity.map(|validity| validity.end())
    }

    /// Looks at the files, and reads them if they have changed.
    fn current(&self) -> MutexGuard<'_, Current> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let stamps = stamps(&self.files);
        if stamps != current.stamps {
            // Remembered even if reading fails, so that each state of the files is tried and reported once.
            current.stamps.clone_from(&stamps);
            match read(&self.files, &self.provider) {
                Ok(key) => {
                    *current = Current::of(stamps, key);
                    tracing::info!(file = %self.files.cert_file.display(), "the certificate was read again");
                }
                Err(error) => {
                    tracing::error!("the certificate from before stays in use: {error:#}")
                }
            }
        }
        current.tell(&self.files, OffsetDateTime::now_utc());
        current
    }
}

impl Current {
    fn of(stamps: Vec<Stamp>, key: CertifiedKey) -> Self {
        Current {
            stamps,
            validity: key.cert.first().and_then(Validity::of),
            key: Arc::new(key),
            told: State::Valid,
        }
    }

    /// Logs once that clients refuse the certificate, or soon will.
    fn tell(&mut self, files: &Tls, now: OffsetDateTime) {
        let Some(state) = self.validity.map(|validity| validity.state(now)) else {
            return;
        };
        if state != self.told {
            let file = files.cert_file.display();
            match state {
                State::Valid => {}
                State::Ending(_) => tracing::warn!("the certificate in {file} {state}"),
                State::TooEarly(_) | State::Ended(_) => {
                    tracing::error!("the certificate in {file} {state}");
                }
            }
            self.told = state;
        }
    }
}

impl ResolvesServerCert for Certificates {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current().key.clone())
    }
}

fn paths(files: &Tls) -> impl Iterator<Item = &PathBuf> {
    [&files.cert_file, &files.key_file]
        .into_iter()
        .chain(&files.chain_file)
}

fn stamps(files: &Tls) -> Vec<Stamp> {
    paths(files)
        .map(|path| match fs::metadata(path) {
            Ok(data) => (
                data.dev(),
                data.ino(),
                data.size(),
                data.mtime(),
                data.mtime_nsec(),
            ),
            Err(_) => (0, 0, 0, 0, 0),
        })
        .collect()
}

fn read(files: &Tls, provider: &CryptoProvider) -> anyhow::Result<CertifiedKey> {
    let mut chain = certificates(&files.cert_file)?;
    if let Some(more) = &files.chain_file {
        chain.extend(certificates(more)?);
    }
    let path = files.key_file.display();
    let pem = bytes(&files.key_file)?;
    let key = PrivateKeyDer::from_pem_slice(&pem).map_err(|error| {
        anyhow!(
            "cannot read a private key from {path}: {}",
            authorities::reason(&error)
        )
    })?;
    CertifiedKey::from_der(chain, key, provider).with_context(|| {
        format!(
            "the key in {path} and the certificate in {} do not fit",
            files.cert_file.display()
        )
    })
}

fn bytes(path: &Path) -> anyhow::Result<Vec<u8>> {
    read_regular(path, MOST_BYTES)
        .with_context(|| format!("cannot read {}, which should be a PEM file", path.display()))
}

fn certificates(path: &Path) -> anyhow::Result<Vec<CertificateDer<'static>>> {
    let shown = path.display();
    let pem = bytes(path)?;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(&pem)
        .collect::<Result<_, _>>()
        .map_err(|error| {
            anyhow!(
                "cannot read certificates from {shown}: {}",
                authorities::reason(&error)
            )
        })?;
    if chain.is_empty() {
        bail!("there is no certificate in {shown}; it must be PEM with BEGIN CERTIFICATE lines");
    }
    Ok(chain)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_pem_is_told_without_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pair.pem");
        let files = Tls {
            cert_file: path.clone(),
            key_file: path.clone(),
            chain_file: None,
        };
        let provider = aws_lc_rs::default_provider();
        let (begin, end) = ("-----BEGIN PRIVATE KEY-----", "-----END PRIVATE KEY-----");
        for text in [
            format!("{begin}Y2FuYXJ5{end}"),
            format!("{begin}\\nY2FuYXJ5\\n{end}\\n"),
            format!("{begin} Y2FuYXJ5 {end}"),
            format!("-----BEGIN PRIVATE KEY Y2FuYXJ5\n{end}"),
            format!("{begin}\nY2FuYXJ5!\n{end}"),
            format!("{begin}\nY2FuYXJ5"),
        ] {
            fs::write(&path, &text).unwrap();
            let as_key = PrivateKeyDer::from_pem_file(&path).map(|_| ());
            let as_key = as_key
                .map_err(|error| authorities::reason(&error))
                .unwrap_err();
            let as_certificate = format!("{:#}", read(&files, &provider).unwrap_err());
            for told in [as_key, as_certificate] {
                // "Y2Fu", as it is and as a list of bytes.
                let holds = |part: &str| told.contains(part);
                assert!(!holds("Y2Fu") && !holds("89, 50, 70"), "{text}: {told}");
                assert!(holds("BEGIN"), "{text}: {told}");
            }
        }
    }
}
