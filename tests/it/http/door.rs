//! Who gets in and with what: tokens, Host and Origin, TLS, broken and hostile requests.

use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use dockhealth::controller::{Controller, ControllerConfig, InsecureHttp, StartError, TlsFiles, mint_token};
use dockhealth::model::Scope;
use dockhealth::store::{ControllerDb, DEFAULT_RETENTION, EmbeddedStore};
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Ask};
use super::world::{ScriptedAgent, World, container, report};
use crate::support::eventually;

/// Every documented operation, with `a` for each placeholder.
async fn operations(world: &World) -> Vec<(&'static str, String)> {
    let document = world.get("/api/v1/openapi.json").await.expect(200).json();
    let mut all = Vec::new();
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let method = ["GET", "POST", "PUT", "DELETE"]
                .into_iter()
                .find(|m| m.eq_ignore_ascii_case(method))
                .expect("a known method");
            let parts = path.split('/').map(|part| if part.starts_with('{') { "a" } else { part });
            all.push((method, parts.collect::<Vec<_>>().join("/")));
        }
    }
    all
}

#[tokio::test]
async fn every_operation_asks_for_the_right_token() {
    let world = World::new().await;
    let (_, reader) = mint_token(&world.db, "reader", Scope::Read).await.unwrap();
    let operations = operations(&world).await;
    assert!(operations.len() >= 25, "{operations:?}");
    // Anybody may log in, with a token.
    for (method, path) in operations.into_iter().filter(|(_, path)| path != "/api/v1/session") {
        let ask = || Ask::new(method, &path);
        let forwarded = || ask().header("x-forwarded-for", "203.0.113.7");
        // A backtest changes nothing; POST carries its policy.
        let asks = method == "GET" || path == "/api/v1/backtest";
        let writes = !asks || path == "/api/v1/tokens";
        let open = path == "/healthz" || path == "/readyz";
        if writes {
            ask().send(world.address).await.problem(401);
            ask().token(&reader).send(world.address).await.problem(403);
        }
        if !open {
            let answer = forwarded().send(world.address).await;
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path}");
            answer.problem(401);
            ask().token("dh_wrong").send(world.address).await.problem(401);
            ask().header("authorization", "Basic eA==").send(world.address).await.problem(401);
        }
        if !writes && !path.ends_with("/stream") {
            for answer in [
                forwarded().token(&reader).send(world.address).await,
                ask().send(world.address).await,
                forwarded().token(&world.token).send(world.address).await,
            ] {
                assert!(!matches!(answer.status, 401 | 403), "{method} {path}: {}", answer.status);
            }
        }
    }
}

#[tokio::test]
async fn up_answers_while_it_waits_for_the_engine() {
    let dir = tempfile::tempdir().unwrap();
    let mut up = tokio::process::Command::new(crate::support::DOCKHEALTH);
    up.arg("up").args(["--docker-host", "unix:///nonexistent.sock", "--listen", "127.0.0.1:0"]);
    up.env_clear().env("DOCKHEALTH_DATA_DIR", dir.path()).env("DOCKHEALTH_CONFIG", "/dev/null");
    let mut up = up.stderr(Stdio::piped()).kill_on_drop(true).spawn().unwrap();
    let mut log = tokio::io::BufReader::new(up.stderr.take().unwrap()).lines();
    let (mut address, mut waits) = (None, false);
    let begun = async {
        while address.is_none() || !waits {
            let line = log.next_line().await.unwrap().expect("it goes on");
            waits |= line.contains("waiting for the engine");
            let told = line.split_once("listening on http://").map(|(_, told)| told.trim().parse().unwrap());
            address = address.or(told);
        }
    };
    tokio::time::timeout(Duration::from_secs(20), begun).await.expect("it listens and waits");
    let get = |path| Ask::new("GET", path).send(address.unwrap());
    get("/healthz").await.expect(200);
    eventually("it is ready", async || (get("/readyz").await.status == 200).then_some(())).await;
    let pid = up.id().unwrap().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let ended = tokio::time::timeout(Duration::from_secs(20), up.wait()).await.expect("it ends when told to");
    assert!(ended.unwrap().success());
}

#[tokio::test]
async fn beyond_this_machine_reads_need_a_token_too() {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    let routed = ["192.0.2.1:9", "172.17.0.2:9"].into_iter().any(|far| socket.connect(far).is_ok());
    assert!(routed, "this test needs an address besides loopback");
    let own = socket.local_addr().unwrap().ip();
    let world = World::listening("0.0.0.0:0", &|c| c.insecure_http = InsecureHttp::Allowed).await;
    let address = (own, world.address.port()).into();
    assert!(Ask::new("GET", "/api/v1/hosts").send(address).await.problem(401).contains("Bearer"));
    Ask::new("GET", "/api/v1/hosts").token(&world.token).send(address).await.expect(200);
    Ask::new("GET", "/healthz").send(address).await.expect(200);
}

