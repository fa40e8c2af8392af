//! Doing a fault, and undoing it. What the engine did is undone by whoever is left, from the ledger alone; what is held by
//! a process of ours ends with that process.

use std::fs::{self, File};
use std::io;
use std::time::Duration;

use futures_util::StreamExt;

use super::cgroup::Cgroups;
use super::fill::{FillError, fill};
use super::hog::{Hog, Work};
use crate::chaos::inject::{NetFault, NetHeld};
use crate::chaos::{Fault, FaultKind, InjectError, Lease, LedgerError, Progress, Undone};
use crate::docker::{ContainerAction, ContainerDisturber, ContainerSource, EngineError};
use crate::model::{ContainerFacts, ContainerId, Namespace, RunState, format_size};

/// The kernel's own deadlines are this much later than ours, so that we end things in an orderly way first.
const KERNEL_MARGIN: Duration = Duration::from_millis(500);
/// What holds for as long as the antagonist lives has this deadline in the kernel.
const LONGEST: Duration = Duration::from_hours(24);
/// An engine that was asked to do something says so within this time, or it was never asked.
const ASKED_WITHIN: Duration = Duration::from_secs(1);
/// What the engine was asked to do is done after this, but for a container whose own time to stop is longer.
const DONE_WITHIN: Duration = Duration::from_secs(75);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Why a fault was not done or undone.
#[derive(Debug, thiserror::Error)]
pub enum ActError {
    /// The engine did not do its part.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The kernel did not, for a fault of the network.
    #[error(transparent)]
    Network(#[from] InjectError),
    /// The disk is not to be filled.
    #[error("disk: {0}")]
    Disk(#[from] FillError),
    /// The ledger could not be kept, so nothing was done.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// It cannot be done to this container, or from here.
    #[error("{0}: {1}")]
    Impossible(FaultKind, String),
    /// A process that was to use something up did not start.
    #[error("{0}: {1}")]
    Hog(FaultKind, #[source] io::Error),
}

/// A fault in force, as far as this process holds it.
pub(super) struct Held {
    what: Thing,
    /// The container's first process, where the fault must end with it.
    pub(super) ends_with: Option<u32>,
    /// How it is done, for people; may be empty.
    pub(super) how: String,
}

enum Thing {
    /// The engine did it.
    Engine,
    /// Rules or qdiscs.
    Network(NetHeld),
    /// A process in the container's cgroups.
    Hog(#[expect(dead_code, reason = "it ends when dropped")] Hog),
    /// A file without a name.
    File(#[expect(dead_code, reason = "it ends when closed")] File),
}

impl Held {
    fn of(what: Thing, how: impl Into<String>) -> Self {
        Self { what, ends_with: None, how: how.into() }
    }

    /// Ends what this process holds.
    pub(super) fn release(self) -> Result<(), ActError> {
        match self.what {
            Thing::Network(mut held) => Ok(held.end()?),
            Thing::Engine | Thing::Hog(_) | Thing::File(_) => Ok(()),
        }
    }
}

/// Does it.
pub(super) async fn inject<E>(lease: &Lease, engine: &E) -> Result<Held, ActError>
where
    E: ContainerSource + ContainerDisturber + ?Sized,
{
    let id = &lease.container;
    let by_engine = |()| Held::of(Thing::Engine, "");
    match &lease.fault {
        Fault::Stop => Ok(engine.stop(id, None).await.map(by_engine)?),
        Fault::Kill => Ok(engine.kill(id).await.map(by_engine)?),
        Fault::Pause => Ok(engine.pause(id).await.map(by_engine)?),
        Fault::Restart => Ok(engine.restart(id, None).await.map(by_engine)?),
        Fault::Oom(_) | Fault::Cpu(_) => hog(lease, &engine.inspect(id.as_str()).await?),
        Fault::Disk(bytes) => {
            let pid = process_of(lease.fault.kind(), &engine.inspect(id.as_str()).await?)?;
            let (file, taken) = fill(pid, *bytes)?;
            let how = format!("{} taken", format_size(taken as f64));
            Ok(Held { ends_with: Some(pid), ..Held::of(Thing::File(file), how) })
        }
        Fault::Loss(_)
        | Fault::Delay(_)
        | Fault::Jitter(_)
        | Fault::Corruption(_)
        | Fault::Partition(_)
        | Fault::Dns => {
            let facts = engine.inspect(id.as_str()).await?;
            let fault = network_fault(lease, engine).await?;
            let pid = network_of(lease.fault.kind(), &facts)?;
            let (table, span) = (lease.table(), lease.lasts().unwrap_or(LONGEST) + KERNEL_MARGIN);
            let held = NetHeld::begin(&fault, pid, &table, span)?;
            let how = held.describe();
            Ok(Held::of(Thing::Network(held), how))
        }
    }
}

async fn network_fault<E: ContainerSource + ?Sized>(lease: &Lease, engine: &E) -> Result<NetFault, ActError> {
    Ok(match &lease.fault {
        Fault::Loss(share) => NetFault::Loss(*share),
        Fault::Delay(span) => NetFault::Delay(*span, Duration::ZERO),
        Fault::Jitter(span) => NetFault::Delay(*span, *span),
        Fault::Corruption(share) => NetFault::Corruption(*share),
        Fault::Partition(peer) => {
            let addresses = engine.inspect(peer.as_str()).await?.addresses();
            if addresses.is_empty() {
                let why = format!("{peer} has no address to be cut off from");
                return Err(ActError::Impossible(FaultKind::Partition, why));
            }
            NetFault::Partition(addresses)
        }
        _ => NetFault::Dns,
    })
}

fn hog(lease: &Lease, facts: &ContainerFacts) -> Result<Held, ActError> {
    let kind = lease.fault.kind();
    let pid = process_of(kind, facts)?;
    let impossible = |why: &str| ActError::Impossible(kind, format!("{}: {why}", facts.name));
    let cgroups = Cgroups::of(pid).map_err(|error| ActError::Hog(kind, error))?;
    let cgroups = cgroups.ok_or_else(|| {
        impossible(
            "its cgroups are not to be seen from here: run the antagonist on the host, with /sys/fs/cgroup",
        )
    })?;
    let lasts = lease.lasts().unwrap_or(LONGEST);
    let (join, work, how) = match lease.fault {
        Fault::Oom(asked) => {
            let limit = cgroups.memory_limit();
            let bytes = match (asked, limit) {
                (Some(asked), Some(limit)) => asked.min(limit),
                (None, Some(limit)) => limit,
                // Nothing bounds it but the machine: then it leaves half of what is there.
                (Some(asked), None) => asked.min(available_memory().unwrap_or_default() / 2),
                (None, None) => {
                    return Err(impossible("it has no memory limit: give how much to take, as oom=256MiB"));
                }
            };
            let how = format!("{} of memory at most", format_size(bytes as f64));
            (cgroups.memory(), Work::Memory(bytes), how)
        }
        Fault::Cpu(cores) => {
            let there = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
            let cores = cores.min(u32::try_from(there).unwrap_or(1));
            (cgroups.cpu(), Work::Cpu(cores), format!("{cores} of {there} processors"))
        }
        _ => unreachable!("only these two are done by a hog"),
    };
    let hog = Hog::start(join, work, lasts).map_err(|error| ActError::Hog(kind, error))?;
    Ok(Held { ends_with: Some(pid), ..Held::of(Thing::Hog(hog), how) })
}

/// `MemAvailable` of proc_meminfo(5), bytes.
fn available_memory() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// The container's first process, once that is sure to be meant: an engine elsewhere, or a process namespace of our own,
/// gives its number to somebody else here.
fn process_of(kind: FaultKind, facts: &ContainerFacts) -> Result<u32, ActError> {
    let impossible = |why: &str| ActError::Impossible(kind, format!("{}: {why}", facts.name));
    let pid = facts.pid.ok_or_else(|| impossible("it does not run"))?;
    let cgroup = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    if is_of(&cgroup, &facts.id) {
        return Ok(pid);
    }
    Err(impossible(
        "its processes are not to be seen from here: run the antagonist on the engine's own machine, \
         in a container with --pid host --privileged",
    ))
}

/// Whether the text of `/proc/PID/cgroup` names this container.
fn is_of(cgroup: &str, id: &ContainerId) -> bool {
    id.as_str().len() == 64 && cgroup.lines().any(|line| line.contains(id.as_str()))
}

fn network_of(kind: FaultKind, facts: &ContainerFacts) -> Result<u32, ActError> {
    let whose = match &facts.namespace {
        Namespace::Own => return process_of(kind, facts),
        Namespace::Host => "the host's network, which stays as it is".to_owned(),
        Namespace::None => "no network".to_owned(),
        Namespace::Container(owner) => format!("the network of {owner}: attack that one"),
    };
    Err(ActError::Impossible(kind, format!("{} has {whose}", facts.name)))
}

/// Undoes what outlives the process that did it, from what the ledger says.
pub(in crate::chaos) async fn undo<E>(
    lease: &Lease,
    progress: Progress,
    engine: &E,
) -> Result<Undone, ActError>
where
    E: ContainerSource + ContainerDisturber + ?Sized,
{
    if progress == Progress::Recorded {
        return Ok(Undone::Already);
    }
    let outcome = match lease.fault.kind() {
        FaultKind::Cpu | FaultKind::Disk => Ok(Undone::Already),
        FaultKind::Pause => thaw(lease, progress, engine).await,
        FaultKind::Stop | FaultKind::Kill | FaultKind::Restart | FaultKind::Oom => {
            start_again(lease, progress, engine).await
        }
        kind => sweep_network(lease, kind, engine).await,
    };
    match outcome {
        Err(ActError::Engine(EngineError::NoSuchContainer(_))) => Ok(Undone::Gone),
        other => other,
    }
}

async fn thaw<E>(lease: &Lease, progress: Progress, engine: &E) -> Result<Undone, ActError>
where
    E: ContainerSource + ContainerDisturber + ?Sized,
{
    let id = &lease.container;
    let mut state = engine.inspect(id.as_str()).await?.state;
    if progress == Progress::Acting && state == RunState::Running {
        state = settled(lease, engine, RunState::Paused).await?;
    }
    if state != RunState::Paused {
        return Ok(Undone::Already);
    }
    engine.unpause(id).await?;
    Ok(Undone::ByUs)
}

async fn start_again<E>(lease: &Lease, progress: Progress, engine: &E) -> Result<Undone, ActError>
where
    E: ContainerSource + ContainerDisturber + ?Sized,
{
    let id = &lease.container;
    let mut state = engine.inspect(id.as_str()).await?.state;
    let by_engine = matches!(lease.fault.kind(), FaultKind::Stop | FaultKind::Kill);
    if by_engine && progress == Progress::Acting && state == RunState::Running {
        state = settled(lease, engine, RunState::Exited).await?;
    }
    if !matches!(state, RunState::Exited | RunState::Dead) {
        return Ok(Undone::Already);
    }
    engine.start(id).await?;
    Ok(Undone::ByUs)
}

/// The state once the engine has done what it was asked, by someone who did not live to hear of it: an engine goes on. When it
/// has not even begun within a second, it was never asked.
async fn settled<E>(lease: &Lease, engine: &E, expected: RunState) -> Result<RunState, ActError>
where
    E: ContainerSource + ?Sized,
{
    let mut events = engine.events(Some(lease.recorded)).await?;
    let begun = async {
        while let Some(Ok(event)) = events.next().await {
            let begins = matches!(
                event.action,
                ContainerAction::Kill | ContainerAction::Die(_) | ContainerAction::Pause
            );
            if event.id == lease.container && begins {
                return true;
            }
        }
        false
    };
    let asked = tokio::time::timeout(ASKED_WITHIN, begun).await.unwrap_or(false);
    let wait = if asked { DONE_WITHIN } else { Duration::ZERO };
    let end = tokio::time::Instant::now() + wait;
    loop {
        let state = engine.inspect(lease.container.as_str()).await?.state;
        if state == expected || state != RunState::Running || tokio::time::Instant::now() >= end {
            return Ok(state);
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

async fn sweep_network<E>(lease: &Lease, kind: FaultKind, engine: &E) -> Result<Undone, ActError>
where
    E: ContainerSource + ?Sized,
{
    let facts = engine.inspect(lease.container.as_str()).await?;
    // A network namespace ends with the container's run, and all in it.
    if facts.pid.is_none() {
        return Ok(Undone::Already);
    }
    let pid = network_of(kind, &facts)?;
    let table = lease.table();
    NetHeld::sweep(kind, pid, &table)?;
    Ok(Undone::ByUs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chaos::Attack;
    use crate::chaos::fixtures::container;
    use crate::docker::fake::{Call, FakeEngine, Op};
    use crate::docker::{ContainerActuator, ContainerBuilder, EngineAddress};
    use crate::model::ContainerName;

    async fn engine() -> (FakeEngine, ContainerFacts) {
        let engine = FakeEngine::new();
        let name = ContainerName::new("web").unwrap();
        let id = engine.create(&name, &serde_json::json!({ "Image": "busybox" })).await.unwrap();
        engine.start(&id).await.unwrap();
        let facts = engine.inspect("web").await.unwrap();
        (engine, facts)
    }

    fn lease(facts: &ContainerFacts, fault: &str) -> Lease {
        let (id, name) = (facts.id.clone(), facts.name.clone());
        let attack = Attack { id, name, fault: fault.parse().unwrap(), lease: None };
        Lease { recorded: facts.started_at.unwrap(), ..Lease::of(&attack, &EngineAddress::default(), None) }
    }

    async fn state(engine: &FakeEngine) -> RunState {
        engine.inspect("web").await.unwrap().state
    }

    #[tokio::test(start_paused = true)]
    async fn what_the_engine_did_is_undone_whoever_did_it() {
        for (fault, hurt) in
            [("stop", RunState::Exited), ("kill", RunState::Exited), ("pause", RunState::Paused)]
        {
            for progress in [Progress::Acting, Progress::Held] {
                let (engine, facts) = engine().await;
                let lease = lease(&facts, fault);
                let held = inject(&lease, &engine).await.unwrap();
                assert_eq!(state(&engine).await, hurt, "{fault}");
                held.release().unwrap();
                assert_eq!(undo(&lease, progress, &engine).await.unwrap(), Undone::ByUs, "{fault}");
                assert_eq!(state(&engine).await, RunState::Running, "{fault}");
                assert_eq!(undo(&lease, progress, &engine).await.unwrap(), Undone::Already, "{fault}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_only_written_down_is_not_even_looked_at() {
        let (engine, facts) = engine().await;
        let before = engine.calls().len();
        let lease = lease(&facts, "stop");
        assert_eq!(undo(&lease, Progress::Recorded, &engine).await.unwrap(), Undone::Already);
        assert_eq!(engine.calls().len(), before);
    }

    #[tokio::test(start_paused = true)]
    async fn a_stop_that_was_asked_for_comes_to_its_end_before_it_is_undone() {
        let (engine, facts) = engine().await;
        let lease = lease(&facts, "stop");
        let (stopping, id) = (engine.clone(), facts.id.clone());
        engine.begin_stop("web");
        let late = tokio::spawn(async move {
            tokio::time::sleep(Duration::from_secs(9)).await;
            stopping.stop(&id, None).await
        });
        assert_eq!(undo(&lease, Progress::Acting, &engine).await.unwrap(), Undone::ByUs);
        late.await.unwrap().unwrap();
        assert_eq!(state(&engine).await, RunState::Running);
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_was_never_asked_for_is_waited_for_a_second() {
        let (engine, facts) = engine().await;
        let lease = lease(&facts, "pause");
        let began = tokio::time::Instant::now();
        assert_eq!(undo(&lease, Progress::Acting, &engine).await.unwrap(), Undone::Already);
        assert_eq!(began.elapsed(), ASKED_WITHIN);
    }

    #[tokio::test(start_paused = true)]
    async fn a_container_that_is_gone_took_its_fault_along() {
        let (engine, facts) = engine().await;
        engine.remove(&facts.id, crate::docker::AnonymousVolumes::Keep).await.unwrap();
        for fault in ["stop", "pause", "loss=10%", "oom"] {
            let undone = undo(&lease(&facts, fault), Progress::Held, &engine).await.unwrap();
            assert_eq!(undone, Undone::Gone, "{fault}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn somebody_elses_processes_are_never_taken_for_the_containers() {
        let (engine, facts) = engine().await;
        for fault in ["loss=100%", "cpu", "disk=1MiB", "oom=1MiB", "dns"] {
            let error = inject(&lease(&facts, fault), &engine).await.err().unwrap().to_string();
            assert!(error.contains("--pid host"), "{fault}: {error}");
        }
        assert!(!engine.calls().iter().any(|call| matches!(call.op(), Op::Stop | Op::Pause)));
        assert!(engine.calls().iter().any(|call| matches!(call, Call::Inspect(_))));
    }

    #[test]
    fn networks_that_are_not_its_own_are_left_alone() {
        let mut facts = container("web", &[]);
        for (namespace, words) in [
            (Namespace::Host, "web has the host's network"),
            (Namespace::None, "web has no network"),
            (Namespace::Container("db".into()), "web has the network of db: attack that one"),
        ] {
            facts.namespace = namespace;
            let error = network_of(FaultKind::Loss, &facts).unwrap_err().to_string();
            assert!(error.starts_with(&format!("loss: {words}")), "{error}");
        }
    }

    #[test]
    fn a_container_is_known_by_its_whole_id() {
        let facts = container("web", &[]);
        let id = facts.id.as_str();
        for (cgroup, is) in [
            (format!("4:memory:/docker/{id}\n"), true),
            (format!("0::/system.slice/docker-{id}.scope\n"), true),
            (format!("0::/docker/{}\n", &id[..63]), false),
            (String::new(), false),
        ] {
            assert_eq!(is_of(&cgroup, &facts.id), is, "{cgroup}");
        }
    }
}
