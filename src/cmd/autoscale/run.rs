//! `dockhealth autoscale run`: keeps as many containers of an image as its requests need, behind one address.

mod admin;
mod build;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use clap::{Arg, ArgAction, ArgMatches, Command};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::options as o;
use crate::cmd::Failure;
use crate::cmd::config::{self, LogConfig, RuntimeConfig};
use crate::cmd::runtime::serve;
use crate::cmd::settings::{OPTIONS, Resolver, Setting, parse, table as t, with_settings};
use crate::docker::{ContainerBuilder, ContainerSource, Engine, EngineAddress};
use crate::metrics::{Machine, Sensors, UsageSampler, host_identity, raise_file_limit};
use crate::model::{PoolName, PoolSpec, clean};
use crate::scale::control::ControllerKind;
use crate::scale::pool::{PoolClaim, PoolConfig, PoolLog, PoolParts, pool};

const CONTAINERS: &str = "Containers";
const REQUESTS: &str = "Requests";

const fn option(setting: Setting, name: &'static str, help: &'static str) -> Setting {
    setting.flag_only().called(name, OPTIONS, help)
}

const fn container(setting: Setting, name: &'static str, help: &'static str) -> Setting {
    setting.flag_only().called(name, CONTAINERS, help)
}

const fn request(setting: Setting, name: &'static str, help: &'static str) -> Setting {
    setting.flag_only().called(name, REQUESTS, help)
}

const NAME: Setting =
    option(Setting::value("NAME").or("default"), "name", "The pool's name; its containers' begin with it");
const LISTEN: Setting =
    option(Setting::value("ADDRESS").or("127.0.0.1:8080"), "listen", "Where requests come in");
const ADMIN: Setting = option(
    Setting::value("ADDRESS"),
    "admin",
    "Tell over HTTP at this address of this machine: GET /status, GET /decisions?limit=100",
);
const RECORD: Setting = option(
    Setting::value("FILE"),
    "record",
    "Write what the controller saw and decided to this file, for `autoscale replay`",
);
const GRACE: Setting = option(
    Setting::value("SPAN").or("30s"),
    "grace",
    "How long accepted requests may take when it is told to end",
);
const CONTROLLER: Setting = Setting::value("NAME").or("francis").flag_only().called(
    "controller",
    "Controller",
    "Who decides: francis, regulator, hpa, kpa or fixed:COUNT",
);
const IMAGE: Setting = container(Setting::value("IMAGE"), "image", "The image, which is on this host");
const BUILD: Setting = container(
    Setting::value("DIR"),
    "build",
    "Build the image from this folder's Dockerfile instead, as dockhealth-pool/NAME",
);
const PORT: Setting = container(Setting::value("PORT").or("80"), "port", "The port that each listens at");
const PORT_BASE: Setting = container(
    Setting::value("PORT"),
    "port-base",
    "Publish them on 127.0.0.1 from this port on, for example 4000 [default: they are reached at their own addresses]",
);
const NETWORK: Setting =
    container(Setting::value("NAME"), "network", "Their network [default: the engine's bridge]");
const CPUS: Setting = container(Setting::value("CORES"), "cpus", "Most CPU of each, cores, for example 0.5");
const MEMORY: Setting =
    container(Setting::value("SIZE"), "memory", "Most memory of each, for example 256MiB");
const ENV_FILE: Setting = container(
    Setting::value("FILE"),
    "env-file",
    "File of KEY=VALUE lines for the environment of each, for what belongs in no argument",
);
const READY: Setting = container(
    Setting::value("PATH|tcp").or("/"),
    "ready",
    "A new one serves once it answers here with less than 500; tcp: once it accepts a connection",
);
const READY_TIMEOUT: Setting =
    container(Setting::value("SPAN").or("30s"), "ready-timeout", "How long that may take");
const STOP_TIMEOUT: Setting =
    container(Setting::value("SPAN").or("10s"), "stop-timeout", "How long each may take to stop");
const CONCURRENCY: Setting =
    request(Setting::value("COUNT").or("1"), "concurrency", "Requests that a container is given at once");
