//! `dockhealth dummy`: a container's worth of nothing, to practise on.

use clap::{ArgMatches, Command};

use super::output::print;
use super::runtime::{block_on, until_told_to_stop};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::{Failure, options};
use crate::chaos::{DummyConfig, LossPlan, best_injector, run_dummy};
use crate::model::{LossPercent, clean};

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

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&EVERY, &ANTAGONIST, &LOSS, &INTERFACE, &options::SEED][..];
    let about = "Tell when it started and what time it is; with --antagonist, lose packets now and then";
    with_settings(Command::new("dummy").about(about), &[own])
}

fn config(mut r: Resolver) -> Result<DummyConfig, Failure> {
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
    Ok(r.finish(config)?)
}

/// Runs until told to stop, then loses no packets any more.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let config = config(Resolver::new(matches))?;
    block_on(async {
        let shutdown = until_told_to_stop()?;
        let stop = shutdown.clone();
        let say = move |news| {
            if print(&format!("{news}\n")).is_err() {
                stop.cancel();
            }
        };
        run_dummy(&config, best_injector, &shutdown, say).await;
        Ok(())
    })
}
