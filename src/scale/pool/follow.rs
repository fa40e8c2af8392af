//! What goes on beside a pool's owner: following the engine's events, and reading CPU between two decisions.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval, sleep};

use super::desk::Desk;
use super::dispatch::MemberId;
use super::runner::Happened;
use super::works::Hands;
use crate::docker::{ContainerAction, EngineError};
use crate::metrics::UsageSampler;
use crate::model::ContainerFacts;

/// The pause before the engine is asked again: it doubles from the first to the last of these.
const AGAIN: (Duration, Duration) = (Duration::from_millis(200), Duration::from_secs(5));
/// Time between two readings of whether containers have calmed down.
const CALM_EVERY: Duration = Duration::from_millis(500);

/// Tells of containers that end, for ever.
pub(super) async fn events(hands: Arc<Hands>) {
    let mut pause = AGAIN.0;
    loop {
        let error = match hands.engine.events(None).await {
            Ok(mut events) => {
                pause = AGAIN.0;
                // What happened before is found in a list, which is asked for now that nothing more is missed.
                hands.tell(Happened::Following).await;
                loop {
                    match events.next().await {
                        Some(Ok(event)) => match event.action {
                            ContainerAction::Die(code) => hands.tell(Happened::Ended(event.id, code)).await,
                            ContainerAction::Destroy => hands.tell(Happened::Ended(event.id, None)).await,
                            _ => {}
                        },
                        Some(Err(error)) => break error,
                        None => break EngineError::Unreachable("its events ended".to_owned()),
                    }
                }
            }
            Err(error) => error,
        };
        hands.tell(Happened::EngineLost(error)).await;
        sleep(pause).await;
        pause = (pause * 2).min(AGAIN.1);
    }
}

/// Reads the CPU of what runs, for ever.
pub(super) async fn calm(
    mut sampler: UsageSampler,
    running: watch::Receiver<Vec<(MemberId, ContainerFacts)>>,
    desk: Arc<Desk>,
) {
    let mut times = interval(CALM_EVERY);
    times.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        times.tick().await;
        let (members, facts): (Vec<MemberId>, Vec<ContainerFacts>) = running.borrow().iter().cloned().unzip();
        let seen = members.into_iter().zip(sampler.sample(&facts, &facts).await);
        let seen: Vec<(MemberId, f64)> =
            seen.filter_map(|(member, used)| Some((member, used.value("cpu_percent")?))).collect();
        desk.cpu(&seen);
    }
}
