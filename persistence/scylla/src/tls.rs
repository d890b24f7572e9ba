//! TLS to the store, behind the feature `tls`. Nodes are verified by their addresses.

use crate::OpenError;
use scylla::client::session_builder::SessionBuilder;

/// Trusts the certificates in this file, and no others.
#[cfg(feature = "tls")]
pub fn with(builder: SessionBuilder, path: &str) -> Result<SessionBuilder, OpenError> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    let wrong = |why: String| OpenError::Certificates { path: path.to_owned(), why };
    let mut trusted = rustls::RootCertStore::empty();
    let found = CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))?;
    for certificate in found {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        trusted.add(certificate).map_err(|error| wrong(error.to_string()))?;
    }
    if trusted.is_empty() {
        return Err(wrong("it has no certificate".to_owned()));
    }
    let config = rustls::ClientConfig::builder().with_root_certificates(trusted);
    Ok(builder.tls_context(Some(std::sync::Arc::new(config.with_no_client_auth()))))
}

/// This build has none.
#[cfg(not(feature = "tls"))]
pub fn with(_: SessionBuilder, _: &str) -> Result<SessionBuilder, OpenError> {
    Err(OpenError::NoTls)
}
