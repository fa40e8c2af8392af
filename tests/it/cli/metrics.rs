//! Metrics as tables.

use super::rig::{Controller, run, squeezed, text};

const TOP: &str = r#"{"by":"net","window_seconds":600,"left_out":3,"containers":[
    {"hostname":"a","name":"web","project":null,"service":null,"mean":3000.0,"series":{},
     "latest":{"cpu_percent":150.25,"memory_bytes":1610612736.0,"memory_percent":75.0,"loss_percent":0.0,"pids":7.0}},
    {"hostname":"b","name":"db","project":null,"service":null,"mean":512.0,"series":{},"latest":null}]}"#;

#[test]
fn top_shows_the_ranking_and_the_newest_sample() {
    let controller = Controller::saying(TOP);
    let output =
        run(&controller.url, &["top", "--by", "net", "--window", "1h", "--host", "a", "--limit", "2"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(controller.asked(), "GET /api/v1/top?by=net&window=1h&limit=2&host=a");
    assert_eq!(
        squeezed(&output.stdout),
        [
            "HOST NAME MEAN NET CPU MEMORY OF LIMIT NET IN NET OUT LOSS RTT PIDS",
            "a web 2.9 KiB/s 150 % 1.5 GiB 75 % - - 0 % - 7",
            "b db 512 B/s - - - - - - - -",
        ]
    );
    assert_eq!(text(&output.stderr), "3 more; --limit shows more of them\n");
    let wrong = run("http://127.0.0.1:1", &["top", "--by", "luck", "--window", "1s"]);
    assert_eq!(wrong.status.code(), Some(2));
    let said = text(&wrong.stderr);
    assert!(said.contains("--by: \"luck\" is not one of cpu, memory") && said.contains("--window"), "{said}");
}

const SERIES: &str = r#"{"step":20,"t":[1790000000,1790000020,1790000040],"series":{
    "cpu_percent":[0.0,null,50.0],"memory_bytes":[1048576.0,1048576.0,1048576.0],"rtt_ms":[null,null,null]}}"#;

#[test]
fn metrics_shows_the_course_of_each() {
    let answers = |last: &str| {
        let hosts = r#"[{"hostname":"a","presence":"live","last_seen":"2026-11-22T08:30:00.000Z","conflict":null,"agent":null}]"#;
        Controller::new(vec![("200 OK", "", hosts.to_owned()), ("200 OK", "", last.to_owned())])
    };
    let controller = answers(SERIES);
    let names = "cpu_percent,memory_bytes, rtt_ms";
    let output = run(&controller.url, &["metrics", "a", "--names", names, "--step", "20s", "--stat", "max"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(controller.asked(), "GET /api/v1/hosts");
    let asked = controller.asked();
    assert_eq!(
        asked,
        "GET /api/v1/hosts/a/metrics?names=cpu_percent,memory_bytes,rtt_ms&from=-1h&step=20s&stat=max"
    );
    assert_eq!(
        squeezed(&output.stdout),
        [
            "METRIC LAST MEAN MAX COURSE",
            "cpu_percent 50 % 25 % 50 % ▁ █",
            "memory_bytes 1.0 MiB 1.0 MiB 1.0 MiB ███",
            "rtt_ms - - -",
        ]
    );
    assert!(text(&output.stderr).starts_with("a from 2026-09-21 "), "{output:?}");

    let controller = Controller::saying("t,cpu_percent\r\n1,2\r\n");
    let times = ["--from", "2026-11-22T08:30:00Z", "--span", "10m", "--csv"];
    let output = run(&controller.url, &[&["metrics", "a/web"][..], &times].concat());
    assert_eq!(text(&output.stdout), "t,cpu_percent\r\n1,2\r\n");
    let asked = controller.asked();
    let expected = "metrics?from=1795336200&to=1795336800&stat=mean&format=csv";
    assert!(asked.ends_with(expected) && asked.starts_with("GET /api/v1/containers/a/web/"), "{asked}");
    let both = run("http://127.0.0.1:1", &["metrics", "a/web", "--csv", "--json", "--to", "soon"]);
    let said = text(&both.stderr);
    assert!(both.status.code() == Some(2) && said.contains("not both") && said.contains("--to"), "{said}");
}

#[test]
fn placement_says_where_there_is_room_or_that_there_is_none() {
    let place = r#"{"hostname":"a","cores":4.0,"cores_free":2.5,"memory_bytes":8589934592.0,"memory_free_bytes":4294967296.0,
        "headroom_percent":37.4,"reason":"roomy"}"#;
    let answer = |hosts: &str, full: &str| {
        format!(
            r#"{{"hosts":[{hosts}],"full":[{full}],"left_out":[{{"hostname":"c","reason":"it is frozen"}}]}}"#
        )
    };
    let controller = Controller::saying(&answer(place, ""));
    let output = run(&controller.url, &["placement", "--cpu", "0.5", "--memory", "1.5GiB"]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(controller.asked(), "GET /api/v1/placement?cpu=0.5&memory=1610612736");
    let room = "a 2.5 of 4 4.0 GiB of 8.0 GiB 37 % roomy";
    let heading = "RANK HOST FREE CPU FREE MEMORY HEADROOM REASON".to_owned();
    let left_out = "left out c - - - it is frozen".to_owned();
    assert_eq!(squeezed(&output.stdout), [heading.clone(), format!("1 {room}"), left_out.clone()]);
    let controller = Controller::saying(&answer("", place));
    let output = run(&controller.url, &["placement", "--cpu", "64"]);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(squeezed(&output.stdout), [heading, format!("full {room}"), left_out]);
    assert_eq!(text(&output.stderr), "error: no host has room for it\n");
}
