//! Incidents, projected from events in the transaction that stores them.

use rusqlite::types::Value;
use rusqlite::{Connection, Result, Row, params, params_from_iter};

use super::{ControllerDb, MAX_LIMIT};
use crate::model::{
    ContainerName, Event, EventKind, HostName, Incident, IncidentKind, IncidentMark, Timestamp,
};
use crate::store::{StoreError, rows};

/// Incidents kept; beyond that the one opened longest ago is forgotten, open or not.
const KEPT: i64 = 50_000;

/// Which incidents to read.
#[derive(Debug, Clone, PartialEq)]
pub struct IncidentQuery {
    /// Only open ones, or only closed ones.
    pub open: Option<bool>,
    /// Only of this host.
    pub host: Option<HostName>,
    /// At most this many, from 1 to [`MAX_LIMIT`]; values beyond are taken as the nearest.
    pub limit: usize,
}

impl Default for IncidentQuery {
    /// The last 100 of all.
    fn default() -> Self {
        Self { open: None, host: None, limit: 100 }
    }
}

impl ControllerDb {
    /// The incidents that match, the last opened first.
    pub async fn incidents(&self, query: IncidentQuery) -> Result<Vec<Incident>, StoreError> {
        self.db
            .read(move |conn| {
                let (sql, values) = statement(&query);
                let mut found = conn.prepare_cached(&sql)?;
                Ok(found.query_map(params_from_iter(values), incident)?.collect::<Result<_>>()?)
            })
            .await
    }
}

fn statement(query: &IncidentQuery) -> (String, Vec<Value>) {
    let mut values: Vec<Value> = vec![rows::int(query.limit.clamp(1, MAX_LIMIT) as u64).into()];
    let open = match query.open {
        None => "",
        Some(true) => " AND closed_at IS NULL",
        Some(false) => " AND closed_at IS NOT NULL",
    };
    let host = query.host.as_ref().map_or("", |host| {
        values.push(host.to_string().into());
        " AND host = ?2"
    });
    let sql = format!("SELECT {COLUMNS} FROM incidents WHERE true{open}{host} ORDER BY n DESC LIMIT ?1");
    (sql, values)
}

/// What [`incident`] reads.
pub(super) const COLUMNS: &str = "id, kind, host, container, network, opened_at, closed_at, events, reason, \
                                  healed_by, ended_by, drill, notice, \
                                  CASE kind WHEN '\"pool\"' THEN subject END";

pub(super) fn incident(row: &Row<'_>) -> Result<Incident> {
    Ok(Incident {
        id: rows::name(row, 0)?,
        kind: rows::from_json(row, 1)?,
        host: rows::name(row, 2)?,
        container: rows::name_or_none(row, 3)?,
        network: row.get(4)?,
        opened_at: rows::time(row, 5)?,
        closed_at: rows::time_or_none(row, 6)?,
        events: rows::count(row, 7)?,
        reason: row.get(8)?,
        healed_by: rows::from_json_or_none(row, 9)?,
        ended_by: rows::from_json_or_none(row, 10)?,
        drill_id: rows::name_or_none(row, 11)?,
        notification: rows::name_or_none(row, 12)?,
        pool: rows::name_or_none(row, 13)?,
    })
}

/// Makes incidents what they are after `event`, which came at `seen` by the controller's clock. A host that is forgotten
/// takes all its open incidents with it.
pub(super) fn project(conn: &Connection, event: &Event, seen: Timestamp) -> Result<()> {
    if event.kind == EventKind::HostForgotten {
        return close_all(conn, event);
    }
    match IncidentMark::of(event) {
        None => Ok(()),
        Some(IncidentMark::Opens(kind)) => {
            if add(conn, kind, event)? {
                Ok(())
            } else {
                open(conn, kind, event, seen)
            }
        }
        Some(IncidentMark::Adds(kind)) => add(conn, kind, event).map(drop),
        Some(IncidentMark::Closes(kind)) => {
            add(conn, kind, event)?;
            close(conn, kind, event)
        }
    }
}

