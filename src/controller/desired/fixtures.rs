//! What the tests of the desired state share.

use crate::bus::DesiredChange;
use crate::model::{ContainerKey, DesiredEntry};

/// The container written `host/name`.
pub(super) fn key(text: &str) -> ContainerKey {
    let (host, name) = text.split_once('/').unwrap();
    ContainerKey { host: host.parse().unwrap(), name: name.parse().unwrap() }
}

/// The change that puts it on the list, or takes it off.
pub(super) fn monitored(text: &str, monitored: bool) -> DesiredChange {
    let entry = DesiredEntry { monitored: Some(monitored), ..DesiredEntry::default() };
    DesiredChange::Container(key(text), Some(entry))
}
