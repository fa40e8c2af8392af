//! Hosts as the database keeps them over restarts of the controller.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::state::{HostSnapshot, KnownHost, Presence};
use crate::model::{HostName, IncidentKind};
use crate::store::{ControllerDb, HostRow, IncidentQuery, MAX_LIMIT, StoreError};

/// The row of a host that has spoken.
pub(super) fn row_of(seen: &HostSnapshot) -> Option<HostRow> {
    let report = seen.report.as_deref()?;
    Some(HostRow {
        host: seen.name.clone(),
        instance: report.instance.clone(),
        engine_id: report.engine.id.clone(),
        first_seen: seen.first_seen,
        last_seen: seen.last_seen,
        report: serde_json::to_value(report).expect("plain data becomes JSON"),
    })
}

/// The hosts that earlier controller processes knew, and which of them were told to be silent.
pub(crate) async fn known_hosts(db: &ControllerDb) -> Result<Vec<KnownHost>, StoreError> {
    let query = IncidentQuery { open: Some(true), host: None, limit: MAX_LIMIT };
    let open = db.incidents(query).await?;
    let silent: BTreeSet<HostName> =
        open.into_iter().filter(|i| i.kind == IncidentKind::Host).map(|i| i.host).collect();
    let known = |row: HostRow| {
        let presence = if silent.contains(&row.host) { Presence::Silent } else { Presence::Live };
        let report = serde_json::from_value(row.report).ok().map(Arc::new);
        KnownHost { name: row.host, first_seen: row.first_seen, last_seen: row.last_seen, presence, report }
    };
    Ok(db.hosts().await?.into_iter().map(known).collect())
}
