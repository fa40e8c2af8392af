//! The remote store on a real VictoriaMetrics, and on servers that say no.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::thread;

use dockhealth::store::{MetricStore, RemoteOptions, RemoteStore, StoreCredentials, StoreError};

use super::contract::{Bench, all_of_web, assert_series, base, contract, web};
use crate::support::victoria::Victoria;

struct Remote {
    server: Victoria,
    store: RemoteStore,
}

fn options(url: &str) -> RemoteOptions {
    RemoteOptions { url: url.parse().unwrap(), write_url: None, credentials: None, ca_pem: None }
}

impl Remote {
    fn start() -> Self {
        let server = Victoria::start();
        let store = RemoteStore::new(options(&server.url())).unwrap();
        Self { server, store }
    }
}

impl Bench for Remote {
    fn store(&self) -> &dyn MetricStore {
        &self.store
    }

    fn settle(&self) {
        self.server.flush();
    }
}

contract!(Remote::start());

#[tokio::test]
async fn a_server_that_is_away_keeps_nothing_and_is_used_again_when_it_is_back() {
    let mut remote = Remote::start();
    let t = base();
    remote.store.write(vec![web(t, &[("pids", 1.0)])]).await.unwrap();
    remote.server.stop();
    let error = remote.store.write(vec![web(t + 10, &[("pids", 2.0)])]).await.unwrap_err();
    assert!(
        matches!(&error, StoreError::Away { why, .. } if why.starts_with("cannot be reached: ")),
        "{error}"
    );
    let error = remote.store.range(all_of_web(t, t, 10)).await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error}");
    remote.server.restart();
    remote.store.write(vec![web(t + 10, &[("pids", 2.0)])]).await.unwrap();
    remote.server.flush();
    let range = remote.store.range(all_of_web(t, t + 10, 10)).await.unwrap();
    assert_series(&range, "pids", &[Some(1.0), Some(2.0)]);
}

#[tokio::test]
async fn credentials_open_the_door_and_their_lack_loses_nothing() {
    let server = Victoria::with(&["-httpAuth.username=me", "-httpAuth.password=s:cret"]);
    let with = |secret: &str| {
        let credentials = Some(StoreCredentials::new(secret));
        RemoteStore::new(RemoteOptions { credentials, ..options(&server.url()) }).unwrap()
    };
    let tick = vec![web(base(), &[("pids", 1.0)])];
    with("me:s:cret").write(tick.clone()).await.unwrap();
    let error = with("me:wrong").write(tick).await.unwrap_err();
    assert!(matches!(error, StoreError::Away { .. }), "{error}");
    let said = error.to_string();
    assert!(said.contains("--store-credentials-file") && !said.contains("wrong"), "{said}");
}

/// A server that gives every request these answers in turn, and passes on each request's head and how long its body
/// was. Gone when they are given.
fn scripted(answers: &'static [&'static str]) -> (String, mpsc::Receiver<(String, usize)>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let (told, requests) = mpsc::channel();
    thread::spawn(move || {
        for answer in answers {
            let (stream, _) = listener.accept().unwrap();
            let mut reader = BufReader::new(&stream);
            let mut head = String::new();
            while !head.ends_with("\r\n\r\n") {
                assert_ne!(reader.read_line(&mut head).unwrap(), 0, "{head}");
            }
            let length =
                head.to_lowercase().split("content-length: ").nth(1).unwrap().lines().next().map(str::parse);
            let mut body = vec![0; length.unwrap().unwrap()];
            reader.read_exact(&mut body).unwrap();
            told.send((head, body.len())).unwrap();
            let text = format!("HTTP/1.1 {answer}\r\nConnection: close\r\nContent-Length: 4\r\n\r\nwhy\n");
            (&stream).write_all(text.as_bytes()).unwrap();
        }
    });
    (url, requests)
}

#[tokio::test]
async fn what_is_refused_is_said_and_what_may_pass_later_is_kept() {
    let tick = |n: i64| web(base() + n * 10, &[("pids", 1.0), ("rtt_ms", 2.0)]);
    for answer in ["429 Too Many Requests", "500 Oops", "503 Busy", "302 Found", "404 Not Found"] {
        let (url, _requests) = scripted(Box::leak(Box::new([answer])));
        let error = RemoteStore::new(options(&url)).unwrap().write(vec![tick(0)]).await.unwrap_err();
        assert!(matches!(error, StoreError::Away { .. }), "{answer}: {error}");
    }
    // The older of two is refused: together, then by itself; the newer is stored.
    let (url, requests) = scripted(&["400 Bad Request", "400 Bad Request", "204 No Content"]);
    let error = RemoteStore::new(options(&url)).unwrap().write(vec![tick(1), tick(0)]).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("the metrics server {url} refuses it (HTTP status 400): why (2 of 4 samples)")
    );
    assert!(matches!(error, StoreError::Refused(_)));
    assert_eq!(requests.iter().count(), 3);
}

#[tokio::test]
async fn a_request_is_what_the_protocol_says() {
    let (url, requests) = scripted(&["204 No Content"]);
    let write_url = Some(format!("{url}/api/v1/push").parse().unwrap());
    let credentials = Some(StoreCredentials::new("tok.en"));
    let store =
        RemoteStore::new(RemoteOptions { write_url, credentials, ..options("http://127.0.0.1:1/x/") });
    store.unwrap().write(vec![web(base(), &[("pids", 1.0)])]).await.unwrap();
    let (head, length) = requests.recv().unwrap();
    assert!(head.starts_with("POST /api/v1/push HTTP/1.1\r\n") && length > 0, "{head}");
    let head = head.to_lowercase();
    for line in [
        "content-encoding: snappy",
        "content-type: application/x-protobuf",
        "x-prometheus-remote-write-version: 0.1.0",
        "authorization: bearer tok.en",
    ] {
        assert!(head.lines().any(|found| found == line), "{line}: {head}");
    }
}
