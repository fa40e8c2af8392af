//! How what ails a container is said: in a sentence for people, in figures for programs, and as the rule it falls under.

use serde_json::json;

use super::state::HostState;
use super::watch::{Ailment, End};
use crate::model::{ActionKind, ContainerId, Evidence, Verdict};

impl HostState {
    /// What ails `id`, as the second half of a sentence that begins with its name.
    pub(super) fn reason_of(&self, id: &ContainerId, ailment: Ailment) -> String {
        let watch = &self.watches[id];
        match ailment {
            Ailment::Down(end) => {
                let code = watch.facts.exit_code.map_or(String::new(), |code| format!(", exit code {code}"));
                let how = match end {
                    End::Told => "was told to stop",
                    End::Crashed if watch.facts.oom_killed => "was killed for want of memory",
                    End::Crashed => "ended by itself",
                };
                format!("is down: it {how}{code}")
            }
            Ailment::Unhealthy => "is unhealthy by its own HEALTHCHECK".to_owned(),
            Ailment::Detached => {
                "lost its network: the container whose network it shares was restarted".to_owned()
            }
            Ailment::Lossy(loss) => {
                let threshold = self.threshold_of(&watch.facts.name);
                let proof = watch.proof.map(|proof| format!(" ({})", proof.words(Verdict::Fail)));
                format!(
                    "loses {loss} of its packets, above its threshold of {threshold}{}",
                    proof.unwrap_or_default()
                )
            }
        }
    }
}

/// What was done, as the participle of a sentence.
pub(super) fn past(kind: ActionKind) -> &'static str {
    match kind {
        ActionKind::Start => "started",
        ActionKind::Restart => "restarted",
        ActionKind::Recreate => "recreated",
    }
}

/// Figures for programs, and the rule that fired.
pub(super) fn ailment_data(ailment: Ailment, proof: Option<Evidence>) -> serde_json::Value {
    match ailment {
        Ailment::Down(End::Crashed) => {
            json!({ "ailment": "down", "end": "crashed", "rule": "not running, and told to stop by nobody: started" })
        }
        Ailment::Down(End::Told) => {
            json!({ "ailment": "down", "end": "told_to_stop", "rule": "told to stop, and on_stop is restart: started" })
        }
        Ailment::Unhealthy => {
            json!({ "ailment": "unhealthy", "rule": "unhealthy by its own HEALTHCHECK: restarted" })
        }
        Ailment::Detached => {
            json!({ "ailment": "detached", "rule": "the owner of its network namespace was restarted: restarted" })
        }
        Ailment::Lossy(loss) => match proof {
            None => {
                json!({ "ailment": "loss", "loss_percent": loss, "rule": "loss above the threshold, confirmed: restarted" })
            }
            Some(proof) => json!({
                "ailment": "loss",
                "loss_percent": loss,
                "evidence": proof,
                "rule": "loss above the threshold, by sequential test: restarted",
            }),
        },
    }
}
