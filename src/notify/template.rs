//! What each service is sent. All text in it may come from containers, engines and networks, and is hostile.

use serde_json::{Value, json};

use super::message::{Notice, Severity};
use super::target::{Target, Template};
use crate::model::NoticeKind;

/// The longest text of a message to Slack, which takes 40,000 characters and folds long ones.
const LONGEST_SLACK: usize = 6_000;

/// The longest content of a message to Discord: 2000 by its documentation, counted in UTF-16 to be sure.
const LONGEST_DISCORD: usize = 2_000;

/// The longest message to ntfy, bytes: longer ones become an attachment.
const LONGEST_NTFY: usize = 4_000;

/// What is sent where.
#[derive(Debug, PartialEq)]
pub(super) struct Outgoing {
    /// The URL; `None`: the target's own.
    pub(super) url: Option<String>,
    pub(super) body: Value,
}

/// `notice` as `target` understands it.
pub(super) fn outgoing(notice: &Notice, target: &Target) -> Outgoing {
    let here = |body| Outgoing { url: None, body };
    match target.template() {
        Template::Json => here(serde_json::to_value(notice).expect("plain data becomes JSON")),
        Template::Slack => here(slack(notice)),
        Template::Discord => here(discord(notice)),
        Template::Ntfy => match target.topic() {
            Some((root, topic)) => Outgoing { url: Some(root), body: ntfy(notice, topic) },
            None => here(ntfy(notice, "")),
        },
    }
}

/// Slack makes mentions and links with other texts only of what stands in `<>`, and wants `&` escaped with them; plain
/// addresses become links by themselves (<https://docs.slack.dev/messaging/formatting-message-text>).
fn slack(notice: &Notice) -> Value {
    let escape = |text: &str| text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
    let (title, text) = (escape(&notice.title), escape(&notice.text));
    let link = notice.url.as_deref().map(|url| format!("\n{}", escape(url)));
    let text = cut(&format!("{}{title}\n{text}", mark(notice)), LONGEST_SLACK, char::len_utf8);
    json!({
        "text": text + &link.unwrap_or_default(),
        "mrkdwn": false,
        "unfurl_links": false,
        "unfurl_media": false,
    })
}

/// Nobody is mentioned, whatever the text says; its Markdown is escaped, and links unfold nothing (flag 4)
/// (<https://discord.com/developers/docs/resources/webhook#execute-webhook>).
fn discord(notice: &Notice) -> Value {
    let escape = |text: &str| {
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            if matches!(c, '\\' | '*' | '_' | '~' | '`' | '|' | '>' | '<' | '[' | ']' | '(' | ')' | '#' | '@')
            {
                out.push('\\');
            }
            out.push(c);
        }
        out
    };
    let link = notice.url.as_deref().map(|url| format!("\n<{url}>")).unwrap_or_default();
    let room = LONGEST_DISCORD.saturating_sub(link.encode_utf16().count());
    let text = format!("{}**{}**\n{}", mark(notice), escape(&notice.title), escape(&notice.text));
    json!({
        "username": "dockhealth",
        "content": cut(&text, room, char::len_utf16) + &link,
        "allowed_mentions": { "parse": [] },
        "flags": 4,
    })
}

/// JSON to the server's root, since headers would have to be free of hostile text
/// (<https://docs.ntfy.sh/publish/#publish-as-json>).
fn ntfy(notice: &Notice, topic: &str) -> Value {
    let (priority, tag) = match (notice.kind, notice.severity) {
        (NoticeKind::Problem, Severity::Critical) => (5, "rotating_light"),
        (NoticeKind::Problem, _) => (4, "warning"),
        (NoticeKind::Recovery, _) => (3, "white_check_mark"),
        (NoticeKind::Test, _) => (3, "bell"),
    };
    let mut body = json!({
        "topic": topic,
        "title": cut(&notice.title, 250, char::len_utf8),
        "message": cut(&notice.text, LONGEST_NTFY, char::len_utf8),
        "priority": priority,
        "tags": [tag, "dockhealth"],
    });
    if let Some(url) = &notice.url {
        body["click"] = json!(url);
    }
    body
}

/// What the eye finds first.
fn mark(notice: &Notice) -> &'static str {
    match (notice.kind, notice.severity) {
        (NoticeKind::Problem, Severity::Critical) => "\u{1f534} ",
        (NoticeKind::Problem, _) => "\u{1f7e0} ",
        (NoticeKind::Recovery, _) => "\u{1f7e2} ",
        (NoticeKind::Test, _) => "",
    }
}

/// `text` cut to `longest`, each character counted by `length`; an ellipsis stands for what was cut off.
fn cut(text: &str, longest: usize, length: fn(char) -> usize) -> String {
    if text.chars().map(length).sum::<usize>() <= longest {
        return text.to_owned();
    }
    let mut room = longest.saturating_sub(length('…'));
    let kept = text.chars().take_while(|c| {
        let fits = length(*c) <= room;
        room = room.saturating_sub(length(*c));
        fits
    });
    kept.chain(['…']).collect()
}

#[cfg(test)]
#[path = "template_tests.rs"]
mod tests;
