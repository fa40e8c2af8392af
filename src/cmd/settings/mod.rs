//! Settings: one table names each of them once, with its default and its help, and everything else follows
//! from it: the flag `--probe-timeout`, the variable `DOCKHEALTH_PROBE_TIMEOUT`, the key `probe-timeout` of the
//! TOML file.
//!
//! A flag goes before a variable, a variable before the file, the file before the default. Every value is
//! taken as text and read by a typed parser of [`parse`]; the [`Resolver`] collects what is wrong, so that all
//! of it is reported at once, before anything starts. A [`Profile`] changes defaults, and nothing else.

mod file;
mod nearest;
pub mod parse;
mod profile;
mod resolve;
pub mod table;

use clap::{Arg, ArgAction};

pub use file::DEFAULT_FILE;
pub use nearest::nearest;
pub use profile::Profile;
pub use resolve::{BadSettings, Resolver};

/// The heading of what has no other.
pub const OPTIONS: &str = "Options";

/// What a setting holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// One value; the word stands for it in help.
    Value(&'static str),
    /// On or off; off by default.
    Switch,
    /// On, off, or not said.
    YesNo,
    /// Any number of values.
    List(&'static str),
}

/// Where a setting may be given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Places {
    /// As a flag, a variable and a key of the file.
    Anywhere,
    /// As a flag only: it belongs to one call, not to an installation.
    FlagOnly,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its name as flag (`--name`) and as key of the file.
    pub name: &'static str,
    /// What it holds.
    pub shape: Shape,
    /// Its default as text; `None` where there is none, or where it depends on the machine.
    pub default: Option<&'static str>,
    /// Its default under [`Profile::Edge`]; `None`: the same.
    pub on_edge: Option<&'static str>,
    /// What help says of it.
    pub help: &'static str,
    /// The heading it stands under in help.
    pub heading: &'static str,
    /// Where it may be given.
    pub places: Places,
    /// A variable other programs know too, asked after its own.
    pub other_env: Option<&'static str>,
}

impl Setting {
    const fn of(shape: Shape) -> Self {
        Self {
            name: "",
            shape,
            default: None,
            on_edge: None,
            help: "",
            heading: OPTIONS,
            places: Places::Anywhere,
            other_env: None,
        }
    }

    /// A setting of one value, shown in help as `word`.
    pub const fn value(word: &'static str) -> Self {
        Self::of(Shape::Value(word))
    }

    /// A setting that is on or off.
    pub const fn switch() -> Self {
        Self::of(Shape::Switch)
    }

    /// A setting that is on, off, or not said.
    pub const fn yes_no() -> Self {
        Self::of(Shape::YesNo)
    }

    /// A setting of any number of values, each shown in help as `word`.
    pub const fn list(word: &'static str) -> Self {
        Self::of(Shape::List(word))
    }

    /// The same with a default.
    #[must_use]
    pub const fn or(mut self, default: &'static str) -> Self {
        self.default = Some(default);
        self
    }

    /// The same with another default under [`Profile::Edge`].
    #[must_use]
    pub const fn on_edge(mut self, default: &'static str) -> Self {
        self.on_edge = Some(default);
        self
    }

    /// Its default under `profile`.
    pub fn default_under(&self, profile: Profile) -> Option<&'static str> {
        match profile {
            Profile::Default => self.default,
            Profile::Edge => self.on_edge.or(self.default),
        }
    }

    /// The same, as a flag only.
    #[must_use]
    pub const fn flag_only(mut self) -> Self {
        self.places = Places::FlagOnly;
        self
    }

    /// The same, asking also the variable `name`.
    #[must_use]
    pub const fn also_env(mut self, name: &'static str) -> Self {
        self.other_env = Some(name);
        self
    }

    /// The same with its name, heading and help.
    #[must_use]
    pub const fn called(mut self, name: &'static str, heading: &'static str, help: &'static str) -> Self {
        self.name = name;
        self.heading = heading;
        self.help = help;
        self
    }

    /// Its variable, e.g. `DOCKHEALTH_PROBE_TIMEOUT`.
    pub fn env(&self) -> String {
        format!("DOCKHEALTH_{}", self.name.replace('-', "_").to_uppercase())
    }

    /// Its flag, e.g. `--probe-timeout`.
    pub fn flag(&self) -> String {
        format!("--{}", self.name)
    }

    /// Its argument, in a command that knows these profiles. Values stay text here: reading them is the [`Resolver`]'s.
    fn arg(&self, profiles: &[Profile]) -> Arg {
        let edge = self.on_edge.filter(|_| profiles.contains(&Profile::Edge));
        let help = match (self.default, edge) {
            (Some(default), None) => format!("{} [default: {default}]", self.help),
            (Some(default), Some(edge)) => format!("{} [default: {default}; edge: {edge}]", self.help),
            (None, _) => self.help.to_owned(),
        };
        let arg = Arg::new(self.name).long(self.name).help(help);
        let arg = if self.heading == OPTIONS { arg } else { arg.help_heading(self.heading) };
        match self.shape {
            // Negative numbers reach the parsers, which say more than clap would.
            Shape::Value(word) => arg.value_name(word).allow_negative_numbers(true).action(ArgAction::Set),
            Shape::List(word) => arg.value_name(word).allow_negative_numbers(true).action(ArgAction::Append),
            Shape::Switch if self.places == Places::FlagOnly => arg.action(ArgAction::SetTrue),
            // A flag must be able to turn off what a variable or the file turned on; without the =, the word after it
            // would be taken for its value.
            Shape::Switch => on_or_off(arg).require_equals(true),
            Shape::YesNo => on_or_off(arg),
        }
    }
}

fn on_or_off(arg: Arg) -> Arg {
    arg.value_name("true|false").num_args(0..=1).default_missing_value("true").action(ArgAction::Set)
}

/// `command` with every setting of `groups` as an argument, and a word on the other places.
pub fn with_settings(command: clap::Command, groups: &[&[&Setting]]) -> clap::Command {
    let all = || groups.iter().flat_map(|group| group.iter());
    let profiles: &[Profile] = if all().any(|setting| setting.name == table::PROFILE.name) {
        &[Profile::Default, Profile::Edge]
    } else {
        &[Profile::Default]
    };
    let command = all().fold(command, |command, setting| command.arg(setting.arg(profiles)));
    let elsewhere = all().any(|setting| setting.places == Places::Anywhere);
    if elsewhere { command.arg(table::CONFIG.arg(profiles)) } else { command }
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn names_are_unique_and_written_alike() {
        let mut seen = std::collections::BTreeSet::new();
        for setting in table::all() {
            assert!(seen.insert(setting.name), "--{} is named twice", setting.name);
            let plain = setting.name.bytes().all(|b| b.is_ascii_lowercase() || b == b'-');
            assert!(plain, "--{}", setting.name);
            assert!(!setting.help.ends_with('.') && !setting.help.is_empty(), "--{}", setting.name);
        }
        assert_eq!(table::PROBE_TIMEOUT.env(), "DOCKHEALTH_PROBE_TIMEOUT");
    }
}
