//! A scripted controller, and the binary that asks it.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use crate::support::DOCKHEALTH;

/// A controller that answers each request with the next answer of its script and records what was asked.
pub(super) struct Controller {
    pub(super) url: String,
    asked: Receiver<String>,
}

impl Controller {
    pub(super) fn new(answers: Vec<(&'static str, &'static str, String)>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (sender, asked) = channel();
        std::thread::spawn(move || {
            for (status, headers, body) in answers {
                let (stream, _) = listener.accept().unwrap();
                sender.send(request(&mut BufReader::new(&stream))).unwrap();
                let length = body.len();
                let answer = format!(
                    "HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
                );
                (&stream).write_all(answer.as_bytes()).unwrap();
            }
        });
        Self { url, asked }
    }

    pub(super) fn saying(body: &str) -> Self {
        Self::new(vec![("200 OK", "", body.to_owned())])
    }

    /// The next request: method, path, authorization and body.
    pub(super) fn asked(&self) -> String {
        self.asked.recv_timeout(Duration::from_secs(10)).expect("another request")
    }
}

pub(super) fn request(stream: &mut impl BufRead) -> String {
    let mut head = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).unwrap();
        if line.trim().is_empty() {
            break;
        }
        head.push(line.trim().to_owned());
    }
    let header = |name: &str| {
        let line = head.iter().find(|line| line.to_ascii_lowercase().starts_with(name))?;
        Some(line.split_once(": ")?.1.to_owned())
    };
    let mut body = vec![0; header("content-length").map_or(0, |length| length.parse().unwrap())];
    stream.read_exact(&mut body).unwrap();
    let parts = [
        Some(head[0].trim_end_matches(" HTTP/1.1").to_owned()),
        header("authorization"),
        Some(String::from_utf8(body).unwrap()).filter(|body| !body.is_empty()),
    ];
    parts.into_iter().flatten().collect::<Vec<_>>().join(" | ")
}

/// The binary with nothing of this machine's settings.
pub(super) fn dockhealth(data_dir: &Path, args: &[&str]) -> Command {
    let mut command = Command::new(DOCKHEALTH);
    command.args(args).env_clear().env("DOCKHEALTH_DATA_DIR", data_dir).env("DOCKHEALTH_CONFIG", "/dev/null");
    command.env("TZ", "UTC");
    command
}

pub(super) fn run(server: &str, args: &[&str]) -> Output {
    let dir = tempfile::tempdir().unwrap();
    dockhealth(dir.path(), args).env("DOCKHEALTH_SERVER", server).output().unwrap()
}

pub(super) fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Lines with each run of spaces as one.
pub(super) fn squeezed(output: &[u8]) -> Vec<String> {
    text(output).lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}
