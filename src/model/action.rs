//! What the agent does to containers, and the record it keeps of it.

use serde::{Deserialize, Serialize};

use super::{Actor, ContainerId, ContainerName, DrillId, OperationId, Timestamp};

/// What is done to a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum ActionKind {
    /// It is down: started.
    Start,
    /// It runs and fails: stopped and started.
    Restart,
    /// It is replaced by a new container of the same name and configuration.
    Recreate,
}

impl ActionKind {
    /// The word in API, CLI, journal and metrics.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Restart => "restart",
            Self::Recreate => "recreate",
        }
    }
}

impl std::fmt::Display for ActionKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// How an action ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ActionOutcome {
    /// The engine did it.
    Done,
    /// It was not done; why.
    Failed(String),
}

/// One action in the agent's journal: written before the engine is asked, so that a successor of a killed agent
/// knows what may be half done.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JournalEntry {
    /// Names the action.
    pub op: OperationId,
    /// The container.
    pub container: ContainerName,
    /// Its id when the action began.
    pub id: ContainerId,
    /// What is done.
    pub kind: ActionKind,
    /// Who wanted it: what an operator orders does not count against the container's budget.
    pub by: Actor,
    /// Why, in one plain sentence.
    pub reason: String,
    /// When it began.
    pub started: Timestamp,
    /// When it ended; `None` while it goes on.
    pub finished: Option<Timestamp>,
    /// How it ended; `None` while it goes on.
    pub outcome: Option<ActionOutcome>,
    /// How far an action of several steps has come, as its executor writes it.
    pub step: Option<serde_json::Value>,
    /// The drill that it was part of: it counts in none of the lasting budgets.
    #[serde(default)]
    pub drill: Option<DrillId>,
}

#[cfg(test)]
mod tests {
    use super::ActionKind;

    #[test]
    fn the_word_is_the_same_everywhere() {
        for kind in [ActionKind::Start, ActionKind::Restart, ActionKind::Recreate] {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
