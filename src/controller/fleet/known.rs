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

/// The hosts that earlier controller processes knew, and which of them were told to be silent or to have a wrong clock.
pub(crate) async fn known_hosts(db: &ControllerDb) -> Result<Vec<KnownHost>, StoreError> {
    let query = IncidentQuery { open: Some(true), host: None, limit: MAX_LIMIT };
    let open = db.incidents(query).await?;
    let of = |kind: IncidentKind| -> BTreeSet<HostName> {
        open.iter().filter(|incident| incident.kind == kind).map(|incident| incident.host.clone()).collect()
    };
    let (silent, skewed) = (of(IncidentKind::Host), of(IncidentKind::Clock));
    let known = |row: HostRow| {
        let presence = if silent.contains(&row.host) { Presence::Silent } else { Presence::Live };
        let report = serde_json::from_value(row.report).ok().map(Arc::new);
        let clock_skewed = skewed.contains(&row.host);
        let (first_seen, last_seen) = (row.first_seen, row.last_seen);
        KnownHost { name: row.host, first_seen, last_seen, presence, clock_skewed, report }
    };
    Ok(db.hosts().await?.into_iter().map(known).collect())
}
