//! `dockhealth simulate`: hosts that are not there, on a bus that is.

use std::sync::Arc;
use std::time::Duration;

use clap::{ArgMatches, Command};
use tokio_util::sync::CancellationToken;

use super::config::{self, LogConfig, NatsConfig, RuntimeConfig};
use super::output::{print, print_json};
use super::runtime::serve;
use super::settings::{OPTIONS, Resolver, Setting, parse, table as t, with_settings};
use super::{Failure, options};
use crate::bus::{Bus, BusStatus, NatsBus, Role};
use crate::simulate::{Company, PREFIX, Progress, SimError, SimFault, SimPlan, run as run_plan};

const fn option(setting: Setting, name: &'static str, help: &'static str) -> Setting {
    setting.flag_only().called(name, OPTIONS, help)
}

/// Named on the command line alone: a machine of a real fleet has its address in its settings.
const NATS: Setting = Setting::value("URL").flag_only().called(
    "nats",
    "NATS",
    "The NATS server to simulate on, named here alone: neither variable nor file count",
);
const HOSTS: Setting = option(Setting::value("COUNT").or("10"), "hosts", "How many hosts, up to 4096");
const CONTAINERS: Setting =
    option(Setting::value("COUNT").or("20"), "containers", "How many containers on each, up to 1000");
const STEP: Setting =
    option(Setting::value("SPAN").or("10s"), "interval", "Time between two samples, whole seconds");
const FAULTS: Setting = option(
    Setting::list("FAULT"),
    "faults",
    "What may happen: crash and loss (each container about every 4 h), outage (each host every hour)",
);
const FOR: Setting = option(Setting::value("SPAN"), "for", "End after this time [default: when told to]");
const BESIDE: Setting =
    option(Setting::switch(), "beside-real-hosts", "Simulate even where real hosts are on the bus");

/// Connections that the hosts share: enough that none is a bottleneck, few enough for small servers.
const CONNECTIONS: u32 = 16;
/// How long the server may take to answer at first.
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Its arguments.
pub(super) fn command() -> Command {
    let own =
        &[&HOSTS, &CONTAINERS, &STEP, &FAULTS, &FOR, &options::SEED, &BESIDE, &options::JSON, &NATS][..];
    let login: Vec<&Setting> = t::NATS.iter().copied().filter(|s| s.name != NATS.name).collect();
    let about = "Simulate hosts of a fleet on a NATS server, for benchmarks and demonstrations";
    with_settings(Command::new("simulate").about(about), &[own, &login, t::LOG])
}

/// All that it is told.
struct Config {
    plan: SimPlan,
    ends_after: Option<Duration>,
    json: bool,
    nats: NatsConfig,
    log: LogConfig,
    runtime: RuntimeConfig,
}

fn config(mut r: Resolver) -> Result<Config, Failure> {
    if !r.is_given(&NATS) {
        r.wrong(&NATS, "say on which server, so that no real fleet gets simulated hosts by accident");
    }
    let faults = [("crash", SimFault::Crash), ("loss", SimFault::Loss), ("outage", SimFault::Outage)];
    let company = if r.switch(&BESIDE) { Company::RealToo } else { Company::SimulatedOnly };
    let plan = SimPlan {
        hosts: r.get(&HOSTS, parse::count(1..=4_096)),
        containers: r.get(&CONTAINERS, parse::count(0..=1_000)),
        step: r.get(&STEP, |text| {
            let span = parse::span(parse::millis(1_000, 3_600_000))(text)?;
            match u32::try_from(span.as_secs()) {
                Ok(seconds) if span.subsec_nanos() == 0 => Ok(seconds),
                _ => Err("samples lie whole seconds apart: give for example 10s".to_owned()),
            }
        }),
        seed: r.opt(&options::SEED, options::seed).unwrap_or_else(rand::random),
        faults: r.list(&FAULTS, parse::word(&faults)),
        company,
    };
    let config = Config {
        plan,
        ends_after: r.opt(&FOR, parse::span(parse::millis(1_000, 30 * 86_400_000))),
        json: r.switch(&options::JSON),
        nats: config::nats(&mut r),
        log: config::log(&mut r),
        runtime: config::runtime(&mut r),
    };
    Ok(r.finish(config)?)
}

/// Runs until told to end, or as long as it was told to.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let config = config(Resolver::new(matches))?;
    serve(&config.log.clone(), config.runtime, |shutdown| simulate(config, shutdown))
}

async fn simulate(config: Config, shutdown: CancellationToken) -> Result<(), Failure> {
    let Config { plan, ends_after, json, nats, .. } = config;
    let mut buses: Vec<Arc<dyn Bus>> = Vec::new();
    for number in 1..=plan.hosts.min(CONNECTIONS) {
        let role = Role::Agent(format!("{PREFIX}{number:04}").parse().expect("a valid name"));
        let mut options = nats.options(role);
        options.name = Some(format!("dockhealth simulate {number}"));
        let bus = NatsBus::connect(options).await.map_err(|error| Failure::Usage(error.to_string()))?;
        connected(&bus).await?;
        buses.push(Arc::new(bus));
    }
    if let Some(span) = ends_after {
        let stop = shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(span).await;
            stop.cancel();
        });
    }
    let SimPlan { hosts, containers, step, seed, .. } = plan;
    tracing::info!(
        "simulating {hosts} hosts with {containers} containers each, every {step} s, from seed {seed}"
    );
    let show = |progress: &Progress| if json { print_json(progress) } else { print(&line(progress)) };
    let tell = |progress: &Progress| {
        if show(progress).is_err() {
            shutdown.cancel();
        }
    };
    let total = run_plan(&plan, &buses, &shutdown, tell).await.map_err(|error| match error {
        SimError::RealHosts { .. } | SimError::NamesInUse { .. } => Failure::Refused(error.to_string()),
        SimError::Bus(_) => Failure::Unreachable(error.to_string()),
    })?;
    show(&total)
}

async fn connected(bus: &NatsBus) -> Result<(), Failure> {
    let mut status = bus.status();
    let up = tokio::time::timeout(CONNECT_WITHIN, status.wait_for(|status| *status == BusStatus::Connected));
    if up.await.is_ok_and(|up| up.is_ok()) {
        return Ok(());
    }
    let why = match &*bus.status().borrow() {
        BusStatus::Disconnected(why) => why.clone(),
        BusStatus::Connected => "it came and went".to_owned(),
    };
    Err(Failure::Unreachable(format!("the bus is not reachable: {why}")))
}

fn line(p: &Progress) -> String {
    let ms = |lag: Option<u64>| lag.map_or_else(|| "-".to_owned(), |ms| format!("{ms} ms"));
    let troubles = [
        (p.unanswered, "not answered in time"),
        (p.refused, "refused"),
        (p.dropped, "dropped"),
        (p.skipped, "not made in time"),
    ];
    let troubles = troubles.iter().filter(|(count, _)| *count > 0);
    let troubles: Vec<String> = troubles.map(|(count, what)| format!(", {count} {what}")).collect();
    format!(
        "{} ticks ({} samples) made, {} acknowledged, {} wait{}; lag {}, p99 {}, max {}\n",
        p.ticks,
        p.samples,
        p.acknowledged,
        p.waiting,
        troubles.concat(),
        ms(p.lag_p50_ms),
        ms(p.lag_p99_ms),
        ms(p.lag_max_ms)
    )
}
