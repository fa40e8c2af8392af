//! `dockhealth net rules`: what is traced and measured, on all hosts.

use std::path::PathBuf;

use clap::{Arg, ArgMatches, Command};
use serde_json::Value;

use super::super::Failure;
use super::super::options;
use super::super::output::{Table, print, print_json};
use super::super::reach::{self, Reach};
use super::super::settings::{Resolver, Setting, parse, with_settings};
use super::read;
use crate::client::{Method, RulesTemplateView};
use crate::model::{NetworkRules, RulesTemplate, clean};

/// Its arguments.
pub(super) fn command() -> Command {
    let with = |command: Command, own: &'static [&'static Setting]| {
        let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
        with_settings(command, &groups)
    };
    let file = Arg::new("file")
        .value_name("FILE")
        .required(true)
        .help("The rules: TOML, or JSON when its name ends with .json");
    let template = Arg::new("template").value_name("TEMPLATE").help("Print this one as TOML");
    let about = "Show or set what is traced and measured, on all hosts";
    Command::new("rules").about(about).subcommand_required(true).arg_required_else_help(true).subcommands([
        with(Command::new("show").about("Print the rules that hold, as TOML"), &[&options::JSON]),
        with(
            Command::new("set").about("Set the rules; agents follow at once").arg(file).after_help(
                "What the file does not say is as by default, or as in the template that its first line names: \
                 template = \"bridge\".",
            ),
            &[],
        ),
        with(Command::new("reset").about("Have the default rules hold again"), &[]),
        with(
            Command::new("templates").about("List rules to start from, or print one").arg(template),
            &[&options::JSON],
        ),
    ])
}

/// Does what the inner subcommand says.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (name, matches) = matches.subcommand().expect("clap requires one");
    match name {
        "show" => show(matches),
        "set" => set(matches),
        "reset" => reset(matches),
        _ => templates(matches),
    }
}

fn show(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let json = r.switch(&options::JSON);
    r.finish(())?;
    let api = reach.api()?;
    if json {
        return print_json(&api.get::<Value>("/network/rules")?);
    }
    let answer = api.send(Method::Get, "/network/rules?format=toml", None)?;
    // Names of containers and labels from outside are in it.
    let text = String::from_utf8_lossy(&answer.body);
    let lines: Vec<String> = text.lines().map(|line| clean(line, 100_000)).collect();
    print(&(lines.join("\n") + "\n"))
}

fn set(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let files = r.positional("file", rules_in);
    let files = r.finish(files)?;
    let rules = files.into_iter().next().expect("clap requires it");
    reach.api()?.send(Method::Put, "/network/rules", Some(&rules))?;
    print("stored; agents follow at once\n")
}

/// The rules of a file as they were written, once they are known to be right: the controller fills in what is not said.
fn rules_in(path: &str) -> Result<Value, String> {
    let path = PathBuf::from(path);
    let text = parse::contents(&path)?;
    let text = String::from_utf8(text).map_err(|_| format!("{} is no UTF-8", path.display()))?;
    let is_json = path.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("json"));
    let (checked, value) = if is_json {
        (NetworkRules::from_json(&text), serde_json::from_str(&text).map_err(|error| error.to_string()))
    } else {
        let value = toml::from_str::<toml::Value>(&text).map_err(|error| error.to_string());
        let value = value.and_then(|value| serde_json::to_value(value).map_err(|error| error.to_string()));
        (NetworkRules::from_toml(&text), value)
    };
    checked.map_err(|error| format!("{}: {error}", path.display()))?;
    value.map_err(|error| format!("{}: {}", path.display(), clean(&error, 400)))
}

fn reset(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    r.finish(())?;
    reach.api()?.send(Method::Delete, "/network/rules", None)?;
    print("the default rules hold\n")
}

fn templates(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let wanted = r.positional("template", parse::typed::<RulesTemplate>).first().copied();
    let json = r.switch(&options::JSON);
    r.finish(())?;
    let values: Value = reach.api()?.get("/network/rules/templates")?;
    if json {
        return print_json(&values);
    }
    let templates: Vec<RulesTemplateView> = read(values)?;
    if let Some(wanted) = wanted {
        let found = templates.iter().find(|template| template.name == wanted.as_str());
        let found = found.ok_or_else(|| {
            Failure::NotFound(format!("the controller has no template {wanted}: it is of another version"))
        })?;
        return print(&found.toml);
    }
    let mut table = Table::new(&["TEMPLATE", "FOR"]);
    for template in templates {
        table.row([template.name, template.help]);
    }
    table.print()
}
