//! Compressed answers, for those who take them.

use http::{HeaderMap, HeaderValue, header};
use http_body_util::BodyExt;
use hyper::body::Body as _;
use warp::reply::Response;

use super::problem::Problem;
use crate::bus::gzip;

/// From how many bytes of JSON on compressing pays: below, it saves less time on the wire than it takes.
const FROM: u64 = 32 * 1024;

/// `response`, compressed where it is long JSON and whoever sent `asked` takes that. Streams are left alone.
pub(super) async fn packed(response: Response, asked: &HeaderMap) -> Result<Response, Problem> {
    let is_json = response.headers().get(header::CONTENT_TYPE).is_some_and(|kind| kind == "application/json");
    let long = response.body().size_hint().exact().is_some_and(|length| length >= FROM);
    if !is_json || !long {
        return Ok(response);
    }
    let (mut parts, body) = response.into_parts();
    parts.headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    if !takes_gzip(asked) {
        return Ok(Response::from_parts(parts, body));
    }
    let whole = body.collect().await.map_err(|_| Problem::internal())?.to_bytes();
    // A fleet's list is megabytes, which take tens of milliseconds.
    let bytes = tokio::task::spawn_blocking(move || gzip(&whole)).await.map_err(|_| Problem::internal())?;
    parts.headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Ok(Response::from_parts(parts, bytes.into()))
}

/// Whether the client names gzip among the encodings it takes, other than to refuse it.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let named = headers.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    named.flat_map(|value| value.split(',')).any(|encoding| {
        let (name, weight) = encoding.split_once(';').unwrap_or((encoding, "q=1"));
        let weight = weight.trim().strip_prefix("q=").and_then(|weight| weight.trim().parse::<f64>().ok());
        ["gzip", "*"].contains(&name.trim()) && weight.is_some_and(|weight| weight > 0.0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gzip_is_sent_only_to_those_who_take_it() {
        for (said, takes) in [
            ("gzip", true),
            ("deflate, gzip;q=0.5", true),
            ("br, *", true),
            ("gzip; q=0", false),
            ("identity", false),
            ("", false),
        ] {
            let headers = HeaderMap::from_iter([(header::ACCEPT_ENCODING, HeaderValue::from_static(said))]);
            assert_eq!(takes_gzip(&headers), takes, "{said:?}");
        }
        assert!(!takes_gzip(&HeaderMap::new()));
    }
}
