//! Notifications, to a real receiver on this machine.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use dockhealth::bus::ContainerReport;
use dockhealth::controller::ControllerConfig;
use dockhealth::model::{Actor, Event, EventDraft, EventKind, Timestamp};
use dockhealth::notify::Target;
use serde_json::Value;
use tokio::sync::mpsc;

use super::world::{ScriptedAgent, World, batch, container, host, report};
use crate::support::eventually;

/// Nothing that was to come takes longer.
const DEADLINE: Duration = Duration::from_secs(20);

/// A request as it came.
struct Post {
    head: String,
    body: Value,
    at: Instant,
}

/// A server that takes every request, or answers as it was told before.
struct Receiver {
    address: SocketAddr,
    answers: Arc<Mutex<VecDeque<String>>>,
    posts: mpsc::UnboundedReceiver<Post>,
}

impl Receiver {
    fn start() -> Self {
        Self::on("127.0.0.1:0".parse().unwrap())
    }

    fn on(address: SocketAddr) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let answers = Arc::new(Mutex::new(VecDeque::<String>::new()));
        let (told, posts) = mpsc::unbounded_channel();
        let script = answers.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.unwrap();
                let mut reader = BufReader::new(&stream);
                let mut head = String::new();
                while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head).unwrap() > 0 {}
                let length = head.to_lowercase();
                let length = length.split("content-length: ").nth(1).and_then(|rest| rest.lines().next());
                let mut body = vec![0; length.unwrap().parse().unwrap()];
                reader.read_exact(&mut body).unwrap();
                let answer =
                    script.lock().unwrap().pop_front().unwrap_or_else(|| "204 No Content\r\n".into());
                let text = format!("HTTP/1.1 {answer}Connection: close\r\nContent-Length: 0\r\n\r\n");
                (&stream).write_all(text.as_bytes()).unwrap();
                let body = serde_json::from_slice(&body).unwrap();
                if told.send(Post { head, body, at: Instant::now() }).is_err() {
                    return;
                }
            }
        });
        Self { address, answers, posts }
    }

    /// What the next request, and those after it, are answered with: status line and headers.
    fn answers(&self, lines: &[&str]) {
        self.answers.lock().unwrap().extend(lines.iter().map(|line| format!("{line}\r\n")));
    }

    async fn next(&mut self) -> Post {
        tokio::time::timeout(DEADLINE, self.posts.recv()).await.expect("a request comes").unwrap()
    }
}

/// A controller that tells `address` of incidents, soon.
fn telling(address: SocketAddr) -> impl Fn(&mut ControllerConfig) {
    move |config| {
        config.notify.targets =
            vec![Target::parse(&format!("http://{address}/hook/s3cr3tkey"), None).unwrap()];
        config.notify.policy.wait = Duration::from_millis(300);
        config.notify.public_url = Some("https://dockhealth.example/".into());
    }
}

fn event(kind: EventKind, name: &str, container: Option<&str>) -> Event {
    let mut draft = EventDraft::new(kind, Actor::Agent, format!("{kind} of {name}"));
    draft.container = container.map(|c| c.parse().unwrap());
    draft.stamp(&host(name), Timestamp::now())
}

/// Sends a test, past all that waits, and expects it to be what comes next: nothing else was on its way.
async fn nothing_else(world: &World, receiver: &mut Receiver) {
    let tried = world.call("POST", "/api/v1/notifications/test", "").await.expect(200).json();
    assert_eq!(tried["deliveries"][0]["state"], "delivered", "{tried}");
    let post = receiver.next().await;
    assert_eq!(post.body["kind"], "test", "{}", post.body);
}

