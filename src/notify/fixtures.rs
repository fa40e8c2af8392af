//! What the tests of notifications share.

use crate::model::{EventKind, Incident, IncidentKind, Timestamp, TrackedIncident};

/// An open incident of `host`, seen at `second`.
pub(super) fn incident(
    kind: IncidentKind,
    host: &str,
    container: Option<&str>,
    second: i64,
) -> TrackedIncident {
    let at = Timestamp::from_millis(second * 1_000);
    TrackedIncident {
        incident: Incident {
            id: uuid::Uuid::now_v7(),
            kind,
            host: host.parse().unwrap(),
            container: container.map(|name| name.parse().unwrap()),
            network: None,
            pool: None,
            opened_at: at,
            closed_at: None,
            events: 1,
            reason: format!("{} is down: it ended by itself, exit code 1.", container.unwrap_or(host)),
            healed_by: None,
            ended_by: None,
            drill_id: None,
            notification: None,
        },
        seen: at,
        lossy: false,
        quarantined: false,
        action_failed: false,
    }
}

/// The same, over at `second`, healed by a restart.
pub(super) fn over(mut one: TrackedIncident, second: i64) -> TrackedIncident {
    one.incident.closed_at = Some(Timestamp::from_millis(second * 1_000));
    one.incident.healed_by = Some(EventKind::ContainerRestarted);
    one.incident.ended_by = Some(EventKind::ContainerRecovered);
    one
}
