//! `dockhealth notify`: what people were told of incidents, and whether it arrives.

use clap::{ArgMatches, Command};
use serde_json::Value;

use super::config::notify::{ca_pem, targets};
use super::controller::machine_name;
use super::output::{Table, UNKNOWN, note, or_unknown, print_json, time};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, table as t, with_settings};
use super::{Failure, options};
use crate::client::{Method, NotificationView, NotificationsView};
use crate::model::Timestamp;
use crate::notify::{Notice, PostVerdict, Poster, Stamp, Target};

const URL: Setting = Setting::list("[TEMPLATE+]URL").flag_only().called(
    "url",
    OPTIONS,
    "Send to this URL, from this machine, instead of having the controller send to its own",
);
const URL_FILE: Setting =
    Setting::list("FILE").flag_only().called("url-file", OPTIONS, "The same to the URLs in this file");

/// Its arguments.
pub(super) fn command() -> Command {
    let with = |command: Command, own: &'static [&'static Setting]| {
        let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
        with_settings(command, &groups)
    };
    let about = "Show what was told of incidents and whether it arrived, or try whether it does";
    Command::new("notify").about(about).subcommand_required(true).arg_required_else_help(true).subcommands([
        with(
            Command::new("list").about("List the receivers, and the last notifications"),
            &[&options::LIMIT, &options::JSON],
        ),
        with(
            Command::new("test")
                .about("Send a test message to every receiver and print what it answers")
                .after_help("Ends with 1 when a receiver did not take it."),
            &[&URL, &URL_FILE, &t::NOTIFY_TEMPLATE, &t::NOTIFY_CA_FILE, &t::PUBLIC_URL, &options::JSON],
        ),
    ])
}

/// Does what the inner subcommand says.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (name, matches) = matches.subcommand().expect("clap requires one");
    match name {
        "list" => list(matches),
        _ => test(matches),
    }
}

fn list(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let limit = r.get(&options::LIMIT, parse::count(1..=1_000));
    let json = r.switch(&options::JSON);
    r.finish(())?;
    let values: Value = reach.api()?.get(&format!("/notifications?limit={limit}"))?;
    if json {
        return print_json(&values);
    }
    let NotificationsView { receivers, notifications } = serde_json::from_value(values)
        .map_err(|error| Failure::Failed(format!("the notifications cannot be read: {error}")))?;
    if receivers.is_empty() {
        note("nobody is told of incidents: start the controller with --notify-url or --notify-url-file");
    } else {
        let mut table = Table::new(&["RECEIVER", "WAITING", "STATE"]);
        for one in receivers {
            let since = one.failing_since.map(|since| format!(" since {}", time(since))).unwrap_or_default();
            let state =
                one.detail.map_or_else(|| "works".to_owned(), |detail| format!("fails{since}: {detail}"));
            table.row([one.receiver, one.waiting.to_string(), state]);
        }
        table.print()?;
    }
    if notifications.is_empty() {
        note("no notifications");
        return Ok(());
    }
    let mut table = Table::new(&["TIME", "KIND", "TITLE", "RECEIVER", "STATE", "ATTEMPTS", "ANSWER"]);
    for notification in &notifications {
        deliveries(&mut table, notification);
    }
    table.print()
}

fn deliveries(table: &mut Table, notification: &NotificationView) {
    let head = || [time(notification.time), notification.kind.clone(), notification.title.clone()];
    for one in &notification.deliveries {
        let [time, kind, title] = head();
        let (receiver, state) = (one.receiver.clone(), one.state.clone());
        table.row([time, kind, title, receiver, state, one.attempts.to_string(), one.detail.clone()]);
    }
    if notification.deliveries.is_empty() {
        let [time, kind, title] = head();
        table.row([
            time,
            kind,
            title,
            UNKNOWN.into(),
            UNKNOWN.into(),
            "0".into(),
            "nobody was to be told".into(),
        ]);
    }
}

/// What a receiver answered to a test.
struct Tried {
    receiver: String,
    taken: bool,
    status: Option<u16>,
    detail: String,
}

fn test(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let own = targets(&mut r, &URL, &URL_FILE);
    let (ca_pem, url) = (ca_pem(&mut r), r.opt(&t::PUBLIC_URL, parse::public_url));
    let json = r.switch(&options::JSON);
    r.finish(())?;
    let tried =
        if own.is_empty() { by_controller(&reach)? } else { from_here(&own, ca_pem, url.as_deref())? };
    if json {
        let one = |tried: &Tried| {
            serde_json::json!({
                "receiver": tried.receiver, "taken": tried.taken, "status": tried.status, "detail": tried.detail,
            })
        };
        print_json(&tried.iter().map(one).collect::<Vec<_>>())?;
    } else {
        let mut table = Table::new(&["RECEIVER", "TAKEN", "STATUS", "ANSWER"]);
        for one in &tried {
            let taken = if one.taken { "yes" } else { "no" };
            table.row([one.receiver.clone(), taken.into(), or_unknown(one.status), one.detail.clone()]);
        }
        table.print()?;
    }
    let failed: Vec<&str> = tried.iter().filter(|one| !one.taken).map(|one| one.receiver.as_str()).collect();
    if failed.is_empty() {
        return Ok(());
    }
    Err(Failure::Failed(format!("the test did not arrive at {}", failed.join(", "))))
}

fn by_controller(reach: &Reach) -> Result<Vec<Tried>, Failure> {
    let api = reach.api()?;
    let answer = api.send(Method::Post, "/notifications/test", None)?;
    let made: NotificationView = api.read(&answer)?;
    let tried = made.deliveries.into_iter().map(|one| Tried {
        receiver: one.receiver,
        taken: one.state == "delivered",
        status: one.status,
        detail: if one.attempts == 0 { "no answer within 15 s".into() } else { one.detail },
    });
    Ok(tried.collect())
}

fn from_here(targets: &[Target], ca_pem: Option<Vec<u8>>, url: Option<&str>) -> Result<Vec<Tried>, Failure> {
    let poster = Poster::new(targets, ca_pem);
    let poster = poster.map_err(|why| Failure::Usage(format!("--notify-ca-file: {why}")))?;
    let stamp = Stamp { id: uuid::Uuid::now_v7(), time: Timestamp::now(), url };
    let notice = Notice::test(stamp, &machine_name());
    let tried = targets.iter().map(|target| {
        let answer = poster.post(&notice, target);
        Tried {
            receiver: target.shown().to_owned(),
            taken: answer.verdict == PostVerdict::Taken,
            status: answer.status,
            detail: answer.detail,
        }
    });
    Ok(tried.collect())
}
