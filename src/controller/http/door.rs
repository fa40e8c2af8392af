//! Who may come in: the Host and Origin headers, against DNS rebinding and other sites' pages.
//!
//! A page of another site can make a browser send requests here, by its own name that it lets point to this
//! machine, or straight away. The first carries that name in `Host`, the second its own in `Origin`.

use std::net::IpAddr;

use http::{HeaderMap, HeaderValue, StatusCode, Uri, header, uri::Authority};

use super::problem::{Problem, quoted};
use super::request::{Link, Scheme};

/// Checks that the request was meant for this server, and comes from no other site's page.
pub(crate) fn check(headers: &HeaderMap, uri: &Uri, link: Link, allowed: &[String]) -> Result<(), Problem> {
    let host = target(headers, uri)?;
    if !is_ours(&host, link, allowed) {
        let detail = format!(
            "this server is not called {}: use localhost or its own address, or name it with --allowed-host",
            quoted(host.host())
        );
        return Err(Problem::new(StatusCode::MISDIRECTED_REQUEST, detail));
    }
    let scheme = outer_scheme(headers, link);
    for origin in headers.get_all(header::ORIGIN) {
        let text = origin.to_str().unwrap_or_default();
        if !is_same_origin(text, &host, scheme) {
            let detail =
                format!("pages of {} may not call this server; only its own pages may", quoted(text));
            return Err(Problem::new(StatusCode::FORBIDDEN, detail));
        }
    }
    Ok(())
}

/// The one host the request names.
fn target(headers: &HeaderMap, uri: &Uri) -> Result<Authority, Problem> {
    let wrong = || Problem::bad_request("the request must name its host once, in the Host header");
    let mut named = headers.get_all(header::HOST).iter();
    let first = named.next().map(|value| value.to_str().unwrap_or_default().parse::<Authority>());
    if named.next().is_some() {
        return Err(wrong());
    }
    match (first, uri.authority()) {
        (Some(Ok(host)), None) => Ok(host),
        (Some(Ok(host)), Some(uri)) if *uri == host => Ok(host),
        _ => Err(wrong()),
    }
}

fn is_ours(host: &Authority, link: Link, allowed: &[String]) -> bool {
    // A trailing dot is the same name, spelled in full.
    let name = host.host().trim_end_matches('.').to_ascii_lowercase();
    if name == "localhost" || name.ends_with(".localhost") {
        return true;
    }
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        let address = address.to_canonical();
        if address.is_loopback() || address == link.local.ip().to_canonical() {
            return true;
        }
    }
    allowed
        .iter()
        .any(|a| a.trim_end_matches('.').eq_ignore_ascii_case(&name) || a.eq_ignore_ascii_case(bare))
}

/// What the caller spoke: a proxy that ends TLS before this server says so in `X-Forwarded-Proto`. No page of
/// another site can set that header here, since a browser asks us before it sends it, and we never agree.
pub(crate) fn outer_scheme(headers: &HeaderMap, link: Link) -> Scheme {
    match headers.get("x-forwarded-proto").map(HeaderValue::as_bytes) {
        Some(b"https") => Scheme::Https,
        _ => link.scheme,
    }
}

fn is_same_origin(origin: &str, host: &Authority, scheme: Scheme) -> bool {
    let (prefix, default) = match scheme {
        Scheme::Http => ("http://", 80),
        Scheme::Https => ("https://", 443),
    };
    let Some(Ok(origin)) = origin.strip_prefix(prefix).map(str::parse::<Authority>) else { return false };
    let port = |authority: &Authority| authority.port_u16().unwrap_or(default);
    origin.host().eq_ignore_ascii_case(host.host()) && port(&origin) == port(host)
}

/// Whether a request that came over `link` was made on this very machine. One that was forwarded by a proxy here
/// was not.
pub(crate) fn is_local(headers: &HeaderMap, link: Link) -> bool {
    let forwarded = headers.contains_key(header::FORWARDED) || headers.contains_key("x-forwarded-for");
    link.peer.ip().to_canonical().is_loopback() && !forwarded
}

