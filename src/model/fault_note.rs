//! That a fault was done on purpose, or is over: what an antagonist tells the agent of its host, and what becomes of it in
//! the history.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::{Actor, ContainerName, EventDraft, EventKind, clean, format_span};

/// Texts of a note are cut to this, characters.
const LONGEST: usize = 200;

/// A fault that an antagonist of this host did to a container, or that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FaultNote {
    /// Names the fault: the id of its lease.
    pub fault_id: String,
    /// To whom.
    pub container: ContainerName,
    /// What, as it is written: `pause`, `loss=100%`.
    pub fault: String,
    /// After what time it is undone, milliseconds; null: when it was seen healed, or its antagonist ends.
    pub lease_ms: Option<u64>,
    /// The campaign over the fleet that it is part of; null: it is this host's own antagonist's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub campaign: Option<uuid::Uuid>,
    /// What is told of it.
    pub moment: FaultMoment,
}

/// What is told of a fault.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultMoment {
    /// It is in force; how it is done, e.g. `nftables`, may be empty.
    Injected(String),
    /// It is over: `undone` by the antagonist, `already` healed or passed, `gone` with its container.
    Ended(String),
}

impl FaultNote {
    /// The event that records it.
    pub fn draft(&self) -> EventDraft {
        let fault = clean(&self.fault, LONGEST);
        let (kind, strength) = match fault.split_once('=') {
            Some((kind, strength)) => (kind, Some(strength)),
            None => (fault.as_str(), None),
        };
        let mut data = json!({
            "fault": kind,
            "strength": strength,
            "lease_ms": self.lease_ms,
            "fault_id": clean(&self.fault_id, LONGEST),
        });
        if let Some(campaign) = self.campaign {
            data["campaign"] = json!(campaign);
        }
        let (event, text) = match &self.moment {
            FaultMoment::Injected(how) => {
                let lasts = self.lease_ms.map(|ms| format_span(Duration::from_millis(ms)));
                let until =
                    lasts.map_or_else(|| " until it is healed".to_owned(), |span| format!(" for {span}"));
                data["how"] = json!(clean(how, LONGEST));
                (EventKind::FaultInjected, format!("On purpose: {fault}{until}."))
            }
            FaultMoment::Ended(outcome) => {
                let outcome = clean(outcome, LONGEST);
                data["outcome"] = json!(outcome);
                (EventKind::FaultEnded, format!("The {fault} done on purpose is over ({outcome})."))
            }
        };
        EventDraft::new(event, Actor::Antagonist, text).about(&self.container).with(data)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{HostName, IncidentMark, Timestamp};

    fn note(moment: FaultMoment) -> FaultNote {
        FaultNote {
            fault_id: "00000000000000aa".into(),
            container: "web".parse().unwrap(),
            fault: "loss=100%".into(),
            lease_ms: Some(30_000),
            campaign: None,
            moment,
        }
    }

    #[test]
    fn it_becomes_an_event_that_opens_no_incident() {
        let host: HostName = "h1".parse().unwrap();
        let injected = note(FaultMoment::Injected("nftables".into())).draft();
        assert_eq!(injected.reason, "On purpose: loss=100% for 30s.");
        assert_eq!(
            injected.data,
            json!({"fault": "loss", "strength": "100%", "lease_ms": 30000, "fault_id": "00000000000000aa", "how": "nftables"})
        );
        let ended = note(FaultMoment::Ended("undone".into())).draft();
        assert_eq!(ended.reason, "The loss=100% done on purpose is over (undone).");
        for (draft, kind) in [(injected, EventKind::FaultInjected), (ended, EventKind::FaultEnded)] {
            let event = draft.stamp(&host, Timestamp::from_millis(0));
            assert_eq!((event.kind, event.by), (kind, Actor::Antagonist));
            assert_eq!(IncidentMark::of(&event), None);
        }
    }

    #[test]
    fn a_strange_fault_is_cleaned_and_has_no_strength() {
        let strange = FaultNote {
            fault: "stop\u{1b}[2J".into(),
            lease_ms: None,
            ..note(FaultMoment::Injected(String::new()))
        };
        let draft = strange.draft();
        assert_eq!(draft.reason, "On purpose: stop?[2J until it is healed.");
        assert_eq!(draft.data["strength"], serde_json::Value::Null);
    }
}
