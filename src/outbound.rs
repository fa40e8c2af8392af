//! How we speak HTTP to others: TLS by rustls, no redirects, no proxy on the way to this machine itself.

use std::time::Duration;

use ureq::tls::{Certificate, PemItem, RootCerts, TlsConfig};

const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// A client for `server`; nothing is sent yet. Any status is an answer, not an error. `ca_pem` are the authorities to
/// trust instead of the public ones; fails when it holds no certificate.
pub(crate) fn agent(server: &http::Uri, ca_pem: Option<&[u8]>) -> Result<ureq::Agent, String> {
    let mut tls = TlsConfig::builder();
    if let Some(pem) = ca_pem {
        tls = tls.root_certs(roots(pem)?);
    }
    let config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        // A redirect could carry the credentials elsewhere, and nobody we speak to has reason to send one.
        .max_redirects(0)
        .timeout_connect(Some(CONNECT_WITHIN))
        .user_agent(concat!("dockhealth/", env!("CARGO_PKG_VERSION")))
        .tls_config(tls.build());
    let local = server.host().is_some_and(is_loopback);
    let config = if local { config.proxy(None) } else { config };
    Ok(config.build().new_agent())
}

fn roots(pem: &[u8]) -> Result<RootCerts, String> {
    let mut certs: Vec<Certificate<'static>> = Vec::new();
    for item in ureq::tls::parse_pem(pem) {
        if let PemItem::Certificate(cert) = item.map_err(|error| error.to_string())? {
            certs.push(cert);
        }
    }
    if certs.is_empty() { Err("no certificate in it; it must be PEM".into()) } else { Ok(certs.into()) }
}

/// Whether a URL's host is this machine itself.
pub(crate) fn is_loopback(host: &str) -> bool {
    let address: Result<std::net::IpAddr, _> = host.trim_matches(['[', ']']).parse();
    address.map_or(host.eq_ignore_ascii_case("localhost"), |a| a.is_loopback())
}
