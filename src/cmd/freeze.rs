//! `dockhealth freeze`: no healing, on one host or on all.
//!
//! When the controller does not answer, this machine's agent is told itself.

use std::time::Duration;

use clap::{ArgMatches, Command};

use super::Failure;
use super::options;
use super::output::{note, print};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::why::own_host;
use crate::bus::AgentCommand;
use crate::client::{AgentSocket, Api, FreezeView, Method};
use crate::model::{HostName, format_span};

const LIFT: Setting = Setting::switch().flag_only().called("lift", OPTIONS, "End the freeze");
const HOST: Setting =
    Setting::value("HOST").flag_only().called("host", OPTIONS, "Only this host [default: every host]");

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&HOST, &options::FOR, &LIFT, &options::LOCAL][..];
    let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
    with_settings(Command::new("freeze").about("Stop healing, on one host or on all, until lifted"), &groups)
}

/// What is asked for.
#[derive(Debug, Clone)]
enum Wish {
    Freeze(Option<Duration>),
    Lift,
}

impl Wish {
    fn command(&self) -> AgentCommand {
        match self {
            Self::Freeze(span) => {
                let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
                AgentCommand::Freeze { for_ms: span.map(millis) }
            }
            Self::Lift => AgentCommand::Unfreeze,
        }
    }

    fn done(&self, whose: &str) -> String {
        match self {
            Self::Freeze(Some(span)) => format!("{whose}: no healing for {}\n", format_span(*span)),
            Self::Freeze(None) => format!("{whose}: no healing until `dockhealth freeze --lift`\n"),
            Self::Lift => format!("{whose}: healing goes on\n"),
        }
    }
}

/// Freezes or lifts.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let host = r.opt(&HOST, parse::typed::<HostName>);
    let span = r.opt(&options::FOR, parse::span(parse::millis(1_000, 365 * 86_400_000)));
    let (lift, local) = (r.switch(&LIFT), r.switch(&options::LOCAL));
    if lift && r.is_given(&options::FOR) {
        r.wrong(&options::FOR, "does not go together with --lift");
    }
    r.finish(())?;
    let wish = if lift { Wish::Lift } else { Wish::Freeze(span) };
    if local {
        return tell_agent(&reach.agent(), host.as_ref(), &wish).map(drop);
    }
    match tell_controller(&reach.api()?, host.as_ref(), &wish) {
        Err(Failure::Unreachable(why)) => {
            let Ok(own) = tell_agent(&reach.agent(), host.as_ref(), &wish) else {
                return Err(Failure::Unreachable(why));
            };
            note("the controller does not answer, so the agent of this machine was told itself");
            match host {
                Some(_) => Ok(()),
                None => Err(Failure::Unreachable(format!("only host {own} was told: {why}"))),
            }
        }
        answer => answer,
    }
}

fn tell_controller(api: &Api, host: Option<&HostName>, wish: &Wish) -> Result<(), Failure> {
    let scope = host.map(|host| format!("host={host}"));
    let (method, span) = match wish {
        Wish::Freeze(span) => (Method::Post, span.map(|span| format!("for={}", format_span(span)))),
        Wish::Lift => (Method::Delete, None),
    };
    let query: Vec<String> = scope.into_iter().chain(span).collect();
    let path = if query.is_empty() { "/freeze".to_owned() } else { format!("/freeze?{}", query.join("&")) };
    api.send(method, &path, None)?;
    let whose = host.map_or_else(|| "every host".to_owned(), |host| format!("host {host}"));
    match wish {
        Wish::Lift => print(&lifted(api, host, &whose, wish)),
        Wish::Freeze(_) => print(&wish.done(&whose)),
    }
}

/// What to say of a lifted freeze: healing goes on only where no other one holds.
fn lifted(api: &Api, host: Option<&HostName>, whose: &str, wish: &Wish) -> String {
    // It is lifted; that others cannot be asked for is no failure.
    let freezes: Vec<FreezeView> = api.get("/freeze").unwrap_or_default();
    let others = freezes.into_iter().filter(|freeze| match (&freeze.hostname, host) {
        (Some(other), Some(host)) => other == host,
        _ => true,
    });
    let still = others.map(|freeze| match freeze.hostname {
        Some(other) => {
            format!("host {other}: still frozen until `dockhealth freeze --lift --host {other}`\n")
        }
        None => "every host: still frozen until `dockhealth freeze --lift`\n".to_owned(),
    });
    let still: String = still.collect();
    if still.is_empty() { wish.done(whose) } else { format!("{whose}: that freeze is lifted\n{still}") }
}

/// Tells this machine's agent; returns its host's name.
fn tell_agent(agent: &AgentSocket, host: Option<&HostName>, wish: &Wish) -> Result<HostName, Failure> {
    let own = own_host(agent)?;
    if let Some(other) = host.filter(|host| **host != own) {
        return Err(Failure::NotFound(format!("this machine is host {own}, not {other}")));
    }
    agent.ask(&wish.command())?;
    print(&wish.done(&format!("host {own}")))?;
    Ok(own)
}