#[tokio::test]
async fn a_dead_host_is_one_message_and_a_drill_is_none() {
    let mut receiver = Receiver::start();
    let world = World::after(&telling(receiver.address), |db| async move {
        let mut events = vec![event(EventKind::HostSilent, "dead", None)];
        for n in 0..20 {
            events.push(event(EventKind::ContainerFailing, "dead", Some(&format!("c{n}"))));
        }
        let drill = Some(uuid::Uuid::now_v7());
        events.push(Event { drill_id: drill, ..event(EventKind::HostSilent, "drilled", None) });
        db.append(events).await.unwrap();
    })
    .await;
    let problem = receiver.next().await;
    assert_eq!(problem.body["title"], "Host dead is silent");
    assert_eq!(problem.body["incidents"].as_array().unwrap().len(), 21);
    assert_eq!(problem.body["url"], "https://dockhealth.example/");
    let id = problem.body["id"].as_str().unwrap().to_owned();
    let key = format!("idempotency-key: {id}");
    assert!(problem.head.to_lowercase().contains(&key), "{}", problem.head);
    nothing_else(&world, &mut receiver).await;
    let incidents = world.get("/api/v1/incidents").await.expect(200).json();
    let told = incidents.as_array().unwrap().iter().filter(|i| i["notification"] == *id).count();
    assert_eq!(told, 21);

    // All of it is over: one message again.
    for n in 0..20 {
        let name = format!("c{n}");
        let batch = batch("dead", n + 1, EventKind::ContainerRecovered, Some(&name));
        world.outbox(&batch, "dead").await.unwrap();
    }
    world.outbox(&batch("dead", 21, EventKind::HostLive, None), "dead").await.unwrap();
    let over = receiver.next().await;
    assert_eq!((&over.body["kind"], &over.body["answers"]), (&"recovery".into(), &Value::from(id)));
    assert_eq!(over.body["title"], "Host dead is well again", "{}", over.body);
    nothing_else(&world, &mut receiver).await;
}

#[tokio::test]
async fn maintenance_by_label_is_silent_until_the_label_is_gone() {
    let mut receiver = Receiver::start();
    let world = World::with(&telling(receiver.address)).await;
    let labelled = ContainerReport { maintenance_by_label: true, ..container("worked-on") };
    let agent = ScriptedAgent::start(&world, report("a", vec![labelled, container("web")])).await;
    for (n, name) in [(1, "worked-on"), (2, "web")] {
        world.outbox(&batch("a", n, EventKind::Quarantined, Some(name)), "a").await.unwrap();
    }
    let told = receiver.next().await.body;
    assert_eq!(told["scope"]["container"], "web", "{told}");
    nothing_else(&world, &mut receiver).await;

    agent.change(|report| report.containers[0].maintenance_by_label = false).await;
    // Any event has the incidents looked at again; else that is done every 10 s.
    world.outbox(&batch("a", 3, EventKind::AgentStarted, None), "a").await.unwrap();
    let told = receiver.next().await.body;
    assert_eq!(told["scope"]["container"], "worked-on", "{told}");
}

#[tokio::test]
async fn a_receiver_that_was_away_gets_it_once_though_the_controller_was_restarted() {
    // A port where nobody listens.
    let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let world = World::with(&telling(address)).await;
    world.outbox(&batch("a", 1, EventKind::Quarantined, Some("web")), "a").await.unwrap();
    let waits = async |world: &World| {
        eventually("it is tried in vain", async || {
            let list = world.get("/api/v1/notifications").await.expect(200).json();
            let failing = list["receivers"][0]["failures"].as_u64()? > 0;
            (failing && list["notifications"][0]["deliveries"][0]["state"] == "waiting").then_some(list)
        })
        .await
    };
    let list = waits(&world).await;
    assert_eq!(list["receivers"][0]["waiting"], 1);
    assert!(!list.to_string().contains("s3cr3tkey"), "{list}");
    let ready = world.get("/readyz").await.expect(200).json();
    let said = ready["notifications"].as_str().unwrap();
    assert!(said.starts_with(&format!("json http://{address}/... cannot be reached")), "{said}");

    let world = world.restarted_with(&telling(address), |_| {}).await;
    waits(&world).await;
    let mut receiver = Receiver::on(address);
    let problem = receiver.next().await;
    assert_eq!(problem.body["title"], "Container a/web is quarantined");
    eventually("it is noted", async || {
        let list = world.get("/api/v1/notifications").await.expect(200).json();
        (list["notifications"][0]["deliveries"][0]["state"] == "delivered").then_some(())
    })
    .await;

    let world = world.restarted_with(&telling(address), |_| {}).await;
    nothing_else(&world, &mut receiver).await;
    world.outbox(&batch("a", 2, EventKind::ContainerRestarted, Some("web")), "a").await.unwrap();
    world.outbox(&batch("a", 3, EventKind::ContainerRecovered, Some("web")), "a").await.unwrap();
    let over = receiver.next().await;
    assert_eq!(over.body["answers"], problem.body["id"]);
    let text = over.body["text"].as_str().unwrap();
    assert!(text.starts_with("a/web: healed: dockhealth restarted it, after "), "{text}");
}