const FREE_CPU: Setting = request(
    Setting::value("PERCENT"),
    "free-cpu",
    "A container is free only once its CPU use is below this, percent of one core, for example 3",
);
const QUEUE: Setting =
    request(Setting::value("COUNT").or("1000"), "queue", "Requests that may wait; more get 503");
const QUEUE_TIMEOUT: Setting = request(
    Setting::value("SPAN").or("5m"),
    "queue-timeout",
    "How long a request may wait; then it gets 503",
);
const REQUEST_TIMEOUT: Setting = request(
    Setting::value("SPAN").or("5m"),
    "request-timeout",
    "How long a container may be silent about a request; then it gets 504",
);

const ENV: &str = "env";
const LABEL: &str = "label";
const ARGS: &str = "arguments";

const HELP: &str = "\
Ending it ends no container: started again under the same name, it adopts them. `dockhealth autoscale reset` removes \
them. They get no privileges, no mounts of the host and no host network. Answers say in x-dockhealth-wait-ms how long \
the request waited, and in x-dockhealth-container who answered.

Examples:
  dockhealth autoscale run --image serverapp --listen 127.0.0.1:8080 --min 2 --max 16
  dockhealth autoscale run --build ./app --port 5000 --port-base 4000 --cpus 1 --memory 256MiB
  dockhealth autoscale run --image shop --controller fixed:5 --admin 127.0.0.1:8931 --record shop.jsonl";

/// Its arguments.
pub(super) fn command() -> Command {
    let own = &[&NAME, &LISTEN, &ADMIN, &RECORD, &GRACE][..];
    let control =
        &[&CONTROLLER, &o::MIN, &o::MAX, &o::PERIOD, &o::SERVICE_GUESS, &o::BOOT_GUESS, &o::LOAD][..];
    let containers = &[
        &IMAGE,
        &BUILD,
        &PORT,
        &PORT_BASE,
        &NETWORK,
        &CPUS,
        &MEMORY,
        &ENV_FILE,
        &READY,
        &READY_TIMEOUT,
        &STOP_TIMEOUT,
    ][..];
    let requests = &[&CONCURRENCY, &FREE_CPU, &QUEUE, &QUEUE_TIMEOUT, &REQUEST_TIMEOUT][..];
    let machine = &[&t::DOCKER_HOST, &t::ALLOWED_HOST, &t::THREADS][..];
    // Values may hold commas, which part the values of a list.
    let pair = |name: &'static str, help: &'static str| {
        let arg = Arg::new(name).long(name).value_name("KEY=VALUE").action(ArgAction::Append);
        arg.help(help).help_heading(CONTAINERS)
    };
    let about = "Keep as many containers of an image as its requests need, behind one address";
    with_settings(Command::new("run").about(about), &[own, control, containers, requests, machine, t::LOG])
        .arg(pair(ENV, "Part of the environment of each"))
        .arg(pair(LABEL, "A label of each"))
        .arg(
            Arg::new(ARGS)
                .value_name("ARGUMENT")
                .num_args(0..)
                .last(true)
                .help("Arguments of each container"),
        )
        .after_help(HELP)
}

/// All that it is told.
struct Config {
    pool: PoolConfig,
    build: Option<PathBuf>,
    admin: Option<SocketAddr>,
    allowed_hosts: Vec<String>,
    record: Option<PathBuf>,
    grace: Duration,
    engine: EngineAddress,
    log: LogConfig,
    runtime: RuntimeConfig,
}

