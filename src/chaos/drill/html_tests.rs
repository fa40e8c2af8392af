use proptest::prelude::*;

use super::*;
use crate::chaos::drill::report::{Header, report};
use crate::chaos::drill::{Injected, Story};
use crate::model::{Actor, EventDraft, EventKind, Timestamp};

fn at(ms: i64) -> Timestamp {
    Timestamp::from_millis(1_795_336_200_000 + ms)
}

fn header() -> Header {
    Header {
        id: uuid::Uuid::from_u128(7),
        hostname: "h1".parse().unwrap(),
        scenario: "mixed".into(),
        about: "What it is for.".into(),
        seed: 7,
        containers: 3,
        started: at(0),
        ended: at(90_000),
        troubles: Vec::new(),
    }
}

fn story() -> Story {
    let fault = |container: &str, fault: &str, from| Injected {
        container: container.parse().unwrap(),
        fault: fault.parse().unwrap(),
        phase: "p".into(),
        expect: None,
        threshold: None,
        asked: at(from),
        done: at(from),
        over: Some(at(from + 5_000)),
    };
    let event = |container: &str, kind, time| {
        let draft = EventDraft::new(kind, Actor::Agent, "it <b>had</b> to be");
        draft.about(&container.parse().unwrap()).stamp(&"h1".parse().unwrap(), at(time))
    };
    Story {
        faults: vec![fault("web-1", "stop", 0), fault("web-2", "kill", 20_000)],
        events: vec![
            event("web-1", EventKind::ContainerFailing, 200),
            event("web-1", EventKind::ContainerStarted, 900),
            event("web-1", EventKind::ContainerRecovered, 12_000),
            event("web-3", EventKind::ContainerRestarted, 30_000),
        ],
        containers: ["web-1", "web-2", "web-3"].map(|name| name.parse().unwrap()).into(),
        needs: std::collections::BTreeMap::new(),
    }
}

#[test]
fn the_figures_add_up() {
    let report = report(header(), &story());
    let sum = &report.summary;
    assert_eq!((sum.injected, sum.detected, sum.missed, sum.false_alarms), (2, 1, 1, 1));
    assert!(!report.passed && report.findings.len() == 2, "{:?}", report.findings);
    let kinds: Vec<_> = report.kinds.iter().map(|k| (k.kind.as_str(), k.summary.missed)).collect();
    assert_eq!(kinds, [("kill", 1), ("stop", 0)]);
    assert_eq!(sum.recover.unwrap().max_ms, 12_000);
    let empty = super::super::report(header(), &Story::default());
    assert!(!empty.passed && empty.findings == ["no fault was done"]);
}

#[test]
fn the_page_shows_it_and_asks_for_nothing() {
    let page = page(&report(header(), &story()));
    for expected in
        ["not as expected", "web-2", "was not found", "12 s", "prefers-color-scheme", "<svg", "12 s</title>"]
    {
        assert!(page.contains(expected), "{expected}");
    }
    for forbidden in ["<script", "http://", "https://", "url(", "@import", "<b>had"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert_eq!(page.matches("<svg").count(), 2);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
}

proptest! {
    #[test]
    fn hostile_text_stays_text(text in ".*") {
        let mut report = report(header(), &story());
        report.scenario.clone_from(&text);
        report.about.clone_from(&text);
        report.findings = vec![text.clone()];
        report.faults[0].fault.clone_from(&text);
        report.kinds[0].kind.clone_from(&text);
        report.faults[0].kind = text;
        let escaped = escape(&report.scenario);
        prop_assert!(!escaped.contains(['<', '>', '"', '\'']));
        let tags = |page: &str| page.matches('<').count();
        let plain = |text: &str| {
            let mut plain = report.clone();
            plain.scenario = text.to_owned();
            plain.about = "x".to_owned();
            plain.findings = vec!["x".to_owned()];
            plain.faults[0].fault = "x".to_owned();
            plain.kinds[0].kind = "x".to_owned();
            page(&plain)
        };
        // Every tag is ours: as many as with harmless text, but for the paragraph that an empty text leaves out.
        let ours = tags(&plain("x")) - if report.about.is_empty() { 2 } else { 0 };
        prop_assert_eq!(tags(&page(&report)), ours);
    }
}
