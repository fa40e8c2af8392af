//! `dockhealth ps`: every container and how it is.

use clap::{ArgMatches, Command};
use serde_json::Value;

use super::output::{Table, note, or_unknown, print_json};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::{Failure, options};
use crate::bus::{AgentCommand, AgentReply, EngineStatus, HostReport};
use crate::client::{AgentSocket, Answer, Api, ContainerView, HostView, Method};
use crate::model::{Health, HostName, RunState};

const MONITORED: Setting =
    Setting::yes_no().flag_only().called("monitored", OPTIONS, "Only those that are monitored, or are not");
const STATUS: Setting = Setting::value("STATUS").flag_only().called(
    "status",
    OPTIONS,
    "Only those in this state: created, running, paused, restarting, removing, exited or dead",
);
const HEALTH: Setting = Setting::value("HEALTH").flag_only().called(
    "health",
    OPTIONS,
    "Only those that are healthy, degraded, failing, recovering, quarantined, frozen, not_pingable, unmonitored or unknown",
);
const STALE: Setting = Setting::switch().flag_only().called(
    "stale",
    OPTIONS,
    "Also those of hosts that do not answer, as last known",
);

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&options::HOST, &MONITORED, &STATUS, &HEALTH, &STALE, &options::LOCAL, &options::JSON][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    with_settings(Command::new("ps").about("List the containers of every host and how they are"), &groups)
}

/// Which containers are wanted.
#[derive(Debug, Default)]
struct Filter {
    host: Option<HostName>,
    monitored: Option<bool>,
    status: Option<RunState>,
    health: Option<Health>,
    stale: bool,
}

impl Filter {
    fn resolve(r: &mut Resolver) -> Self {
        let states = ["created", "running", "paused", "restarting", "removing", "exited", "dead"];
        let states: Vec<_> = states.map(|word| (word, RunState::from_word(word))).to_vec();
        let healths: Vec<_> = Health::ALL.map(|health| (health.as_str(), health)).to_vec();
        Self {
            host: r.opt(&options::HOST, parse::typed::<HostName>),
            monitored: r.opt(&MONITORED, parse::switch),
            status: r.opt(&STATUS, parse::word(&states)),
            health: r.opt(&HEALTH, parse::word(&healths)),
            stale: r.switch(&STALE),
        }
    }

    /// As the API takes it. Every value is a checked name or word, which a query holds as it is.
    fn query(&self) -> String {
        let parts = [
            self.host.as_ref().map(|host| format!("host={host}")),
            self.monitored.map(|monitored| format!("monitored={monitored}")),
            self.status.map(|status| format!("status={}", status.as_str())),
            self.health.map(|health| format!("health={health}")),
            self.stale.then(|| "stale=true".to_owned()),
        ];
        let parts: Vec<String> = parts.into_iter().flatten().collect();
        if parts.is_empty() { String::new() } else { format!("?{}", parts.join("&")) }
    }

    fn lets_pass(&self, report: &HostReport, container: &crate::bus::ContainerReport) -> bool {
        self.host.as_ref().is_none_or(|host| *host == report.host)
            && self.monitored.is_none_or(|monitored| monitored == container.monitored)
            && self.status.is_none_or(|status| status == container.status)
            && self.health.is_none_or(|health| health == container.health)
    }
}

/// Lists them.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let filter = Filter::resolve(&mut r);
    let (local, json) = (r.switch(&options::LOCAL), r.switch(&options::JSON));
    r.finish(())?;
    let containers =
        if local { ask_agent(&reach.agent(), &filter)? } else { ask_controller(&reach.api()?, &filter)? };
    if json {
        return print_json(&containers);
    }
    let containers: Vec<ContainerView> = serde_json::from_value(containers)
        .map_err(|error| Failure::Failed(format!("the list of containers cannot be read: {error}")))?;
    show(&containers)
}

/// The containers as the controller lists them; says on standard error which hosts did not answer.
fn ask_controller(api: &Api, filter: &Filter) -> Result<Value, Failure> {
    let answer = api.send(Method::Get, &format!("/containers{}", filter.query()), None)?;
    if let Some(silent) = silent_hosts(&answer) {
        note(&silent);
    }
    // The list is there; what more there is to say of it is no reason to fail.
    let hosts: Vec<HostView> = api.get("/hosts").unwrap_or_default();
    for host in hosts.iter().filter(|host| host.presence == "live") {
        let Some(agent) = host.agent.as_ref().filter(|agent| agent.engine.status == "unreachable") else {
            continue;
        };
        if filter.host.as_ref().is_none_or(|wanted| *wanted == host.hostname) {
            note_unreachable(&host.hostname, agent.containers, agent.engine.error.as_deref());
        }
    }
    Ok(api.read(&answer)?)
}

/// Says that a host lists no containers because its engine was never reached. Those it had before are listed, and say so
/// themselves.
fn note_unreachable(host: &HostName, containers: u64, why: Option<&str>) {
    if containers == 0 {
        let why = crate::model::clean(why.unwrap_or("no reason is known"), 500);
        note(&format!("host {host}: what it has is unknown, its Docker engine does not answer: {why}"));
    }
}

fn silent_hosts(answer: &Answer) -> Option<String> {
    let missing =
        answer.header("Dockhealth-Hosts-Missing").map(str::trim).filter(|names| !names.is_empty())?;
    let expected = answer.header("Dockhealth-Hosts-Expected").unwrap_or("?");
    let answered = answer.header("Dockhealth-Hosts-Answered").unwrap_or("?");
    let missing = crate::model::clean(missing, 500);
    Some(format!(
        "{answered} of {expected} hosts answered; not: {missing} (--stale shows what was last known)"
    ))
}

/// The containers as this machine's agent lists them, in the API's form.
fn ask_agent(agent: &AgentSocket, filter: &Filter) -> Result<Value, Failure> {
    let AgentReply::Report(report) = agent.ask(&AgentCommand::Report)? else {
        return Err(Failure::Failed("the agent answers, but not with its report".into()));
    };
    if report.engine.status == EngineStatus::Unreachable {
        note_unreachable(&report.host, report.containers.len() as u64, report.engine.error.as_deref());
    }
    let wanted = report.containers.iter().filter(|container| filter.lets_pass(&report, container));
    Ok(wanted.map(|container| with_host(&report.host, container)).collect())
}

/// An agent's word on a container, in the API's form.
pub(super) fn with_host(host: &HostName, container: &crate::bus::ContainerReport) -> Value {
    let mut value = serde_json::to_value(container).expect("plain data becomes JSON");
    value["hostname"] = host.as_str().into();
    value
}

fn show(containers: &[ContainerView]) -> Result<(), Failure> {
    if containers.is_empty() {
        note("no containers to show");
        return Ok(());
    }
    let mut table = Table::new(&["HOST", "NAME", "STATUS", "HEALTH", "LOSS", "RTT", "RESTARTS", "REASON"]);
    for c in containers {
        let stale = if c.stale { " (stale)" } else { "" };
        table.row([
            c.hostname.to_string(),
            c.name.to_string(),
            c.status.clone(),
            format!("{}{stale}", c.health),
            or_unknown(c.loss_percent.map(percent)),
            or_unknown(c.rtt_ms.map(|ms| format!("{ms:.2} ms"))),
            or_unknown(c.restarts),
            c.reason.clone(),
        ]);
    }
    table.print()
}

/// A percentage as people read it.
pub(super) fn percent(percent: f64) -> String {
    format!("{} %", (percent * 10.0).round() / 10.0)
}
