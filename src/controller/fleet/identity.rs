//! Who speaks for a host, and whether that is disputed.
//!
//! A *speaker* is one agent process, told apart by its nonce. Two speakers of one host are a conflict only when
//! each was heard after the other had begun: an agent that restarts has a new nonce too, but its old one never
//! speaks again. One engine under two host names is judged the same way, so renaming a host is no conflict.

use serde_json::json;
use uuid::Uuid;

use super::state::SILENT_AFTER;
use crate::bus::HostReport;
use crate::model::{EngineId, HostName, InstanceId, Mono, Now};

/// The most agent processes kept for one host: two make a conflict, the rest are spares for quick restarts.
const MAX_SPEAKERS: usize = 4;

/// Who else claims a host's name or engine.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Conflict {
    /// In one plain sentence.
    pub(super) reason: String,
    /// For the event.
    pub(super) data: serde_json::Value,
}

#[derive(Debug, Clone)]
struct Speaker {
    nonce: Uuid,
    instance: InstanceId,
    engine: Option<EngineId>,
    first: Mono,
    last: Mono,
}

impl Speaker {
    /// Whether both spoke in turns: each was heard after the other's first word.
    fn overlaps(&self, other: &Self) -> bool {
        self.last > other.first && other.last > self.first
    }

    fn is_live(&self, now: Now) -> bool {
        now.mono - self.last < SILENT_AFTER
    }
}

/// The agent processes that speak for one host.
#[derive(Debug, Default)]
pub(super) struct Speakers(Vec<Speaker>);

impl Speakers {
    /// Takes note of who sent `report`.
    pub(super) fn note(&mut self, report: &HostReport, now: Now) {
        let engine = report.engine.id.clone();
        if let Some(known) = self.0.iter_mut().find(|s| s.nonce == report.nonce) {
            known.last = now.mono;
            known.engine = engine.or(known.engine.take());
            return;
        }
        if self.0.len() == MAX_SPEAKERS {
            let oldest = (0..MAX_SPEAKERS).min_by_key(|i| self.0[*i].last).unwrap_or(0);
            self.0.remove(oldest);
        }
        self.0.push(Speaker {
            nonce: report.nonce,
            instance: report.instance.clone(),
            engine,
            first: now.mono,
            last: now.mono,
        });
    }

    /// Whether a process with this nonce spoke.
    pub(super) fn knows(&self, nonce: Uuid) -> bool {
        self.0.iter().any(|s| s.nonce == nonce)
    }

    /// Whether any of them spoke for `engine`.
    pub(super) fn speak_for(&self, engine: &EngineId) -> bool {
        self.0.iter().any(|s| s.engine.as_ref() == Some(engine))
    }

    /// Forgets those that have been silent for 15 s.
    pub(super) fn forget_silent(&mut self, now: Now) {
        self.0.retain(|s| s.is_live(now));
    }

    fn live(&self, now: Now) -> impl Iterator<Item = &Speaker> {
        self.0.iter().filter(move |s| s.is_live(now))
    }

    /// Whether two of these, who speak for `name`, or one of these and one of `others`, dispute who they are.
    pub(super) fn conflict<'a>(
        &self,
        name: &HostName,
        others: &(impl Iterator<Item = (&'a HostName, &'a Self)> + Clone),
        now: Now,
    ) -> Option<Conflict> {
        for (index, one) in self.live(now).enumerate() {
            if let Some(other) = self.live(now).skip(index + 1).find(|other| one.overlaps(other)) {
                let reason = format!(
                    "two agents speak as host {name}: stop one, or give it another name with --hostname"
                );
                let data =
                    json!({"nonces": [one.nonce, other.nonce], "instances": [one.instance, other.instance]});
                return Some(Conflict { reason, data });
            }
            let elsewhere = others.clone().find(|(_, speakers)| {
                let same = |s: &&Speaker| s.engine.is_some() && s.engine == one.engine;
                speakers.live(now).filter(same).any(|s| s.overlaps(one))
            });
            if let Some((other, _)) = elsewhere {
                let reason = format!(
                    "hosts {name} and {other} report the same Docker engine: stop one agent, or give a cloned machine's \
                     engine its own id (remove /etc/docker/key.json or engine-id, restart Docker)"
                );
                let data = json!({"engine": one.engine, "hosts": [name, other]});
                return Some(Conflict { reason, data });
            }
        }
        None
    }
}
