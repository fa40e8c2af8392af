use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UnixListener};

use super::*;

const GOOD: &str = "aaaaaaaaaaaaaaaa";
const VANISHED: &str = "bbbbbbbbbbbbbbbb";
const BROKEN: &str = "cccccccccccccccc";

/// The status of an answer that never comes.
const SILENT: u16 = 0;

/// An engine that answers each request by its path; closes without a word where that gives `None`.
async fn scripted(answer: fn(&str) -> Option<(u16, Value)>) -> Engine {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = EngineAddress::Tcp(listener.local_addr().unwrap().to_string());
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let mut request = [0; 8192];
                let read = stream.read(&mut request).await.unwrap_or(0);
                let text = String::from_utf8_lossy(&request[..read]);
                let target = text.split(' ').nth(1).unwrap_or_default();
                let Some((status, body)) = answer(target) else { return };
                if status == SILENT {
                    std::future::pending::<()>().await;
                }
                let body = body.to_string();
                let head = format!(
                    "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
                    body.len()
                );
                let _ = stream.write_all((head + &body).as_bytes()).await;
            });
        }
    });
    Engine::connect(&address).unwrap()
}

fn one_good(target: &str) -> Option<(u16, Value)> {
    Some(match target.split('/').nth(2)? {
        GOOD => (200, json!({ "Id": GOOD, "Name": "/good" })),
        BROKEN => (200, json!({ "Id": BROKEN, "Name": null })),
        VANISHED => (404, json!({ "message": format!("No such container: {VANISHED}") })),
        // What a newer engine may add must not matter.
        _ => (
            200,
            json!([{ "Id": VANISHED, "New": {} }, { "Id": BROKEN }, { "Id": GOOD, "Labels": null }, {}]),
        ),
    })
}

#[tokio::test]
async fn a_list_leaves_out_what_vanished_or_cannot_be_read() {
    let listed = scripted(one_good).await.list().await.unwrap();
    assert_eq!(listed.iter().map(|facts| facts.name.as_str()).collect::<Vec<_>>(), ["good"]);
}

#[tokio::test]
async fn a_list_made_again_reads_only_what_has_news() {
    static READ: AtomicUsize = AtomicUsize::new(0);
    static STARTED_ANEW: AtomicBool = AtomicBool::new(false);
    let engine = scripted(|target| {
        if target.contains(GOOD) {
            READ.fetch_add(1, Ordering::SeqCst);
            return Some((200, json!({ "Id": GOOD, "Name": "/good", "State": { "Status": "running" } })));
        }
        let anew = STARTED_ANEW.load(Ordering::SeqCst);
        let status = if anew { "Up Less than a second" } else { "Up 2 hours" };
        Some((200, json!([{ "Id": GOOD, "Names": ["/good"], "State": "running", "Status": status }])))
    })
    .await;
    let read = async || {
        let before = READ.load(Ordering::SeqCst);
        let listed = engine.relist().await.unwrap();
        assert_eq!(listed.iter().map(|facts| facts.name.as_str()).collect::<Vec<_>>(), ["good"]);
        READ.load(Ordering::SeqCst) - before
    };
    assert_eq!(read().await, 1, "it was never read");
    assert_eq!(read().await, 0);
    engine.list().await.unwrap();
    assert_eq!(READ.load(Ordering::SeqCst), 2, "a list reads everything");
    STARTED_ANEW.store(true, Ordering::SeqCst);
    assert_eq!(read().await, 1, "it may have been started since");
}

#[tokio::test]
async fn a_list_fails_when_the_engine_goes_away_meanwhile() {
    let engine = scripted(|target| if target.contains(GOOD) { None } else { one_good(target) }).await;
    let listed = engine.list().await;
    assert!(matches!(listed, Err(EngineError::Unreachable(_))), "{listed:?}");
}

