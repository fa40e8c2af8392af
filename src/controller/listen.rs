//! A subscription that outlives failures of the bus.

use std::sync::Arc;
use std::time::Duration;

use futures_util::stream::BoxStream;
use futures_util::{Stream, StreamExt, stream};

use crate::bus::{Bus, Incoming, Subject};

/// The pause before subscribing anew after it failed.
const AGAIN: Duration = Duration::from_secs(1);

/// The messages on `subject`, shared with others of `group` where there is one, over failures to subscribe and ends of the
/// subscription; never ends.
pub(crate) fn listen(
    bus: Arc<dyn Bus>,
    subject: Subject,
    group: Option<&'static str>,
) -> impl Stream<Item = Incoming> + Send {
    let start: Option<BoxStream<'static, Incoming>> = None;
    stream::unfold((bus, subject, start), move |(bus, subject, mut open)| async move {
        loop {
            if let Some(messages) = &mut open {
                if let Some(message) = messages.next().await {
                    return Some((message, (bus, subject, open)));
                }
                tracing::debug!(%subject, "the subscription ended");
                tokio::time::sleep(AGAIN).await;
            }
            let subscribed = match group {
                Some(group) => bus.subscribe_shared(&subject, group).await,
                None => bus.subscribe(&subject).await,
            };
            open = match subscribed {
                Ok(messages) => Some(messages),
                Err(error) => {
                    tracing::debug!(%subject, %error, "cannot subscribe yet");
                    tokio::time::sleep(AGAIN).await;
                    None
                }
            };
        }
    })
}
