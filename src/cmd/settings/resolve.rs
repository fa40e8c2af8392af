//! From text to typed values, collecting every error on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsString;
use std::fmt;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use clap::ArgMatches;
use clap::parser::ValueSource;

use super::file::{DEFAULT_FILE, SettingsFile};
use super::{Places, Profile, Setting, Shape, nearest, table};
use crate::model::clean;

/// What every variable of ours begins with.
const PREFIX: &str = "DOCKHEALTH_";

/// Everything that is wrong with the settings, each named with where it came from and what would be right.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct BadSettings(pub Vec<String>);

impl fmt::Display for BadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("one setting is wrong; nothing was done")?,
            n => write!(f, "{n} settings are wrong; nothing was done")?,
        }
        self.0.iter().try_for_each(|problem| write!(f, "\n  {problem}"))
    }
}

/// Reads settings from flags, variables and file.
///
/// A value that cannot be read is recorded, and its default stands in, so that resolving goes on and finds every
/// other error; [`Resolver::finish`] lets nothing through once anything was recorded.
#[derive(Debug)]
pub struct Resolver {
    flags: ArgMatches,
    env: BTreeMap<String, String>,
    file: SettingsFile,
    profile: Profile,
    problems: Vec<String>,
}

/// A value as text, and where it came from.
struct Raw {
    origin: String,
    texts: Vec<String>,
}

impl Resolver {
    /// A resolver over a command's arguments, this process's environment and the file.
    pub fn new(flags: &ArgMatches) -> Self {
        Self::over(flags, std::env::vars_os(), Some(Path::new(DEFAULT_FILE)))
    }

    /// A resolver over what is given; `default_file` is read when it exists and no other is named.
    pub fn over(
        flags: &ArgMatches,
        env: impl IntoIterator<Item = (OsString, OsString)>,
        default_file: Option<&Path>,
    ) -> Self {
        let mut resolver = Self {
            flags: flags.clone(),
            env: BTreeMap::new(),
            file: SettingsFile::default(),
            profile: Profile::default(),
            problems: Vec::new(),
        };
        resolver.take_env(env);
        resolver.take_file(default_file);
        // Variables and file are for every command, the profile for those that have it.
        if resolver.flags.try_contains_id(table::PROFILE.name).is_ok() {
            resolver.profile = Profile::read(&mut resolver);
        }
        resolver
    }

    fn take_env(&mut self, env: impl IntoIterator<Item = (OsString, OsString)>) {
        let known: BTreeMap<String, &Setting> = table::anywhere().map(|s| (s.env(), s)).collect();
        let others: Vec<&str> = table::anywhere().filter_map(|s| s.other_env).collect();
        let mut taken: Vec<_> = env.into_iter().collect();
        taken.sort();
        for (name, value) in taken {
            let Some(name) = name.to_str() else { continue };
            if !name.starts_with(PREFIX) && !others.contains(&name) {
                continue;
            }
            if !others.contains(&name) && !known.contains_key(name) {
                // Without what all of them begin with, which would make strangers look alike.
                let short = name.trim_start_matches(PREFIX);
                let meant = nearest(short, known.keys().map(|known| known.trim_start_matches(PREFIX)));
                let hint = meant.map(|m| format!("; did you mean {PREFIX}{m}?")).unwrap_or_default();
                self.problems.push(format!("{}: there is no such variable{hint}", clean(name, 80)));
                continue;
            }
            match value.into_string() {
                // An empty variable is how compose files and shells write "not set".
                Ok(text) if text.is_empty() => {}
                Ok(text) => drop(self.env.insert(name.to_owned(), text)),
                Err(_) => self.problems.push(format!("{name}: its value is not UTF-8 text")),
            }
        }
    }

