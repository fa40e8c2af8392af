//! The record of one check, kept for `why` and for history.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::{LossPercent, Threshold, Timestamp};

/// Which of the two checks it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum CheckKind {
    /// The regular one of a sweep.
    Sweep,
    /// The longer one that confirms a failure.
    Confirm,
}

/// What a check came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// Loss at or below the threshold.
    Pass,
    /// Loss above the threshold.
    Fail,
    /// No address ever answered, or the agent itself was starved: says nothing of the container.
    Inconclusive,
}

/// One address within a check.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct AddressCheck {
    /// The address probed.
    #[schema(value_type = String)]
    pub address: IpAddr,
    /// Probes that count (those the agent failed to send in time do not).
    pub sent: u32,
    /// Answers received in time.
    pub received: u32,
    /// The median round trip, milliseconds; null without an answer.
    pub rtt_ms: Option<f64>,
}

impl AddressCheck {
    /// The share of probes lost; `None` when none counted.
    pub fn loss(&self) -> Option<LossPercent> {
        LossPercent::of(self.sent.saturating_sub(self.received), self.sent)
    }
}

/// Where a sequential test of loss stood when it decided. Its score is the natural logarithm of how many times likelier what
/// was seen is under too much loss than under loss at the threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Evidence {
    /// The score; each lost probe raises it, each answered one lowers it.
    pub score: f64,
    /// From here on the check fails.
    pub to_fail: f64,
    /// Down from here it passes.
    pub to_pass: f64,
}

impl Evidence {
    /// What it came to, in words that follow those of the verdict.
    pub fn words(self, verdict: Verdict) -> String {
        let Self { score, to_fail, to_pass } = self;
        match verdict {
            Verdict::Fail => format!("evidence {score:.1} of {to_fail:.1} needed"),
            _ if score <= to_pass => format!("evidence {score:.1}, and {to_pass:.1} clears it"),
            _ => format!("evidence {score:.1} of {to_fail:.1} needed: not proven"),
        }
    }
}

/// One check of one container, as it is kept and shown.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct CheckRecord {
    /// When it ended.
    #[schema(value_type = String, format = DateTime)]
    pub time: Timestamp,
    /// Regular or confirming.
    pub kind: CheckKind,
    /// What it came to.
    pub verdict: Verdict,
    /// The loss of the worst address that counts, percent; null when none counted.
    #[schema(value_type = Option<f64>)]
    pub loss_percent: Option<LossPercent>,
    /// The threshold it was held against, percent.
    #[schema(value_type = f64)]
    pub threshold: Threshold,
    /// Each address.
    pub addresses: Vec<AddressCheck>,
    /// What a sequential test decided by; absent where checks are counted (`--detector fixed`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub evidence: Option<Evidence>,
}
