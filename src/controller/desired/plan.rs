//! What a change of what is wanted comes to, pure: entries to write, and the event that records it.

use serde_json::json;

use crate::bus::DesiredChange;
use crate::model::{
    Actor, ContainerKey, DesiredEntry, DesiredKey, DesiredState, EventDraft, EventKind, Freeze, FreezeScope,
    HostName, NetworkRules, PoolKey, PoolName, PoolSpec, Threshold, Timestamp, clean,
};

/// A change of one container's entry.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Edit {
    /// Put it on the list.
    Monitor,
    /// Take it off the list, whatever label or `--monitor-all` say.
    Unmonitor,
    /// Give it a threshold of its own, or the fleet's again.
    Threshold(Option<Threshold>),
    /// Leave it alone until a time, or no longer.
    Maintenance(Option<Timestamp>),
}

/// A change of what is wanted.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Change {
    /// One container's entry.
    Container(ContainerKey, Edit),
    /// The fleet's threshold.
    Threshold(Threshold),
    /// A freeze, or its end.
    Freeze(FreezeScope, Option<Freeze>),
    /// A pool, or its end.
    Pool(PoolKey, Option<Box<PoolSpec>>),
    /// The rules of network monitoring; `None`: the defaults.
    Rules(Option<Box<NetworkRules>>),
    /// All that was said of a host.
    Forget(HostName),
}

/// What a change comes to: entries to write, and the event that records it. Empty when it is so already.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Plan {
    pub(super) puts: Vec<DesiredChange>,
    pub(super) event: Option<(Option<HostName>, EventDraft)>,
}

/// What `change` comes to in `state`; `caller` is recorded.
pub(super) fn plan(state: &DesiredState, change: Change, caller: &str) -> Plan {
    let said =
        |kind, reason: String| EventDraft::new(kind, Actor::Operator, format!("{reason} (by {caller})"));
    match change {
        Change::Container(key, edit) => {
            let before = state.containers.get(&key).cloned().unwrap_or_default();
            let after = edited(before.clone(), edit);
            if after == before {
                return Plan::default();
            }
            let draft = match edit {
                Edit::Monitor => said(EventKind::Monitored, format!("{} is monitored", key.name)),
                Edit::Unmonitor => said(EventKind::Unmonitored, format!("{} is not monitored", key.name)),
                Edit::Threshold(value) => {
                    let text = value.map_or("the fleet's".to_owned(), |t| t.to_string());
                    said(EventKind::ThresholdChanged, format!("the threshold of {} is {text}", key.name))
                        .with(json!({"threshold": value, "before": before.threshold}))
                }
                Edit::Maintenance(until) => {
                    let text = match until {
                        Some(until) => format!("{} is in maintenance until {until}", key.name),
                        None => format!("maintenance of {} ended", key.name),
                    };
                    said(EventKind::MaintenanceChanged, text).with(json!({"until": until}))
                }
            };
            let event = Some((Some(key.host.clone()), draft.about(&key.name)));
            let entry = (!after.is_empty()).then_some(after);
            Plan { puts: vec![DesiredChange::Container(key, entry)], event }
        }
        Change::Threshold(value) if state.threshold == Some(value) => Plan::default(),
        Change::Threshold(value) => {
            let draft = said(EventKind::ThresholdChanged, format!("the fleet's threshold is {value}"))
                .with(json!({"threshold": value, "before": state.threshold}));
            Plan { puts: vec![DesiredChange::Threshold(Some(value))], event: Some((None, draft)) }
        }
        Change::Freeze(scope, freeze) => {
            if state.freezes.get(&scope) == freeze.as_ref() {
                return Plan::default();
            }
            let host = match &scope {
                FreezeScope::All => None,
                FreezeScope::Host(host) => Some(host.clone()),
            };
            let draft = match &freeze {
                Some(Freeze { until: Some(until), .. }) => {
                    said(EventKind::Frozen, format!("healing on {scope} is frozen until {until}"))
                        .with(json!({"until": until}))
                }
                Some(_) => said(EventKind::Frozen, format!("healing on {scope} is frozen until lifted")),
                None => said(EventKind::Unfrozen, format!("healing on {scope} goes on")),
            };
            Plan { puts: vec![DesiredChange::Freeze(scope, freeze)], event: Some((host, draft)) }
        }
        Change::Pool(key, spec) => {
            let before = state.pools.get(&key);
            if before == spec.as_deref() {
                return Plan::default();
            }
            let draft = match &spec {
                Some(spec) => said(EventKind::PoolSet, pool_words(&key.name, spec, before.is_some())),
                None => said(EventKind::PoolRemoved, format!("pool {} is to end", key.name)),
            };
            let draft = draft.with(json!({"pool": key.name, "spec": spec, "before": before}));
            let host = Some(key.host.clone());
            Plan { puts: vec![DesiredChange::Pool(key, spec)], event: Some((host, draft)) }
        }
        Change::Rules(rules) if state.rules.as_ref() == rules.as_deref() => Plan::default(),
        Change::Rules(rules) => {
            let which = if rules.is_some() { "changed" } else { "the defaults again" };
            let draft = said(EventKind::RulesChanged, format!("the rules of network monitoring are {which}"))
                .with(json!({"rules": rules}));
            Plan { puts: vec![DesiredChange::Rules(rules)], event: Some((None, draft)) }
        }
        Change::Forget(host) => {
            let containers = state.containers.keys().filter(|key| key.host == host).cloned();
            let freeze = FreezeScope::Host(host.clone());
            let freeze = state.freezes.contains_key(&freeze).then_some(DesiredKey::Freeze(freeze));
            let pools = state.pools.keys().filter(|key| key.host == host).cloned();
            let keys = containers.map(DesiredKey::Container).chain(pools.map(DesiredKey::Pool)).chain(freeze);
            let draft = said(
                EventKind::HostForgotten,
                format!("host {host} and what was wanted of it are forgotten"),
            );
            Plan { puts: keys.map(DesiredChange::removal).collect(), event: Some((Some(host), draft)) }
        }
    }
}

