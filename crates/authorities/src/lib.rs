//! The certificate authorities that a TLS client trusts: those in a PEM file, or the system's.
//!
//! ```
//! let missing = authorities::trusted(Some("/no/such.pem".as_ref())).unwrap_err();
//! assert!(missing.to_string().starts_with("cannot read certificates from /no/such.pem"));
//! ```

use std::{fs, path::Path};

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
};

/// Why there are no authorities to trust.
#[derive(Debug, thiserror::Error)]
pub enum Untrusted {
    /// The file cannot be read.
    #[error("cannot read certificates from {path}: {reason}")]
    Unreadable {
        /// The file.
        path: String,
        /// Why.
        reason: String,
    },
    /// rustls does not accept a certificate of the file.
    #[error("cannot use a certificate from {path}")]
    Refused {
        /// The file.
        path: String,
        /// Why.
        source: rustls::Error,
    },
    /// There are no certificates.
    #[error("no trusted certificates in {0}; name a PEM file that has some")]
    Empty(String),
}

/// Reads the authorities of a PEM file, or those that the system trusts if no file is given. It reads files and may
/// block.
///
/// # Errors
/// The file is not a regular file, cannot be read or is not PEM; rustls refuses one of its certificates; or there are
/// no certificates at all.
pub fn trusted(file: Option<&Path>) -> Result<RootCertStore, Untrusted> {
    let mut store = RootCertStore::empty();
    let from = match file {
        Some(path) => {
            add_from(path, &mut store)?;
            path.display().to_string()
        }
        None => {
            // The system's store may hold certificates that rustls does not accept; the others still count.
            store.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            "the system's store".to_owned()
        }
    };
    if store.is_empty() {
        return Err(Untrusted::Empty(from));
    }
    Ok(store)
}

fn add_from(path: &Path, store: &mut RootCertStore) -> Result<(), Untrusted> {
    let shown = || path.display().to_string();
    let unreadable = |reason| Untrusted::Unreadable {
        path: shown(),
        reason,
    };
    // Reading anything else, such as a pipe, might block or never end.
    if fs::metadata(path).is_ok_and(|metadata| !metadata.is_file()) {
        return Err(unreadable("it is not a regular file; name one".to_owned()));
    }
    let of_pem = |error: pem::Error| unreadable(reason(&error));
    for certificate in CertificateDer::pem_file_iter(path).map_err(of_pem)? {
        let added = store.add(certificate.map_err(of_pem)?);
        added.map_err(|source| Untrusted::Refused {
            path: shown(),
            source,
        })?;
    }
    Ok(())
}

/// Says what is wrong with a PEM file without quoting its content, which may be a key: the error's own text contains
/// whole lines.
pub fn reason(error: &pem::Error) -> String {
    match error {
        pem::Error::Io(error) => error.to_string(),
        pem::Error::NoItemsFound => "there is none; it must be PEM".to_owned(),
        _ => {
            "it must be PEM: Base64 between BEGIN and END, which have lines of their own".to_owned()
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn told(content: &str) -> String {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), content).unwrap();
        let error = trusted(Some(file.path())).unwrap_err().to_string();
        assert!(error.contains(file.path().to_str().unwrap()), "{error}");
        error
    }

    #[test]
    fn all_certificates_of_a_file_are_trusted() {
        let certificate = || {
            let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
            made.cert.pem()
        };
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), certificate() + &certificate()).unwrap();
        assert_eq!(trusted(Some(file.path())).unwrap().len(), 2);
    }

    #[test]
    fn a_file_that_is_no_pem_is_told_without_what_is_in_it() {
        let told = told("-----BEGIN PRIVATE KEY-----Y2FuYXJ5-----END PRIVATE KEY-----");
        // The bytes of "Y2F" as a list.
        assert!(
            !told.contains("89, 50, 70") && told.contains("must be PEM"),
            "{told}"
        );
    }

    #[test]
    fn what_is_no_certificate_is_told_with_its_file() {
        for (content, expected) in [
            ("", "no trusted certificates in"),
            (
                "-----BEGIN CERTIFICATE-----\nY2FuYXJ5\n-----END CERTIFICATE-----\n",
                "cannot use a certificate from",
            ),
        ] {
            let told = told(content);
            assert!(told.starts_with(expected), "{told}");
        }
    }

    #[test]
    fn a_folder_is_refused_before_it_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let error = trusted(Some(folder.path())).unwrap_err().to_string();
        assert!(
            error.ends_with("it is not a regular file; name one"),
            "{error}"
        );
    }
}
