//! `dockhealth pools`: the pools of a fleet.

mod words;

use clap::{Arg, ArgMatches, Command};
use serde_json::{Map, Value, json};

use super::output::{Table, UNKNOWN, note, or_unknown, print, print_json};
use super::reach::{self, Reach};
use super::settings::{Resolver, nearest, parse, with_settings};
use super::{Failure, options};
use crate::client::{Api, Method, PoolDetailsView, PoolView};
use crate::model::{HostName, PoolKey, PoolName, clean};

pub(super) use words::explain;

/// The largest file that says what a pool is to be, bytes.
const LARGEST: usize = 64 * 1024;

const HELP: &str = "\
A host takes pools where its own configuration says so: --pools of its agent, or of `dockhealth up`.

The file is TOML or JSON; only `image` must be there. An example with what is usual:
  image = \"shop:1\"             # on the host already
  listen = \"127.0.0.1:8080\"    # where requests come in
  port = 80                    # where each container listens
  min = 2
  max = 16
  controller = \"francis\"       # or regulator, hpa, kpa, fixed:3
  ready_path = \"/\"             # a new container serves once it answers there
docs/autoscale.md has the other fields, `dockhealth pools show --json` all of them as they are.

Examples:
  dockhealth pools set web1/shop shop.toml
  printf 'image = \"shop:1\"\\nmax = 4\\n' | dockhealth pools set web1/shop -
  dockhealth why --pool web1/shop";

/// A pool as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PoolTarget {
    host: Option<HostName>,
    name: PoolName,
}

impl std::str::FromStr for PoolTarget {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (host, name) = text.split_once('/').map_or((None, text), |(host, name)| (Some(host), name));
        let host = host.map(str::parse::<HostName>).transpose().map_err(|error| error.to_string())?;
        Ok(Self { host, name: name.parse::<PoolName>().map_err(|error| error.to_string())? })
    }
}

/// Its arguments.
pub(super) fn command() -> Command {
    let with = |command: Command, own: &'static [&'static super::settings::Setting]| {
        let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
        with_settings(command, &groups)
    };
    let pool = || {
        Arg::new("pool")
            .value_name("[HOST/]POOL")
            .required(true)
            .help("The pool; its host may be left out when only one host has that name")
    };
    let file =
        Arg::new("file").value_name("FILE").required(true).help("What it is to be; - reads standard input");
    let set = pool().value_name("HOST/POOL").help("The pool, and the host that is to run it");
    Command::new("pools")
        .about("List, show, set and remove pools: containers of an image behind one address, as many as requests need")
        .subcommand_required(true)
        .arg_required_else_help(true)
        .subcommands([
            with(Command::new("list").about("List the pools of the fleet"), &[&options::HOST, &options::JSON]),
            with(Command::new("show").about("Show one pool and its containers").arg(pool()), &[&options::JSON]),
            with(
                Command::new("set").about("Begin a pool, or change one while it runs").args([set, file]),
                &[&options::JSON],
            ),
            with(
                Command::new("remove")
                    .about("End a pool: it finishes what it accepted, then its containers are removed")
                    .arg(pool()),
                &[],
            ),
        ])
        .after_help(HELP)
}

/// Does what the inner subcommand says.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (name, matches) = matches.subcommand().expect("clap requires one");
    match name {
        "list" => list(matches),
        "show" => show(matches),
        "set" => set(matches),
        _ => remove(matches),
    }
}

/// The details of the pool that is meant, as JSON.
pub(super) fn details(api: &Api, target: &PoolTarget, decisions: u32) -> Result<Value, Failure> {
    let key = locate(api, target)?;
    Ok(api.get(&format!("{}?decisions={decisions}", path(&key)))?)
}

/// Reads what [`details`] gave.
pub(super) fn read(details: Value) -> Result<PoolDetailsView, Failure> {
    serde_json::from_value(details)
        .map_err(|error| Failure::Failed(format!("the answer cannot be read: {error}")))
}

fn path(key: &PoolKey) -> String {
    format!("/pools/{}/{}", key.host, key.name)
}

/// Which pool is meant, asking the controller where the host was left out.
fn locate(api: &Api, target: &PoolTarget) -> Result<PoolKey, Failure> {
    let name = target.name.clone();
    if let Some(host) = target.host.clone() {
        return Ok(PoolKey { host, name });
    }
    let pools: Vec<PoolView> = api.get("/pools")?;
    let hosts: Vec<&HostName> =
        pools.iter().filter(|pool| pool.name == name).map(|pool| &pool.hostname).collect();
    match hosts[..] {
        [host] => Ok(PoolKey { host: host.clone(), name }),
        [] => {
            let meant = nearest(name.as_str(), pools.iter().map(|pool| pool.name.as_str()));
            let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
            Err(Failure::NotFound(format!("no host has a pool {name}{hint}")))
        }
        _ => {
            let keys: Vec<String> = hosts.iter().map(|host| format!("  {host}/{name}")).collect();
            Err(Failure::Usage(format!(
                "several hosts have a pool {name}; name one of them:\n{}",
                keys.join("\n")
            )))
        }
    }
}

