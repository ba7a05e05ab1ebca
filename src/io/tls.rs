//! Whom to believe, and how to be believed, over TLS.
//! In: PEM files, the system's root certificates. Out: configurations for rustls. Knows nothing of sockets.
//! RFC 8446, RFC 5246 (TLS 1.3 and 1.2); PEM: RFC 7468.

use std::io;
use std::path::Path;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::{Error as PemError, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// Why there can be no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is not what it should be.
    #[error("{file}: {what}")]
    File {
        /// Its path.
        file: String,
        /// What is wrong.
        what: String,
    },
    /// There are none, or none can be read.
    #[error(
        "this system has no root certificates to verify a TLS server by{0}: install them, or name a file of them"
    )]
    NoSystemRoots(String),
    /// rustls refuses something that is the same on every machine.
    #[error("TLS cannot be set up: {0}")]
    Setup(#[from] rustls::Error),
}

/// Verifies servers by the certificates in this PEM file and no others, or by the system's.
///
/// # Errors
/// [`TlsError`]: the file cannot be read or holds no certificate, the system has none.
pub fn client_tls(ca_file: Option<&Path>) -> Result<Arc<ClientConfig>, TlsError> {
    Ok(Arc::new(verifying_by(roots(ca_file)?)?))
}

/// The certificates in this PEM file and no others, or the system's.
///
/// # Errors
/// As [`client_tls`].
pub fn roots(ca_file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    match ca_file {
        Some(file) => {
            for certificate in certificates(file)? {
                roots.add(certificate).map_err(|error| wrong(file, error.to_string()))?;
            }
        }
        None => {
            let found = rustls_native_certs::load_native_certs();
            // Some systems keep certificates so old that they cannot be read; the others do.
            let (added, _) = roots.add_parsable_certificates(found.certs);
            if added == 0 {
                let why = found.errors.first().map(|error| format!(": {error}")).unwrap_or_default();
                return Err(TlsError::NoSystemRoots(why));
            }
        }
    }
    Ok(roots)
}

/// Verifies servers by these.
///
/// # Errors
/// [`TlsError::Setup`].
pub fn verifying_by(roots: RootCertStore) -> Result<ClientConfig, TlsError> {
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// Shows clients the certificate in one PEM file, with what else of its chain stands there, and holds its key, which is
/// in the other.
///
/// # Errors
/// [`TlsError`]: a file cannot be read or holds nothing of the kind, or the key is another certificate's.
pub fn server_tls(certificate: &Path, key: &Path) -> Result<Arc<ServerConfig>, TlsError> {
    let chain = certificates(certificate)?;
    let private_key =
        PrivateKeyDer::from_pem_file(key).map_err(|error| unreadable(key, "private key", error))?;
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, private_key)
        .map_err(|error| match error {
            rustls::Error::InconsistentKeys(_) => {
                wrong(key, format!("it is not the key of the certificate in {}", certificate.display()))
            }
            other => wrong(certificate, other.to_string()),
        })?;
    Ok(Arc::new(config))
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = |error| unreadable(file, "certificate", error);
    let all: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(read)?.collect::<Result<_, _>>().map_err(read)?;
    if all.is_empty() { Err(read(PemError::NoItemsFound)) } else { Ok(all) }
}

fn unreadable(file: &Path, wanted: &str, error: PemError) -> TlsError {
    let what = match error {
        PemError::NoItemsFound => format!("it holds no {wanted} in PEM form"),
        PemError::Io(error) if error.kind() == io::ErrorKind::NotFound => "there is no such file".to_owned(),
        PemError::Io(error) => error.to_string(),
        other => format!("it is no PEM file: {other}"),
    };
    wrong(file, what)
}

fn wrong(file: &Path, what: String) -> TlsError {
    TlsError::File { file: file.display().to_string(), what }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_file_that_will_not_do_is_named_with_the_reason() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            path
        };
        let own = rcgen::generate_simple_self_signed(["presence.example.com".to_owned()]).unwrap();
        let other = rcgen::generate_simple_self_signed(["presence.example.com".to_owned()]).unwrap();
        let certificate = write("certificate.pem", &own.cert.pem());
        let key = write("key.pem", &own.signing_key.serialize_pem());
        let other_key = write("other.pem", &other.signing_key.serialize_pem());
        let empty = write("empty.pem", "");
        let broken = write("broken.pem", "-----BEGIN CERTIFICATE-----\n!!!\n-----END CERTIFICATE-----\n");
        let hollow = write("hollow.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let missing = folder.path().join("missing.pem");
        assert!(server_tls(&certificate, &key).is_ok());
        assert!(client_tls(Some(&certificate)).is_ok());
        let cases = [
            (server_tls(&missing, &key).err(), "missing.pem: there is no such file"),
            (server_tls(&certificate, &missing).err(), "missing.pem: there is no such file"),
            (server_tls(&empty, &key).err(), "empty.pem: it holds no certificate in PEM form"),
            (server_tls(&certificate, &empty).err(), "empty.pem: it holds no private key in PEM form"),
            (
                server_tls(&certificate, &other_key).err(),
                "other.pem: it is not the key of the certificate in ",
            ),
            (server_tls(folder.path(), &key).err(), "directory"),
            (client_tls(Some(&broken)).err(), "broken.pem: it is no PEM file"),
            (client_tls(Some(&hollow)).err(), "hollow.pem: "),
            (client_tls(Some(&missing)).err(), "missing.pem: there is no such file"),
        ];
        for (error, said) in cases {
            let error = error.unwrap().to_string();
            assert!(error.contains(said), "{error} should say {said}");
        }
    }
}
