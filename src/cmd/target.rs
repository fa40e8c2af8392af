//! Naming a container: `HOST/NAME`, or `NAME` alone where only one host has it.

use std::fmt;
use std::str::FromStr;

use clap::{Arg, ArgAction};

use super::Failure;
use super::settings::nearest;
use crate::client::{Api, ContainerView};
use crate::model::{ContainerKey, ContainerName, HostName};

/// A container as typed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    /// Its host, where one was named.
    pub(super) host: Option<HostName>,
    /// Its name.
    pub(super) name: ContainerName,
}

impl FromStr for Target {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let (host, name) = text.split_once('/').map_or((None, text), |(host, name)| (Some(host), name));
        let host = host.map(str::parse::<HostName>).transpose().map_err(|e| e.to_string())?;
        Ok(Self { host, name: name.parse::<ContainerName>().map_err(|e| e.to_string())? })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Some(host) => write!(f, "{host}/{}", self.name),
            None => write!(f, "{}", self.name),
        }
    }
}

/// The argument that names one container.
pub(super) fn one() -> Arg {
    Arg::new("container")
        .value_name("[HOST/]CONTAINER")
        .required(true)
        .help("The container; its host may be left out when only one host has that name")
}

/// The argument that names containers.
pub(super) fn several() -> Arg {
    one()
        .action(ArgAction::Append)
        .num_args(1..)
        .help("The containers; a host may be left out when only one host has that name")
}

/// The path of a container in the API.
pub(super) fn path(key: &ContainerKey) -> String {
    format!("/containers/{}/{}", key.host, key.name)
}

/// Which container is meant, asking the controller where the host was left out.
pub(super) fn locate(api: &Api, target: &Target) -> Result<ContainerKey, Failure> {
    if let Some(host) = &target.host {
        return Ok(ContainerKey { host: host.clone(), name: target.name.clone() });
    }
    // Hosts that do not answer now count too: the name is no less ambiguous.
    let containers: Vec<ContainerView> = api.get("/containers?stale=true")?;
    choose(&containers, &target.name)
}

fn choose(containers: &[ContainerView], name: &ContainerName) -> Result<ContainerKey, Failure> {
    let hosts: Vec<&HostName> = containers.iter().filter(|c| c.name == *name).map(|c| &c.hostname).collect();
    match hosts[..] {
        [host] => Ok(ContainerKey { host: host.clone(), name: name.clone() }),
        [] => {
            let meant = nearest(name.as_str(), containers.iter().map(|c| c.name.as_str()));
            let hint = meant.map(|meant| format!("; did you mean {meant}?")).unwrap_or_default();
            Err(Failure::NotFound(format!("no host has a container {name}{hint}")))
        }
        _ => {
            let keys: Vec<String> = hosts.iter().map(|host| format!("  {host}/{name}")).collect();
            let keys = keys.join("\n");
            Err(Failure::Usage(format!("several hosts have a container {name}; name one of them:\n{keys}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn container(host: &str, name: &str) -> ContainerView {
        let json = serde_json::json!({"hostname": host, "name": name, "status": "running", "monitored": true, "health": "healthy"});
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_name_alone_must_be_on_one_host_only() {
        let fleet = [container("a", "web"), container("b", "web"), container("b", "db")];
        assert_eq!(choose(&fleet, &"db".parse().unwrap()).unwrap().to_string(), "b/db");
        let error = choose(&fleet, &"web".parse().unwrap()).unwrap_err().to_string();
        assert!(error.ends_with("\n  a/web\n  b/web"), "{error}");
        let error = choose(&fleet, &"wbe".parse().unwrap()).unwrap_err().to_string();
        assert_eq!(error, "no host has a container wbe; did you mean web?");
    }

    #[test]
    fn hosts_and_names_are_checked() {
        let target: Target = "a.b/web-1".parse().unwrap();
        assert_eq!(target.to_string(), "a.b/web-1");
        for bad in ["", "a/", "/b", "a/b/c", "a b"] {
            assert!(bad.parse::<Target>().is_err(), "{bad:?} was taken");
        }
    }
}
