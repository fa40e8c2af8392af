//! Comparing the engine's list with what is known: adopting what an earlier runner left, noticing what was missed.

use std::collections::BTreeMap;

use tokio_util::sync::CancellationToken;

use super::{Body, Happened, MemberId, Owner};
use crate::model::{ContainerFacts, ContainerId, RunState, Timestamp};
use crate::scale::control::Micros;
use crate::scale::pool::spec::is_made_from;

impl Owner {
    /// Asks the engine for all containers.
    pub(in crate::scale::pool) fn list(&self) {
        let (hands, asked) = (self.hands.clone(), self.desk.now());
        self.tasks.spawn(async move {
            let listed = async {
                let image = hands.engine.image_id(&hands.config.spec.image).await?;
                let fingerprint = hands.config.fingerprint(image.as_deref().unwrap_or_default());
                Ok((hands.engine.list().await?, fingerprint))
            };
            hands.tell(Happened::Listed(asked, listed.await)).await;
        });
    }

    /// Compares the engine's list with what is known: adopts what an earlier runner left, and notices what was missed.
    pub(super) fn listed(&mut self, asked: Micros, all: &[ContainerFacts], fingerprint: &str, now: Micros) {
        let first = self.fingerprint.is_none();
        self.fingerprint = Some(fingerprint.into());
        let runs = |id: &ContainerId| {
            all.iter()
                .any(|facts| facts.id == *id && matches!(facts.state, RunState::Running | RunState::Paused))
        };
        let missing: Vec<MemberId> = self
            .bodies
            .iter()
            .filter(|(_, body)| body.ready.is_some_and(|ready| ready < asked))
            .filter(|(_, body)| body.id.as_ref().is_some_and(|(id, _)| !runs(id)))
            .map(|(member, _)| *member)
            .collect();
        for member in missing {
            self.lost(member, "it is gone", now);
        }
        let known = |facts: &ContainerFacts, bodies: &BTreeMap<MemberId, Body>| {
            bodies.values().any(|body| body.id.as_ref().is_some_and(|(id, _)| *id == facts.id))
        };
        let mut adopted = 0;
        for facts in all {
            let Some(slot) = self.hands.config.slot_of(facts) else { continue };
            // What is being made now is known by its number only.
            let being_made = self.plan.members().values().any(|entry| entry.slot == slot);
            if known(facts, &self.bodies) || (!first && being_made) {
                continue;
            }
            let serves = facts.state == RunState::Running && is_made_from(facts, fingerprint) && first;
            let give_up = CancellationToken::new();
            let mut body = Body::new(facts.started_at.unwrap_or_else(Timestamp::now), give_up.clone());
            body.id = Some((facts.id.clone(), now));
            let hands = self.hands.clone();
            if serves {
                let (member, facts) = (self.plan.adopt(slot, now), facts.clone());
                adopted += 1;
                tracing::info!(pool = %self.name(), container = %facts.name, "adopted");
                self.bodies.insert(member, body);
                self.tasks.spawn(async move {
                    let id = facts.id.clone();
                    if !hands.wait_for(member, slot, facts, &give_up).await {
                        hands.take_down(member, id).await;
                    }
                });
            } else {
                let (member, id) = (self.plan.discard(slot, now), facts.id.clone());
                tracing::info!(pool = %self.name(), container = %facts.name, "not as it should be: removed");
                self.bodies.insert(member, body);
                self.tasks.spawn(async move { hands.take_down(member, id).await });
            }
        }
        if first {
            // What an earlier runner found right stays until this one's controller knows better.
            self.plan.want(adopted);
        }
    }
}