#[tokio::test]
async fn plain_http_beyond_this_machine_is_refused_with_what_to_do() {
    let dir = tempfile::tempdir().unwrap();
    let db = ControllerDb::open(dir.path()).unwrap();
    let config = ControllerConfig::new("c".parse().unwrap(), dir.path().to_owned());
    let listener = TcpListener::bind("0.0.0.0:0").await.unwrap();
    let bus = Arc::new(World::new().await.bus);
    let metrics = Arc::new(EmbeddedStore::open(&db, DEFAULT_RETENTION).unwrap());
    let started = Controller::start(config, bus, db, metrics, listener, CancellationToken::new()).await;
    let Err(error @ StartError::Insecure(_)) = started else { panic!("it started") };
    let text = error.to_string();
    assert!(text.contains("--tls-cert") && text.contains("--insecure-http"), "{text}");
}

#[tokio::test]
async fn the_first_token_is_private_and_made_once() {
    let world = World::new().await;
    let file = world.dir.path().join("token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let first = world.token.clone();

    let world = world.restarted(|_| ()).await;
    assert_eq!(world.token, first, "a second start leaves it alone");

    let world = world.restarted(|dir| std::fs::remove_file(dir.join("token")).unwrap()).await;
    assert!(!world.dir.path().join("token").exists(), "a removed file is left alone");
    let put = |token: &str| Ask::new("PUT", "/api/v1/threshold").body("50").token(token);
    put(&first).send(world.address).await.expect(204);

    let world = world.restarted(|dir| std::fs::write(dir.join("token"), "").unwrap()).await;
    assert!(world.token.starts_with("dh_") && world.token != first, "an empty file asks for a new one");
    put(&world.token).send(world.address).await.expect(204);
    let file = world.dir.path().join("token");
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
}

#[tokio::test]
async fn other_names_and_other_sites_are_turned_away() {
    let world = World::with(&|c| c.allowed_hosts = vec!["health.example.org".into()]).await;
    let with = |name, value: &str| Ask::new("GET", "/api/v1/hosts").header(name, value).send(world.address);
    for ours in ["localhost", "127.0.0.1:80", "health.example.org"] {
        with("host", ours).await.expect(200);
    }
    assert!(with("host", "evil.example").await.problem(421).contains("--allowed-host"));
    with("origin", "http://evil.example").await.problem(403);
    with("origin", "null").await.problem(403);
    with("origin", &format!("http://{}", world.address)).await.expect(200);
}

#[tokio::test]
async fn wrong_requests_are_problems_that_say_what_is_right() {
    let world = World::new().await;
    let _a = ScriptedAgent::start(&world, report("a", vec![container("web")])).await;
    assert!(world.get("/api/v1/nothing").await.problem(404).contains("/docs"));
    let answer = world.call("PATCH", "/api/v1/threshold", "").await;
    assert_eq!(answer.header("allow"), "GET, PUT");
    assert!(answer.problem(405).contains("valid here: GET, PUT"));
    let detail = world.get("/api/v1/containers?hots=a").await.problem(400);
    assert!(
        detail.contains("\"hots\"") && detail.contains("host, monitored, status, health, stale"),
        "{detail}"
    );
    assert!(world.get("/api/v1/hosts?x=1").await.problem(400).contains("takes none"));
    assert!(world.get("/api/v1/containers?health=ill").await.problem(400).contains("failing, quarantined"));
    assert!(world.get("/api/v1/containers?monitored=yes").await.problem(400).contains("true nor false"));

    for name in ["a%2Fb", "%2e%2e", "%00", "a%20b", "%F0%9F%92%A9", "-x", "..", "%1b%5b2J", &"x".repeat(300)]
    {
        for path in [format!("/api/v1/containers/a/{name}"), format!("/api/v1/containers/{name}/web")] {
            let answer = world.call("POST", &path, "").await;
            assert!(!answer.body.contains(&0x1b), "{path}");
            let detail = answer.problem(400);
            assert!(detail.contains("must begin with a letter or digit"), "{path}: {detail}");
        }
    }
    world.get("/api/v1/containers/a/%ff").await.problem(400);
    world.get("/api/v1/containers/a/%zz").await.problem(400);
    assert_eq!(world.desired().await.containers.len(), 0);
    let head = Ask::new("HEAD", "/api/v1/hosts").send(world.address).await.expect(200);
    assert!(head.body.is_empty());
    assert_eq!(head.header("x-content-type-options"), "nosniff");
}

#[tokio::test]
async fn long_bodies_are_refused() {
    let world = World::new().await;
    let just = format!("{}50", " ".repeat(64 * 1024 - 2));
    world.call("PUT", "/api/v1/threshold", &just).await.expect(204);
    assert!(world.call("PUT", "/api/v1/threshold", &format!(" {just}")).await.problem(413).contains("65536"));
    let long = Ask::new("PUT", "/api/v1/threshold").body(vec![b' '; 8 << 20]);
    long.send(world.address).await.problem(401);
}

#[tokio::test]
async fn broken_and_idle_connections_harm_nobody() {
    let world = World::new().await;
    let mut idle = Vec::new();
    for junk in
        [&b""[..], b"GET /api/v1/hosts HTTP/1.1\r\nHo", b"\x16\x03\x01\x02\x00\x01", b"PUT / HTTP/1.1\r\n"]
    {
        let mut stream = TcpStream::connect(world.address).await.unwrap();
        stream.write_all(junk).await.unwrap();
        idle.push(stream);
    }
    let mut broken = TcpStream::connect(world.address).await.unwrap();
    broken.write_all(b"NONSENSE\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    broken.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.1 400"), "{}", String::from_utf8_lossy(&answer));
    let mut nameless = TcpStream::connect(world.address).await.unwrap();
    nameless.write_all(b"GET /api/v1/hosts HTTP/1.0\r\n\r\n").await.unwrap();
    answer.clear();
    nameless.read_to_end(&mut answer).await.unwrap();
    assert!(answer.starts_with(b"HTTP/1.0 400"), "{}", String::from_utf8_lossy(&answer));
    world.get("/api/v1/hosts").await.expect(200);
    world.shutdown.cancel();
    tokio::time::timeout(Duration::from_secs(4), world.controller.ended())
        .await
        .expect("idle ones do not hold it");
}

