//! An arena that notes the beginning and end of each fault, for the history.

use std::collections::{BTreeMap, BTreeSet};

use async_trait::async_trait;
use uuid::Uuid;

use super::{Arena, Attack, Begun, Ended, Lease, LeaseId, Spared, Swept, Told, Undone};
use crate::model::{ContainerId, ContainerName, FaultMoment, FaultNote};

/// `arena`, of whose faults `note` is told as they begin and end. It must not wait for anything.
pub struct Noted<N> {
    arena: Box<dyn Arena>,
    campaign: Option<Uuid>,
    note: N,
    /// Those that are in force, so that none ends that was not told to begin.
    told: BTreeMap<LeaseId, FaultNote>,
}

impl<N: FnMut(FaultNote)> Noted<N> {
    /// Of the faults of `campaign`, where they are part of one over the fleet.
    pub fn new(arena: Box<dyn Arena>, campaign: Option<Uuid>, note: N) -> Self {
        Self { arena, campaign, note, told: BTreeMap::new() }
    }

    fn begun(&mut self, attack: &Attack, begun: &Begun) {
        let injected = injected(attack, begun, self.campaign);
        self.told.insert(begun.lease, injected.clone());
        (self.note)(injected);
    }

    /// One that could not be undone goes on: whoever sweeps it tells of its end.
    fn over(&mut self, ended: &Ended) {
        let (Some(begun), Ok(how)) = (self.told.remove(&ended.lease.id), &ended.outcome) else { return };
        (self.note)(FaultNote { moment: ended_by(*how), ..begun });
    }
}

/// What is told of a fault that an earlier antagonist left, and that was undone now.
pub fn note_of_swept(swept: &Swept) -> Option<FaultNote> {
    match (&swept.lease, &swept.outcome) {
        (Some(lease), Ok(how)) => Some(note(lease, None, ended_by(*how))),
        _ => None,
    }
}

fn note(lease: &Lease, campaign: Option<Uuid>, moment: FaultMoment) -> FaultNote {
    FaultNote {
        fault_id: lease.id.to_string(),
        container: lease.name.clone(),
        fault: lease.fault.to_string(),
        lease_ms: lease.lasts_ms,
        campaign,
        moment,
    }
}

fn injected(attack: &Attack, begun: &Begun, campaign: Option<Uuid>) -> FaultNote {
    FaultNote {
        fault_id: begun.lease.to_string(),
        container: attack.name.clone(),
        fault: attack.fault.to_string(),
        lease_ms: attack.lease.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX)),
        campaign,
        moment: FaultMoment::Injected(begun.how.clone()),
    }
}

fn ended_by(how: Undone) -> FaultMoment {
    let word = match how {
        Undone::ByUs => "undone",
        Undone::Already => "already",
        Undone::Gone => "gone",
    };
    FaultMoment::Ended(word.to_owned())
}

#[async_trait]
impl<N: FnMut(FaultNote) + Send> Arena for Noted<N> {
    async fn begin(&mut self, attack: &Attack) -> Result<Begun, String> {
        let begun = self.arena.begin(attack).await?;
        self.begun(attack, &begun);
        Ok(begun)
    }

    async fn begin_all(&mut self, attacks: &[Attack], told: &mut Told<'_>) {
        let Self { arena, campaign, note, told: noted } = self;
        let mut each = |attack: &Attack, outcome: Result<Begun, String>| {
            if let Ok(begun) = &outcome {
                let injected = injected(attack, begun, *campaign);
                noted.insert(begun.lease, injected.clone());
                note(injected);
            }
            told(attack, outcome);
        };
        arena.begin_all(attacks, &mut each).await;
    }

    fn busy(&self) -> BTreeSet<ContainerId> {
        self.arena.busy()
    }

    fn spares(&self, name: &ContainerName) -> Option<Spared> {
        self.arena.spares(name)
    }

    fn release(&mut self, container: &ContainerId) {
        self.arena.release(container);
    }

    async fn ended(&mut self) -> Ended {
        let ended = self.arena.ended().await;
        self.over(&ended);
        ended
    }

    async fn end_all(&mut self) -> Vec<Ended> {
        let all = self.arena.end_all().await;
        for ended in &all {
            self.over(ended);
        }
        all
    }
}
