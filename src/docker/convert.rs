//! The engine's JSON into the model. Pure and tolerant: whatever is missing, null or of another kind than expected is
//! `None`; only a description without an id or a name cannot be used.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::{ContainerAction, EngineError, EngineEvent, EngineInfo, EngineMachine};
use crate::model::{
    ContainerFacts, ContainerId, ContainerName, EngineId, Healthcheck, HealthcheckStatus, Namespace,
    NetworkAttachment, RestartPolicy, RunState, Timestamp, clean,
};

/// The time Go writes for "never".
const ZERO_TIME_MILLIS: i64 = -62_135_596_800_000;

/// What the engine answers to `/info`.
pub(super) fn info(json: &Value) -> Result<EngineInfo, EngineError> {
    let id = text(json, "/ID").ok_or_else(|| malformed("info without ID"))?;
    let word = |pointer| text(json, pointer).map(|text| clean(text, 120)).filter(|text| !text.is_empty());
    let number = |pointer| json.pointer(pointer).and_then(Value::as_u64).filter(|number| *number > 0);
    Ok(EngineInfo {
        id: EngineId::new(id).map_err(malformed)?,
        name: text(json, "/Name").unwrap_or_default().to_owned(),
        version: text(json, "/ServerVersion").unwrap_or_default().to_owned(),
        machine: EngineMachine {
            os: word("/OperatingSystem"),
            kernel: word("/KernelVersion"),
            architecture: word("/Architecture"),
            cores: number("/NCPU").and_then(|cores| u32::try_from(cores).ok()),
            memory_bytes: number("/MemTotal"),
        },
    })
}

/// What the engine answers to an inspect.
pub(super) fn facts(json: &Value) -> Result<ContainerFacts, EngineError> {
    let id = text(json, "/Id").ok_or_else(|| malformed("container without Id"))?;
    let name = text(json, "/Name").ok_or_else(|| malformed("container without Name"))?;
    let state = RunState::from_word(text(json, "/State/Status").unwrap_or_default());
    let ended = matches!(state, RunState::Exited | RunState::Dead | RunState::Restarting);
    Ok(ContainerFacts {
        id: ContainerId::new(id).map_err(malformed)?,
        name: ContainerName::new(name.trim_start_matches('/')).map_err(malformed)?,
        image: text(json, "/Config/Image").or_else(|| text(json, "/Image")).unwrap_or_default().to_owned(),
        state,
        exit_code: if ended { json.pointer("/State/ExitCode").and_then(Value::as_i64) } else { None },
        oom_killed: flag(json, "/State/OOMKilled"),
        healthcheck: healthcheck(json),
        started_at: time(json, "/State/StartedAt"),
        finished_at: time(json, "/State/FinishedAt"),
        restart_count: json.pointer("/RestartCount").and_then(Value::as_u64),
        restart_policy: restart_policy(json),
        labels: labels(json),
        namespace: namespace(json),
        networks: networks(json),
        published: published(json),
        pid: json
            .pointer("/State/Pid")
            .and_then(Value::as_u64)
            .and_then(|pid| u32::try_from(pid).ok())
            .filter(|pid| *pid != 0),
        auto_remove: flag(json, "/HostConfig/AutoRemove"),
        links: links(json),
    })
}

/// One line of `/events`; `None` for what decisions do not care about, and for what cannot be read.
pub(super) fn event(json: &Value) -> Option<EngineEvent> {
    let (id, name, action) = match text(json, "/Type")? {
        "container" => {
            let id = text(json, "/Actor/ID").or_else(|| text(json, "/id"))?;
            let name = text(json, "/Actor/Attributes/name").and_then(|name| ContainerName::new(name).ok());
            (id, name, container_action(json)?)
        }
        "network" => match text(json, "/Action")? {
            "connect" | "disconnect" => {
                (text(json, "/Actor/Attributes/container")?, None, ContainerAction::Network)
            }
            _ => return None,
        },
        _ => return None,
    };
    Some(EngineEvent { time: event_time(json)?, id: ContainerId::new(id).ok()?, name, action })
}

fn container_action(json: &Value) -> Option<ContainerAction> {
    let action = text(json, "/Action").or_else(|| text(json, "/status"))?;
    Some(match action {
        "create" => ContainerAction::Create,
        "start" => ContainerAction::Start,
        "die" => {
            let code = text(json, "/Actor/Attributes/exitCode").and_then(|code| code.parse().ok());
            ContainerAction::Die(code)
        }
        "kill" if is_reload(text(json, "/Actor/Attributes/signal")) => return None,
        "kill" => ContainerAction::Kill,
        "stop" => ContainerAction::Stop,
        "restart" => ContainerAction::Restart,
        "pause" => ContainerAction::Pause,
        "unpause" => ContainerAction::Unpause,
        "destroy" => ContainerAction::Destroy,
        "rename" => ContainerAction::Rename,
        "oom" => ContainerAction::Oom,
        "update" => ContainerAction::Update,
        // "health_status: healthy"
        word if word.starts_with("health_status") => ContainerAction::HealthStatus,
        _ => return None,
    })
}

