//! Keys and values of the desired-state bucket.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::subject::{encode_token, name_of};
use super::{BusError, PROTOCOL_VERSION};
use crate::model::{
    ContainerKey, DesiredEntry, DesiredKey, DesiredState, Freeze, FreezeScope, NetworkRules, PoolKey,
    PoolSpec, Threshold,
};

/// One entry's new content; the inner `None` removes it.
#[derive(Debug, Clone, PartialEq)]
pub enum DesiredChange {
    /// The fleet's threshold.
    Threshold(Option<Threshold>),
    /// What is said of one container.
    Container(ContainerKey, Option<DesiredEntry>),
    /// One freeze.
    Freeze(FreezeScope, Option<Freeze>),
    /// The rules of network monitoring.
    Rules(Option<Box<NetworkRules>>),
    /// One pool.
    Pool(PoolKey, Option<Box<PoolSpec>>),
}

impl DesiredChange {
    /// The key it changes.
    pub fn key(&self) -> DesiredKey {
        match self {
            Self::Threshold(_) => DesiredKey::Threshold,
            Self::Container(key, _) => DesiredKey::Container(key.clone()),
            Self::Freeze(scope, _) => DesiredKey::Freeze(scope.clone()),
            Self::Rules(_) => DesiredKey::Rules,
            Self::Pool(key, _) => DesiredKey::Pool(key.clone()),
        }
    }

    /// The removal of `key`.
    pub fn removal(key: DesiredKey) -> Self {
        match key {
            DesiredKey::Threshold => Self::Threshold(None),
            DesiredKey::Container(key) => Self::Container(key, None),
            DesiredKey::Freeze(scope) => Self::Freeze(scope, None),
            DesiredKey::Rules => Self::Rules(None),
            DesiredKey::Pool(key) => Self::Pool(key, None),
        }
    }

    /// Makes it so in `state`.
    pub fn apply(self, state: &mut DesiredState) {
        match self {
            Self::Threshold(threshold) => state.threshold = threshold,
            Self::Container(key, Some(entry)) => drop(state.containers.insert(key, entry)),
            Self::Container(key, None) => drop(state.containers.remove(&key)),
            Self::Freeze(scope, Some(freeze)) => drop(state.freezes.insert(scope, freeze)),
            Self::Freeze(scope, None) => drop(state.freezes.remove(&scope)),
            Self::Rules(rules) => state.rules = rules.map(|rules| *rules),
            Self::Pool(key, Some(spec)) => drop(state.pools.insert(key, *spec)),
            Self::Pool(key, None) => drop(state.pools.remove(&key)),
        }
    }

    /// The changes that make `old` into `new`.
    pub fn between(old: &DesiredState, new: &DesiredState) -> Vec<Self> {
        let before: BTreeMap<_, _> = Self::all_of(old).into_iter().map(|c| (c.key(), c)).collect();
        let after: BTreeMap<_, _> = Self::all_of(new).into_iter().map(|c| (c.key(), c)).collect();
        let gone = before.keys().filter(|key| !after.contains_key(key)).cloned().map(Self::removal);
        let changed = after.iter().filter(|(key, change)| before.get(key) != Some(change));
        gone.chain(changed.map(|(_, change)| change.clone())).collect()
    }

    /// The changes that make an empty state into `state`.
    pub fn all_of(state: &DesiredState) -> Vec<Self> {
        let threshold = state.threshold.map(|t| Self::Threshold(Some(t)));
        let containers = state.containers.iter().map(|(k, e)| Self::Container(k.clone(), Some(e.clone())));
        let freezes = state.freezes.iter().map(|(s, f)| Self::Freeze(s.clone(), Some(f.clone())));
        let rules = state.rules.iter().map(|rules| Self::Rules(Some(Box::new(rules.clone()))));
        let pools = state.pools.iter().map(|(k, spec)| Self::Pool(k.clone(), Some(Box::new(spec.clone()))));
        threshold.into_iter().chain(containers).chain(freezes).chain(rules).chain(pools).collect()
    }
}

/// Writes a key as the bucket has it: `threshold`, `container.<host>.<name>`, `freeze.<host|all>`, `rules`,
/// `pool.<host>.<name>`.
///
/// A host that is itself called `all` is written `=61ll`, so that it is never mistaken for the fleet.
pub fn key_of(key: &DesiredKey) -> String {
    match key {
        DesiredKey::Threshold => "threshold".into(),
        DesiredKey::Rules => "rules".into(),
        DesiredKey::Container(ContainerKey { host, name }) => {
            format!("container.{}.{}", encode_token(host.as_str()), encode_token(name.as_str()))
        }
        DesiredKey::Pool(PoolKey { host, name }) => {
            format!("pool.{}.{}", encode_token(host.as_str()), encode_token(name.as_str()))
        }
        DesiredKey::Freeze(FreezeScope::All) => "freeze.all".into(),
        DesiredKey::Freeze(FreezeScope::Host(host)) if host.as_str() == "all" => "freeze.=61ll".into(),
        DesiredKey::Freeze(FreezeScope::Host(host)) => format!("freeze.{}", encode_token(host.as_str())),
    }
}