fn list(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let host = r.opt(&options::HOST, parse::typed::<HostName>);
    let json = r.switch(&options::JSON);
    r.finish(())?;
    let query = host.map(|host| format!("?host={host}")).unwrap_or_default();
    let pools: Value = reach.api()?.get(&format!("/pools{query}"))?;
    if json {
        return print_json(&pools);
    }
    let pools: Vec<PoolView> = serde_json::from_value(pools)
        .map_err(|error| Failure::Failed(format!("the pools cannot be read: {error}")))?;
    if pools.is_empty() {
        note("there are no pools; `dockhealth pools --help` says how to begin one");
        return Ok(());
    }
    let mut table =
        Table::new(&["HOST", "POOL", "HEALTH", "READY", "WANTED", "WAITING", "ADDRESS", "IMAGE", "DETAIL"]);
    for pool in pools {
        let status = pool.status.as_ref();
        let spec = status.map(|status| &status.spec).or(pool.spec.as_ref());
        let of = |text: Option<String>| text.unwrap_or_else(|| UNKNOWN.to_owned());
        table.row([
            pool.hostname.to_string(),
            pool.name.to_string(),
            pool.health.clone(),
            or_unknown(status.map(|status| status.counts.ready)),
            or_unknown(status.map(|status| status.wanted)),
            or_unknown(status.map(|status| status.waiting)),
            of(spec.map(|spec| spec.listen.to_string())),
            of(spec.map(|spec| spec.image.clone())),
            pool.detail.clone().unwrap_or_default(),
        ]);
    }
    table.print()
}

fn show(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let targets = r.positional("pool", parse::typed::<PoolTarget>);
    let json = r.switch(&options::JSON);
    let targets = r.finish(targets)?;
    let details = details(&reach.api()?, targets.first().expect("clap requires one"), 5)?;
    if json {
        return print_json(&details);
    }
    let details = read(details)?;
    print(&words::shown(&details.pool))?;
    let containers = details.pool.status.map(|status| status.containers).unwrap_or_default();
    if containers.is_empty() {
        return Ok(());
    }
    let mut table = Table::new(&["CONTAINER", "STATE", "ADDRESS", "REQUESTS", "SERVED", "CPU"]);
    for one in containers {
        table.row([
            one.name.to_string(),
            one.state.as_str().to_owned(),
            or_unknown(one.address),
            one.in_flight.to_string(),
            one.served.to_string(),
            one.cpu_percent.map_or_else(|| UNKNOWN.to_owned(), |cpu| format!("{cpu:.0} %")),
        ]);
    }
    table.print()
}

fn set(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let targets = r.positional("pool", |text| match text.parse::<PoolTarget>() {
        Ok(PoolTarget { host: None, .. }) => {
            Err(format!("{:?} names no host: give HOST/POOL", clean(text, 80)))
        }
        other => other,
    });
    let files = r.positional("file", spec_in);
    let json = r.switch(&options::JSON);
    let (targets, files) = r.finish((targets, files))?;
    let (target, spec) =
        (targets.first().expect("clap requires one"), files.first().expect("clap requires one"));
    let api = reach.api()?;
    let key = locate(&api, target)?;
    let answer = api.send(Method::Put, &path(&key), Some(spec))?;
    let pool: Value = api.read(&answer)?;
    if json {
        return print_json(&pool);
    }
    let how = if answer.status == 202 { "; its host is silent, and makes it so once it is back" } else { "" };
    print(&format!("{key}: set{how}\n"))
}

fn remove(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let targets = r.positional("pool", parse::typed::<PoolTarget>);
    let targets = r.finish(targets)?;
    let api = reach.api()?;
    let key = locate(&api, targets.first().expect("clap requires one"))?;
    api.send(Method::Delete, &path(&key), None)?;
    print(&format!("{key}: ends; its containers are removed once what it accepted is answered\n"))
}

/// What a file says: TOML, or JSON where it begins with a brace.
fn spec_in(file: &str) -> Result<Value, String> {
    let bytes = if file == "-" {
        let mut bytes = Vec::new();
        let mut input = std::io::Read::take(std::io::stdin(), LARGEST as u64 + 1);
        std::io::Read::read_to_end(&mut input, &mut bytes).map_err(|error| error.to_string())?;
        bytes
    } else {
        parse::contents(std::path::Path::new(file))?
    };
    if bytes.len() > LARGEST {
        return Err(format!("it is longer than {LARGEST} bytes"));
    }
    let text = String::from_utf8(bytes).map_err(|_| "it holds no text".to_owned())?;
    let read: Map<String, Value> = if text.trim_start().starts_with('{') {
        serde_json::from_str(&text).map_err(|error| error.to_string())?
    } else {
        toml::from_str(&text).map_err(|error| clean(&error.to_string(), 300))?
    };
    Ok(json!(read))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_toml_or_json_and_its_faults_are_told() {
        let dir = tempfile::tempdir().unwrap();
        let read = |text: &str| {
            let file = dir.path().join("pool");
            std::fs::write(&file, text).unwrap();
            spec_in(file.to_str().unwrap())
        };
        let expected = json!({"image": "shop:1", "max": 4, "cpus": 0.5});
        assert_eq!(read("image = \"shop:1\"\nmax = 4\ncpus = 0.5\n").unwrap(), expected);
        assert_eq!(read(" {\"image\": \"shop:1\", \"max\": 4, \"cpus\": 0.5}").unwrap(), expected);
        assert!(read("image: shop").unwrap_err().contains("line 1"), "{:?}", read("image: shop"));
        assert!(read("{").is_err() && read(&"#".repeat(LARGEST + 1)).is_err());
        assert!(spec_in("/nowhere/at/all").is_err());
    }

    #[test]
    fn hosts_and_names_are_checked() {
        let target: PoolTarget = "a.b/web-1".parse().unwrap();
        assert_eq!((target.host.unwrap().as_str(), target.name.as_str()), ("a.b", "web-1"));
        for bad in ["", "a/", "/b", "a/b.c", "a b"] {
            assert!(bad.parse::<PoolTarget>().is_err(), "{bad:?} was taken");
        }
    }
}
