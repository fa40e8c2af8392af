//! Tells people outside of incidents: decides what is to be told, queues it in the store, and has it delivered.
//!
//! ```text
//!   events stored ─► plan (pure, over the incidents of the store) ─► queue, in the store ─► a courier a receiver ─► HTTP
//! ```
//!
//! It follows the store and delays nothing there: events are taken in whether or not anybody can be told of them.

mod courier;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::clock::Clock;
use super::counters::{Counter, Counters};
use super::desired::Desired;
use super::fleet::{Fleet, FleetView};
use super::history::History;
use crate::model::{
    ContainerKey, ContainerName, DesiredState, HostName, IncidentKind, Mono, NoticeKind, Timestamp,
    TrackedIncident,
};
use crate::notify::{ContainerFacts, Facts, Notice, Planned, Planner, Policy, Poster, Stamp, Target};
use crate::store::{ControllerDb, Delivery, NoticeRow, StoreError, TargetRow, Told};
use courier::Courier;

/// At least so long is between two looks at the incidents, however many events come.
const PACE: Duration = Duration::from_millis(200);

/// At most so long: maintenance may have ended, or a look have failed.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// How long somebody who tries the receivers waits for them: longer than one attempt takes.
const TEST_WITHIN: Duration = Duration::from_secs(15);

/// Who is told of what. By default nobody of anything.
#[derive(Debug, Clone, Default)]
pub struct NotifySettings {
    /// The receivers.
    pub targets: Vec<Target>,
    /// What they are told, and when.
    pub policy: Policy,
    /// Authorities to trust instead of the public ones, PEM.
    pub ca_pem: Option<Vec<u8>>,
    /// Where people see more.
    pub public_url: Option<String>,
}

/// How it goes with a receiver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct TargetHealth {
    /// Attempts that failed since the last that did not.
    pub(crate) failures: u32,
    /// When they began to.
    pub(crate) since: Option<Timestamp>,
    /// What the last one came to.
    pub(crate) detail: Option<String>,
    /// Whether that was told by an event.
    pub(crate) told: bool,
}

type Healths = BTreeMap<String, TargetHealth>;

/// A handle of the notifications.
#[derive(Clone)]
pub(crate) struct Notifications {
    db: ControllerDb,
    history: History,
    counters: Arc<Counters>,
    targets: Arc<[Target]>,
    home: HostName,
    public_url: Option<String>,
    clock: Clock,
    /// Counts what was queued: couriers look when it changes.
    queued: Arc<watch::Sender<u64>>,
    /// Counts attempts.
    tried: Arc<watch::Sender<u64>>,
    healths: Arc<watch::Sender<Healths>>,
}

impl Notifications {
    /// The receivers.
    pub(crate) fn targets(&self) -> &[Target] {
        &self.targets
    }

    /// How it goes with a receiver.
    pub(crate) fn health(&self, target: &Target) -> TargetHealth {
        self.healths.borrow().get(&target.id()).cloned().unwrap_or_default()
    }

    /// In one line: `off`, `working`, or which receivers are not told.
    pub(crate) fn summary(&self) -> String {
        if self.targets.is_empty() {
            return "off".into();
        }
        let failing = self.targets.iter().filter_map(|target| {
            let health = self.health(target);
            Some(format!("{} {}", target.shown(), health.detail.filter(|_| health.failures > 0)?))
        });
        let failing: Vec<String> = failing.collect();
        if failing.is_empty() { "working".into() } else { failing.join("; ") }
    }

    /// Sends a test to every receiver, past what waits there; returns what came of it within 15 s.
    pub(crate) async fn test(&self) -> Result<(NoticeRow, Vec<Delivery>), StoreError> {
        let id = uuid::Uuid::now_v7();
        let notice = Notice::test(self.stamp(id), &self.home);
        self.queue(&notice, Told::default()).await?;
        let mut tried = self.tried.subscribe();
        let until = tokio::time::Instant::now() + TEST_WITHIN;
        loop {
            tried.borrow_and_update();
            let deliveries = self.db.deliveries(id).await?;
            let waits = deliveries.iter().any(|delivery| delivery.attempts == 0);
            if !waits || !matches!(tokio::time::timeout_at(until, tried.changed()).await, Ok(Ok(()))) {
                return Ok((row(&notice), deliveries));
            }
        }
    }

