//! The processes of a container, on request.

use std::time::Duration;

use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::bus::{AgentReply, CommandError};
use crate::metrics::{Machine, ProcessReading, Processes, Subject};
use crate::model::{ContainerId, ProcessList};

/// Over how long CPU is measured.
const SPAN: Duration = Duration::from_secs(1);
/// The most that are told: their reply must fit into a message.
const MOST: u32 = 1000;
/// Containers whose processes are watched at once; who asks beyond that is refused.
pub(super) const AT_ONCE: usize = 4;

/// The processes of `subject`, at most `limit`.
pub(super) async fn list(machine: &Machine, subject: &Subject, limit: u32) -> AgentReply {
    match watch(machine, subject, limit.min(MOST)).await {
        Ok(list) => AgentReply::Processes(Box::new(list)),
        Err(reason) => refused(format!("{}: {reason}", subject.name)),
    }
}

/// What is said when too many ask.
pub(super) fn too_many() -> AgentReply {
    refused(format!("the processes of {AT_ONCE} containers are being watched already: ask again in a second"))
}

fn refused(reason: String) -> AgentReply {
    AgentReply::Error(CommandError::Refused { reason })
}

async fn watch(machine: &Machine, subject: &Subject, limit: u32) -> Result<ProcessList, String> {
    let Machine::Here(root) = machine.clone() else {
        return Err("its engine is on another machine, whose processes cannot be read".to_owned());
    };
    if !subject.runs() {
        return Err(format!("it is {}, and has no processes", subject.state.as_str()));
    }
    let (id, pid) = (subject.id.clone(), subject.pid);
    let processes = spawn_blocking(move || Processes::new(&root)).await.map_err(|error| error.to_string())?;
    let (processes, before) = read(processes, id.clone(), pid).await?;
    sleep(SPAN).await;
    let (_, after) = read(processes, id, pid).await?;
    Ok(after.since(&before, limit as usize))
}

/// On a thread that may wait for the files.
async fn read(
    processes: Processes,
    id: ContainerId,
    pid: Option<u32>,
) -> Result<(Processes, ProcessReading), String> {
    let reading = spawn_blocking(move || {
        let reading = processes.read(&id, pid);
        (processes, reading)
    });
    let (processes, reading) = reading.await.map_err(|error| error.to_string())?;
    reading.map(|reading| (processes, reading)).map_err(|error| error.to_string())
}
