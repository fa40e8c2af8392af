//! Notifications: what people outside are told of incidents.

use serde::{Deserialize, Serialize};

/// What a notification tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum NoticeKind {
    /// Something is wrong.
    Problem,
    /// What was told of is over.
    Recovery,
    /// Nothing: somebody tries whether it arrives.
    Test,
}

impl NoticeKind {
    /// The word in API, CLI and store.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Problem => "problem",
            Self::Recovery => "recovery",
            Self::Test => "test",
        }
    }
}