/// Makes a self-signed certificate for `name` in the two files.
fn certify(files: &TlsFiles, name: &str) {
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let output = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-nodes",
            "-days",
            "2",
        ])
        .args(["-subj", &format!("/CN={name}"), "-addext", &format!("subjectAltName=DNS:{name}")])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args(["-keyout", &path(&files.key), "-out", &path(&files.cert)])
        .output()
        .expect("the openssl command is installed (scripts/test does it)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// Asks over TLS, trusting only the certificate in `trusted`, for `name`.
async fn over_tls(world: &World, trusted: &Path, name: &str) -> Result<Answer, std::io::Error> {
    let mut roots = RootCertStore::empty();
    for cert in CertificateDer::pem_file_iter(trusted).unwrap() {
        roots.add(cert.unwrap()).unwrap();
    }
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(world.address).await.unwrap();
    let server = ServerName::try_from(name.to_owned()).unwrap();
    let stream = TlsConnector::from(Arc::new(config)).connect(server, stream).await?;
    Ok(Ask::new("GET", "/healthz").send_over(stream, name).await)
}

#[tokio::test]
async fn tls_is_spoken_and_its_certificate_reloaded() {
    let dir = tempfile::tempdir().unwrap();
    let files = TlsFiles { cert: dir.path().join("cert.pem"), key: dir.path().join("key.pem") };
    let old = dir.path().join("old.pem");
    certify(&files, "localhost");
    std::fs::copy(&files.cert, &old).unwrap();
    let world = World::listening("127.0.0.1:0", &|config| config.tls = Some(files.clone())).await;
    let tls = world.controller.tls().expect("TLS is on");
    over_tls(&world, &old, "localhost").await.unwrap().expect(200);

    std::fs::write(&files.cert, "no certificate").unwrap();
    let error = tls.reload().unwrap_err().to_string();
    assert!(error.contains("cert.pem"), "{error}");
    over_tls(&world, &old, "localhost").await.unwrap().expect(200);

    certify(&files, "localhost");
    tls.reload().unwrap();
    over_tls(&world, &files.cert, "localhost").await.unwrap().expect(200);
    assert!(over_tls(&world, &old, "localhost").await.is_err(), "the old certificate is out of use");

    let mut plain = TcpStream::connect(world.address).await.unwrap();
    plain.write_all(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n").await.unwrap();
    let mut answer = Vec::new();
    let _ = plain.read_to_end(&mut answer).await;
    assert!(!answer.starts_with(b"HTTP/"), "plain text is not spoken there");
}