    fn stamp(&self, id: uuid::Uuid) -> Stamp<'_> {
        Stamp { id, time: self.clock.now().wall, url: self.public_url.as_deref() }
    }

    /// Queues `notice` for every receiver; returns how many older deliveries that pushed out.
    async fn queue(&self, notice: &Notice, told: Told) -> Result<u64, StoreError> {
        let pushed_out = self.db.queue_notice(row(notice), told, rows(&self.targets)).await?;
        self.queued.send_modify(|count| *count += 1);
        Ok(pushed_out)
    }
}

fn rows(targets: &[Target]) -> Vec<TargetRow> {
    targets.iter().map(|target| TargetRow { id: target.id(), shown: target.shown().to_owned() }).collect()
}

fn row(notice: &Notice) -> NoticeRow {
    NoticeRow {
        id: notice.id,
        kind: notice.kind,
        answers: notice.answers,
        made: notice.time,
        title: notice.title.clone(),
        body: serde_json::to_string(notice).expect("plain data becomes JSON"),
    }
}

/// What the task needs.
pub(crate) struct NotifierParts {
    pub(crate) db: ControllerDb,
    pub(crate) history: History,
    pub(crate) fleet: Fleet,
    pub(crate) desired: Desired,
    pub(crate) counters: Arc<Counters>,
    pub(crate) clock: Clock,
    pub(crate) settings: NotifySettings,
    /// This controller's own name.
    pub(crate) home: HostName,
}

/// Makes the handle and the task, which ends with `shutdown`.
///
/// # Errors
/// When the authorities to trust hold no certificate.
pub(crate) fn notifier(
    parts: NotifierParts,
    shutdown: CancellationToken,
) -> Result<(Notifications, impl Future<Output = ()> + Send), String> {
    let NotifySettings { targets, policy, ca_pem, public_url } = parts.settings;
    let poster = Arc::new(Poster::new(&targets, ca_pem)?);
    let handle = Notifications {
        db: parts.db,
        history: parts.history,
        counters: parts.counters,
        targets: targets.into(),
        home: parts.home,
        public_url,
        clock: parts.clock,
        queued: Arc::new(watch::Sender::new(0)),
        tried: Arc::new(watch::Sender::new(0)),
        healths: Arc::default(),
    };
    let couriers: Vec<Courier> = handle
        .targets
        .iter()
        .map(|target| Courier::new(target.clone(), poster.clone(), handle.clone()))
        .collect();
    let teller = Teller {
        handle: handle.clone(),
        fleet: parts.fleet,
        desired: parts.desired,
        policy,
        planner: Planner::default(),
    };
    Ok((handle, run(teller, couriers, shutdown)))
}

async fn run(teller: Teller, couriers: Vec<Courier>, shutdown: CancellationToken) {
    let handle = teller.handle.clone();
    match handle.db.keep_targets(rows(&handle.targets)).await {
        Ok(0) => {}
        Ok(gone) => tracing::warn!("{gone} notifications waited for receivers that are not told any more"),
        Err(error) => tracing::warn!(%error, "the queue of notifications could not be looked through"),
    }
    if couriers.is_empty() {
        return;
    }
    let couriers = couriers.into_iter().map(|courier| courier.run(shutdown.clone()));
    tokio::join!(teller.run(&shutdown), futures_util::future::join_all(couriers));
}

/// Decides what is told.
struct Teller {
    handle: Notifications,
    fleet: Fleet,
    desired: Desired,
    policy: Policy,
    planner: Planner,
}

impl Teller {
    async fn run(mut self, shutdown: &CancellationToken) {
        let mut grew = self.handle.history.follow();
        loop {
            grew.borrow_and_update();
            let wake = match self.look().await {
                Ok(wake) => wake,
                Err(error) => {
                    tracing::debug!(%error, "what is to be told could not be found out");
                    None
                }
            };
            let now = self.handle.clock.now().mono;
            let nap = wake.map_or(LOOK_EVERY, |wake| (wake - now).min(LOOK_EVERY));
            let rest = async {
                tokio::time::sleep(PACE).await;
                tokio::select! {
                    _ = grew.changed() => {}
                    () = tokio::time::sleep(nap.saturating_sub(PACE)) => {}
                }
            };
            if shutdown.run_until_cancelled(rest).await.is_none() {
                return;
            }
        }
    }