#[tokio::test]
async fn a_busy_receiver_is_waited_for_and_a_refusal_is_final_and_told() {
    let mut receiver = Receiver::start();
    receiver.answers(&["429 Too Many Requests\r\nRetry-After: 2", "204 No Content", "404 Not Found"]);
    let world = World::with(&telling(receiver.address)).await;
    world.outbox(&batch("a", 1, EventKind::Quarantined, Some("web")), "a").await.unwrap();
    let (first, again) = (receiver.next().await, receiver.next().await);
    assert_eq!(first.body, again.body, "the same, with the same id");
    let pause = again.at - first.at;
    assert!((Duration::from_secs(2)..Duration::from_secs(8)).contains(&pause), "{pause:?}");

    // The third is refused: not tried again, told by an event, forgotten when the next arrives.
    world.outbox(&batch("a", 2, EventKind::Quarantined, Some("sql")), "a").await.unwrap();
    receiver.next().await;
    let kind = async |kind: &str| {
        eventually(kind, async || world.kinds().await.contains(&kind.to_owned()).then_some(())).await;
    };
    kind("notify_failing").await;
    let answer = world.get("/metrics").await.expect(200);
    let metrics = answer.text();
    for line in [
        "dockhealth_notifications_total 2",
        "dockhealth_notifications_delivered_total 1",
        "dockhealth_notifications_failed_total 1",
        "dockhealth_notification_attempts_failed_total 2",
    ] {
        assert!(metrics.lines().any(|found| found == line), "{line} is not in:\n{metrics}");
    }
    nothing_else(&world, &mut receiver).await;
    kind("notify_works").await;
    assert_eq!(world.get("/readyz").await.json()["notifications"], "working");
}

#[tokio::test]
async fn redirects_are_not_followed() {
    let (mut first, mut second) = (Receiver::start(), Receiver::start());
    let elsewhere = format!("307 Temporary Redirect\r\nLocation: http://{}/", second.address);
    first.answers(&[&elsewhere]);
    let world = World::with(&telling(first.address)).await;
    let tried = world.call("POST", "/api/v1/notifications/test", "").await.expect(200).json();
    assert_eq!(tried["deliveries"][0]["state"], "failed", "{tried}");
    assert!(tried["deliveries"][0]["detail"].as_str().unwrap().starts_with("redirects (HTTP status 307)"));
    first.next().await;
    assert!(second.posts.try_recv().is_err(), "it went elsewhere");
}

#[tokio::test]
async fn the_command_line_tries_a_url_and_says_what_it_answers() {
    let mut receiver = Receiver::start();
    receiver.answers(&["204 No Content", "403 Forbidden"]);
    let dir = tempfile::tempdir().unwrap();
    let url = format!("slack+http://{}/services/s3cr3tkey", receiver.address);
    let run = async || {
        let mut command = crate::support::daemon::clean_command(dir.path());
        command.args(["notify", "test", "--url", &url]);
        tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
    };
    let output = run().await;
    let said = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && said.contains("taken (HTTP status 204)"), "{said}");
    let post = receiver.next().await;
    assert!(post.body["text"].as_str().unwrap().contains("this is a test"), "{}", post.body);
    let output = run().await;
    let said = String::from_utf8(output.stdout).unwrap() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("refuses it (HTTP status 403)") && !said.contains("s3cr3tkey"), "{said}");

    let nobody = World::new().await;
    let problem = nobody.call("POST", "/api/v1/notifications/test", "").await.expect(409).json();
    assert!(problem["detail"].as_str().unwrap().contains("--notify-url"), "{problem}");
    assert_eq!(nobody.get("/readyz").await.json()["notifications"], "off");
}
