//! Tells the controller how the host is: regularly, soon after a change, and whenever it asks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::{AgentSettings, Asker};
use crate::bus::{AgentCommand, AgentReply, Bus, CommandError, Incoming, Subject, decode, encode};
use crate::model::HostName;

/// Between two reports at least, however much changes.
const SOONEST: Duration = Duration::from_millis(500);
/// Questions that are answered at once, since some take a second; further ones wait.
const AT_ONCE: usize = 16;
/// Between two attempts to subscribe.
const RETRY: Duration = Duration::from_secs(1);

/// Starts the tasks; the [`Notify`] is to be told when a report would read differently.
pub(super) fn spawn(
    tracker: &TaskTracker,
    bus: &Arc<dyn Bus>,
    settings: &AgentSettings,
    asker: &Asker,
    shutdown: &CancellationToken,
) -> Arc<Notify> {
    let changed = Arc::new(Notify::new());
    let (host, every) = (settings.host.clone(), settings.report_interval);
    let reports = report(bus.clone(), host.clone(), every, asker.clone(), changed.clone());
    tracker.spawn(shutdown.clone().run_until_cancelled_owned(reports));
    for subject in [Subject::List, Subject::Command(host)] {
        let answers = answer(bus.clone(), subject, asker.clone());
        tracker.spawn(shutdown.clone().run_until_cancelled_owned(answers));
    }
    changed
}

async fn report(bus: Arc<dyn Bus>, host: HostName, every: Duration, asker: Asker, changed: Arc<Notify>) {
    let subject = Subject::Report(host);
    while let Some(report) = own_report(&asker).await {
        if let Err(error) = bus.publish(&subject, report).await {
            tracing::debug!(%error, "the report was not sent");
        }
        let sent = Instant::now();
        tokio::select! {
            () = changed.notified() => sleep_until(sent + SOONEST.min(every)).await,
            () = sleep(every) => {}
        }
    }
}

async fn own_report(asker: &Asker) -> Option<Bytes> {
    match asker.ask(AgentCommand::Report).await? {
        AgentReply::Report(report) => Some(encode(&report)),
        _ => None,
    }
}

/// Answers everything that is asked on `subject`.
async fn answer(bus: Arc<dyn Bus>, subject: Subject, asker: Asker) {
    loop {
        match bus.subscribe(&subject).await {
            Ok(incoming) => {
                let answers =
                    incoming.for_each_concurrent(AT_ONCE, |message| answer_one(message, &subject, &asker));
                answers.await;
            }
            Err(error) => tracing::debug!(%error, "cannot subscribe"),
        }
        sleep(RETRY).await;
    }
}

async fn answer_one(message: Incoming, subject: &Subject, asker: &Asker) {
    let Some(responder) = message.reply else { return };
    let answer = match subject {
        Subject::List => own_report(asker).await,
        _ => Some(encode(&over_the_bus(asker, &message.payload).await)),
    };
    if let Some(answer) = answer
        && let Err(error) = responder.send(answer).await
    {
        tracing::debug!(%error, "an answer was not sent");
    }
}

async fn over_the_bus(asker: &Asker, payload: &[u8]) -> AgentReply {
    let refuse = |reason: &str| AgentReply::Error(CommandError::Refused { reason: reason.to_owned() });
    match decode::<AgentCommand>(payload) {
        Err(error) => AgentReply::Error(CommandError::Malformed { reason: error.to_string() }),
        Ok(AgentCommand::Freeze { .. } | AgentCommand::Unfreeze) => {
            refuse("over the bus, a host is frozen by the key freeze.<host> of the desired state")
        }
        Ok(AgentCommand::Fault { .. }) => {
            refuse("faults are told by this host's own antagonist, over the local socket")
        }
        Ok(command) => asker.ask(command).await.unwrap_or_else(|| refuse("the agent is ending")),
    }
}