fn pool_words(name: &PoolName, spec: &PoolSpec, was_there: bool) -> String {
    let PoolSpec { image, controller, min, max, listen, .. } = spec;
    let verb = if was_there { "is changed" } else { "is to be" };
    format!(
        "pool {name} {verb}: {min} to {max} containers of {} behind {listen}, by {}",
        clean(image, 200),
        clean(controller, 40)
    )
}

fn edited(mut entry: DesiredEntry, edit: Edit) -> DesiredEntry {
    match edit {
        Edit::Monitor => entry.monitored = Some(true),
        Edit::Unmonitor => entry.monitored = Some(false),
        Edit::Threshold(threshold) => entry.threshold = threshold,
        Edit::Maintenance(until) => entry.maintenance_until = until,
    }
    entry
}

#[cfg(test)]
mod tests {
    use super::super::fixtures::{key, monitored};
    use super::*;

    #[test]
    fn edits_merge_into_the_entry_and_are_recorded_once() {
        let mut state = DesiredState::default();
        let threshold = Threshold::new(10.0).unwrap();
        let edits = [Edit::Monitor, Edit::Threshold(Some(threshold)), Edit::Monitor, Edit::Unmonitor];
        let mut kinds = Vec::new();
        for edit in edits {
            let plan = plan(&state, Change::Container(key("a/web"), edit), "ops");
            kinds.extend(plan.event.map(|(_, draft)| draft.kind));
            plan.puts.into_iter().for_each(|put| put.apply(&mut state));
        }
        assert_eq!(kinds, [EventKind::Monitored, EventKind::ThresholdChanged, EventKind::Unmonitored]);
        let entry = &state.containers[&key("a/web")];
        assert_eq!((entry.monitored, entry.threshold), (Some(false), Some(threshold)));
    }

    #[test]
    fn an_entry_that_says_nothing_is_removed() {
        let mut state = DesiredState::default();
        let until = Some(Timestamp::from_millis(9));
        for maintenance in [until, None] {
            let change = Change::Container(key("a/web"), Edit::Maintenance(maintenance));
            plan(&state, change, "ops").puts.into_iter().for_each(|put| put.apply(&mut state));
        }
        assert_eq!(state, DesiredState::default());
    }

    #[test]
    fn forgetting_a_host_removes_all_that_was_said_of_it_and_nothing_else() {
        let mut state = DesiredState::default();
        let freeze = Freeze { since: Timestamp::from_millis(0), until: None, by: "ops".into() };
        for change in [
            monitored("a/web", true),
            monitored("a/db", false),
            monitored("b/web", true),
            DesiredChange::Freeze(FreezeScope::Host("a".parse().unwrap()), Some(freeze)),
        ] {
            change.apply(&mut state);
        }
        let plan = plan(&state, Change::Forget("a".parse().unwrap()), "ops");
        assert_eq!(plan.puts.len(), 3);
        plan.puts.into_iter().for_each(|put| put.apply(&mut state));
        assert_eq!(DesiredChange::all_of(&state), [monitored("b/web", true)]);
    }
}
