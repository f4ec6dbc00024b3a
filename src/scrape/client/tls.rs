//! `tls_config` as a configuration of rustls.
//!
//! Two things differ from rustls's own ways, because files that work with Prometheus must work here: a certificate that
//! stands in `ca_file` itself is trusted also if it is marked as an authority (what `openssl req -x509` makes), and
//! `insecure_skip_verify` exists.

use std::sync::{Arc, OnceLock};

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme, SupportedProtocolVersion};

use crate::scrape::config::{Pem, TlsOptions};

/// Builds a configuration; reads the files that it names.
pub(super) fn client_config(options: &TlsOptions) -> Result<ClientConfig, String> {
    let provider = Arc::new(ring::default_provider());
    let versions: &[&SupportedProtocolVersion] = match (options.only_1_2, options.only_1_3) {
        (true, _) => &[&rustls::version::TLS12],
        (_, true) => &[&rustls::version::TLS13],
        _ => &[&rustls::version::TLS12, &rustls::version::TLS13],
    };
    let verifier = verifier(options, &provider)?;
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .map_err(|e| e.to_string())?
        .dangerous()
        .with_custom_certificate_verifier(verifier);
    match &options.client {
        None => Ok(builder.with_no_client_auth()),
        Some((certificate, key)) => {
            let chain = certificates(certificate)?;
            let key = PrivateKeyDer::from_pem_slice(&bytes(key)?).map_err(|e| format!("{key:?}: {e}"))?;
            builder.with_client_auth_cert(chain, key).map_err(|e| format!("{certificate:?}: {e}"))
        }
    }
}

fn bytes(pem: &Pem) -> Result<Vec<u8>, String> {
    match pem {
        Pem::Text(text) => Ok(text.clone().into_bytes()),
        Pem::File(path) => std::fs::read(path).map_err(|e| format!("{}: {e}", path.display())),
    }
}

fn certificates(pem: &Pem) -> Result<Vec<CertificateDer<'static>>, String> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bytes(pem)?).collect();
    match found {
        Ok(list) if list.is_empty() => Err(format!("{pem:?}: no certificate in it")),
        Ok(list) => Ok(list),
        Err(error) => Err(format!("{pem:?}: {error}")),
    }
}

fn verifier(options: &TlsOptions, provider: &Arc<CryptoProvider>) -> Result<Arc<Verifier>, String> {
    if options.insecure_skip_verify {
        return Ok(Arc::new(Verifier { inner: None, pinned: Vec::new(), provider: Arc::clone(provider) }));
    }
    let (roots, pinned) = match &options.ca {
        None => (system_roots(), Vec::new()),
        Some(ca) => {
            let listed = certificates(ca)?;
            let mut roots = RootCertStore::empty();
            // A certificate that cannot be an authority can still be the server's own.
            roots.add_parsable_certificates(listed.iter().cloned());
            (Arc::new(roots), listed)
        }
    };
    if roots.is_empty() && pinned.is_empty() {
        return Err("the system has no certificates of authorities; name some with ca_file".to_owned());
    }
    let inner = match roots.is_empty() {
        true => None,
        false => Some(
            WebPkiServerVerifier::builder_with_provider(roots, Arc::clone(provider))
                .build()
                .map_err(|e| e.to_string())?,
        ),
    };
    Ok(Arc::new(Verifier { inner, pinned, provider: Arc::clone(provider) }))
}

/// The authorities of the system, read once: there are some hundred of them.
fn system_roots() -> Arc<RootCertStore> {
    static ROOTS: OnceLock<Arc<RootCertStore>> = OnceLock::new();
    let read = || {
        let found = rustls_native_certs::load_native_certs();
        for error in &found.errors {
            tracing::warn!(%error, "certificates of the system");
        }
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(found.certs);
        Arc::new(roots)
    };
    Arc::clone(ROOTS.get_or_init(read))
}

/// Checks the certificate of a server.
#[derive(Debug)]
struct Verifier {
    /// None with nothing pinned: any certificate will do.
    inner: Option<Arc<WebPkiServerVerifier>>,
    /// Certificates that a server may show itself.
    pinned: Vec<CertificateDer<'static>>,
    provider: Arc<CryptoProvider>,
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        if self.pinned.iter().any(|pinned| pinned == end_entity) {
            // It is trusted by being listed; the name is checked all the same. Its dates are not: whoever lists a
            // certificate decides how long.
            rustls::client::verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        match &self.inner {
            Some(inner) => inner.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now),
            None if self.pinned.is_empty() => Ok(ServerCertVerified::assertion()),
            None => Err(rustls::CertificateError::UnknownIssuer.into()),
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, cert, dss, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
