//! Which addresses of a container have answered: by them loss counts, and silence means that something is wrong.

use std::net::IpAddr;

use crate::model::{ContainerFacts, RunState, Timestamp};
use crate::monitor::ping::ProbeOutcome;

/// An address's attachment, which its evidence is bound to: a new attachment must answer anew.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Attachment {
    /// The address.
    pub address: IpAddr,
    /// The engine's id of the endpoint.
    pub endpoint_id: String,
    /// The start of the container that it belongs to.
    pub started_at: Option<Timestamp>,
}

impl Attachment {
    /// Whether it is not of the run that `facts` show.
    fn is_over(&self, facts: &ContainerFacts) -> bool {
        facts.state != RunState::Running || self.started_at != facts.started_at
    }
}

/// What has answered of one container.
#[derive(Debug, Clone, Default)]
pub(super) struct Answers {
    /// Of its present attachments.
    now: Vec<Attachment>,
    /// It could be pinged in a run before this one. Not for ever: a run whose networks were configured anew, or that did
    /// not answer once its grace was over, begins afresh.
    before: bool,
}

impl Answers {
    /// Takes in fresh facts: one that is down has no addresses; one that runs on may have lost or changed them.
    pub(super) fn update(&mut self, facts: &ContainerFacts) {
        let present = attachments(facts);
        let known = std::mem::take(&mut self.now);
        let (kept, lost): (Vec<_>, Vec<_>) = known.into_iter().partition(|known| present.contains(known));
        if kept.is_empty() && !lost.is_empty() {
            self.before = lost.iter().any(|lost| lost.is_over(facts));
        }
        self.now = kept;
    }

    /// Takes back what a journal remembers.
    pub(super) fn remember(&mut self, known: &[Attachment], facts: &ContainerFacts) {
        self.now = known.to_vec();
        self.update(facts);
    }

    /// Takes in what was probed; returns the attachments that answered for the first time.
    pub(super) fn hear(&mut self, outcomes: &[ProbeOutcome], facts: &ContainerFacts) -> Vec<Attachment> {
        let first: Vec<Attachment> = attachments(facts)
            .into_iter()
            .filter(|a| outcomes.iter().any(|o| o.address == a.address && o.received > 0))
            .filter(|a| !self.now.contains(a))
            .collect();
        self.now.extend(first.iter().cloned());
        first
    }

    /// What was before this run tells nothing any more.
    pub(super) fn forget_before(&mut self) {
        self.before = false;
    }

    /// Whether `address` has answered since it was last configured.
    pub(super) fn has(&self, address: IpAddr) -> bool {
        self.now.iter().any(|known| known.address == address)
    }

    /// Whether any address has.
    pub(super) fn is_pingable(&self) -> bool {
        !self.now.is_empty()
    }

    /// Whether any has, in this run or in one before, so that silence means that something is wrong.
    pub(super) fn was_pingable(&self) -> bool {
        self.is_pingable() || self.before
    }
}

/// Every address with the attachment it belongs to now.
fn attachments(facts: &ContainerFacts) -> Vec<Attachment> {
    let of = |address: IpAddr, endpoint_id: &str| Attachment {
        address,
        endpoint_id: endpoint_id.to_owned(),
        started_at: facts.started_at,
    };
    facts
        .networks
        .iter()
        .flat_map(|net| {
            let v4 = net.ipv4.map(|v4| of(IpAddr::V4(v4), &net.endpoint_id));
            let v6 = net.ipv6.map(|v6| of(IpAddr::V6(v6), &net.endpoint_id));
            v4.into_iter().chain(v6)
        })
        .collect()
}
