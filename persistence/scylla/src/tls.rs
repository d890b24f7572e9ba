//! TLS to the store, behind the feature `tls`. Nodes are verified by their addresses.

use crate::OpenError;
use scylla::client::session_builder::SessionBuilder;

/// Trusts the certificates in this file, and no others.
#[cfg(feature = "tls")]
pub fn with(builder: SessionBuilder, path: &str) -> Result<SessionBuilder, OpenError> {
    use rustls::pki_types::{CertificateDer, pem::PemObject};
    use std::sync::Arc;
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
    // Named, because the driver brings another one along: of two, none would be the default.
    let cryptography = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(cryptography);
    let config = config.with_safe_default_protocol_versions();
    let config = config.map_err(|error| wrong(error.to_string()))?;
    let config = config.with_root_certificates(trusted).with_no_client_auth();
    Ok(builder.tls_context(Some(Arc::new(config))))
}

/// This build has none.
#[cfg(not(feature = "tls"))]
pub fn with(_: SessionBuilder, _: &str) -> Result<SessionBuilder, OpenError> {
    Err(OpenError::NoTls)
}
