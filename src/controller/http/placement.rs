//! Which hosts have room for a container.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::StatusCode;
use serde::Serialize;

use super::problem::quoted;
use super::request::Request;
use super::top::AHEAD;
use super::{Answer, Api, json};
use crate::bus::EngineStatus;
use crate::controller::fleet::HostSnapshot;
use crate::controller::placement::{Candidate, Demand, Load, Place, Placement, place};
use crate::model::{HostName, SeriesName, parse_size};
use crate::store::{Subjects, Summary, SummaryQuery};

/// Seconds whose samples are looked at.
const WINDOW: i64 = 600;

/// The most cores and memory (1 PiB) that can be asked for.
const MAX_CORES: f64 = 4096.0;
const MAX_MEMORY: u64 = 1 << 50;

/// The hosts of the fleet by the room they have.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct PlacementView {
    /// CPU that was asked for, cores.
    cpu_cores: f64,
    /// Memory that was asked for, bytes.
    memory_bytes: u64,
    /// Seconds whose samples were looked at: the mean of CPU, the most of memory.
    window_seconds: i64,
    /// Hosts with room for it, the best first: of CPU and memory, what would then be scarcer is freest there.
    hosts: Vec<PlaceView>,
    /// Hosts without, the least short first.
    full: Vec<PlaceView>,
    /// Hosts that do not count.
    left_out: Vec<LeftOut>,
}

/// A host and its room.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct PlaceView {
    /// Its name.
    #[schema(value_type = String)]
    hostname: HostName,
    /// Its cores.
    cores: f64,
    /// Cores that are free.
    cores_free: f64,
    /// Its memory.
    memory_bytes: f64,
    /// Memory that is free.
    memory_free_bytes: f64,
    /// The smaller of the shares of CPU and memory that would stay free, percent; negative where it does not fit.
    headroom_percent: f64,
    /// Why it stands where it does, in one plain sentence.
    reason: String,
}

/// A host that does not count.
#[derive(Debug, PartialEq, Serialize, utoipa::ToSchema)]
pub(crate) struct LeftOut {
    /// Its name.
    #[schema(value_type = String)]
    hostname: HostName,
    /// Why, in one plain sentence.
    reason: String,
}

impl From<Place> for PlaceView {
    fn from(Place { host, load, headroom, reason }: Place) -> Self {
        Self {
            hostname: host,
            cores: load.cores,
            cores_free: load.cores_free(),
            memory_bytes: load.memory,
            memory_free_bytes: load.memory_free(),
            headroom_percent: headroom * 100.0,
            reason,
        }
    }
}

/// Which hosts have room.
///
/// Judged by the last ten minutes: the mean CPU time and the most memory that were in use. Hosts that are silent,
/// frozen or in conflict, whose engine does not answer, or without samples are left out.
#[utoipa::path(
    get, path = "/api/v1/placement", tag = "metrics",
    params(
        ("cpu" = Option<f64>, Query, description = "Cores that are needed, e.g. 0.5; 0 when absent"),
        ("memory" = Option<String>, Query, description = "Memory that is needed, e.g. 512MiB; 0 when absent"),
    ),
    responses((status = 200, description = "Every host, with the reason why it stands there", body = PlacementView))
)]
pub(super) async fn placement(api: Arc<Api>, request: Request) -> Answer {
    let cpu_cores = request.query.read("cpu", cores)?.unwrap_or(0.0);
    let memory_bytes = request.query.read("memory", memory)?.unwrap_or(0);
    let now = api.clock.now().wall.millis().div_euclid(1000);
    let query =
        SummaryQuery { subjects: Subjects::Hosts, names: NEEDED.into(), from: now - WINDOW, to: now + AHEAD };
    let mut summaries: BTreeMap<HostName, Summaries> = BTreeMap::new();
    for found in api.metrics.summarize(query).await? {
        if let Some(index) = NEEDED.iter().position(|name| *name == found.name) {
            summaries.entry(found.subject.host).or_default()[index] = Some(found.summary);
        }
    }
    let of = |host: &Arc<HostSnapshot>| candidate(host, summaries.get(&host.name));
    let candidates = api.fleet.view().values().map(of).collect();
    let demand = Demand { cores: cpu_cores, memory: memory_bytes as f64 };
    let Placement { fits, full, left_out } = place(demand, candidates);
    let views = |places: Vec<Place>| places.into_iter().map(PlaceView::from).collect();
    let left_out = left_out.into_iter().map(|(hostname, reason)| LeftOut { hostname, reason }).collect();
    let view = PlacementView {
        cpu_cores,
        memory_bytes,
        window_seconds: WINDOW,
        hosts: views(fits),
        full: views(full),
        left_out,
    };
    Ok(json(StatusCode::OK, &view))
}

fn cores(text: &str) -> Result<f64, String> {
    let given = text.trim().parse().ok().filter(|cores: &f64| (0.0..=MAX_CORES).contains(cores));
    given.ok_or_else(|| {
        format!("{} is no number of cores: give from 0 to {MAX_CORES}, e.g. 0.5", quoted(text))
    })
}

fn memory(text: &str) -> Result<u64, String> {
    match parse_size(text) {
        Ok(bytes) if bytes <= MAX_MEMORY => Ok(bytes),
        Ok(_) => Err(format!("{} is more than 1 PiB", quoted(text))),
        Err(error) => Err(error.to_string()),
    }
}

/// What must be known of a host, in the order of [`Summaries`].
const NEEDED: [SeriesName; 4] = [
    SeriesName::of("cpu_percent"),
    SeriesName::of("cpu_host_percent"),
    SeriesName::of("memory_bytes"),
    SeriesName::of("memory_total_bytes"),
];

type Summaries = [Option<Summary>; 4];

/// A host's load, or why it does not count.
fn candidate(host: &HostSnapshot, summaries: Option<&Summaries>) -> Candidate {
    let load = match barrier(host) {
        Some(why) => Err(why),
        None => load(host, summaries),
    };
    Candidate { host: host.name.clone(), load }
}

fn barrier(host: &HostSnapshot) -> Option<String> {
    let report = host.report.as_deref();
    let engine = report.map(|report| &report.engine);
    if !host.is_live() {
        Some(format!("it is silent since {}", host.last_seen))
    } else if let Some(conflict) = &host.conflict {
        Some(format!("it is in conflict: {conflict}"))
    } else if report.is_some_and(|report| report.freeze.is_some()) {
        Some("it is frozen".into())
    } else if engine.is_some_and(|engine| engine.status == EngineStatus::Unreachable) {
        Some("its Docker engine does not answer".into())
    } else {
        None
    }
}

fn load(host: &HostSnapshot, summaries: Option<&Summaries>) -> Result<Load, String> {
    let Some([Some(cpu), share, Some(memory), Some(total)]) = summaries else {
        return Err("it has no samples of CPU and memory of the last 10 minutes".into());
    };
    let card = host.report.as_ref().and_then(|report| report.identity.as_ref()?.cores).map(f64::from);
    // Both are of the same ticks, so that their ratio is the number of cores.
    let ratio = || share.filter(|share| share.mean > 0.0).map(|share| (cpu.mean / share.mean).round());
    let cores = card.or_else(ratio).ok_or("its number of cores is not known")?;
    Ok(Load { cores, cores_busy: cpu.mean / 100.0, memory: total.last, memory_used: memory.max })
}