fn config(mut r: Resolver) -> Result<Config, Failure> {
    let name = r.get(&NAME, parse::typed::<PoolName>);
    let build = r.opt(&BUILD, parse::path);
    let image = r.opt(&IMAGE, |text| Ok::<_, String>(text.to_owned()));
    if image.is_some() == build.is_some() {
        r.wrong(&IMAGE, "give either --image or --build");
    }
    let image = image.unwrap_or_else(|| build::tag(&name));
    let (spec, mut env) = (spec(&mut r, image), environment(&mut r));
    env.extend(r.positional(ENV, pair));
    let admin = r.opt(&ADMIN, parse::listen);
    if admin.is_some_and(|address| !address.ip().to_canonical().is_loopback()) {
        r.wrong(&ADMIN, "beyond this machine everybody could read it: give an address of 127.0.0.1 or [::1]");
    }
    let pool = PoolConfig::new(name, spec, env);
    if let Err(error) = &pool {
        // What the command line has no reader of its own for; the rest is found where it is read.
        let settings =
            [("port_base", &PORT_BASE), ("network", &NETWORK), ("image", &IMAGE), ("ready_path", &READY)];
        let known = settings.iter().find(|(field, _)| *field == error.field);
        match known {
            Some((_, setting)) => r.wrong(setting, &error.problem),
            None => r.wrong(&NAME, error),
        }
    }
    let rest = (
        admin,
        r.list(&t::ALLOWED_HOST, parse::allowed_host),
        r.opt(&RECORD, parse::path),
        r.get(&GRACE, parse::span(parse::millis(0, 3_600_000))),
        r.get(&t::DOCKER_HOST, parse::typed::<EngineAddress>),
    );
    let (log, runtime) = (config::log(&mut r), config::runtime(&mut r));
    let (admin, allowed_hosts, record, grace, engine) = r.finish(rest)?;
    let pool = pool.map_err(|error| Failure::Usage(error.to_string()))?;
    Ok(Config { pool, build, admin, allowed_hosts, record, grace, engine, log, runtime })
}

fn spec(r: &mut Resolver, image: String) -> PoolSpec {
    let control = o::settings(r);
    let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
    let span = |least, most| parse::span(parse::millis(least, most));
    let day = 86_400_000;
    let port = |text: &str| {
        parse::count(1..=65_535)(text).and_then(|port| u16::try_from(port).map_err(|e| e.to_string()))
    };
    PoolSpec {
        image,
        command: r.positional(ARGS, |text| Ok::<_, String>(text.to_owned())),
        labels: r.positional(LABEL, pair).into_iter().collect::<BTreeMap<_, _>>(),
        controller: r.get(&CONTROLLER, parse::typed::<ControllerKind>).to_string(),
        period_ms: control.period.0 / 1000,
        load: control.load,
        service_guess_ms: control.service_guess.0 / 1000,
        boot_guess_ms: control.boot_guess.0 / 1000,
        min: control.bounds.min(),
        max: control.bounds.max(),
        concurrency: r.get(&CONCURRENCY, parse::count(1..=10_000)),
        listen: r.get(&LISTEN, parse::listen),
        port: r.get(&PORT, port),
        port_base: r.opt(&PORT_BASE, port),
        network: r.opt(&NETWORK, |text| Ok::<_, String>(text.to_owned())),
        cpus: r.opt(&CPUS, parse::number(0.01..=1024.0)),
        memory_bytes: r.opt(&MEMORY, |text| match parse::size(text)? {
            // The engine's own least.
            bytes if bytes >= 6 << 20 => Ok(bytes),
            _ => Err("a container needs at least 6MiB".to_owned()),
        }),
        free_cpu_percent: r.opt(&FREE_CPU, parse::number(0.1..=100_000.0)),
        ready_path: r.get(&READY, |text| match text.trim() {
            "tcp" => Ok(None),
            path if path.starts_with('/') => Ok(Some(path.to_owned())),
            other => Err(format!("{:?} is neither tcp nor a path that begins with /", clean(other, 60))),
        }),
        ready_timeout_ms: millis(r.get(&READY_TIMEOUT, span(100, 3_600_000))),
        stop_timeout_ms: millis(r.get(&STOP_TIMEOUT, span(0, 3_600_000))),
        queue: r.get(&QUEUE, parse::count(0..=100_000)),
        queue_timeout_ms: millis(r.get(&QUEUE_TIMEOUT, span(1, day))),
        request_timeout_ms: millis(r.get(&REQUEST_TIMEOUT, span(1, day))),
    }
}

/// What the file of the environment says; empty lines and those that begin with `#` don't count.
fn environment(r: &mut Resolver) -> BTreeMap<String, String> {
    let file = r.opt(&ENV_FILE, |text| {
        let text =
            String::from_utf8(parse::contents(Path::new(text))?).map_err(|_| "the file holds no text")?;
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.map(pair).collect::<Result<BTreeMap<_, _>, String>>()
    });
    file.unwrap_or_default()
}

