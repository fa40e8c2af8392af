//! What the engine's list says of a container beside what was read of it before: whether it is worth reading again. A list
//! is one answer, however many containers there are; reading each makes the engine work for each.

use std::collections::HashMap;
use std::net::IpAddr;
use std::str::FromStr;
use std::time::Duration;

use docker_api::models::{ContainerSummary, EndpointSettings};

use crate::model::{ContainerFacts, HealthcheckStatus, NetworkAttachment, RunState};

const HOUR: Duration = Duration::from_hours(1);

/// Whether `summary`, listed now, agrees with `facts`, read `ago` before, and leaves no room for what it does not say: a
/// container that may have been started anew since counts as changed.
pub(super) fn confirms(summary: &ContainerSummary, facts: &ContainerFacts, ago: Duration) -> bool {
    let name = |listed: &String| listed.trim_start_matches('/') == facts.name.as_str();
    // What it is linked to may be called otherwise by now.
    facts.links.is_empty()
        && summary.names.iter().flatten().any(name)
        && RunState::from_word(summary.state.as_deref().unwrap_or_default()) == facts.state
        && lasts(summary.status.as_deref().unwrap_or_default(), facts).is_some_and(|span| span >= ago)
        && has_networks(summary, &facts.networks)
}

/// For how long at least it has been as `facts` say, by the engine's words: `Up 5 minutes (healthy)`,
/// `Exited (137) 2 hours ago`. `None` where they say otherwise, or something that is not understood.
fn lasts(status: &str, facts: &ContainerFacts) -> Option<Duration> {
    match facts.state {
        RunState::Created => (status == "Created").then_some(Duration::MAX),
        RunState::Running | RunState::Paused => {
            let up = status.strip_prefix("Up ")?;
            let (span, note) = match up.split_once(" (") {
                Some((span, note)) => (span, note.strip_suffix(')')?),
                None => (up, ""),
            };
            let expected = match (facts.state, facts.healthcheck.map(|check| check.status)) {
                (RunState::Paused, _) => "Paused",
                (_, Some(HealthcheckStatus::Starting)) => "health: starting",
                (_, Some(HealthcheckStatus::Healthy)) => "healthy",
                (_, Some(HealthcheckStatus::Unhealthy)) => "unhealthy",
                (_, None) => "",
            };
            if note == expected { at_least(span) } else { None }
        }
        RunState::Exited => {
            let (code, span) = status.strip_prefix("Exited (")?.split_once(") ")?;
            if code.parse().ok() == facts.exit_code { at_least(span.strip_suffix(" ago")?) } else { None }
        }
        RunState::Restarting | RunState::Removing | RunState::Dead | RunState::Unknown => None,
    }
}

/// The shortest span that reads like this; those of hours and more are all an hour at least.
fn at_least(span: &str) -> Option<Duration> {
    let (first, unit) = span.rsplit_once(' ')?;
    let number = || first.parse().ok();
    Some(match (first, unit) {
        ("Less than a", "second") => Duration::ZERO,
        ("About a", "minute") => Duration::from_mins(1),
        (_, "second" | "seconds") => Duration::from_secs(number()?),
        (_, "minutes") => Duration::from_mins(number()?),
        (_, "hour" | "hours" | "days" | "weeks" | "months" | "years") => HOUR,
        _ => return None,
    })
}

fn has_networks(summary: &ContainerSummary, known: &[NetworkAttachment]) -> bool {
    let listed = summary.network_settings.as_ref().and_then(|settings| settings.networks.as_ref());
    let is_there = |network: &NetworkAttachment| {
        listed
            .and_then(|listed| listed.get(&network.network))
            .is_some_and(|endpoint| confirms_network(endpoint, network))
    };
    listed.map_or(0, HashMap::len) == known.len() && known.iter().all(is_there)
}

fn confirms_network(endpoint: &EndpointSettings, network: &NetworkAttachment) -> bool {
    let gateways = [endpoint.gateway.as_deref(), endpoint.i_pv_6_gateway.as_deref()]
        .into_iter()
        .filter_map(address::<IpAddr>);
    endpoint.endpoint_id.as_deref().unwrap_or_default() == network.endpoint_id
        && address(endpoint.ip_address.as_deref()) == network.ipv4
        && address(endpoint.global_i_pv_6_address.as_deref()) == network.ipv6
        && gateways.eq(network.gateways.iter().copied())
}

