//! The real transport: blocking HTTP/1.1 over rustls (ring), trusting the system's certificate store.
//!
//! `SSL_CERT_FILE` and `SSL_CERT_DIR` replace the store, which is how a private cloud's or the lab's authority
//! is brought in. Redirects are never followed: a bearer token must not travel to a host
//! that an answer names.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rustls_native_certs::{CertificateResult, load_certs_from_paths, load_native_certs};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Error, Timeout};

use super::{Request, Response, Transport, TransportError, host};

/// The largest body accepted, in bytes: a list page of a thousand large NICs stays well below.
const MAX_BODY: u64 = 32 << 20;

/// The bundles of Debian and Ubuntu, and of Fedora and RHEL.
const BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

/// HTTP over the machine's network.
pub struct Wire {
    agent: Agent,
}

/// Whether requests may go through the proxy that the environment names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Proxying {
    /// Through `HTTPS_PROXY`, unless `NO_PROXY` names the host.
    Environment,
    /// Never, and never over TLS: a metadata service answers this machine only.
    Direct,
}

impl Wire {
    /// Opens a transport; connections are made when needed and kept between requests.
    pub fn new(proxying: Proxying) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .max_redirects_will_error(false)
            .user_agent(concat!(
                "routerd-provider-executor/",
                env!("CARGO_PKG_VERSION")
            ));
        config = match proxying {
            Proxying::Environment => config.tls_config(tls()),
            Proxying::Direct => config.proxy(None),
        };
        Self {
            agent: config.build().new_agent(),
        }
    }

    fn attempt(&self, request: &Request, timeout: Duration) -> Result<Response, Error> {
        let mut builder = ureq::http::Request::builder()
            .method(request.method.as_str())
            .uri(&request.url)
            .header("accept", "application/json");
        for (name, value) in &request.headers {
            builder = builder.header(*name, value);
        }
        let answer = match &request.body {
            Some(body) => {
                let bytes = body.to_string().into_bytes();
                let sealed = builder
                    .header("content-type", "application/json")
                    .body(bytes)?;
                self.run(sealed, timeout)?
            }
            None => self.run(builder.body(())?, timeout)?,
        };
        read(answer)
    }

    fn run<B: ureq::AsSendBody>(
        &self,
        request: ureq::http::Request<B>,
        timeout: Duration,
    ) -> Result<ureq::http::Response<ureq::Body>, Error> {
        let request = self
            .agent
            .configure_request(request)
            .timeout_global(Some(timeout))
            .build();
        self.agent.run(request)
    }
}

fn read(answer: ureq::http::Response<ureq::Body>) -> Result<Response, Error> {
    let (head, mut body) = answer.into_parts();
    let headers = head
        .headers
        .iter()
        .filter_map(|(name, value)| {
            Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned()))
        })
        .collect();
    Ok(Response {
        status: head.status.as_u16(),
        headers,
        body: body.with_config().limit(MAX_BODY).read_to_vec()?,
    })
}

/// The certificates to trust. The bundle that distributions keep is one file to read; the directory beside it
/// holds the same in hundreds.
fn roots() -> CertificateResult {
    let file = std::env::var_os("SSL_CERT_FILE").map(PathBuf::from);
    let directory = std::env::var_os("SSL_CERT_DIR").map(PathBuf::from);
    if file.is_some() || directory.is_some() {
        return load_certs_from_paths(file.as_deref(), directory.as_deref());
    }
    BUNDLES
        .iter()
        .map(|bundle| load_certs_from_paths(Some(Path::new(bundle)), None))
        .find(|found| !found.certs.is_empty())
        .unwrap_or_else(load_native_certs)
}

fn tls() -> TlsConfig {
    let roots: Vec<Certificate<'static>> = roots()
        .certs
        .iter()
        .map(|der| Certificate::from_der(der).to_owned())
        .collect();
    TlsConfig::builder()
        .root_certs(RootCerts::new_with_certs(&roots))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

impl Transport for Wire {
    fn exchange(&self, request: &Request, timeout: Duration) -> Result<Response, TransportError> {
        self.attempt(request, timeout).map_err(|error| {
            let host = host(&request.url).unwrap_or(&request.url).to_owned();
            let reason = error.to_string();
            if never_arrived(&error) {
                TransportError::Unreachable { host, reason }
            } else {
                TransportError::Lost { host, reason }
            }
        })
    }
}

/// Whether the request certainly did not reach the server. In doubt it did.
fn never_arrived(error: &Error) -> bool {
    match error {
        Error::HostNotFound
        | Error::ConnectionFailed
        | Error::BadUri(_)
        | Error::Http(_)
        | Error::InvalidProxyUrl
        | Error::Timeout(Timeout::Resolve | Timeout::Connect) => true,
        Error::Io(error) => matches!(
            error.kind(),
            io::ErrorKind::ConnectionRefused
                | io::ErrorKind::HostUnreachable
                | io::ErrorKind::NetworkUnreachable
                | io::ErrorKind::AddrNotAvailable
        ),
        // A server that answers the handshake with an unknown certificate has seen no request.
        Error::Rustls(rustls::Error::InvalidCertificate(_)) => true,
        _ => false,
    }
}