/// Counts `event` into its open incident, if there is one; says whether there is.
fn add(conn: &Connection, kind: IncidentKind, event: &Event) -> Result<bool> {
    let changed = conn
        .prepare_cached(
            "UPDATE incidents SET events = events + 1, reason = ?4, healed_by = coalesce(?5, healed_by),
             quarantined = max(quarantined, ?6), action_failed = max(action_failed, ?7)
             WHERE host = ?1 AND kind = ?2 AND subject = ?3 AND closed_at IS NULL",
        )?
        .execute(params![
            event.host.as_str(),
            rows::json(&kind),
            Incident::subject_of(event),
            event.reason,
            healing(event.kind),
            event.kind == EventKind::Quarantined,
            event.kind == EventKind::ActionFailed,
        ])?;
    Ok(changed > 0)
}

/// The kind of an event that tells of healing, as it is stored.
fn healing(kind: EventKind) -> Option<String> {
    use EventKind as E;
    matches!(kind, E::ContainerStarted | E::ContainerRestarted | E::ContainerRecreated)
        .then(|| rows::json(&kind))
}

fn open(conn: &Connection, kind: IncidentKind, event: &Event, seen: Timestamp) -> Result<()> {
    let container = event.container.as_ref().filter(|_| kind == IncidentKind::Container);
    let network = event.data.get("network").and_then(|n| n.as_str());
    // An id that is taken already is an agent's mistake or malice: no second incident comes of it.
    conn.prepare_cached(
        "INSERT OR IGNORE INTO incidents
         (id, kind, host, subject, container, network, opened_at, events, reason, seen, lossy, quarantined, drill)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, 1, ?8, ?9, ?10, ?11, ?12)",
    )?
    .execute(params![
        event.id.to_string(),
        rows::json(&kind),
        event.host.as_str(),
        Incident::subject_of(event),
        container.map(ContainerName::as_str),
        network.filter(|_| kind == IncidentKind::Network),
        event.time.millis(),
        event.reason,
        seen.millis(),
        event.data.get("ailment").and_then(|ailment| ailment.as_str()) == Some("loss"),
        event.kind == EventKind::Quarantined,
        event.drill_id.map(|drill| drill.to_string()),
    ])?;
    conn.prepare_cached("DELETE FROM incidents WHERE n <= (SELECT max(n) FROM incidents) - ?1")?
        .execute([KEPT])?;
    Ok(())
}

fn close(conn: &Connection, kind: IncidentKind, event: &Event) -> Result<()> {
    conn.prepare_cached(
        "UPDATE incidents SET closed_at = max(opened_at, ?4), ended_by = ?5
         WHERE host = ?1 AND kind = ?2 AND subject = ?3 AND closed_at IS NULL",
    )?
    .execute(params![
        event.host.as_str(),
        rows::json(&kind),
        Incident::subject_of(event),
        event.time.millis(),
        rows::json(&event.kind),
    ])?;
    Ok(())
}

fn close_all(conn: &Connection, event: &Event) -> Result<()> {
    conn.prepare_cached(
        "UPDATE incidents SET closed_at = max(opened_at, ?2), events = events + 1, reason = ?3, ended_by = ?4
         WHERE host = ?1 AND closed_at IS NULL",
    )?
    .execute(params![
        event.host.as_str(),
        event.time.millis(),
        event.reason,
        rows::json(&event.kind)
    ])?;
    Ok(())
}

