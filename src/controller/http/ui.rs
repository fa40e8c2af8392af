//! The web UI: the files that `ui/` was built to, embedded and compressed by `build.rs`; or, in a build without them, a
//! page that says so.

use std::fmt::Write as _;
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use sha2::{Digest, Sha256};
use warp::reply::Response;

use super::pack::takes_gzip;
use super::problem::{Problem, quoted};
use super::request::Request;
use super::{Answer, Api, typed};
use crate::bus::gunzip;

/// A file of the UI.
struct File {
    /// Its path below `ui/dist`.
    path: &'static str,
    /// What it holds, compressed by gzip.
    packed: &'static [u8],
}

include!(concat!(env!("OUT_DIR"), "/ui.rs"));

/// More than the largest file has, bytes.
const MAX_FILE: usize = 16 << 20;

/// What the UI's pages may call, and load beside scripts: only what is served here. Their scripts set styles through the
/// DOM, which needs no leave.
const POLICY: &str = "default-src 'none'; style-src 'self'; img-src 'self' data:; font-src 'self'; connect-src 'self'; \
                      manifest-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'; \
                      script-src 'self'";

/// The page of a build without UI. It has no style or script of its own, so the policy holds for it too.
const NONE: &str = "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
    <meta name=\"viewport\" content=\"width=device-width\"><title>dockhealth</title></head>\n\
    <body><h1>dockhealth</h1><p>The controller runs. This build has no web UI, since there was no Node.js when it was \
    built: <code>scripts/build</code> installs what is needed and builds it in.</p>\n\
    <p>All else works: <a href=\"/docs/index.html\">the REST interface</a> is documented here, \
    <a href=\"/api/v1/openapi.json\">openapi.json</a> is the same for programs, and <code>dockhealth ps</code>, \
    <code>top</code> and <code>why</code> show the fleet in a terminal.</p></body></html>\n";

/// Whether this build has the UI.
pub fn has_ui() -> bool {
    !FILES.is_empty()
}

/// A page: whichever it is, the script in it reads the address and shows it.
pub(super) async fn page(_api: Arc<Api>, request: Request) -> Answer {
    page_of(FILES, &request.headers)
}

/// A file whose name changes with its content.
pub(super) async fn asset(_api: Arc<Api>, request: Request) -> Answer {
    let name = request.segment(0);
    let mut response = file_of(FILES, &format!("assets/{name}"), &request.headers)?;
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    response.headers_mut().insert(header::CACHE_CONTROL, forever);
    Ok(response)
}

/// The icon.
pub(super) async fn icon(_api: Arc<Api>, request: Request) -> Answer {
    file_of(FILES, "favicon.svg", &request.headers)
}

/// The page that says that there is none, for people who are where nothing is; `None` for programs.
pub(super) fn missing(path: &str, asked: &HeaderMap) -> Option<Response> {
    let accepted = asked.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let by_person = accepted.flat_map(|value| value.split(',')).any(|kind| kind.trim() == "text/html");
    if FILES.is_empty() || !by_person || path.starts_with("/api/") {
        return None;
    }
    let mut response = page_of(FILES, asked).ok()?;
    *response.status_mut() = StatusCode::NOT_FOUND;
    Some(response)
}

fn page_of(files: &[File], asked: &HeaderMap) -> Answer {
    let (mut response, policy) = match files.iter().find(|file| file.path == "index.html") {
        None => {
            let mut response = typed("text/html; charset=utf-8", NONE);
            response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
            (response, policy_of(""))
        }
        Some(page) => {
            let text = gunzip(page.packed, MAX_FILE).map_err(|_| Problem::internal())?;
            (file_of(files, page.path, asked)?, policy_of(&String::from_utf8_lossy(&text)))
        }
    };
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_SECURITY_POLICY,
        HeaderValue::from_str(&policy).expect("words, and hashes as base64"),
    );
    for (name, value) in [
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    Ok(response)
}

/// [`POLICY`], and leave for the scripts that stand within `page` as it was built, each by the hash of its text: what
/// gets into a page otherwise has none. (CSP level 3, section 6.7.3.3)
fn policy_of(page: &str) -> String {
    let mut policy = POLICY.to_owned();
    for rest in page.split("<script>").skip(1) {
        let script = rest.split("</script>").next().unwrap_or_default();
        let hash = BASE64_STANDARD.encode(Sha256::digest(script));
        write!(policy, " 'sha256-{hash}'").expect("a String takes all");
    }
    policy
}

