//! `dockhealth token`: who may come in.

use clap::{Arg, ArgMatches, Command};
use serde_json::{Value, json};

use super::output::{Table, note, print, print_json, time};
use super::reach::{self, Reach};
use super::settings::{OPTIONS, Resolver, Setting, parse, with_settings};
use super::{Failure, options};
use crate::client::{Method, TokenView};
use crate::model::clean;

const SCOPE: Setting = Setting::value("read|write").or("read").flag_only().called(
    "scope",
    OPTIONS,
    "What its holder may do: read everything, or also change it",
);

/// Its arguments.
pub(super) fn command() -> Command {
    let with = |command: Command, own: &'static [&'static Setting]| {
        let groups: Vec<_> = std::iter::once(own).chain(reach::SETTINGS.iter().copied()).collect();
        with_settings(command, &groups)
    };
    let name = Arg::new("name").value_name("NAME").required(true).help("What it is for, for people");
    let id =
        Arg::new("id").value_name("ID").required(true).help("Its id, as `dockhealth token list` shows it");
    Command::new("token").about("List, add and revoke access tokens").subcommand_required(true).subcommands([
        with(
            Command::new("list").about("List the tokens; the secrets themselves are not kept"),
            &[&options::JSON],
        ),
        with(
            Command::new("add").about("Make a token and print it, once").arg(name),
            &[&SCOPE, &options::JSON],
        ),
        with(Command::new("revoke").about("Let a token open nothing any more").arg(id), &[]),
    ])
}

/// Does what the inner subcommand says.
pub(super) fn run(matches: &ArgMatches) -> Result<(), Failure> {
    let (name, matches) = matches.subcommand().expect("clap requires one");
    match name {
        "list" => list(matches),
        "add" => add(matches),
        _ => revoke(matches),
    }
}

fn list(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let json = r.switch(&options::JSON);
    r.finish(())?;
    let tokens: Value = reach.api()?.get("/tokens")?;
    if json {
        return print_json(&tokens);
    }
    let tokens: Vec<TokenView> = serde_json::from_value(tokens)
        .map_err(|error| Failure::Failed(format!("the tokens cannot be read: {error}")))?;
    let mut table = Table::new(&["ID", "SCOPE", "MADE", "NAME"]);
    for token in tokens {
        table.row([token.id.to_string(), token.scope, time(token.created), token.name]);
    }
    table.print()
}

fn add(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let names = r.positional("name", |text| match text.trim() {
        "" => Err("the name is empty"),
        name if name.chars().count() > 64 => Err("the name is longer than 64 characters"),
        name => Ok(clean(name, 64)),
    });
    let scope = r.get(&SCOPE, parse::word(&[("read", "read"), ("write", "write")]));
    let json = r.switch(&options::JSON);
    let names = r.finish(names)?;
    let api = reach.api()?;
    let made = api.send(Method::Post, "/tokens", Some(&json!({ "name": names.first(), "scope": scope })))?;
    let made: Value = api.read(&made)?;
    if json {
        return print_json(&made);
    }
    let Some(secret) = made["token"].as_str() else {
        return Err(Failure::Failed("the controller made a token but did not show it".into()));
    };
    note("the token, which is shown only now:");
    print(&format!("{}\n", clean(secret, 200)))
}

fn revoke(matches: &ArgMatches) -> Result<(), Failure> {
    let mut r = Resolver::new(matches);
    let reach = Reach::resolve(&mut r);
    let ids = r.positional("id", |text| {
        text.parse::<u64>().map_err(|_| format!("{:?} is not a token's id: give a number", clean(text, 40)))
    });
    let ids = r.finish(ids)?;
    let id = ids.first().expect("clap requires one");
    reach.api()?.send(Method::Delete, &format!("/tokens/{id}"), None)?;
    print(&format!("token {id}: revoked\n"))
}
