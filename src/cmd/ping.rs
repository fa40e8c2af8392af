//! `dockhealth ping`: probes containers or addresses from this machine, as a check does.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use serde::Serialize;

use super::output::{Table, or_unknown, print_json};
use super::ps::percent;
use super::runtime::block_on;
use super::settings::{OPTIONS, Resolver, Setting, parse, table as t, with_settings};
use super::{Failure, options};
use crate::docker::{ContainerSource, Engine, EngineAddress};
use crate::model::{ContainerName, LossPercent, RunState};
use crate::monitor::ping::{IcmpPinger, Pinger, ProbeOutcome, ProbePlan};

const COUNT: Setting =
    Setting::value("COUNT").or("5").flag_only().called("count", OPTIONS, "Probes to each address");
const SPACING: Setting = Setting::value("SPAN").or("100ms").flag_only().called(
    "spacing",
    OPTIONS,
    "Time between two probes to one address",
);
const TIMEOUT: Setting =
    Setting::value("SPAN").or("1s").flag_only().called("timeout", OPTIONS, "How long an answer may take");

/// Its arguments.
pub(super) fn command() -> Command {
    let targets = Arg::new("target")
        .value_name("CONTAINER|ADDRESS")
        .required(true)
        .action(ArgAction::Append)
        .num_args(1..)
        .help("Containers of this machine, each at all its addresses, or addresses");
    let own = &[&COUNT, &SPACING, &TIMEOUT, &options::JSON, &t::DOCKER_HOST][..];
    let about = "Probe containers or addresses from this machine, all at once, as a check does";
    with_settings(Command::new("ping").about(about).arg(targets), &[own])
        .after_help("Ends with 1 when any of them did not answer at all.")
}

/// What is pinged, as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Target {
    Address(IpAddr),
    Container(ContainerName),
}

fn target(text: &str) -> Result<Target, String> {
    match text.parse() {
        Ok(address) => Ok(Target::Address(address)),
        Err(_) => {
            text.parse().map(Target::Container).map_err(|error: crate::model::IdError| error.to_string())
        }
    }
}

/// One address and what came of it.
#[derive(Debug, Serialize)]
struct Line {
    /// The container, where one was named.
    container: Option<ContainerName>,
    address: IpAddr,
    sent: u32,
    received: u32,
    /// Probes that say nothing, since this machine itself was late.
    void: u32,
    loss_percent: Option<f64>,
    rtt_min_ms: Option<f64>,
    rtt_median_ms: Option<f64>,
    rtt_max_ms: Option<f64>,
}

/// Probes them.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let targets = r.positional("target", target);
    let plan = ProbePlan {
        count: r.get(&COUNT, parse::count(1..=10_000)),
        spacing: r.get(&SPACING, parse::span(parse::millis(0, 60_000))),
        timeout: r.get(&TIMEOUT, parse::span(parse::millis(1, 60_000))),
        threshold: None,
    };
    let engine = r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>);
    let json = r.switch(&options::JSON);
    r.finish(())?;
    let lines = block_on(probe(&targets, plan, &engine))?;
    if json {
        print_json(&lines)?;
    } else {
        show(&lines)?;
    }
    match lines.iter().filter(|line| line.received == 0).count() {
        0 => Ok(()),
        silent => Err(Failure::Failed(format!("{silent} of {} addresses did not answer", lines.len()))),
    }
}

async fn probe(targets: &[Target], plan: ProbePlan, engine: &EngineAddress) -> Result<Vec<Line>, Failure> {
    let resolved = resolve(targets, engine).await?;
    let mut addresses: Vec<IpAddr> = resolved.iter().map(|(_, address)| *address).collect();
    addresses.sort_unstable();
    addresses.dedup();
    let pinger = IcmpPinger::open().map_err(|error| Failure::Failed(error.to_string()))?;
    let outcomes =
        pinger.probe(&addresses, plan).await.map_err(|error| Failure::Failed(error.to_string()))?;
    let outcome = |address: IpAddr| outcomes.iter().find(|o| o.address == address);
    Ok(resolved.into_iter().filter_map(|(name, address)| Some(line(name, outcome(address)?))).collect())
}

/// The addresses behind the targets; the engine is asked only where a container was named.
async fn resolve(
    targets: &[Target],
    engine: &EngineAddress,
) -> Result<Vec<(Option<ContainerName>, IpAddr)>, Failure> {
    let engine = Engine::connect(engine).map_err(|error| Failure::Usage(error.to_string()))?;
    let mut resolved = Vec::new();
    for target in targets {
        match target {
            Target::Address(address) => resolved.push((None, *address)),
            Target::Container(name) => {
                let facts = engine.inspect(name.as_str()).await?;
                if facts.state != RunState::Running {
                    return Err(Failure::Failed(format!("{name} is {}, not running", facts.state.as_str())));
                }
                let addresses = facts.addresses();
                if addresses.is_empty() {
                    return Err(Failure::Failed(format!(
                        "{name} has no address of its own: it shares another's network, or has none"
                    )));
                }
                resolved.extend(addresses.into_iter().map(|address| (Some(name.clone()), address)));
            }
        }
    }
    Ok(resolved)
}

fn line(container: Option<ContainerName>, outcome: &ProbeOutcome) -> Line {
    let mut rtts = outcome.rtts.clone();
    rtts.sort_unstable();
    let ms = |rtt: Option<&Duration>| rtt.map(|rtt| rtt.as_secs_f64() * 1_000.0);
    let lost = outcome.sent.saturating_sub(outcome.received);
    Line {
        container,
        address: outcome.address,
        sent: outcome.sent,
        received: outcome.received,
        void: outcome.void,
        loss_percent: LossPercent::of(lost, outcome.sent).map(LossPercent::percent),
        rtt_min_ms: ms(rtts.first()),
        rtt_median_ms: ms(rtts.get(rtts.len() / 2)),
        rtt_max_ms: ms(rtts.last()),
    }
}

fn show(lines: &[Line]) -> Result<(), Failure> {
    let mut table =
        Table::new(&["CONTAINER", "ADDRESS", "SENT", "RECEIVED", "LOSS", "RTT MIN", "MEDIAN", "MAX"]);
    let ms = |ms: Option<f64>| or_unknown(ms.map(|ms| format!("{ms:.3} ms")));
    for l in lines {
        table.row([
            or_unknown(l.container.as_ref()),
            l.address.to_string(),
            l.sent.to_string(),
            l.received.to_string(),
            or_unknown(l.loss_percent.map(percent)),
            ms(l.rtt_min_ms),
            ms(l.rtt_median_ms),
            ms(l.rtt_max_ms),
        ]);
    }
    table.print()
}