/// Reads a key of the bucket; `None` for keys of other versions.
pub fn parse_key(text: &str) -> Option<DesiredKey> {
    let tokens: Vec<&str> = text.split('.').collect();
    match tokens[..] {
        ["threshold"] => Some(DesiredKey::Threshold),
        ["rules"] => Some(DesiredKey::Rules),
        ["container", host, name] => {
            Some(DesiredKey::Container(ContainerKey { host: name_of(host)?, name: name_of(name)? }))
        }
        ["pool", host, name] => {
            Some(DesiredKey::Pool(PoolKey { host: name_of(host)?, name: name_of(name)? }))
        }
        ["freeze", "all"] => Some(DesiredKey::Freeze(FreezeScope::All)),
        ["freeze", "=61ll"] => Some(DesiredKey::Freeze(FreezeScope::Host("all".parse().ok()?))),
        ["freeze", host] => Some(DesiredKey::Freeze(FreezeScope::Host(name_of(host)?))),
        _ => None,
    }
}

#[derive(Serialize, Deserialize)]
struct Versioned<T> {
    v: u32,
    #[serde(flatten)]
    body: T,
}

#[derive(Serialize, Deserialize)]
struct ThresholdBody {
    threshold: Threshold,
}

/// The value of an entry as JSON; `None` for a removal.
pub fn encode_entry(change: &DesiredChange) -> Option<Vec<u8>> {
    fn json<T: Serialize>(body: T) -> Vec<u8> {
        serde_json::to_vec(&Versioned { v: PROTOCOL_VERSION, body }).expect("plain data becomes JSON")
    }
    match change {
        DesiredChange::Threshold(value) => value.map(|threshold| json(ThresholdBody { threshold })),
        DesiredChange::Container(_, entry) => entry.as_ref().map(json),
        DesiredChange::Freeze(_, freeze) => freeze.as_ref().map(json),
        DesiredChange::Rules(rules) => rules.as_ref().map(json),
        DesiredChange::Pool(_, spec) => spec.as_ref().map(json),
    }
}

/// Reads the value stored under `key`.
pub fn decode_entry(key: DesiredKey, value: &[u8]) -> Result<DesiredChange, BusError> {
    fn body<T: for<'de> Deserialize<'de>>(value: &[u8]) -> Result<T, BusError> {
        serde_json::from_slice::<Versioned<T>>(value)
            .map(|versioned| versioned.body)
            .map_err(|e| BusError::Malformed(e.to_string()))
    }
    Ok(match key {
        DesiredKey::Threshold => DesiredChange::Threshold(Some(body::<ThresholdBody>(value)?.threshold)),
        DesiredKey::Container(key) => DesiredChange::Container(key, Some(body(value)?)),
        DesiredKey::Freeze(scope) => DesiredChange::Freeze(scope, Some(body(value)?)),
        DesiredKey::Pool(key) => DesiredChange::Pool(key, Some(body(value)?)),
        DesiredKey::Rules => {
            let rules: Box<NetworkRules> = body(value)?;
            rules.check().map_err(|error| BusError::Malformed(error.to_string()))?;
            DesiredChange::Rules(Some(rules))
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RulesTemplate, Timestamp};
    use proptest::prelude::*;

    fn sample() -> Vec<DesiredChange> {
        let key = ContainerKey { host: "a.b".parse().unwrap(), name: "web.1".parse().unwrap() };
        let entry = DesiredEntry {
            monitored: Some(true),
            threshold: Some(Threshold::new(12.5).unwrap()),
            ..DesiredEntry::default()
        };
        let freeze = Freeze { since: Timestamp::from_millis(0), until: None, by: "operator".into() };
        vec![
            DesiredChange::Threshold(Some(Threshold::default())),
            DesiredChange::Container(key, Some(entry)),
            DesiredChange::Freeze(FreezeScope::All, Some(freeze.clone())),
            DesiredChange::Freeze(FreezeScope::Host("all".parse().unwrap()), Some(freeze)),
            DesiredChange::Rules(Some(Box::new(RulesTemplate::Bridge.rules()))),
        ]
    }

    #[test]
    fn entries_survive_the_bucket() {
        for change in sample() {
            let key = parse_key(&key_of(&change.key())).unwrap();
            assert_eq!(key, change.key());
            assert_eq!(decode_entry(key, &encode_entry(&change).unwrap()).unwrap(), change);
        }
    }

    #[test]
    fn the_state_is_its_changes() {
        let mut state = DesiredState::default();
        for change in sample() {
            change.apply(&mut state);
        }
        let mut again = DesiredState::default();
        for change in DesiredChange::all_of(&state) {
            change.apply(&mut again);
        }
        assert_eq!(state, again);
        for change in sample() {
            DesiredChange::removal(change.key()).apply(&mut again);
        }
        assert_eq!(again, DesiredState::default());
    }

    #[test]
    fn only_what_differs_lies_between_two_states() {
        let (mut old, mut new) = (DesiredState::default(), DesiredState::default());
        for change in sample() {
            change.apply(&mut old);
        }
        for change in &sample()[..2] {
            change.clone().apply(&mut new);
        }
        let other = DesiredChange::Threshold(Some(Threshold::new(7.0).unwrap()));
        other.clone().apply(&mut new);
        let between = DesiredChange::between(&old, &new);
        assert_eq!(between.len(), 4, "{between:?}");
        assert!(between.contains(&other));
        for change in between {
            change.apply(&mut old);
        }
        assert_eq!(old, new);
    }

    #[test]
    fn fields_of_later_versions_are_passed_over() {
        let key = sample()[1].key();
        let change = decode_entry(key, br#"{"v":2,"monitored":false,"colour":"red"}"#).unwrap();
        let DesiredChange::Container(_, Some(entry)) = change else { panic!("{change:?}") };
        assert_eq!(entry.monitored, Some(false));
    }

    proptest! {
        #[test]
        fn hostile_entries_are_errors_not_panics(key in ".*", value in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = parse_key(&key);
            for change in sample() {
                let _ = decode_entry(change.key(), &value);
            }
        }
    }
}