fn event_time(json: &Value) -> Option<Timestamp> {
    let nanos = json.pointer("/timeNano").and_then(Value::as_i64).map(|nanos| nanos / 1_000_000);
    let seconds =
        || json.pointer("/time").and_then(Value::as_i64).map(|seconds| seconds.saturating_mul(1000));
    nanos.or_else(seconds).map(Timestamp::from_millis)
}

fn healthcheck(json: &Value) -> Option<Healthcheck> {
    let status = match text(json, "/State/Health/Status")? {
        "starting" => HealthcheckStatus::Starting,
        "healthy" => HealthcheckStatus::Healthy,
        "unhealthy" => HealthcheckStatus::Unhealthy,
        // "none": it has no check, or it is switched off.
        _ => return None,
    };
    let nanos = json.pointer("/Config/Healthcheck/StartPeriod").and_then(Value::as_u64).unwrap_or(0);
    Some(Healthcheck { status, start_period: Duration::from_nanos(nanos) })
}

fn restart_policy(json: &Value) -> RestartPolicy {
    match text(json, "/HostConfig/RestartPolicy/Name") {
        Some("always") => RestartPolicy::Always,
        Some("unless-stopped") => RestartPolicy::UnlessStopped,
        Some("on-failure") => RestartPolicy::OnFailure,
        _ => RestartPolicy::No,
    }
}

fn labels(json: &Value) -> BTreeMap<String, String> {
    members(json, "/Config/Labels")
        .filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())))
        .collect()
}

fn namespace(json: &Value) -> Namespace {
    match text(json, "/HostConfig/NetworkMode") {
        Some("host") => Namespace::Host,
        Some("none") => Namespace::None,
        Some(mode) => match mode.strip_prefix("container:") {
            Some(other) => Namespace::Container(other.to_owned()),
            None => Namespace::Own,
        },
        None => Namespace::Own,
    }
}

fn networks(json: &Value) -> Vec<NetworkAttachment> {
    let gateway = |endpoint: &Value, at: &str| text(endpoint, at).and_then(|address| address.parse().ok());
    let attachment = |(network, endpoint): (&String, &Value)| NetworkAttachment {
        network: network.clone(),
        endpoint_id: text(endpoint, "/EndpointID").unwrap_or_default().to_owned(),
        ipv4: text(endpoint, "/IPAddress").and_then(|address| address.parse().ok()),
        ipv6: text(endpoint, "/GlobalIPv6Address").and_then(|address| address.parse().ok()),
        gateways: ["/Gateway", "/IPv6Gateway"].into_iter().filter_map(|at| gateway(endpoint, at)).collect(),
    };
    members(json, "/NetworkSettings/Networks").map(attachment).collect()
}

/// The containers it is linked to (`--link`): `/db:/web/alias` names `db`.
fn links(json: &Value) -> Vec<String> {
    let all = json.pointer("/HostConfig/Links").and_then(Value::as_array);
    let named =
        |link: &Value| link.as_str()?.split(':').next().map(|name| name.trim_start_matches('/').to_owned());
    all.into_iter().flatten().filter_map(named).filter(|name| !name.is_empty()).collect()
}

/// While it runs, what is bound; otherwise what it asks for, as far as that names a host port.
fn published(json: &Value) -> Vec<(u16, u16)> {
    let bound = ports(json, "/NetworkSettings/Ports");
    if bound.is_empty() { ports(json, "/HostConfig/PortBindings") } else { bound }
}

fn ports(json: &Value, at: &str) -> Vec<(u16, u16)> {
    let mut found = Vec::new();
    for (port, bindings) in members(json, at) {
        // "80/tcp"
        let Ok(inner) = port.split('/').next().unwrap_or_default().parse::<u16>() else { continue };
        for binding in bindings.as_array().into_iter().flatten() {
            let outer = text(binding, "/HostPort").and_then(|port| port.parse::<u16>().ok());
            // The same port is bound for IPv4 and IPv6, each with an entry of its own.
            if let Some(outer) = outer.filter(|port| *port != 0 && !found.contains(&(*port, inner))) {
                found.push((outer, inner));
            }
        }
    }
    found
}

/// A text that says something.
pub(super) fn text<'a>(json: &'a Value, at: &str) -> Option<&'a str> {
    json.pointer(at)?.as_str().filter(|text| !text.is_empty())
}

/// Whether it is there and true.
pub(super) fn flag(json: &Value, at: &str) -> bool {
    json.pointer(at).and_then(Value::as_bool).unwrap_or(false)
}

/// The members of the object at `at`; none when there is none.
pub(super) fn members<'a>(json: &'a Value, at: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    json.pointer(at).and_then(Value::as_object).into_iter().flat_map(Map::iter)
}

/// A time, unless it is Go's zero time.
pub(super) fn time(json: &Value, at: &str) -> Option<Timestamp> {
    text(json, at)?.parse().ok().filter(|time: &Timestamp| time.millis() != ZERO_TIME_MILLIS)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn malformed(problem: impl ToString) -> EngineError {
    EngineError::Malformed(problem.to_string())
}

#[cfg(test)]
pub(super) mod tests;

/// Whether a signal, by its number, is one that programs take as "reload" or "go on" (HUP, USR1, USR2, CONT), and not as
/// an order to end.
fn is_reload(signal: Option<&str>) -> bool {
    matches!(signal, Some("1" | "10" | "12" | "18"))
}
