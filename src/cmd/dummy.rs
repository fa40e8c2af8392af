//! `dockhealth dummy`: a container's worth of nothing, to practise on.

use std::future::Future;
use std::net::SocketAddr;

use clap::{ArgMatches, Command};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::output::print;
use super::runtime::{block_on, until_told_to_stop};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::{Failure, options};
use crate::chaos::{DummyConfig, LossPlan, best_injector, run_dummy};
use crate::model::{LossPercent, clean};
use crate::scale::serverapp::serve_tasks;

const EVERY: Setting =
    Setting::value("SPAN").or("10s").flag_only().called("every", OPTIONS, "How often it tells the time");
const ANTAGONIST: Setting = Setting::switch().flag_only().called(
    "antagonist",
    OPTIONS,
    "Lose 20 to 100 % of its packets, for random spans (needs CAP_NET_ADMIN)",
);
const LOSS: Setting = Setting::value("PERCENT").flag_only().called(
    "loss",
    "Options",
    "Lose this share all the time instead, from 0 to 100",
);
const INTERFACE: Setting = Setting::value("NAME").or("eth0").flag_only().called(
    "interface",
    OPTIONS,
    "The interface it loses them on",
);

const SERVE: Setting = Setting::value("ADDRESS").flag_only().called(
    "serve",
    OPTIONS,
    "Answer HTTP at for example 0.0.0.0:80: / names the container, /start_task computes (?n=35, ?cpu=500ms) or sleeps (?sleep=13s)",
);

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&EVERY, &SERVE, &ANTAGONIST, &LOSS, &INTERFACE, &options::SEED][..];
    let about = "Tell when it started and what time it is; with --antagonist, lose packets now and then";
    with_settings(Command::new("dummy").about(about), &[own])
}

fn config(mut r: Resolver) -> Result<(DummyConfig, Option<SocketAddr>), Failure> {
    let seed = r.opt(&options::SEED, options::seed).unwrap_or_else(rand::random);
    let steady = r.opt(&LOSS, parse::typed::<LossPercent>);
    let random = r.switch(&ANTAGONIST).then(|| LossPlan::usual(seed));
    let loss = steady.map(LossPlan::Steady).or(random);
    let config = DummyConfig {
        every: r.get(&EVERY, parse::span(parse::millis(100, 86_400_000))),
        loss,
        interface: r.get(&INTERFACE, |text| match text {
            // What the kernel takes for the name of an interface (IFNAMSIZ).
            name if (1..16).contains(&name.len())
                && !name.contains(|c: char| c == '/' || !c.is_ascii_graphic()) =>
            {
                Ok(name.to_owned())
            }
            other => {
                Err(format!("{:?} is not the name of an interface: give for example eth0", clean(other, 40)))
            }
        }),
    };
    let serve = r.opt(&SERVE, parse::listen);
    Ok(r.finish((config, serve))?)
}

/// Runs until told to stop, then loses no packets any more.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (config, serve) = config(Resolver::new(matches))?;
    block_on(async {
        let shutdown = until_told_to_stop()?;
        let server = match serve {
            Some(address) => Some(tokio::spawn(server(address, shutdown.clone()).await?)),
            None => None,
        };
        let stop = shutdown.clone();
        let say = move |news| {
            if print(&format!("{news}\n")).is_err() {
                stop.cancel();
            }
        };
        run_dummy(&config, best_injector, &shutdown, say).await;
        if let Some(server) = server {
            // It ends by the same token; a panic in it is told by the runtime.
            let _ = server.await;
        }
        Ok(())
    })
}

/// A server of tasks at `address`, which listens when this returns.
async fn server(
    address: SocketAddr,
    shutdown: CancellationToken,
) -> Result<impl Future<Output = ()>, Failure> {
    let failed = |error| Failure::Failed(format!("--serve {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    Ok(serve_tasks(listener, clean(name.trim(), 253), shutdown))
}
