//! Which samples a follower of the stream wants: those of 20,000 containers are 2 MB/s, and a page shows few.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::str::FromStr;

use serde::Serialize;

use super::problem::Problem;
use super::range;
use super::request::Query;
use crate::model::{ContainerName, HostName, SeriesName, Values};
use crate::store::HostTick;

/// The samples of a host and its containers at one moment, on the stream.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(super) struct HostMetrics<'a> {
    /// The host.
    #[schema(value_type = String)]
    hostname: &'a HostName,
    /// When, unix seconds by the host's clock.
    t: i64,
    /// Seconds between two.
    step: u32,
    /// Of the host itself, by series.
    #[schema(value_type = BTreeMap<String, f64>)]
    host: Cow<'a, Values>,
    /// Of each container, by series.
    #[schema(value_type = BTreeMap<String, BTreeMap<String, f64>>)]
    containers: BTreeMap<&'a ContainerName, Cow<'a, Values>>,
}

/// Whose samples are wanted of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Of {
    /// Its own and its containers'.
    All,
    /// Its own.
    Hosts,
}

impl Of {
    const ALL: [Self; 2] = [Self::All, Self::Hosts];

    fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Hosts => "hosts",
        }
    }
}

/// Which samples are wanted.
#[derive(Debug, PartialEq)]
pub(super) struct Watched {
    of: Of,
    /// Only this host's.
    host: Option<HostName>,
    /// Of its containers only this one's.
    container: Option<ContainerName>,
    /// Only these, all parts of those named without one; empty: all.
    names: Vec<SeriesName>,
}

impl Watched {
    /// What the query's `metrics_*` say.
    pub(super) fn read(query: &Query) -> Result<Self, Problem> {
        let of = query.read("metrics_of", |text| {
            let found = Of::ALL.into_iter().find(|of| of.as_str() == text);
            found.ok_or("valid: all, hosts")
        })?;
        let watched = Self {
            of: of.unwrap_or(Of::All),
            host: query.read("metrics_host", HostName::from_str)?,
            container: query.read("metrics_container", ContainerName::from_str)?,
            names: range::any_names(query, "metrics_names")?,
        };
        match (&watched.container, &watched.host, watched.of) {
            (Some(_), None, _) => Err(Problem::bad_request(
                "query parameter metrics_container: say in metrics_host which host it is on",
            )),
            (Some(_), _, Of::Hosts) => Err(Problem::bad_request(
                "query parameter metrics_container: metrics_of=hosts leaves out all containers; leave out one of the two",
            )),
            _ => Ok(watched),
        }
    }

    /// What is wanted of `tick`; `None`: nothing.
    pub(super) fn of<'a>(&self, HostTick { host, tick }: &'a HostTick) -> Option<HostMetrics<'a>> {
        if self.host.as_ref().is_some_and(|wanted| wanted != host) {
            return None;
        }
        let of_all = (self.of == Of::All).then_some(&tick.containers).into_iter().flatten();
        let containers = of_all
            .filter(|(name, _)| self.container.as_ref().is_none_or(|wanted| wanted == *name))
            .map(|(name, values)| (name, self.named(values)))
            .collect();
        Some(HostMetrics {
            hostname: host,
            t: tick.time,
            step: tick.step,
            host: self.named(&tick.host),
            containers,
        })
    }

    fn named<'a>(&self, values: &'a Values) -> Cow<'a, Values> {
        if self.names.is_empty() {
            return Cow::Borrowed(values);
        }
        let asks_for = |wanted: &SeriesName, name: &SeriesName| {
            wanted == name || wanted.part().is_none() && wanted.metric() == name.metric()
        };
        let mut values = values.clone();
        values.retain(|name, _| self.names.iter().any(|wanted| asks_for(wanted, name)));
        Cow::Owned(values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::MetricTick;

    const PARAMETERS: [&str; 4] = ["metrics_of", "metrics_host", "metrics_container", "metrics_names"];

    fn watched(raw: &str) -> Result<Watched, String> {
        Watched::read(&Query::parse(raw, &PARAMETERS).unwrap()).map_err(|problem| problem.detail)
    }

    fn told(raw: &str) -> Option<serde_json::Value> {
        let values = |names: &[&str]| {
            names.iter().map(|name| (name.parse::<SeriesName>().unwrap(), 1.0)).collect::<Values>()
        };
        let tick = MetricTick {
            time: 100,
            step: 10,
            host: values(&["cpu_percent", "filesystem_used_bytes//", "filesystem_used_bytes//home"]),
            containers: [("web", &["cpu_percent", "pids"][..]), ("db", &["pids"])]
                .map(|(name, of)| (name.parse().unwrap(), values(of)))
                .into(),
        };
        let tick = HostTick { host: "a".parse().unwrap(), tick };
        let told = watched(raw).unwrap().of(&tick).map(|told| serde_json::to_value(&told).unwrap())?;
        Some(serde_json::json!([told["host"], told["containers"]]))
    }

    #[test]
    fn only_what_is_wanted_is_told() {
        use serde_json::json;
        let disks = json!({"filesystem_used_bytes//": 1.0, "filesystem_used_bytes//home": 1.0});
        let whole = told("").unwrap();
        assert_eq!((whole[0].as_object().unwrap().len(), whole[1].as_object().unwrap().len()), (3, 2));
        assert_eq!(told("metrics_host=b"), None);
        assert_eq!(told("metrics_of=hosts").unwrap()[1], json!({}));
        assert_eq!(
            told("metrics_names=cpu_percent"),
            Some(json!([{"cpu_percent": 1.0}, {"web": {"cpu_percent": 1.0}, "db": {}}]))
        );
        assert_eq!(told("metrics_of=hosts&metrics_names=filesystem_used_bytes"), Some(json!([disks, {}])));
        assert_eq!(
            told("metrics_names=filesystem_used_bytes//home&metrics_of=hosts"),
            Some(json!([{"filesystem_used_bytes//home": 1.0}, {}]))
        );
        let one = told("metrics_host=a&metrics_container=db&metrics_names=pids,cpu_percent");
        assert_eq!(one, Some(json!([{"cpu_percent": 1.0}, {"db": {"pids": 1.0}}])));
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for (raw, says) in [
            ("metrics_of=containers", "valid: all, hosts"),
            ("metrics_container=web", "say in metrics_host"),
            ("metrics_container=web&metrics_host=a&metrics_of=hosts", "leave out one"),
            ("metrics_names=cpu", "\"cpu\" is unknown"),
        ] {
            let detail = watched(raw).unwrap_err();
            assert!(detail.contains(says), "{raw}: {detail}");
        }
    }
}
