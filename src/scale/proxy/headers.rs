//! Which headers a proxy passes on, and which it adds. Pure.

use std::net::IpAddr;

use http::header::{self, HeaderName, HeaderValue};
use http::{HeaderMap, Method};

/// What is for one connection only (RFC 9110, 7.6.1), besides what `Connection` names.
const HOP_BY_HOP: [HeaderName; 7] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// How long a request waited for a container, milliseconds.
pub(crate) const WAIT: HeaderName = HeaderName::from_static("x-dockhealth-wait-ms");
/// The container that answered.
pub(super) const CONTAINER: HeaderName = HeaderName::from_static("x-dockhealth-container");

/// Takes out what is for this connection only.
pub(super) fn strip_hop_by_hop(headers: &mut HeaderMap) {
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderName> = headers
            .get_all(header::CONNECTION)
            .iter()
            .filter_map(|value| value.to_str().ok())
            .flat_map(|text| text.split(','))
            .filter_map(|name| name.trim().parse().ok())
            // Who names these means no good: they frame the message or say whom it is for.
            .filter(|name| *name != header::CONTENT_LENGTH && *name != header::HOST)
            .collect();
        for name in named {
            headers.remove(name);
        }
    }
    for name in &HOP_BY_HOP {
        headers.remove(name);
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
}

/// Makes a client's headers those of the request to a container.
pub(super) fn towards_container(headers: &mut HeaderMap, client: IpAddr) {
    strip_hop_by_hop(headers);
    let client = client.to_canonical().to_string();
    // What a client claims goes first, as proxies before us would have written it.
    let chain = headers.get_all(FORWARDED_FOR).iter().filter_map(|value| value.to_str().ok());
    let chain: Vec<&str> = chain.chain([client.as_str()]).collect();
    let chain = HeaderValue::try_from(chain.join(", "));
    headers.insert(FORWARDED_FOR, chain.expect("texts of headers joined are one"));
    if let Some(host) = headers.get(header::HOST).cloned()
        && !headers.contains_key(FORWARDED_HOST)
    {
        headers.insert(FORWARDED_HOST, host);
    }
    if !headers.contains_key(FORWARDED_PROTO) {
        headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    }
    headers.append(header::VIA, HeaderValue::from_static("1.1 dockhealth"));
}

/// Whether to do it twice is the same as to do it once (RFC 9110, 9.2.2).
pub(super) fn is_idempotent(method: &Method) -> bool {
    matches!(
        *method,
        Method::GET | Method::HEAD | Method::OPTIONS | Method::TRACE | Method::PUT | Method::DELETE
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn headers(of: &[(&'static str, &str)]) -> HeaderMap {
        of.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_is_for_one_connection_goes_no_further() {
        let mut map = headers(&[
            ("connection", "close, X-Once,content-length"),
            ("connection", "host"),
            ("x-once", "1"),
            ("keep-alive", "5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("proxy-authorization", "secret"),
            ("proxy-connection", "x"),
            ("content-length", "3"),
            ("host", "a"),
            ("accept", "*/*"),
        ]);
        strip_hop_by_hop(&mut map);
        let mut left: Vec<&str> = map.keys().map(HeaderName::as_str).collect();
        left.sort_unstable();
        assert_eq!(left, ["accept", "content-length", "host"]);
    }

    #[test]
    fn a_container_learns_who_asked_and_by_which_name() {
        let mut map = headers(&[("host", "shop:80"), ("x-forwarded-for", "10.0.0.1"), ("via", "1.0 edge")]);
        towards_container(&mut map, "::ffff:192.0.2.7".parse().unwrap());
        assert_eq!(map["x-forwarded-for"], "10.0.0.1, 192.0.2.7");
        assert_eq!(
            (&map["x-forwarded-host"], &map["x-forwarded-proto"]),
            (&"shop:80".parse().unwrap(), &"http".parse().unwrap())
        );
        let via: Vec<_> = map.get_all("via").iter().collect();
        assert_eq!(via, ["1.0 edge", "1.1 dockhealth"]);
        let mut before = headers(&[("x-forwarded-proto", "https"), ("x-forwarded-host", "outside")]);
        towards_container(&mut before, "192.0.2.7".parse().unwrap());
        assert_eq!(
            (&before["x-forwarded-host"], &before["x-forwarded-proto"]),
            (&"outside".parse().unwrap(), &"https".parse().unwrap())
        );
    }

    #[test]
    fn only_what_may_be_repeated_is() {
        assert!(is_idempotent(&Method::GET) && is_idempotent(&Method::DELETE));
        assert!(!is_idempotent(&Method::POST) && !is_idempotent(&Method::PATCH));
        assert!(!is_idempotent(&Method::from_bytes(b"BREW").unwrap()));
    }

    proptest! {
        #[test]
        fn no_header_panics(value in proptest::collection::vec(any::<u8>(), 0..60), other in "[ -~]{0,60}") {
            let mut map = HeaderMap::new();
            for value in [HeaderValue::from_bytes(&value), HeaderValue::from_str(&other)].into_iter().flatten() {
                for name in [header::CONNECTION, FORWARDED_FOR, header::HOST] {
                    map.append(name, value.clone());
                }
            }
            towards_container(&mut map, "::1".parse().unwrap());
            prop_assert!(!map.contains_key(header::CONNECTION));
        }
    }
}
