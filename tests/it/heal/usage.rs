//! How the programs are started: what is wrong is said at once, and an engine that is away is waited for.

use super::rig::DEADLINE;
use crate::support::daemon::{Daemon, clean_command};
use crate::support::wait_for;

#[test]
fn everything_wrong_is_said_at_once_and_nothing_is_started() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let data = dir.path().join("data");
    for program in ["up", "agent"] {
        let output = clean_command(&data)
            .args([program, "--interval", "0s", "--threshold", "101", "--probes", "none", "--backoff", "2h"])
            .env("DOCKHEALTH_BUDGET", "often")
            .env("DOCKER_HOST", "ftp://engine")
            .output()
            .expect("our own binary runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr);
        for wrong in
            ["--interval", "--threshold", "--probes", "--backoff", "DOCKHEALTH_BUDGET", "DOCKER_HOST"]
        {
            assert!(said.contains(wrong), "{wrong} is not named in: {said}");
        }
        assert!(!data.exists(), "nothing was started");
    }
}

#[test]
fn an_engine_that_is_not_there_is_said_so_and_nobody_is_blamed() {
    let dir = tempfile::tempdir().expect("a temporary folder");
    let address = format!("unix://{}/docker.sock", dir.path().display());
    let up =
        Daemon::start_with("up", &dir.path().join("up"), &["--hostname", "h"], &[("DOCKER_HOST", &address)]);
    let rest = up.rest();
    let host = wait_for("it is known to be away", DEADLINE, || {
        let host = rest.send("GET", "/hosts/h", None).1;
        host["agent"]["engine"]["error"]
            .as_str()
            .is_some_and(|error| error.contains("No such file"))
            .then_some(host)
    });
    assert_eq!(host["agent"]["engine"]["status"], "unreachable");
    let events = wait_for("it is told", DEADLINE, || {
        let events = rest.get("/events?kind=engine_unreachable");
        (events.as_array()?.len() == 1).then_some(events)
    });
    assert!(events[0]["reason"].as_str().expect("a sentence").contains("not blamed"), "{events}");
    assert_eq!(rest.get("/containers").as_array().map(Vec::len), Some(0));
}