#[tokio::test]
async fn a_container_that_hangs_is_told_as_it_was_last() {
    static HANGS: AtomicBool = AtomicBool::new(false);
    let engine = scripted(|target| match one_good(target) {
        Some((200, body)) if HANGS.load(Ordering::SeqCst) => Some((SILENT, body)),
        other => other,
    })
    .await;
    assert_eq!(engine.list().await.unwrap().len(), 1);
    HANGS.store(true, Ordering::SeqCst);
    tokio::time::pause();
    assert!(matches!(engine.inspect(GOOD).await, Err(EngineError::TimedOut(..))));
    let told = engine.inspect_or_leave_out(GOOD.to_owned()).await.unwrap();
    assert_eq!(told.expect("it is not left out").id.as_str(), GOOD);
    assert_eq!(engine.inspect_or_leave_out(BROKEN.to_owned()).await.unwrap(), None, "it was never read");
}

#[tokio::test]
async fn refusals_of_the_crate_s_calls_are_told_apart() {
    let id = ContainerId::new(GOOD).unwrap();
    let missing = scripted(|_| Some((404, json!({ "message": "No such container: x" })))).await;
    let network = scripted(|_| Some((404, json!({ "message": "network n not found" })))).await;
    let hostile = scripted(|_| Some((500, json!({ "message": "no\u{1b}[2J" })))).await;
    let done = scripted(|_| Some((304, json!("")))).await;
    assert!(matches!(missing.start(&id).await, Err(EngineError::NoSuchContainer(_))));
    missing.remove(&id, AnonymousVolumes::Keep).await.expect("it is gone");
    let refused = network.start(&id).await;
    assert!(
        matches!(&refused, Err(EngineError::Refused(words)) if words == "network n not found"),
        "{refused:?}"
    );
    let refused = hostile.stop(&id, Some(Duration::ZERO)).await;
    assert!(matches!(&refused, Err(EngineError::Refused(words)) if words == "no?[2J"), "{refused:?}");
    done.start(&id).await.expect("it runs already");
    done.stop(&id, Some(Duration::ZERO)).await.expect("it is down already");
}

/// With time paused each deadline passes at once, since nothing else happens.
#[tokio::test(start_paused = true)]
async fn an_engine_that_hangs_times_out_at_each_call() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("docker.sock");
    let _silent = UnixListener::bind(&socket).unwrap();
    let engine = Engine::connect(&EngineAddress::Unix(socket)).unwrap();
    let id = ContainerId::new(GOOD).unwrap();
    let name = ContainerName::new("x").unwrap();
    let keep = AnonymousVolumes::Keep;
    let all = [
        ("info", engine.info().await.map(drop), 10),
        ("list", engine.list().await.map(drop), 10),
        ("inspect", engine.inspect("x").await.map(drop), 10),
        ("events", engine.events(Some(Timestamp::now())).await.map(drop), 10),
        ("start", engine.start(&id).await, 60),
        ("stop", engine.stop(&id, Some(Duration::from_secs(5))).await, 65),
        ("restart", engine.restart(&id, Some(Duration::from_secs(5))).await, 65),
        ("restart, its own time unknown", engine.restart(&id, None).await, 10),
        ("create", engine.create(&name, &json!({})).await.map(drop), 60),
        ("rename", engine.rename(&id, &name).await, 60),
        ("connect", engine.connect("n", &id, &json!({})).await, 60),
        ("disconnect", engine.disconnect("n", &id).await, 60),
        ("remove", engine.remove(&id, keep).await, 60),
        ("image", engine.image_id("x").await.map(drop), 10),
    ];
    for (what, outcome, seconds) in all {
        let span = Duration::from_secs(seconds);
        assert!(
            matches!(&outcome, Err(EngineError::TimedOut(after, _)) if *after == span),
            "{what}: {outcome:?}"
        );
    }
}

#[test]
fn parts_of_a_second_count_as_one() {
    assert_eq!(whole_seconds(Duration::from_millis(1)), Duration::from_secs(1));
    assert_eq!(whole_seconds(Duration::from_secs(2)), Duration::from_secs(2));
    assert_eq!(whole_seconds(Duration::ZERO), Duration::ZERO);
}