fn address<T: FromStr>(text: Option<&str>) -> Option<T> {
    text?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::convert;
    use super::*;

    const MINUTE: Duration = Duration::from_mins(1);

    /// An inspect and a list have them alike.
    fn networks() -> Value {
        json!({ "Networks": { "bridge": {
            "EndpointID": "e1", "IPAddress": "172.17.0.2", "Gateway": "172.17.0.1", "GlobalIPv6Address": "",
        } } })
    }

    fn facts(state: &Value) -> ContainerFacts {
        let whole = json!({
            "Id": "aaaaaaaaaaaaaaaa", "Name": "/web", "State": state, "NetworkSettings": networks(),
        });
        convert::facts(&whole).unwrap()
    }

    fn summary(state: &str, status: &str) -> Value {
        json!({
            "Id": "aaaaaaaaaaaaaaaa", "Names": ["/other/alias", "/web"], "State": state, "Status": status,
            "NetworkSettings": networks(),
        })
    }

    fn read(summary: Value) -> ContainerSummary {
        serde_json::from_value(summary).unwrap()
    }

    fn agree(state: &Value, status: &str, ago: Duration) -> bool {
        let word = state["Status"].as_str().unwrap();
        confirms(&read(summary(word, status)), &facts(state), ago)
    }

    #[test]
    fn what_lasts_longer_than_it_is_known_is_as_it_was() {
        let running = json!({ "Status": "running" });
        for (status, longest) in [
            ("Up Less than a second", 0),
            ("Up 1 second", 1),
            ("Up 59 seconds", 59),
            ("Up About a minute", 60),
            ("Up 7 minutes", 420),
            ("Up About an hour", 3600),
            ("Up 2 hours", 3600),
            ("Up 3 weeks", 3600),
        ] {
            let longest = Duration::from_secs(longest);
            assert!(agree(&running, status, longest), "{status}");
            assert!(!agree(&running, status, longest + Duration::from_millis(1)), "{status}");
        }
    }

    #[test]
    fn states_say_what_they_were_read_to_be() {
        let healthy = json!({ "Status": "running", "Health": { "Status": "healthy" } });
        let starting = json!({ "Status": "running", "Health": { "Status": "starting" } });
        let exited = json!({ "Status": "exited", "ExitCode": 137 });
        for (state, status) in [
            (&healthy, "Up 2 hours (healthy)"),
            (&starting, "Up 5 minutes (health: starting)"),
            (&json!({ "Status": "paused" }), "Up 2 hours (Paused)"),
            (&exited, "Exited (137) 5 minutes ago"),
            (&json!({ "Status": "created" }), "Created"),
        ] {
            assert!(agree(state, status, MINUTE), "{status}");
        }
        for (state, status) in [
            (&healthy, "Up 2 hours (unhealthy)"),
            (&healthy, "Up 2 hours"),
            (&json!({ "Status": "running" }), "Up 2 hours (healthy)"),
            (&exited, "Exited (0) 5 minutes ago"),
            (&exited, "Exited (137) 5 seconds ago"),
            (&json!({ "Status": "restarting" }), "Restarting (1) 5 hours ago"),
            (&json!({ "Status": "running" }), "Running for ages"),
            (&json!({ "Status": "running" }), ""),
        ] {
            assert!(!agree(state, status, MINUTE), "{status}");
        }
    }

    #[test]
    fn what_others_it_is_linked_to_are_called_is_not_in_a_list() {
        let known = facts(&json!({ "Status": "running" }));
        let linked = ContainerFacts { links: vec!["db".into()], ..known.clone() };
        let listed = read(summary("running", "Up 2 hours"));
        assert!(confirms(&listed, &known, MINUTE) && !confirms(&listed, &linked, MINUTE));
    }

    #[test]
    fn another_name_state_or_address_is_news() {
        let known = facts(&json!({ "Status": "running" }));
        let changed = |pointer: &str, value: Value| {
            let mut summary = summary("running", "Up 2 hours");
            *summary.pointer_mut(pointer).unwrap() = value;
            !confirms(&read(summary), &known, MINUTE)
        };
        assert!(!changed("/Id", json!("aaaaaaaaaaaaaaaa")), "nothing changed");
        assert!(changed("/Names", json!(["/renamed"])));
        assert!(changed("/State", json!("exited")));
        let endpoint = "/NetworkSettings/Networks/bridge";
        assert!(changed(&format!("{endpoint}/IPAddress"), json!("172.17.0.3")));
        assert!(changed(&format!("{endpoint}/GlobalIPv6Address"), json!("fd00::2")));
        assert!(changed(&format!("{endpoint}/EndpointID"), json!("e2")));
        assert!(changed(&format!("{endpoint}/Gateway"), json!("172.17.0.9")));
        assert!(changed("/NetworkSettings/Networks", json!({})));
        assert!(changed("/NetworkSettings/Networks", json!({ "bridge": {}, "more": {} })));
        assert!(changed("/NetworkSettings", Value::Null));
    }
}