/// Forgets incidents closed before `kept_from`.
pub(super) fn prune(conn: &Connection, kept_from: Timestamp) -> Result<()> {
    conn.execute("DELETE FROM incidents WHERE closed_at < ?1", [kept_from.millis()])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use EventKind as E;

    use super::*;
    use crate::store::fixture::{self, Dir};

    fn event(kind: EventKind, host: &str, container: Option<&str>, at: i64) -> Event {
        Event {
            kind,
            container: container.map(|name| name.parse().unwrap()),
            time: Timestamp::from_millis(at),
            ..fixture::event(host, kind.as_str())
        }
    }

    /// Kind, container, when opened and closed, events, last reason.
    type Line = (IncidentKind, Option<String>, i64, Option<i64>, u64, String);

    async fn lines(db: &ControllerDb, query: IncidentQuery) -> Vec<Line> {
        let line = |i: Incident| {
            let closed = i.closed_at.map(Timestamp::millis);
            (i.kind, i.container.map(|c| c.to_string()), i.opened_at.millis(), closed, i.events, i.reason)
        };
        db.incidents(query).await.unwrap().into_iter().map(line).collect()
    }

    #[test]
    fn incidents_open_grow_and_close_with_their_events() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            let web = Some("web");
            db.append(vec![
                event(E::ContainerRestarted, "h1", web, 1), // belongs to nothing
                event(E::ContainerFailing, "h1", web, 2),
                event(E::ContainerFailing, "h1", Some("sql"), 3),
                event(E::ContainerFailing, "h2", web, 4),
                event(E::ContainerRestarted, "h1", web, 5),
                event(E::Quarantined, "h1", web, 6), // adds to the open one
                event(E::ContainerRecovered, "h1", web, 7),
                event(E::ContainerRecovered, "h1", web, 8), // closes nothing twice
                event(E::ContainerFailing, "h1", web, 9),
                event(E::ContainerRecovered, "h1", web, 0), // a clock that went back
            ])
            .await
            .unwrap();
            let kind = IncidentKind::Container;
            let name = |text: &str| Some(text.to_owned());
            let on_h1 = IncidentQuery { host: Some("h1".parse().unwrap()), ..IncidentQuery::default() };
            let expected = [
                (kind, name("web"), 9, Some(9), 2, "container_recovered".to_owned()),
                (kind, name("sql"), 3, None, 1, "container_failing".to_owned()),
                (kind, name("web"), 2, Some(7), 4, "container_recovered".to_owned()),
            ];
            assert_eq!(lines(&db, on_h1.clone()).await, expected);
            let open = lines(&db, IncidentQuery { open: Some(true), ..on_h1.clone() }).await;
            assert_eq!(open, expected[1..2]);
            let closed = lines(&db, IncidentQuery { open: Some(false), limit: 1, ..on_h1 }).await;
            assert_eq!(closed, expected[..1]);
            assert_eq!(lines(&db, IncidentQuery::default()).await.len(), 4);

            db.append(vec![event(E::HostForgotten, "h1", None, 20)]).await.unwrap();
            let open = lines(&db, IncidentQuery { open: Some(true), ..IncidentQuery::default() }).await;
            assert_eq!(open.len(), 1, "only that of h2 is left: {open:?}");

            db.prune(Timestamp::from_millis(15 + 90 * 86_400_000)).await.unwrap();
            assert_eq!(lines(&db, IncidentQuery::default()).await.len(), 2, "closed before 15 are forgotten");
        });
    }

    #[test]
    fn networks_are_told_apart_and_a_repeated_id_opens_nothing() {
        fixture::block_on(async {
            let dir = Dir::new();
            let db = ControllerDb::open(dir.path()).unwrap();
            let breaker = |network: &str| Event {
                data: serde_json::json!({ "network": network }),
                ..event(E::BreakerOpened, "h1", None, 1)
            };
            let first = breaker("front");
            let forged = Event { host: "h2".parse().unwrap(), ..first.clone() };
            db.append(vec![first, breaker("back"), breaker("front"), forged]).await.unwrap();
            let found = db.incidents(IncidentQuery::default()).await.unwrap();
            let found: Vec<_> = found.iter().map(|i| (i.network.as_deref().unwrap(), i.events)).collect();
            assert_eq!(found, [("back", 1), ("front", 2)]);
        });
    }
}
