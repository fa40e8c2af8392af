//! Follows the desired state on the bus. Before the whole was told, the copy on disk holds.

use std::sync::Arc;
use std::time::Duration;

use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::Message;
use super::keeper::{Keep, Keeper};
use crate::bus::{Bus, DesiredUpdate};
use crate::model::DesiredState;
use crate::monitor::decide::Input;

/// Between two attempts to watch.
const RETRY: Duration = Duration::from_secs(1);

pub(super) fn spawn(
    tracker: &TaskTracker,
    bus: &Arc<dyn Bus>,
    copy: DesiredState,
    inbox: mpsc::Sender<Message>,
    keeper: Keeper,
    shutdown: &CancellationToken,
) {
    let (bus, shutdown) = (bus.clone(), shutdown.clone());
    tracker.spawn(async move {
        let mut follower = Follower { known: copy, telling: None, inbox, keeper };
        let follow = async {
            loop {
                match bus.watch_desired().await {
                    Ok(mut updates) => {
                        while let Some(update) = updates.next().await {
                            if follower.take(update).await.is_none() {
                                return;
                            }
                        }
                    }
                    Err(error) => tracing::debug!(%error, "the desired state cannot be watched"),
                }
                tokio::time::sleep(RETRY).await;
            }
        };
        tokio::select! {
            () = follow => {}
            () = shutdown.cancelled() => {}
        }
    });
}

struct Follower {
    known: DesiredState,
    /// The whole state as it is being told anew.
    telling: Option<DesiredState>,
    inbox: mpsc::Sender<Message>,
    keeper: Keeper,
}

impl Follower {
    /// `None`: the agent is ending.
    async fn take(&mut self, update: DesiredUpdate) -> Option<()> {
        match update {
            DesiredUpdate::Resync => self.telling = Some(DesiredState::default()),
            DesiredUpdate::Change(change) => {
                if let Some(telling) = &mut self.telling {
                    change.apply(telling);
                } else {
                    self.keeper.keep(Keep::Desired(change.clone()));
                    change.apply(&mut self.known);
                    self.tell().await?;
                }
            }
            DesiredUpdate::Synced => {
                if let Some(told) = self.telling.take() {
                    if told != self.known {
                        self.known = told;
                        self.keeper.keep(Keep::WholeDesired(self.known.clone()));
                        self.tell().await?;
                    }
                    self.inbox.send(Message::DesiredSynced).await.ok()?;
                }
            }
        }
        Some(())
    }

    async fn tell(&self) -> Option<()> {
        self.inbox.send(Message::Input(Input::Desired(Box::new(self.known.clone())))).await.ok()
    }
}