/// The file at `path`, asked for anew each time but sent only when it has changed.
fn file_of(files: &[File], path: &str, asked: &HeaderMap) -> Answer {
    let file = files.iter().find(|file| file.path == path);
    let file = file.ok_or_else(|| Problem::not_found(format!("there is no file {}", quoted(path))))?;
    let tag = tag(file.packed);
    let known = asked.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    let unchanged =
        known.flat_map(|value| value.split(',')).any(|one| one.trim().trim_start_matches("W/") == tag);
    let mut response = if unchanged {
        let mut response = Response::default();
        *response.status_mut() = StatusCode::NOT_MODIFIED;
        response
    } else {
        content(file, asked)?
    };
    let headers = response.headers_mut();
    headers.insert(header::ETAG, HeaderValue::from_str(&tag).expect("hexadecimal digits in quotes"));
    headers.insert(header::VARY, HeaderValue::from_static("Accept-Encoding"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    Ok(response)
}

fn content(file: &File, asked: &HeaderMap) -> Answer {
    let kind = content_type(file.path);
    if !takes_gzip(asked) {
        return Ok(typed(kind, gunzip(file.packed, MAX_FILE).map_err(|_| Problem::internal())?));
    }
    let mut response = typed(kind, file.packed);
    response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
    Ok(response)
}

/// The same for the same content.
fn tag(content: &[u8]) -> String {
    let digest = Sha256::digest(content);
    let mut tag = String::from("\"");
    for byte in &digest[..8] {
        write!(tag, "{byte:02x}").expect("a String takes all");
    }
    tag + "\""
}

fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "woff2" => "font/woff2",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bus::gzip;

    fn header<'a>(response: &'a Response, name: &str) -> &'a str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    fn asking(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().unwrap())])
    }

    async fn body(response: Response) -> Vec<u8> {
        use http_body_util::BodyExt;
        response.into_body().collect().await.unwrap().to_bytes().to_vec()
    }

    fn files() -> [File; 2] {
        let packed = |text: &[u8]| &*Box::leak(gzip(text).into_boxed_slice());
        [
            File { path: "index.html", packed: packed(b"<!doctype html>page") },
            File { path: "assets/a-1.js", packed: packed(b"let a") },
        ]
    }

    #[tokio::test]
    async fn a_build_without_ui_says_so_and_how_to_get_one() {
        let response = page_of(&[], &HeaderMap::new()).unwrap();
        assert_eq!(header(&response, "content-type"), "text/html; charset=utf-8");
        assert_eq!(header(&response, "cache-control"), "no-cache");
        assert!(header(&response, "content-security-policy").contains("default-src 'none'"));
        let text = String::from_utf8(body(response).await).unwrap();
        assert!(
            text.contains("no web UI") && text.contains("scripts/build") && text.contains("/docs/"),
            "{text}"
        );
        assert_eq!(file_of(&[], "assets/a-1.js", &HeaderMap::new()).unwrap_err().status, 404);
    }

    #[tokio::test]
    async fn what_is_compressed_is_sent_so_or_unpacked() {
        let files = files();
        let packed = page_of(&files, &asking(header::ACCEPT_ENCODING, "gzip, br")).unwrap();
        assert_eq!(header(&packed, "content-encoding"), "gzip");
        assert_eq!(body(packed).await, files[0].packed);
        let plain = page_of(&files, &HeaderMap::new()).unwrap();
        assert_eq!(header(&plain, "content-encoding"), "");
        assert_eq!(header(&plain, "vary"), "Accept-Encoding");
        assert_eq!(body(plain).await, b"<!doctype html>page");
        let script = file_of(&files, "assets/a-1.js", &asking(header::ACCEPT_ENCODING, "gzip")).unwrap();
        assert_eq!(header(&script, "content-type"), "text/javascript; charset=utf-8");
    }

    #[test]
    fn only_the_scripts_that_a_page_was_built_with_run_in_it() {
        let page = "<head><script>let a</script><script type=\"module\" src=\"/assets/a.js\"></script>";
        let policy = policy_of(page);
        // printf 'let a' | openssl dgst -sha256 -binary | base64
        let hash = "'sha256-IfEXP/8HLuXoAiy0hZVrCAcjcLsZqYFpLOHDGj8enqE='";
        assert!(policy.ends_with(&format!("; script-src 'self' {hash}")), "{policy}");
        assert!(policy_of("").ends_with("; script-src 'self'"));
    }

    #[test]
    fn a_page_is_sent_again_only_when_it_has_changed() {
        let files = files();
        let tag = header(&page_of(&files, &HeaderMap::new()).unwrap(), "etag").to_owned();
        for known in [tag.clone(), format!("\"other\", {tag}"), format!("W/{tag}")] {
            let response = page_of(&files, &asking(header::IF_NONE_MATCH, &known)).unwrap();
            assert_eq!(response.status(), 304, "{known}");
            assert_eq!(header(&response, "cache-control"), "no-cache");
            assert_eq!(header(&response, "etag"), tag);
        }
        let response = page_of(&files, &asking(header::IF_NONE_MATCH, "\"other\"")).unwrap();
        assert_eq!(response.status(), 200);
    }
}