    fn take_file(&mut self, default: Option<&Path>) {
        let named: Option<PathBuf> = self.opt(&table::CONFIG, super::parse::path);
        let Some(path) = named.as_deref().or(default) else { return };
        match SettingsFile::read(path) {
            Ok((file, problems)) => {
                self.file = file;
                self.problems.extend(problems);
                let known: Vec<&str> =
                    table::anywhere().map(|s| s.name).filter(|n| *n != table::CONFIG.name).collect();
                for key in self.file.keys().filter(|key| !known.contains(key)) {
                    let hint = hint(key, known.iter().copied());
                    let at = self.file.path.display();
                    self.problems.push(format!("{at}: {}: there is no such setting{hint}", clean(key, 80)));
                }
            }
            Err(error) if named.is_none() && error.kind() == ErrorKind::NotFound => {}
            Err(error) => self.problems.push(format!("{}: cannot be read: {error}", path.display())),
        }
    }

    /// The value of a setting that has a default.
    pub fn get<T, E: fmt::Display>(&mut self, setting: &Setting, parse: impl Fn(&str) -> Result<T, E>) -> T {
        if let Some(value) = self.opt(setting, &parse) {
            return value;
        }
        let default = setting.default_under(self.profile).unwrap_or_default();
        parse(default).unwrap_or_else(|e| panic!("the default of --{} is right: {e}", setting.name))
    }

    /// The value of a setting that may be absent; one that cannot be read is recorded and counts as absent.
    pub fn opt<T, E: fmt::Display>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        let raw = self.raw(setting)?;
        if let [text] = &raw.texts[..] {
            return self.read(&raw.origin, text, parse);
        }
        self.problems.push(format!("{}: takes one value, not a list", raw.origin));
        None
    }

    /// Whether a switch is on.
    pub fn switch(&mut self, setting: &Setting) -> bool {
        self.opt(setting, super::parse::switch).unwrap_or(false)
    }

    /// All values of a list; those that cannot be read are recorded, each.
    pub fn list<T, E: fmt::Display>(
        &mut self,
        setting: &Setting,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let Some(raw) = self.raw(setting) else { return Vec::new() };
        let items =
            raw.texts.iter().flat_map(|text| text.split(',')).map(str::trim).filter(|t| !t.is_empty());
        let mut values = Vec::new();
        for item in items {
            values.extend(self.read(&raw.origin, item, &parse));
        }
        values
    }

    /// Reads the positional argument `name` as often as it was given.
    pub fn positional<T, E: fmt::Display>(
        &mut self,
        name: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Vec<T> {
        let texts: Vec<String> =
            self.flags.get_many::<String>(name).map(|v| v.cloned().collect()).unwrap_or_default();
        let origin = name.to_uppercase();
        texts.iter().filter_map(|text| self.read(&origin, text, &parse)).collect()
    }

    /// Whether a setting was given anywhere.
    pub fn is_given(&self, setting: &Setting) -> bool {
        self.raw(setting).is_some()
    }

    /// Records that `setting` does not go together with others; `what` says what would.
    pub fn wrong(&mut self, setting: &Setting, what: impl fmt::Display) {
        let origin = self.raw(setting).map_or_else(|| setting.flag(), |raw| raw.origin);
        self.problems.push(format!("{origin}: {what}"));
    }

    /// `value`, unless anything was wrong: then all of that, each thing once, however often it was read.
    pub fn finish<T>(self, value: T) -> Result<T, BadSettings> {
        if self.problems.is_empty() {
            return Ok(value);
        }
        let mut seen = BTreeSet::new();
        Err(BadSettings(self.problems.into_iter().filter(|problem| seen.insert(problem.clone())).collect()))
    }

    fn read<T, E: fmt::Display>(
        &mut self,
        origin: &str,
        text: &str,
        parse: impl Fn(&str) -> Result<T, E>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                self.problems.push(format!("{origin}: {error}"));
                None
            }
        }
    }

    fn raw(&self, setting: &Setting) -> Option<Raw> {
        let flag = self.raw_flag(setting);
        match setting.places {
            Places::FlagOnly => flag,
            Places::Anywhere => flag.or_else(|| self.raw_env(setting)).or_else(|| self.raw_file(setting)),
        }
    }

    fn raw_flag(&self, setting: &Setting) -> Option<Raw> {
        if setting.shape == Shape::Switch && setting.places == Places::FlagOnly {
            let on = self.flags.try_get_one::<bool>(setting.name).is_ok_and(|on| on == Some(&true));
            return on.then(|| Raw { origin: setting.flag(), texts: vec!["true".into()] });
        }
        // A setting this command has no flag for is simply not given.
        let texts = self.flags.try_get_many::<String>(setting.name).ok()??;
        let typed = self.flags.value_source(setting.name) == Some(ValueSource::CommandLine);
        typed.then(|| Raw { origin: setting.flag(), texts: texts.cloned().collect() })
    }

    fn raw_env(&self, setting: &Setting) -> Option<Raw> {
        let own = setting.env();
        let (name, text) =
            self.env.get_key_value(&own).or_else(|| self.env.get_key_value(setting.other_env?))?;
        Some(Raw { origin: name.clone(), texts: vec![text.clone()] })
    }

    fn raw_file(&self, setting: &Setting) -> Option<Raw> {
        let texts = self.file.get(setting.name)?.clone();
        Some(Raw { origin: format!("{}: {}", self.file.path.display(), setting.name), texts })
    }
}

fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(name, known).map(|meant| format!("; did you mean {meant}?")).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use crate::cmd::{agent, controller, up};

    fn resolver(
        command: clap::Command,
        args: &[&str],
        env: &[(&str, &str)],
        file: Option<&Path>,
    ) -> Resolver {
        let args = std::iter::once("test").chain(args.iter().copied());
        let matches = command.try_get_matches_from(args).unwrap();
        Resolver::over(&matches, env.iter().map(|(name, value)| (name.into(), value.into())), file)
    }

    fn toml(text: &str) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        file
    }

    fn interval_ms(args: &[&str], env: &[(&str, &str)], file: Option<&Path>) -> u128 {
        agent::config(resolver(agent::command(), args, env, file)).unwrap().agent.interval.as_millis()
    }

    #[test]
    fn flag_before_variable_before_file_before_default() {
        let file = toml("interval = \"3s\"");
        let env = [("DOCKHEALTH_INTERVAL", "2s")];
        assert_eq!(interval_ms(&["--interval", "1s"], &env, Some(file.path())), 1_000);
        assert_eq!(interval_ms(&[], &env, Some(file.path())), 2_000);
        assert_eq!(interval_ms(&[], &[("DOCKHEALTH_INTERVAL", "")], Some(file.path())), 3_000);
        assert_eq!(interval_ms(&[], &[], Some(Path::new("/nonexistent"))), 10_000);
        let named = toml("interval = \"4s\"");
        let config = ["--config", named.path().to_str().unwrap()];
        assert_eq!(interval_ms(&config, &[], Some(file.path())), 4_000);
        let config = [("DOCKHEALTH_CONFIG", named.path().to_str().unwrap())];
        assert_eq!(interval_ms(&[], &config, Some(file.path())), 4_000);
    }

    #[test]
    fn switches_can_be_turned_off_again_and_lists_are_lists() {
        let file =
            toml("monitor-all = true\nallowed-host = [\"a.example\", \"B.example\"]\nthreshold = 12.5");
        let dry = [("DOCKHEALTH_DRY_RUN", "yes")];
        let config =
            up::config(resolver(up::command(), &["--monitor-all=false"], &dry, Some(file.path()))).unwrap();
        assert!(!config.agent.policy.monitor_all && config.agent.policy.dry_run);
        assert_eq!(config.controller.allowed_hosts, ["a.example", "b.example"]);
        assert!((config.controller.threshold.percent() - 12.5).abs() < 1e-9);
        let args = ["--allowed-host", "x", "--allowed-host", "y,z"];
        let config = up::config(resolver(up::command(), &args, &[], Some(file.path()))).unwrap();
        assert_eq!(config.controller.allowed_hosts, ["x", "y", "z"]);
    }

    #[test]
    fn docker_host_is_heard_after_our_own() {
        let both = [("DOCKER_HOST", "tcp://a:2375"), ("DOCKHEALTH_DOCKER_HOST", "tcp://b:2375")];
        for (env, expected) in [(&both[..1], "tcp://a:2375"), (&both[..], "tcp://b:2375")] {
            let config = agent::config(resolver(agent::command(), &[], env, None)).unwrap();
            assert_eq!(config.agent.docker_host.to_string(), expected);
        }
    }

    #[test]
    fn every_error_is_reported_at_once_with_its_origin() {
        let file = toml("probes = 0\nintervall = \"1s\"\nbudget = [1, 2]\n[agent]\ngrace = \"1s\"\n");
        let at = file.path().display();
        let args = ["--interval", "10", "--threshold", "-1", "--hostname", "a b", "--backoff", "1h"];
        let env = [("DOCKHEALTH_GRACE", "soon"), ("DOCKHEALTH_PROBE_TIMOUT", "1s"), ("HOME", "/")];
        let bad = agent::config(resolver(agent::command(), &args, &env, Some(file.path()))).unwrap_err();
        let expected = [
            "DOCKHEALTH_PROBE_TIMOUT: there is no such variable; did you mean DOCKHEALTH_PROBE_TIMEOUT?"
                .to_owned(),
            format!("{at}: agent must be a text"),
            format!("{at}: intervall: there is no such setting; did you mean interval?"),
            "--hostname: host name \"a b\" must begin".to_owned(),
            "--threshold: -1 is not a percentage".to_owned(),
            "--interval: \"10\" is not a span of time: write a number and a unit".to_owned(),
            format!("{at}: probes: \"0\" is not a count: give a whole number from 1 to 1000"),
            "DOCKHEALTH_GRACE: \"soon\" is not a span".to_owned(),
            format!("{at}: budget: takes one value, not a list"),
            "--backoff: backoff must not be longer than backoff-max".to_owned(),
        ];
        assert_eq!(bad.0.len(), expected.len(), "{bad}");
        for expected in &expected {
            assert!(
                bad.0.iter().any(|problem| problem.starts_with(expected)),
                "{expected:?} is not in {bad}"
            );
        }
        assert!(bad.to_string().starts_with("10 settings are wrong; nothing was done\n  "), "{bad}");
    }

    #[test]
    fn samples_are_whole_seconds_apart_or_off() {
        let step = |text: &str| {
            let args = [format!("--metrics-interval={text}")];
            let args: Vec<&str> = args.iter().map(String::as_str).collect();
            agent::config(resolver(agent::command(), &args, &[], None))
                .map(|config| config.agent.metrics_interval.map(std::num::NonZeroU32::get))
                .map_err(|bad| bad.0.join("; "))
        };
        for (text, expected) in
            [("1s", Some(1)), ("90s", Some(90)), ("1h", Some(3600)), ("0", None), ("off", None), ("0s", None)]
        {
            assert_eq!(step(text), Ok(expected), "{text}");
        }
        for (text, expected) in [
            (
                "1500ms",
                "--metrics-interval: \"1500ms\" is not a whole number of seconds: give from 1s to 1h, or off",
            ),
            (
                "500ms",
                "--metrics-interval: \"500ms\" is not a whole number of seconds: give from 1s to 1h, or off",
            ),
            ("2h", "--metrics-interval: \"2h\" is out of range: give from 1s to 1h, or off"),
            ("x", "--metrics-interval: \"x\" is not a span of time: write a number and a unit"),
        ] {
            assert!(step(text).unwrap_err().starts_with(expected), "{text}: {:?}", step(text));
        }
        let file = toml("metrics-interval = 0");
        let config = agent::config(resolver(agent::command(), &[], &[], Some(file.path()))).unwrap();
        assert_eq!(config.agent.metrics_interval, None);
        assert_eq!(
            agent::config(resolver(agent::command(), &[], &[], None))
                .unwrap()
                .agent
                .metrics_interval
                .map(std::num::NonZeroU32::get),
            Some(10)
        );
    }

    #[test]
    fn settings_that_do_not_go_together() {
        let secret = toml("s");
        let file = secret.path().to_str().unwrap();
        let cases: [(&[&str], &str); 7] = [
            (&["--listen", "0.0.0.0:8930"], "--listen: 0.0.0.0:8930 is reached from beyond this machine"),
            (&["--tls-cert", file], "--tls-cert: tls-cert and tls-key go together"),
            (&["--nats-user", "u"], "--nats-user: nats-user and nats-password-file go together"),
            (
                &["--nats-token-file", file, "--nats-creds-file", file],
                "--nats-creds-file: give one way to log in",
            ),
            (&["--nats", "nats://u:p@h"], "--nats: a URL must hold no user or password"),
            (&["--store-credentials-file", file], "--store-credentials-file: it is about a server"),
            (
                &["--store", "http://metrics.example.org:8428", "--store-credentials-file", file],
                "--store-credentials-file: the secret would go over the network in the clear",
            ),
        ];
        for (args, expected) in cases {
            let bad = controller::config(resolver(controller::command(), args, &[], None)).unwrap_err();
            assert!(bad.0.len() == 1 && bad.0[0].starts_with(expected), "{args:?}: {bad}");
        }
        let args = ["--listen", "0.0.0.0:8930", "--insecure-http"];
        assert!(controller::config(resolver(controller::command(), &args, &[], None)).is_ok());
        let env = [("DOCKHEALTH_STORE", "http://127.0.0.1:8428")];
        let args = ["--store-credentials-file", file];
        let config = controller::config(resolver(controller::command(), &args, &env, None)).unwrap();
        assert!(config.controller.remote_store.unwrap().credentials.is_some());
    }

    #[test]
    fn a_file_that_is_not_toml_or_missing_is_an_error() {
        let file = toml("interval = \"1s\"\nprobes = = 2\n");
        let bad = agent::config(resolver(agent::command(), &[], &[], Some(file.path()))).unwrap_err();
        assert!(bad.0.len() == 1 && bad.0[0].contains(", line 2: not TOML"), "{bad}");
        let bad =
            agent::config(resolver(agent::command(), &["--config", "/nonexistent"], &[], None)).unwrap_err();
        assert!(bad.0[0].starts_with("/nonexistent: cannot be read"), "{bad}");
    }

    #[test]
    fn every_default_is_right() {
        let none = |command| resolver(command, &[], &[], None);
        assert!(agent::config(none(agent::command())).is_ok());
        assert!(controller::config(none(controller::command())).is_ok());
        assert!(up::config(none(up::command())).is_ok());
        let edge = |command| resolver(command, &["--profile", "edge"], &[], None);
        assert!(agent::config(edge(agent::command())).is_ok());
        assert!(up::config(edge(up::command())).is_ok());
    }

    #[test]
    fn a_profile_changes_defaults_and_nothing_that_was_given() {
        let read = |args: &[&str], env: &[(&str, &str)]| {
            let config = agent::config(resolver(agent::command(), args, env, None)).unwrap();
            (config.runtime.threads, config.agent.report_interval.as_secs())
        };
        assert_eq!(read(&[], &[]), (2, 5));
        assert_eq!(read(&["--profile", "edge"], &[]), (1, 7));
        assert_eq!(read(&[], &[("DOCKHEALTH_PROFILE", "edge")]), (1, 7));
        assert_eq!(read(&["--profile", "default"], &[("DOCKHEALTH_PROFILE", "edge")]), (2, 5));
        assert_eq!(read(&["--profile", "edge", "--threads", "2"], &[]), (2, 7));
        assert_eq!(read(&["--profile", "edge"], &[("DOCKHEALTH_REPORT_INTERVAL", "5s")]), (1, 5));

        // A variable of the whole machine: what has no profile keeps its defaults.
        let env = [("DOCKHEALTH_PROFILE", "edge")];
        let config = controller::config(resolver(controller::command(), &[], &env, None)).unwrap();
        assert_eq!(config.runtime.threads, 2);
        let bad = agent::config(resolver(agent::command(), &["--profile", "tiny"], &[], None)).unwrap_err();
        assert_eq!(bad.0, ["--profile: \"tiny\" is not one of default, edge"]);
    }

    #[test]
    fn hostile_names_are_cleaned() {
        let mut r = resolver(agent::command(), &[], &[("DOCKHEALTH_\u{1b}[2J", "x")], None);
        r.opt(&table::HOSTNAME, parse::path);
        let bad = r.finish(()).unwrap_err().to_string();
        assert!(!bad.contains('\u{1b}'), "{bad}");
    }
}