    /// Tells what is to be told now; returns when to look again.
    async fn look(&mut self) -> Result<Option<Mono>, StoreError> {
        let tracked = self.handle.db.tracked_incidents().await?;
        let now = self.handle.clock.now();
        let facts = Known { view: self.fleet.view(), desired: self.desired.state(), now: now.wall };
        let plan = self.planner.plan(&tracked, &facts, &self.policy, now);
        for planned in &plan.notices {
            self.tell(planned).await?;
        }
        Ok(plan.wake)
    }

    async fn tell(&self, planned: &Planned<'_>) -> Result<(), StoreError> {
        let ids = |of: &[&TrackedIncident]| of.iter().map(|one| one.incident.id).collect();
        let (problem, told) = match planned {
            Planned::Problem { members, .. } => (None, Told { begun: ids(members), over: Vec::new() }),
            Planned::Recovery { of, over, .. } => {
                let problem = self.handle.db.notice(*of).await?;
                let problem = problem.and_then(|row| serde_json::from_str(&row.body).ok());
                (problem, Told { begun: Vec::new(), over: ids(over) })
            }
        };
        let stamp = self.handle.stamp(uuid::Uuid::now_v7());
        let notice = Notice::of(planned, problem.as_ref(), stamp);
        let notice = match planned {
            Planned::Problem { members, .. } => match monitored(members, &self.fleet.view()) {
                Some(containers) => notice.with_monitored(containers),
                None => notice,
            },
            Planned::Recovery { .. } => notice,
        };
        let queued = self.handle.queue(&notice, told).await;
        let pushed_out = self.handle.history.note(queued)?;
        tracing::info!(id = %notice.id, "notification: {}", notice.title);
        self.handle.counters.count(Counter::NotificationsMade);
        if pushed_out > 0 {
            self.handle.counters.add(Counter::NotificationsFailed, pushed_out);
            tracing::warn!("{pushed_out} notifications were given up because too many wait");
        }
        Ok(())
    }
}

/// How many containers are monitored on the hosts that are away, by their last words; `None` where none is away, or where
/// one was not heard since the controller began.
fn monitored(members: &[&TrackedIncident], view: &FleetView) -> Option<u64> {
    let away =
        members.iter().filter(|one| matches!(one.incident.kind, IncidentKind::Host | IncidentKind::Engine));
    let hosts: BTreeSet<&HostName> = away.map(|one| &one.incident.host).collect();
    if hosts.is_empty() {
        return None;
    }
    let of = |host: &HostName| {
        let report = view.get(host)?.report.as_ref()?;
        Some(report.containers.iter().filter(|container| container.monitored).count() as u64)
    };
    hosts.into_iter().map(of).sum()
}

/// What the controller knows beside the incidents.
struct Known {
    view: Arc<FleetView>,
    desired: Option<Arc<DesiredState>>,
    now: Timestamp,
}

impl Facts for Known {
    fn container(&self, host: &HostName, container: &ContainerName) -> ContainerFacts {
        let report = self.view.get(host).and_then(|host| host.report.as_ref());
        let report = report.and_then(|report| report.containers.iter().find(|c| c.name == *container));
        let key = ContainerKey { host: host.clone(), name: container.clone() };
        let entry = self.desired.as_ref().and_then(|desired| desired.containers.get(&key));
        ContainerFacts {
            project: report.and_then(|report| report.project.clone()),
            networks: report.map(|report| report.networks.clone()).unwrap_or_default(),
            in_maintenance: report.is_some_and(|report| report.maintenance_by_label)
                || entry.and_then(|entry| entry.maintenance_until).is_some_and(|until| until > self.now),
        }
    }
}

/// Whether a delivery is tried once only.
fn is_tried_once(kind: NoticeKind) -> bool {
    kind == NoticeKind::Test
}
