//! `dockhealth monitor`, `unmonitor`, `restart`, `release`: one request for each container named.

use clap::{ArgMatches, Command};
use serde_json::Value;

use super::Failure;
use super::output::{complain, print};
use super::reach::{self, Reach};
use super::settings::{Resolver, parse, with_settings};
use super::target::{self, Target};
use crate::client::{Answer, Api, Method};
use crate::model::{ContainerKey, clean};

/// What is done to each container.
#[derive(Debug, Clone, Copy)]
enum Act {
    Monitor,
    Unmonitor,
    Restart,
    Release,
}

impl Act {
    fn command(self, name: &'static str, about: &'static str) -> Command {
        with_settings(Command::new(name).about(about).arg(target::several()), reach::SETTINGS).mut_arg(
            "container",
            |arg| match self {
                Self::Unmonitor => arg.help("The containers; one that is gone needs its host"),
                _ => arg,
            },
        )
    }

    fn request(self, key: &ContainerKey) -> (Method, String) {
        let path = target::path(key);
        match self {
            Self::Monitor => (Method::Post, path),
            Self::Unmonitor => (Method::Delete, path),
            Self::Restart => (Method::Post, format!("{path}/restart")),
            Self::Release => (Method::Post, format!("{path}/release")),
        }
    }

    fn done(self) -> &'static str {
        match self {
            Self::Monitor => "is monitored",
            Self::Unmonitor => "is no longer monitored",
            Self::Restart => "is being restarted",
            Self::Release => "is in no quarantine, and its restart budget begins anew",
        }
    }

    fn run(self, matches: &ArgMatches) -> Result<(), Failure> {
        let mut r = Resolver::new(matches);
        let reach = Reach::resolve(&mut r);
        let targets = r.positional("container", parse::typed::<Target>);
        let targets = r.finish(targets)?;
        let api = reach.api()?;
        let mut failures = Vec::new();
        for target in &targets {
            match self.act_on(&api, target) {
                Ok(line) => print(&line)?,
                // Nobody else's turn will come when nobody answers.
                Err(failure @ Failure::Unreachable(_)) => return Err(failure),
                Err(failure) => failures.push(failure),
            }
        }
        // The others were done all the same; the last failure gives the exit code.
        let last = failures.pop();
        failures.iter().for_each(complain);
        last.map_or(Ok(()), Err)
    }

    fn act_on(self, api: &Api, target: &Target) -> Result<String, Failure> {
        let key = target::locate(api, target)?;
        let (method, path) = self.request(&key);
        let answer = api.send(method, &path, None)?;
        let detail = detail(&answer).unwrap_or_else(|| match answer.status {
            202 => format!("{} {}, once the host can do so", key.name, self.done()),
            _ => format!("{} {}", key.name, self.done()),
        });
        Ok(format!("{key}: {detail}\n"))
    }
}

/// The sentence an answer holds for people.
fn detail(answer: &Answer) -> Option<String> {
    let value: Value = serde_json::from_slice(&answer.body).ok()?;
    Some(clean(value.get("detail")?.as_str()?, 500))
}

macro_rules! acts {
    ($($module:ident $act:ident $name:literal $about:literal;)*) => {
        $(
            /// See the help of the command.
            pub(super) mod $module {
                use super::{Act, ArgMatches, Command, Failure};
                /// Its arguments.
                pub(in crate::cmd) fn command() -> Command {
                    Act::$act.command($name, $about)
                }
                /// Does it.
                pub(in crate::cmd) fn run(matches: &ArgMatches) -> Result<(), Failure> {
                    Act::$act.run(matches)
                }
            }
        )*
    };
}

acts! {
    monitor Monitor "monitor" "Put containers on the list, to be checked and healed";
    unmonitor Unmonitor "unmonitor" "Take containers off the list; a label does not put them back";
    restart Restart "restart" "Restart containers now, past every brake";
    release Release "release" "End the quarantine of containers and forget their restarts so far";
}
