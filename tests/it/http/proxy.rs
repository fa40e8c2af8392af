//! A controller behind the proxies that `deploy/proxy` configures: TLS, names, tokens, pages' writes, the stream.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::world::World;
use crate::support::eventually;

const DEPLOY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/proxy");
const NAME: &str = "health.example.org";
const PAGE: &str = "https://health.example.org";

/// A proxy on a port of its own, before a controller.
struct Proxied {
    world: World,
    dir: tempfile::TempDir,
    port: u16,
    _proxy: Child,
}

impl Proxied {
    /// `start` makes the command that runs the proxy by the file of `deploy/proxy` it is given, whose addresses and
    /// certificates are this test's.
    async fn new(file: &str, start: impl FnOnce(&Path, PathBuf) -> Command) -> Self {
        let world = World::with(&|c| c.allowed_hosts = vec![NAME.into()]).await;
        let dir = tempfile::tempdir().unwrap();
        let made = Command::new("openssl")
            .args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"])
            .args(["-subj", "/CN=test", "-addext", &format!("subjectAltName=DNS:{NAME}")])
            .args(["-keyout", "privkey.pem", "-out", "fullchain.pem"])
            .current_dir(dir.path())
            .output()
            .await
            .expect("this test needs openssl (scripts/test installs it)");
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let text = fs::read_to_string(Path::new(DEPLOY).join(file)).unwrap();
        let mut ours = text;
        for (theirs, own) in [
            ("/etc/ssl/health.example.org", dir.path().to_str().unwrap()),
            ("127.0.0.1:8930", &world.address.to_string()),
        ] {
            assert!(ours.contains(theirs), "{file} names {theirs}");
            ours = ours.replace(theirs, own);
        }
        ours = ours.replace("listen 443 ", &format!("listen 127.0.0.1:{port} "));
        ours = ours.replace(&format!("\n{NAME} {{"), &format!("\nhttps://{NAME}:{port} {{"));
        assert!(ours.contains(&port.to_string()), "{file} listens at a port of ours");
        let config = dir.path().join(file);
        fs::write(&config, ours).unwrap();
        let log = fs::File::create(dir.path().join("log")).unwrap();
        let proxy = start(dir.path(), config)
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("this test needs the proxy of {file}: {error}"));
        let proxied = Self { world, dir, port, _proxy: proxy };
        eventually("the proxy hands on", async || (proxied.status(&["/healthz"]).await == 200).then_some(()))
            .await;
        proxied
    }

    /// curl, that trusts the proxy's certificate and finds it by its name. The name has no port there, as it has none
    /// at 443.
    fn curl(&self, args: &[&str]) -> Command {
        let (path, options) = args.split_last().unwrap();
        let mut curl = Command::new("curl");
        curl.args(["--silent", "--show-error", "--max-time", "20", "--cacert"])
            .arg(self.dir.path().join("fullchain.pem"))
            .args(["--connect-to", &format!("{NAME}:443:127.0.0.1:{}", self.port)])
            .args(options)
            .arg(format!("{PAGE}{path}"))
            .kill_on_drop(true);
        curl
    }

    async fn status(&self, args: &[&str]) -> u16 {
        let args = [&["--output", "/dev/null", "--write-out", "%{http_code}"], args].concat();
        let output =
            self.curl(&args).output().await.expect("this test needs curl (scripts/test installs it)");
        String::from_utf8_lossy(&output.stdout).parse().unwrap_or(0)
    }

    async fn check(&self) {
        let token = format!("Authorization: Bearer {}", self.world.token);
        let with = ["--header", &token];
        let put = ["--request", "PUT", "--header", "Content-Type: application/json", "--data"];

        assert_eq!(self.status(&["/api/v1/hosts"]).await, 401, "who comes through a proxy is not local");
        let spoofed = ["--header", "X-Forwarded-For: 127.0.0.1", "/api/v1/hosts"];
        assert_eq!(self.status(&spoofed).await, 401, "whatever he says");
        assert_eq!(self.status(&[&with[..], &["/api/v1/hosts"]].concat()).await, 200);

        // The stream comes through as it is told, not when a buffer is full.
        let mut stream = self.curl(&[&with[..], &["--no-buffer", "/api/v1/stream?topics=events"]].concat());
        let mut stream = stream.stdout(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(stream.stdout.take().unwrap()).lines();
        let write = async |page: &str, percent: i32| {
            let (page, percent) = (format!("Origin: {page}"), percent.to_string());
            let args = [&with[..], &["--header", &page], &put, &[&percent, "/api/v1/threshold"]].concat();
            self.status(&args).await
        };
        let told = async {
            while let Some(line) = lines.next_line().await.unwrap() {
                if line.contains("threshold_changed") {
                    return;
                }
            }
            panic!("the stream ended");
        };
        // Which of the two comes first is the proxy's affair, so writes go on until the stream has told of one.
        let writing = async {
            // A page of the controller's own may write; that of another site may not.
            assert_eq!(write("https://evil.example", 1).await, 403);
            for percent in (1..100).cycle() {
                assert_eq!(write(PAGE, percent).await, 204);
            }
        };
        tokio::select! {
            () = told => {}
            () = writing => {}
        }
    }
}

#[tokio::test]
async fn nginx_in_front() {
    let proxied = Proxied::new("nginx.conf", |dir, config| {
        let dir = dir.display();
        let main = format!(
            "daemon off; master_process off; pid {dir}/pid; error_log stderr; events {{}}\n\
             http {{ access_log off; client_body_temp_path {dir}/body; proxy_temp_path {dir}/proxy; \
             fastcgi_temp_path {dir}/f; uwsgi_temp_path {dir}/u; scgi_temp_path {dir}/s; include {}; }}\n",
            config.display()
        );
        let file = config.with_file_name("main.conf");
        fs::write(&file, main).unwrap();
        let mut nginx = Command::new("nginx");
        nginx.arg("-c").arg(file);
        nginx
    });
    let proxied = proxied.await;
    proxied.check().await;
    assert_eq!(proxied.status(&["--header", "Host: evil.example", "/readyz"]).await, 421, "no name of ours");
}

#[tokio::test]
#[ignore = "needs Caddy, which `scripts/soak proxy` installs"]
async fn caddy_in_front() {
    let proxied = Proxied::new("Caddyfile", |dir, config| {
        let text = fs::read_to_string(&config).unwrap();
        let ours = "{\n\tadmin off\n\tauto_https disable_redirects\n}\n";
        fs::write(&config, format!("{ours}{text}")).unwrap();
        let mut caddy = Command::new("caddy");
        caddy.args(["run", "--adapter", "caddyfile", "--config"]).arg(config).env("HOME", dir);
        caddy
    });
    proxied.await.check().await;
}