/// `KEY=VALUE`; what is wrong is not quoted, for it may be a secret.
fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() && !text.contains('\0') => {
            Ok((key.to_owned(), value.to_owned()))
        }
        _ => Err("what is given has no KEY= before its value".to_owned()),
    }
}

/// Runs it until it is told to end.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let config = config(Resolver::new(matches))?;
    serve(&config.log.clone(), config.runtime, |shutdown| autoscale(config, shutdown))
}

async fn autoscale(config: Config, shutdown: CancellationToken) -> Result<(), Failure> {
    raise_file_limit();
    let (name, spec) = (config.pool.name().clone(), config.pool.spec().clone());
    let _claim = PoolClaim::take(&name).map_err(|error| Failure::Failed(error.to_string()))?;
    let engine = Engine::connect(&config.engine).map_err(|error| Failure::Usage(error.to_string()))?;
    if let Some(dir) = &config.build {
        tracing::info!(pool = %name, image = spec.image, "building the image");
        build::build(&engine, dir, &spec.image).await?;
    } else if engine.image_id(&spec.image).await?.is_none() {
        let image = clean(&spec.image, 120);
        return Err(Failure::NotFound(format!(
            "there is no image {image:?} on this host: docker pull {image}"
        )));
    }
    let info = engine.info().await?;
    let local = config.engine.is_local();
    if !local {
        return Err(Failure::Usage("the engine is on another machine: run this there".to_owned()));
    }
    let machine = Machine::Here(PathBuf::from("/"));
    let cores = host_identity(Path::new("/")).cores.or(info.machine.cores).unwrap_or(1);
    let failed = |what: &str, error: std::io::Error| Failure::Failed(format!("{what}: {error}"));
    let log = match &config.record {
        Some(path) => Some(PoolLog::begin(path).map_err(|e| failed(&path.display().to_string(), e))?),
        None => None,
    };
    let stats = Arc::new(engine.clone());
    let sensors = Sensors::start(&machine, stats.clone()).map_err(|e| failed("the sensors' thread", e))?;
    let calm = spec.free_cpu_percent.map(|_| UsageSampler::new(&machine, Some(stats)));
    let listen = |what: &'static str, address: SocketAddr| async move {
        TcpListener::bind(address).await.map_err(|e| failed(&format!("{what} {address}"), e))
    };
    let listener = listen("--listen", spec.listen).await?;
    let bound = listener.local_addr().map_err(|e| failed("--listen", e))?;
    let parts = PoolParts {
        engine: Arc::new(engine),
        sensors: Some(sensors),
        calm,
        millicores: cores.saturating_mul(1000),
        listener,
        grace: config.grace,
        log,
    };
    let (handle, pool) = pool(config.pool, parts, shutdown.clone());
    if let Some(address) = config.admin {
        let listener = listen("--admin", address).await?;
        let bound = listener.local_addr().map_err(|e| failed("--admin", e))?;
        tokio::spawn(admin::serve_admin(listener, config.allowed_hosts, handle, shutdown));
        tracing::info!("tells of itself at http://{bound}");
    }
    tracing::info!(pool = %name, image = spec.image, controller = spec.controller, "listening on http://{bound}");
    pool.await;
    tracing::info!(pool = %name, "ended; its containers stay");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(args: &[&str]) -> Result<Config, Failure> {
        let matches = command().try_get_matches_from([&["run"], args].concat()).unwrap();
        config(Resolver::over(&matches, [], None))
    }

    #[test]
    fn what_is_not_said_is_as_the_specification_has_it() {
        let config = read(&["--image", "shop"]).unwrap();
        assert_eq!(config.pool.spec(), &PoolSpec { image: "shop".to_owned(), ..PoolSpec::default() });
        assert_eq!((config.pool.name().as_str(), config.admin), ("default", None));
    }

    #[test]
    fn secrets_are_never_quoted() {
        let error = read(&["--image", "shop", "--env", "hunter2"]).err().expect("it has no key").to_string();
        assert!(error.contains("KEY=") && !error.contains("hunter2"), "{error}");
    }
}
