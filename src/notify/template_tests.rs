use proptest::prelude::*;

use super::super::fixtures::incident;
use super::super::message::Stamp;
use super::super::plan::{NoticeScope, Planned};
use super::*;
use crate::model::{IncidentKind, Timestamp};

fn notice(reason: &str) -> Notice {
    let mut one = incident(IncidentKind::Container, "h1", Some("web_1"), 1);
    one.incident.reason = reason.to_owned();
    let scope = NoticeScope::Project { host: "h1".parse().unwrap(), project: reason.to_owned() };
    let planned = Planned::Problem { scope, members: vec![&one, &one] };
    let stamp =
        Stamp { id: uuid::Uuid::nil(), time: Timestamp::from_millis(0), url: Some("https://d.example/") };
    Notice::of(&planned, None, stamp)
}

fn body(notice: &Notice, target: &str) -> Value {
    outgoing(notice, &Target::parse(target, None).unwrap()).body
}

const SLACK: &str = "https://hooks.slack.com/services/x";
const DISCORD: &str = "https://discord.com/api/webhooks/1/x";
const NTFY: &str = "ntfy+https://ntfy.example.org/base/topic";

#[test]
fn hostile_text_mentions_nobody() {
    let hostile = notice("@everyone <!channel> <@U123> </h> & *x* `y` [a](http://evil.example)");
    let slack = body(&hostile, SLACK);
    let text = slack["text"].as_str().unwrap();
    assert!(text.contains("&lt;!channel&gt; &lt;@U123&gt;") && text.contains("&amp;"), "{text}");
    assert!(!text.contains(['<', '>']), "{text}");
    assert!(text.ends_with("\nhttps://d.example/"), "{text}");

    let discord = body(&hostile, DISCORD);
    let content = discord["content"].as_str().unwrap();
    assert_eq!(discord["allowed_mentions"], json!({"parse": []}));
    assert!(content.contains("\\@everyone \\<!channel\\>") && content.contains("h1/web\\_1"), "{content}");
    assert!(content.contains("\\[a\\]\\(http://evil.example\\)"), "{content}");
}

#[test]
fn ntfy_is_told_by_json_at_its_root() {
    let target = Target::parse(NTFY, None).unwrap();
    let Outgoing { url, body } = outgoing(&notice("x"), &target);
    assert_eq!(url.as_deref(), Some("https://ntfy.example.org/base/"));
    assert_eq!((&body["topic"], &body["priority"]), (&json!("topic"), &json!(4)));
    assert_eq!((&body["tags"][0], &body["click"]), (&json!("warning"), &json!("https://d.example/")));
}

#[test]
fn json_is_the_notice_itself() {
    let made = notice("x");
    let read: Notice = serde_json::from_value(body(&made, "https://example.org/hook")).unwrap();
    assert_eq!(read, made);
}

proptest! {
    #[test]
    fn whatever_the_text_each_stays_within_its_bounds(reason in "(\\PC|[@<>&*_\u{1F600}\n\u{202e}]){0,3000}") {
        let mut made = notice(&reason);
        made.text = reason.clone();
        let slack = body(&made, SLACK);
        prop_assert!(slack["text"].as_str().unwrap().len() < LONGEST_SLACK + 100);
        prop_assert!(!slack["text"].as_str().unwrap().contains(['<', '>']));
        let discord = body(&made, DISCORD);
        prop_assert!(discord["content"].as_str().unwrap().encode_utf16().count() <= LONGEST_DISCORD);
        prop_assert!(discord["content"].as_str().unwrap().ends_with("\n<https://d.example/>"));
        let ntfy = body(&made, NTFY);
        prop_assert!(ntfy["message"].as_str().unwrap().len() <= LONGEST_NTFY);
        for body in [slack, discord, ntfy] {
            prop_assert_eq!(&serde_json::from_str::<Value>(&body.to_string()).unwrap(), &body);
        }
    }
}
