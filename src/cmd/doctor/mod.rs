//! `dockhealth doctor`: what works on this machine, what does not, and what to do about it.

mod engine;
mod machine;
mod network;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{ArgMatches, Command};
use serde::Serialize;

use super::config::{self, NatsConfig};
use super::output::{Table, print_json};
use super::reach::{self, Reach};
use super::runtime::block_on;
use super::settings::{Resolver, parse, table as t, with_settings};
use super::{Failure, options};
use crate::docker::EngineAddress;
use crate::model::Consent;
use crate::model::HostName;
use crate::net::NetworkWish;

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&options::JSON, &t::DOCKER_HOST, &t::HOSTNAME, &t::LISTEN, &t::CHAOS, &t::NETWORK][..];
    let groups: Vec<_> = [own, t::NATS].into_iter().chain(reach::SETTINGS.iter().copied()).collect();
    with_settings(
        Command::new("doctor").about("Say what works on this machine and what to do where it does not"),
        &groups,
    )
    .after_help("Ends with 1 when something that is needed is missing.")
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum State {
    /// As it should be.
    Works,
    /// Not, but only some things need it.
    Limited,
    /// Not, and nothing goes without.
    Missing,
    /// Not looked at, since nobody asked for it.
    Skipped,
}

impl State {
    fn as_str(self) -> &'static str {
        match self {
            Self::Works => "works",
            Self::Limited => "limited",
            Self::Missing => "missing",
            Self::Skipped => "skipped",
        }
    }
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
struct Finding {
    check: &'static str,
    state: State,
    /// How it works, or what is the matter.
    detail: String,
    /// What to do about it.
    remedy: Option<String>,
}

impl Finding {
    fn works(check: &'static str, detail: impl Into<String>) -> Self {
        Self { check, state: State::Works, detail: detail.into(), remedy: None }
    }

    fn not(check: &'static str, state: State, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { check, state, detail: detail.into(), remedy: Some(remedy.into()) }
    }
}

/// Where to look.
#[derive(Debug)]
struct Places {
    engine: EngineAddress,
    hostname: Option<HostName>,
    listen: SocketAddr,
    data_dir: PathBuf,
    /// The NATS server, where one was named.
    nats: Option<NatsConfig>,
    reach: Reach,
    chaos: Consent,
    network: NetworkWish,
}

fn places(mut r: Resolver) -> Result<(Places, bool), Failure> {
    let nats = config::nats(&mut r);
    let places = Places {
        engine: r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>),
        hostname: r.opt(&t::HOSTNAME, parse::typed::<HostName>),
        listen: r.get(&t::LISTEN, parse::listen),
        data_dir: config::data_dir(&mut r),
        nats: r.is_given(&t::NATS_URL).then_some(nats),
        reach: Reach::resolve(&mut r),
        chaos: config::chaos(&mut r),
        network: config::network(&mut r),
    };
    let json = r.switch(&options::JSON);
    Ok(r.finish((places, json))?)
}

/// Looks and says.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (places, json) = places(Resolver::new(matches))?;
    let findings = look(&places)?;
    if json {
        print_json(&findings)?;
    } else {
        show(&findings)?;
    }
    let missing: Vec<_> = findings.iter().filter(|f| f.state == State::Missing).map(|f| f.check).collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Failure::Failed(format!("needed, and does not work: {}", missing.join(", "))))
    }
}

fn look(places: &Places) -> Result<Vec<Finding>, Failure> {
    let mut findings = block_on(async {
        let (engine, name) = engine::engine(&places.engine).await;
        let hostname = places.hostname.clone().or_else(|| name?.parse().ok());
        Ok(vec![engine, network::icmp().await, network::bus(places.nats.as_ref(), hostname).await])
    })?;
    findings.insert(1, engine::agents());
    findings.extend([
        network::port(places.listen, &places.reach),
        network::controller(&places.reach),
        network::notifications(&places.reach),
        network::chaos(&places.reach.agent(), places.chaos),
        machine::data_dir(&places.data_dir),
        machine::cgroups(std::path::Path::new("/sys/fs/cgroup")),
        machine::capabilities(&std::fs::read_to_string("/proc/self/status").unwrap_or_default()),
    ]);
    findings.push(machine::monitoring(places.network));
    findings.extend(machine::network_faults());
    Ok(findings)
}

fn show(findings: &[Finding]) -> Result<(), Failure> {
    let mut table = Table::new(&["STATE", "WHAT", "HOW IT IS, AND WHAT TO DO"]);
    for finding in findings {
        let remedy = finding.remedy.as_ref().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        table.row([
            finding.state.as_str().to_owned(),
            finding.check.to_owned(),
            format!("{}{remedy}", finding.detail),
        ]);
    }
    table.print()
}