/// The address that a request came from: what a proxy on this machine says, the peer's own otherwise. It tells callers
/// apart and lets nobody in.
pub(crate) fn place(headers: &HeaderMap, link: Link) -> IpAddr {
    let peer = link.peer.ip().to_canonical();
    // A proxy adds the address that it saw at the end; what stands before it, anybody may have written.
    let told = headers.get_all("x-forwarded-for").iter().next_back().and_then(|value| value.to_str().ok());
    let last = told.and_then(|value| value.rsplit(',').next()?.trim().parse::<IpAddr>().ok());
    if peer.is_loopback() { last.map_or(peer, |last| last.to_canonical()) } else { peer }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(host: &str, origin: Option<&str>, scheme: Scheme) -> u16 {
        let mut headers = HeaderMap::new();
        headers.insert(header::HOST, host.parse().unwrap());
        if let Some(origin) = origin {
            headers.insert(header::ORIGIN, origin.parse().unwrap());
        }
        let link =
            Link { peer: "10.0.0.9:5555".parse().unwrap(), local: "10.0.0.5:8930".parse().unwrap(), scheme };
        let allowed = ["health.example.org".to_owned(), "fd00::7".to_owned()];
        check(&headers, &Uri::from_static("/"), link, &allowed).map_or_else(|p| p.status, |()| 200)
    }

    #[test]
    fn only_our_own_names_are_answered() {
        for ours in [
            "localhost:8930",
            "LOCALHOST.",
            "127.0.0.1",
            "127.3.2.1:99",
            "[::1]:8930",
            "10.0.0.5:8930",
            "health.example.org",
            "Health.Example.Org.:8930",
            "[fd00::7]:8930",
        ] {
            assert_eq!(verdict(ours, None, Scheme::Http), 200, "{ours}");
        }
        for other in ["evil.example", "10.0.0.6", "localhost.evil.example", "0.0.0.0:8930", "[fd00::8]"] {
            assert_eq!(verdict(other, None, Scheme::Http), 421, "{other}");
        }
        for broken in ["", "a b", "http://localhost/"] {
            assert_eq!(verdict(broken, None, Scheme::Http), 400, "{broken}");
        }
    }

    #[test]
    fn only_our_own_pages_may_call() {
        let host = "localhost:8930";
        assert_eq!(verdict(host, Some("http://localhost:8930"), Scheme::Http), 200);
        assert_eq!(verdict("localhost", Some("http://localhost"), Scheme::Http), 200);
        assert_eq!(verdict("localhost", Some("https://localhost:443"), Scheme::Https), 200);
        for other in ["http://localhost:3000", "https://localhost:8930", "http://evil.example", "null", ""] {
            assert_eq!(verdict(host, Some(other), Scheme::Http), 403, "{other}");
        }
    }

    #[test]
    fn a_proxy_that_ends_tls_says_so() {
        let verdict = |proto: Option<&str>, origin: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, "health.example.org".parse().unwrap());
            headers.insert(header::ORIGIN, origin.parse().unwrap());
            if let Some(proto) = proto {
                headers.insert("x-forwarded-proto", proto.parse().unwrap());
            }
            let here = "127.0.0.1:8930".parse().unwrap();
            let link = Link { peer: here, local: here, scheme: Scheme::Http };
            check(&headers, &Uri::from_static("/"), link, &["health.example.org".into()])
                .map_or_else(|p| p.status, |()| 200)
        };
        assert_eq!(verdict(Some("https"), "https://health.example.org"), 200);
        assert_eq!(verdict(Some("http"), "http://health.example.org"), 200);
        for (proto, other) in [
            (None, "https://health.example.org"),
            (Some("http"), "https://health.example.org"),
            (Some("https"), "http://health.example.org"),
            (Some("https"), "https://evil.example"),
            (Some("https"), "https://health.example.org:444"),
        ] {
            assert_eq!(verdict(proto, other), 403, "{proto:?} {other}");
        }
    }

    #[test]
    fn a_request_names_one_host() {
        let link = Link {
            peer: "[::1]:1".parse().unwrap(),
            local: "[::1]:2".parse().unwrap(),
            scheme: Scheme::Http,
        };
        let mut headers = HeaderMap::new();
        assert_eq!(check(&headers, &Uri::from_static("/"), link, &[]).unwrap_err().status, 400);
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert!(check(&headers, &Uri::from_static("http://localhost/"), link, &[]).is_ok());
        assert!(check(&headers, &Uri::from_static("http://evil.example/"), link, &[]).is_err());
        headers.append(header::HOST, "localhost".parse().unwrap());
        assert_eq!(check(&headers, &Uri::from_static("/"), link, &[]).unwrap_err().status, 400);
    }

    #[test]
    fn what_a_proxy_forwards_is_not_local() {
        let local = |peer: &str, header: Option<&'static str>| {
            let mut headers = HeaderMap::new();
            if let Some(name) = header {
                headers.insert(name, "203.0.113.7".parse().unwrap());
            }
            let peer = peer.parse().unwrap();
            is_local(&headers, Link { peer, local: peer, scheme: Scheme::Http })
        };
        assert!(local("127.0.0.1:1", None));
        assert!(local("[::ffff:127.0.0.1]:1", None));
        assert!(!local("127.0.0.1:1", Some("x-forwarded-for")));
        assert!(!local("127.0.0.1:1", Some("forwarded")));
        assert!(!local("192.0.2.1:1", None));
    }

    #[test]
    fn only_a_proxy_here_says_where_a_request_came_from() {
        let place = |peer: &str, forwarded: &[&'static str]| {
            let peer = peer.parse().unwrap();
            let headers = forwarded.iter().map(|value| {
                ("x-forwarded-for".parse::<header::HeaderName>().unwrap(), HeaderValue::from_static(value))
            });
            place(&headers.collect(), Link { peer, local: peer, scheme: Scheme::Http }).to_string()
        };
        assert_eq!(place("[::ffff:192.0.2.1]:1", &["203.0.113.7"]), "192.0.2.1");
        assert_eq!(place("127.0.0.1:1", &[]), "127.0.0.1");
        assert_eq!(place("127.0.0.1:1", &["198.51.100.1, 203.0.113.7"]), "203.0.113.7");
        assert_eq!(place("127.0.0.1:1", &["198.51.100.1", "203.0.113.7"]), "203.0.113.7");
        assert_eq!(place("127.0.0.1:1", &["unknown"]), "127.0.0.1");
    }
}
