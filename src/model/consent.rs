//! What a host's own configuration allows others to order of it.

/// Whether the host's own configuration allows something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Consent {
    /// It does.
    Given,
    /// It does not.
    Refused,
}
