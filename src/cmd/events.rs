//! `dockhealth events`: what happened, and what happens.

use std::time::Duration;

use clap::{ArgMatches, Command};
use serde_json::Value;

use super::output::{note, print, print_json};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::why::event_line;
use super::{Failure, options};
use crate::client::{Api, ApiError};
use crate::model::{ContainerName, Event, EventKind, HostName, clean};

const KIND: Setting = Setting::value("KIND").flag_only().called(
    "kind",
    OPTIONS,
    "Only events of this kind, for example container_restarted",
);
const AFTER: Setting =
    Setting::value("SEQ").flag_only().called("after", OPTIONS, "Only events after this one, by its number");
const FOLLOW: Setting = Setting::switch().flag_only().called("follow", OPTIONS, "Go on, as events come");

/// The pause before a lost stream is opened anew.
const AGAIN: Duration = Duration::from_secs(2);

/// Its arguments.
pub(super) fn command() -> Command {
    let own =
        &[&options::HOST, &options::CONTAINER, &KIND, &AFTER, &options::LIMIT, &FOLLOW, &options::JSON][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    let about = "List what happened; with --follow, what happens";
    with_settings(Command::new("events").about(about), &groups)
        .after_help("With --follow and --json each event is one line.")
}

/// Which events are wanted.
#[derive(Debug, Default)]
struct Filter {
    host: Option<HostName>,
    container: Option<ContainerName>,
    kind: Option<EventKind>,
}

impl Filter {
    /// Every value is a checked name or word, which a query holds as it is.
    fn query(&self, after: Option<u64>, limit: u32) -> String {
        let parts = [
            Some(format!("limit={limit}")),
            after.map(|after| format!("after={after}")),
            self.host.as_ref().map(|host| format!("host={host}")),
            self.container.as_ref().map(|container| format!("container={container}")),
            self.kind.map(|kind| format!("kind={}", kind.as_str())),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        format!("?{}", parts.join("&"))
    }

    fn lets_pass(&self, event: &Event) -> bool {
        self.host.as_ref().is_none_or(|host| *host == event.host)
            && self.container.as_ref().is_none_or(|container| event.container.as_ref() == Some(container))
            && self.kind.is_none_or(|kind| kind == event.kind)
    }
}

/// Lists them.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let kinds: Vec<_> = EventKind::ALL.iter().map(|kind| (kind.as_str(), *kind)).collect();
    let filter = Filter {
        host: r.opt(&options::HOST, parse::typed::<HostName>),
        container: r.opt(&options::CONTAINER, parse::typed::<ContainerName>),
        kind: r.opt(&KIND, parse::word(&kinds)),
    };
    let after = r.opt(&AFTER, |text| {
        text.parse::<u64>().map_err(|_| format!("{:?} is not the number of an event", clean(text, 40)))
    });
    let limit = r.get(&options::LIMIT, parse::count(1..=1_000));
    let (follow, json) = (r.switch(&FOLLOW), r.switch(&options::JSON));
    r.finish(())?;
    let api = reach.api()?;
    let values: Value = api.get(&format!("/events{}", filter.query(after, limit)))?;
    if json && !follow {
        return print_json(&values);
    }
    let events: Vec<Event> = serde_json::from_value(values)
        .map_err(|error| Failure::Failed(format!("the events cannot be read: {error}")))?;
    for event in &events {
        show(event, json)?;
    }
    if follow {
        let newest = events.iter().map(|event| event.seq).max().or(after);
        return follow_events(&api, &filter, newest, json);
    }
    if events.is_empty() {
        note("no events");
    }
    Ok(())
}

/// Shows events as they come, for ever, over losses of the stream; each once.
fn follow_events(api: &Api, filter: &Filter, newest: Option<u64>, json: bool) -> Result<(), Failure> {
    let mut last = newest;
    loop {
        let id = last.map(|seq| seq.to_string());
        match api.stream("/stream?topics=events", id.as_deref()) {
            Ok(mut stream) => {
                while let Ok(Some(message)) = stream.next_event() {
                    // Streams also carry what is no event: notes of later versions, for one.
                    let Ok(event) = serde_json::from_str::<Event>(&message.data) else { continue };
                    if last.is_some_and(|last| event.seq <= last) {
                        continue;
                    }
                    last = Some(event.seq);
                    if filter.lets_pass(&event) {
                        show(&event, json)?;
                    }
                }
                note("the stream ended; opening it again");
            }
            Err(error @ ApiError::Unreachable { .. }) => note(&format!("{error}; trying again")),
            Err(error) => return Err(error.into()),
        }
        std::thread::sleep(AGAIN);
    }
}

fn show(event: &Event, json: bool) -> Result<(), Failure> {
    if json {
        return print_json(event);
    }
    let whose = match &event.container {
        Some(container) => format!("{}/{container}", event.host),
        None => event.host.to_string(),
    };
    print(&format!("{:>6}  {whose}  {}\n", event.seq, event_line(event)))
}
