//! Who is told of incidents.

use std::collections::BTreeSet;
use std::path::Path;

use super::super::settings::parse::{self, millis};
use super::super::settings::{Resolver, Setting, table as t};
use crate::controller::NotifySettings;
use crate::notify::{Cause, Policy, Target, Template};

/// More receivers than anyone has.
const MOST_TARGETS: usize = 16;

/// Reads the settings of [`t::NOTIFY`].
pub(super) fn notify(r: &mut Resolver) -> NotifySettings {
    let targets = targets(r, &t::NOTIFY_URL, &t::NOTIFY_URL_FILE);
    if targets.len() > MOST_TARGETS {
        r.wrong(&t::NOTIFY_URL, format_args!("there are {}; give at most {MOST_TARGETS}", targets.len()));
    }
    let on: BTreeSet<Cause> = r.list(&t::NOTIFY_ON, parse::word(&Cause::WORDS)).into_iter().collect();
    let default = Policy::default();
    NotifySettings {
        targets,
        policy: Policy {
            on: if r.is_given(&t::NOTIFY_ON) { on } else { default.on },
            wait: r.get(&t::NOTIFY_WAIT, parse::span(millis(0, 600_000))),
            unhealed: r.get(&t::NOTIFY_UNHEALED, parse::span(millis(0, 86_400_000))),
        },
        ca_pem: ca_pem(r),
        public_url: r.opt(&t::PUBLIC_URL, parse::public_url),
    }
}

/// Reads [`t::NOTIFY_CA_FILE`].
pub(in crate::cmd) fn ca_pem(r: &mut Resolver) -> Option<Vec<u8>> {
    r.opt(&t::NOTIFY_CA_FILE, |text| parse::contents(Path::new(text)))
}

/// Reads the receivers of two settings, of URLs and of files that hold some; each receiver once.
pub(in crate::cmd) fn targets(r: &mut Resolver, urls: &Setting, files: &Setting) -> Vec<Target> {
    let template = r.opt(&t::NOTIFY_TEMPLATE, parse::word(&Template::WORDS));
    let mut found: Vec<(&Setting, Target)> = Vec::new();
    found.extend(r.list(urls, |text| Target::parse(text, template)).into_iter().map(|target| (urls, target)));
    let in_files = r.list(files, |text| in_file(Path::new(text), template));
    found.extend(in_files.into_iter().flatten().map(|target| (files, target)));
    let insecure = r.switch(&t::INSECURE_HTTP);
    let mut targets: Vec<Target> = Vec::new();
    for (setting, target) in found {
        if target.is_in_the_clear() && !insecure {
            r.wrong(
                setting,
                format_args!(
                    "{}: what is sent, and any secret in the URL, would go over the network in the clear: give https://, \
                     or --insecure-http",
                    target.shown()
                ),
            );
        }
        if !targets.iter().any(|known| known.id() == target.id()) {
            targets.push(target);
        }
    }
    targets
}

/// The receivers that a file names: one a line; empty lines and what begins with `#` do not count.
fn in_file(path: &Path, template: Option<Template>) -> Result<Vec<Target>, String> {
    let shown = crate::model::clean(&path.display().to_string(), 200);
    let text = String::from_utf8(parse::contents(path)?).map_err(|_| format!("{shown} holds no text"))?;
    let lines = (1..).zip(text.lines().map(str::trim));
    let lines = lines.filter(|(_, line)| !line.is_empty() && !line.starts_with('#'));
    let targets: Result<Vec<Target>, String> = lines
        .map(|(n, line)| Target::parse(line, template).map_err(|error| format!("{shown}, line {n}: {error}")))
        .collect();
    match targets?.as_slice() {
        [] => Err(format!("{shown} names no receiver; it must hold one URL a line")),
        found => Ok(found.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsString;

    use super::*;
    use crate::cmd::controller;
    use crate::cmd::settings::BadSettings;

    fn resolve(args: &[&str], env: &[(&str, &str)]) -> Result<NotifySettings, BadSettings> {
        let args = std::iter::once("test").chain(args.iter().copied());
        let matches = controller::command().try_get_matches_from(args).unwrap();
        let env = env.iter().map(|(name, value)| (OsString::from(name), OsString::from(value)));
        controller::config(Resolver::over(&matches, env, None)).map(|config| config.controller.notify)
    }

    fn shown(settings: &NotifySettings) -> Vec<&str> {
        settings.targets.iter().map(Target::shown).collect()
    }

    #[test]
    fn receivers_come_from_flags_variables_and_files_each_once() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "# ours\n\ndiscord+https://a.example/b\nhttps://c.example/d\n").unwrap();
        let path = file.path().to_str().unwrap();
        let args =
            ["--notify-url", "https://c.example/d", "--notify-url-file", path, "--notify-template", "slack"];
        let settings = resolve(&args, &[]).unwrap();
        assert_eq!(shown(&settings), ["slack https://c.example/...", "discord https://a.example/..."]);
        assert_eq!(settings.policy, Policy::default());
        let env = [("DOCKHEALTH_NOTIFY_URL", "https://ntfy.sh/x,https://y.example")];
        let settings = resolve(&["--notify-on", "host,clock", "--notify-wait", "1s"], &env).unwrap();
        assert_eq!(shown(&settings), ["ntfy https://ntfy.sh/...", "json https://y.example"]);
        assert_eq!(settings.policy.on, BTreeSet::from([Cause::Host, Cause::Clock]));
        assert!(resolve(&[], &[]).unwrap().targets.is_empty());
    }

    #[test]
    fn what_is_wrong_is_said_without_the_secret() {
        for (args, expected) in [
            (["--notify-url", "hunter22"], "--notify-url: this is no URL to notify"),
            (
                ["--notify-url", "http://x.example/hunter22"],
                "--notify-url: json http://x.example/...: what is sent",
            ),
            (["--notify-url", "irc+https://x/hunter22"], "--notify-url: \"irc\" is no template"),
            (["--notify-on", "host,everything"], "--notify-on: \"everything\" is not one of host, engine"),
            (["--notify-url-file", "/dev/null"], "--notify-url-file: /dev/null names no receiver"),
            (
                ["--public-url", "dockhealth.example.org"],
                "--public-url: \"dockhealth.example.org\" is no URL",
            ),
        ] {
            let bad = resolve(&args, &[]).unwrap_err();
            assert!(bad.0.len() == 1 && bad.0[0].starts_with(expected), "{args:?}: {bad}");
            assert!(!bad.to_string().contains("hunter22"), "{bad}");
        }
        assert!(resolve(&["--notify-url", "http://x.example/y", "--insecure-http"], &[]).is_ok());
        assert!(resolve(&["--notify-url", "http://127.0.0.1:1/y"], &[]).is_ok());
        assert!(!format!("{:?}", resolve(&["--notify-url", "https://x/hunter22"], &[])).contains("hunter22"));
    }
}
