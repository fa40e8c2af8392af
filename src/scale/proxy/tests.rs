//! The proxy between raw sockets: clients and containers of which every byte is known.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use super::{Connections, Limits, Proxy, serve};
use crate::model::ContainerName;
use crate::scale::pool::{Desk, Endpoint, MemberId, Rules};

const SOON: Duration = Duration::from_secs(10);

/// A proxy with its desk.
struct World {
    desk: Arc<Desk>,
    address: SocketAddr,
    shutdown: CancellationToken,
    served: JoinHandle<()>,
}

impl World {
    async fn start(queue: u32, limits: Limits) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let desk = Desk::new(Rules { concurrency: 1, queue, free_cpu: None });
        let (proxy, shutdown) = (Arc::new(Proxy::new(desk.clone(), limits)), CancellationToken::new());
        let served = tokio::spawn(serve(listener, proxy, shutdown.clone(), Duration::from_millis(300)));
        Self { desk, address, shutdown, served }
    }

    async fn usual() -> Self {
        Self::start(9, Limits { queue: SOON, silence: SOON }).await
    }

    /// A container at which the test itself answers.
    async fn container(&self, number: u64) -> TcpListener {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        self.add(number, listener.local_addr().unwrap());
        listener
    }

    fn add(&self, number: u64, address: SocketAddr) {
        self.desk.add(Endpoint {
            member: MemberId(number),
            name: ContainerName::new(format!("c{number}")).unwrap(),
            address,
            gone: CancellationToken::new(),
            connections: Connections::default(),
        });
    }

    /// A client that sent `text`.
    async fn client(&self, text: &str) -> TcpStream {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(text.as_bytes()).await.unwrap();
        stream
    }

    /// Waits until so many wait and so many are being worked on.
    async fn until(&self, waiting: u32, working: u32) {
        let so = async {
            loop {
                let look = self.desk.look();
                if (look.queued, look.in_flight) == (waiting, working) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        timeout(SOON, so)
            .await
            .unwrap_or_else(|_| panic!("not {waiting} and {working}: {:?}", self.desk.look()));
    }
}

const GET: &str = "GET /a?b HTTP/1.1\r\nHost: pool\r\nConnection: keep-alive, x-once\r\nX-Once: 1\r\n\r\n";
const POST: &str = "POST /a HTTP/1.1\r\nHost: pool\r\nContent-Length: 5\r\n\r\nhello";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

async fn accept(listener: &TcpListener) -> TcpStream {
    timeout(SOON, listener.accept()).await.expect("a connection comes").unwrap().0
}

/// Reads until `end` was read.
async fn read_until(stream: &mut TcpStream, end: &str) -> String {
    let mut text = String::new();
    let mut bytes = [0; 4096];
    while !text.contains(end) {
        let read =
            timeout(SOON, stream.read(&mut bytes)).await.unwrap_or_else(|_| panic!("{text:?}")).unwrap();
        assert!(read > 0, "it ended before {end:?}: {text:?}");
        text.push_str(&String::from_utf8_lossy(&bytes[..read]));
    }
    text
}

async fn read_all(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    // A reset is an end too.
    let _ = timeout(SOON, stream.read_to_end(&mut bytes)).await.expect("it ends");
    String::from_utf8_lossy(&bytes).into_owned()
}

#[tokio::test]
async fn a_request_goes_there_and_the_answer_back_over_connections_that_are_kept() {
    let world = World::usual().await;
    let listener = world.container(1).await;
    let mut client = world.client(GET).await;
    let mut container = accept(&listener).await;
    for _ in 0..2 {
        let request = read_until(&mut container, "\r\n\r\n").await;
        assert!(request.starts_with("GET /a?b HTTP/1.1\r\n"), "{request}");
        assert!(request.contains("x-forwarded-for: 127.0.0.1") && !request.contains("x-once"), "{request}");
        container.write_all(OK.as_bytes()).await.unwrap();
        let answer = read_until(&mut client, "\r\n\r\nok").await;
        assert!(answer.contains("x-dockhealth-container: c1\r\n"), "{answer}");
        assert!(answer.contains("x-dockhealth-wait-ms: "), "{answer}");
        world.until(0, 0).await;
        client.write_all(GET.as_bytes()).await.unwrap();
    }
}

#[tokio::test]
async fn bodies_stream_both_ways() {
    let world = World::usual().await;
    let listener = world.container(1).await;
    let head = "POST / HTTP/1.1\r\nHost: p\r\nTransfer-Encoding: chunked\r\n\r\n3\r\none\r\n";
    let mut client = world.client(head).await;
    let mut container = accept(&listener).await;
    let text = read_until(&mut container, "one").await;
    assert!(!text.contains("two"), "the second part was not sent yet");
    container.write_all(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nuno\r\n").await.unwrap();
    read_until(&mut client, "uno").await;
    client.write_all(b"3\r\ntwo\r\n0\r\n\r\n").await.unwrap();
    read_until(&mut container, "two").await;
    world.until(0, 1).await;
    container.write_all(b"3\r\ndue\r\n0\r\n\r\n").await.unwrap();
    read_until(&mut client, "due\r\n0\r\n\r\n").await;
    world.until(0, 0).await;
}

#[tokio::test]
async fn who_finds_no_place_is_told_when_to_come_again() {
    let world = World::start(1, Limits { queue: Duration::from_millis(50), silence: SOON }).await;
    let mut waits = world.client(GET).await;
    world.until(1, 0).await;
    let mut refused = world.client(GET).await;
    let answer = read_until(&mut refused, "\r\n\r\n").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("retry-after: 1\r\n"), "{answer}");
    let answer = read_until(&mut waits, "in time").await;
    assert!(answer.starts_with("HTTP/1.1 503"), "it waited too long: {answer}");
    world.until(0, 0).await;
}

#[tokio::test]
async fn what_never_reached_a_container_goes_to_another_whatever_it_is() {
    let world = World::usual().await;
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    world.add(1, nobody);
    let listener = world.container(2).await;
    let mut client = world.client(POST).await;
    let mut container = accept(&listener).await;
    let request = read_until(&mut container, "hello").await;
    assert!(request.starts_with("POST"), "{request}");
    container.write_all(OK.as_bytes()).await.unwrap();
    read_until(&mut client, "ok").await;
    let look = world.desk.look();
    assert!(look.seats[0].1.suspect && !look.seats[1].1.suspect);
    assert_eq!((look.tally.totals.retried, look.tally.totals.served), (1, 1));
}

#[tokio::test]
async fn what_a_container_broke_off_is_repeated_only_where_that_is_safe() {
    let world = World::usual().await;
    let (first, second) = (world.container(1).await, world.container(2).await);
    let mut client = world.client(GET).await;
    let mut dying = accept(&first).await;
    read_until(&mut dying, "\r\n\r\n").await;
    drop(dying);
    let mut other = accept(&second).await;
    read_until(&mut other, "\r\n\r\n").await;
    let mut poster = world.client(POST).await;
    world.until(1, 1).await;
    world.desk.trust(MemberId(1));
    let mut dying = accept(&first).await;
    read_until(&mut dying, "hello").await;
    drop(dying);
    let answer = read_until(&mut poster, "broke").await;
    assert!(answer.starts_with("HTTP/1.1 502"), "{answer}");
    other.write_all(OK.as_bytes()).await.unwrap();
    assert!(read_until(&mut client, "\r\n\r\nok").await.starts_with("HTTP/1.1 200"));
    let totals = world.desk.look().tally.totals;
    assert_eq!((totals.served, totals.failed, totals.retried), (1, 1, 1));
}

#[tokio::test]
async fn a_container_that_is_gone_hangs_nobody() {
    let world = World::usual().await;
    let listener = world.container(1).await;
    let mut posted = world.client(POST).await;
    let mut silent = accept(&listener).await;
    read_until(&mut silent, "hello").await;
    world.desk.remove(MemberId(1));
    assert!(read_until(&mut posted, "broke").await.starts_with("HTTP/1.1 502"));
    // In the middle of an answer there is no status left to tell it with.
    let listener = world.container(2).await;
    let mut reading = world.client(GET).await;
    let mut half = accept(&listener).await;
    read_until(&mut half, "\r\n\r\n").await;
    half.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf").await.unwrap();
    read_until(&mut reading, "half").await;
    world.desk.remove(MemberId(2));
    assert_eq!(read_all(&mut reading).await, "", "the connection is cut");
}

#[tokio::test]
async fn a_silent_container_is_answered_for() {
    let world = World::start(9, Limits { queue: SOON, silence: Duration::from_millis(50) }).await;
    let listener = world.container(1).await;
    let mut client = world.client(GET).await;
    let _silent = accept(&listener).await;
    assert!(read_until(&mut client, "in time").await.starts_with("HTTP/1.1 504"));
    assert!(world.desk.look().seats[0].1.suspect);
}

#[tokio::test]
async fn a_client_that_leaves_frees_its_place() {
    let world = World::usual().await;
    let listener = world.container(1).await;
    let working = world.client(GET).await;
    let _container = accept(&listener).await;
    let waiting = world.client(GET).await;
    world.until(1, 1).await;
    drop(waiting);
    world.until(0, 1).await;
    drop(working);
    world.until(0, 0).await;
    assert_eq!(world.desk.look().tally.totals.left, 2);
}

#[tokio::test]
async fn at_the_end_what_was_accepted_is_answered() {
    let world = World::usual().await;
    let listener = world.container(1).await;
    let mut working = world.client(GET).await;
    let mut container = accept(&listener).await;
    read_until(&mut container, "\r\n\r\n").await;
    let mut waiting = world.client(GET).await;
    world.until(1, 1).await;
    world.shutdown.cancel();
    // Neither is through when its time is over.
    assert!(read_until(&mut waiting, "ends").await.starts_with("HTTP/1.1 503"));
    assert!(read_until(&mut working, "\r\n\r\n").await.starts_with("HTTP/1.1 503"));
    timeout(SOON, world.served).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn tunnels_are_not_opened() {
    let world = World::usual().await;
    let mut client = world.client("CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n").await;
    assert!(read_until(&mut client, "\r\n\r\n").await.starts_with("HTTP/1.1 501"));
}
