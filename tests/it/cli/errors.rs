//! What is wrong, and what to do about it.

use std::io::{Read, Write};
use std::net::TcpListener;

use super::rig::{Controller, dockhealth, run, text};

#[test]
fn a_server_without_tls_is_told_as_such() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let server = format!("https://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        // As much of the greeting as has come; what follows is no answer to it.
        let _ = stream.read(&mut [0; 512]).unwrap();
        stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").unwrap();
    });
    let output = run(&server, &["hosts"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("it does not speak TLS there"), "{output:?}");
}

#[test]
fn the_token_is_found_and_stays_on_this_machine() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("token"), "dh_found\n").unwrap();
    let named = dir.path().join("other");
    std::fs::write(&named, "dh_named\n").unwrap();
    let named = named.to_str().unwrap();
    for (args, token) in [(&["hosts"][..], "dh_found"), (&["hosts", "--token-file", named], "dh_named")] {
        let controller = Controller::saying("[]");
        let mut command = dockhealth(dir.path(), args);
        let output = command.env("DOCKHEALTH_SERVER", &controller.url).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(controller.asked(), format!("GET /api/v1/hosts | Bearer {token}"));
    }
    let args = ["hosts", "--token-file", named, "--server", "http://192.0.2.1:8930"];
    let output = dockhealth(dir.path(), &args).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(
        text(&output.stderr).contains("--server: the token would go over the network in the clear"),
        "{output:?}"
    );
}

#[test]
fn failures_say_what_to_do_and_have_their_exit_codes() {
    let problem =
        |detail: &str| format!(r#"{{"type":"about:blank","title":"T","status":1,"detail":"{detail}"}}"#);
    for (status, code) in
        [("404 Not Found", 4), ("401 Unauthorized", 5), ("503 Service Unavailable", 3), ("409 Conflict", 1)]
    {
        let controller = Controller::new(vec![(status, "", problem("it is \\u001b[2Jso"))]);
        let output = run(&controller.url, &["release", "a/web"]);
        assert_eq!(output.status.code(), Some(code), "{status}: {output:?}");
        assert!(text(&output.stderr).starts_with("error: it is ?[2Jso"), "{status}: {output:?}");
    }
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = run(&format!("http://{nobody}"), &["hosts"]);
    assert_eq!(output.status.code(), Some(3));
    assert!(text(&output.stderr).contains("start one here with `dockhealth up`"), "{output:?}");
    let controller = Controller::saying("<html>");
    let output = run(&controller.url, &["hosts"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("not as a dockhealth controller does"), "{output:?}");
}
