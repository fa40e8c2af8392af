//! One simulated agent on the bus: reports, answers, delivers, by the messages of real ones.

use std::future::pending;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use futures_util::{FutureExt, StreamExt, stream};
use tokio::time::{Instant, sleep, sleep_until};
use tokio_util::sync::CancellationToken;

use super::figures::Figures;
use super::host::SimHost;
use super::outbox::{Delivery, Outbox};
use crate::bus::{
    AgentCommand, AgentReply, Bus, BusError, CommandError, Incoming, OutboxAck, Subject, decode, encode,
};
use crate::model::Timestamp;

/// Between two reports, as agents have it by default.
const REPORT_EVERY: Duration = Duration::from_secs(5);
/// How long the controller may take to store a batch, as with agents.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);
/// Waits after a failed delivery: doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(250);
const RETRY_LAST: Duration = Duration::from_secs(5);

/// When an agent measures.
#[derive(Debug, Clone, Copy)]
pub(super) struct Schedule {
    /// Seconds between two ticks.
    pub(super) step: u32,
    /// How long after the time of its tick this one's turn is: turns are spread over the step.
    pub(super) turn: Duration,
}

impl Schedule {
    /// The time of the first tick whose turn is after `now`, unix seconds.
    fn after(self, now: Timestamp) -> i64 {
        let step = i64::from(self.step);
        let passed = now.millis() - i64::try_from(self.turn.as_millis()).unwrap_or(0);
        (passed.div_euclid(step * 1_000) + 1) * step
    }

    /// When the tick of `time` is due, unix milliseconds.
    fn due(self, time: i64) -> i64 {
        time * 1_000 + i64::try_from(self.turn.as_millis()).unwrap_or(0)
    }
}

/// How long what waits is still delivered at the end.
const END_WITHIN: Duration = Duration::from_secs(10);

/// One agent.
pub(super) struct SimAgent {
    pub(super) host: SimHost,
    pub(super) outbox: Outbox,
    pub(super) bus: Arc<dyn Bus>,
    pub(super) schedule: Schedule,
    pub(super) figures: Arc<Figures>,
}

/// A delivery under way, with its outcome.
type UnderWay = BoxFuture<'static, (Delivery, Result<OutboxAck, BusError>)>;

impl SimAgent {
    /// Works until `shutdown`, then delivers what waits; an error is one of subscribing, when nothing was said yet.
    pub(super) async fn run(mut self, shutdown: CancellationToken) -> Result<(), BusError> {
        let list = self.bus.subscribe(&Subject::List).await?;
        let commands = self.bus.subscribe(&Subject::Command(self.host.name.clone())).await?;
        let mut asked = pin!(stream::select(list, commands));
        let mut next = self.schedule.after(Timestamp::now());
        let mut report_at = Instant::now() + self.schedule.turn.min(REPORT_EVERY);
        let mut under_way: Option<UnderWay> = None;
        let mut retry = RETRY_FIRST;
        let mut ends_at: Option<Instant> = None;
        while ends_at.is_none_or(|at| under_way.is_some() && Instant::now() < at) {
            let works = ends_at.is_none();
            let due = Duration::from_millis(
                u64::try_from(self.schedule.due(next) - Timestamp::now().millis()).unwrap_or(0),
            );
            let delivered = async {
                match &mut under_way {
                    Some(delivery) => delivery.await,
                    None => pending().await,
                }
            };
            tokio::select! {
                () = shutdown.cancelled(), if works => ends_at = Some(Instant::now() + END_WITHIN),
                () = sleep_until(ends_at.unwrap_or_else(Instant::now)), if !works => {}
                () = sleep_until(report_at), if works => {
                    report_at += REPORT_EVERY;
                    self.push_report().await;
                }
                () = sleep(due), if works => {
                    let after = self.schedule.after(Timestamp::now());
                    let skipped = (after - next) / i64::from(self.schedule.step) - 1;
                    Figures::add(&self.figures.skipped, u64::try_from(skipped).unwrap_or(0));
                    self.measure(next);
                    next = after.max(next + i64::from(self.schedule.step));
                }
                Some(message) = asked.next(), if works => self.answer(message).await,
                (delivery, outcome) = delivered => {
                    under_way = None;
                    retry = self.conclude(delivery, outcome, retry);
                }
            }
            if under_way.is_none() && !self.is_away() {
                let pause = if retry > RETRY_FIRST { retry } else { Duration::ZERO };
                under_way = self.outbox.next().map(|delivery| self.deliver(delivery, pause));
            }
        }
        Ok(())
    }

    fn is_away(&self) -> bool {
        self.host.is_away(Timestamp::now().millis() / 1_000)
    }

    async fn push_report(&mut self) {
        if self.is_away() {
            return;
        }
        let report = encode(&self.host.report(Timestamp::now(), self.outbox.len()));
        if let Err(error) = self.bus.publish(&Subject::Report(self.host.name.clone()), report).await {
            tracing::debug!(%error, "a simulated report was not sent");
        }
    }

    fn measure(&mut self, time: i64) {
        let (tick, drafts) = self.host.step(time, self.schedule.step, self.outbox.len());
        let name = &self.host.name;
        self.outbox.push_events(drafts.into_iter().map(|draft| draft.stamp(name, Timestamp::now())));
        Figures::add(&self.figures.made, 1);
        Figures::add(&self.figures.samples, tick.samples() as u64);
        Figures::add(&self.figures.waiting, 1);
        let dropped = self.outbox.push_tick(self.schedule.due(time), tick);
        self.drop_ticks(dropped);
    }

    fn drop_ticks(&self, dropped: u64) {
        Figures::add(&self.figures.dropped, dropped);
        self.figures.waiting.fetch_sub(dropped, Ordering::Relaxed);
    }

    fn deliver(&self, delivery: Delivery, pause: Duration) -> UnderWay {
        let (bus, subject) = (self.bus.clone(), Subject::Outbox(self.host.name.clone()));
        async move {
            sleep(pause).await;
            let (Delivery::Tick { batch, .. } | Delivery::Events { batch, .. }) = &delivery;
            let answer = bus.request(&subject, batch.clone(), ANSWER_WITHIN).await;
            let outcome = answer.and_then(|answer| decode(&answer));
            (delivery, outcome)
        }
        .boxed()
    }

    /// Takes in how a delivery ended; returns how long to wait after the next failure.
    fn conclude(
        &mut self,
        delivery: Delivery,
        outcome: Result<OutboxAck, BusError>,
        retry: Duration,
    ) -> Duration {
        match (outcome, delivery) {
            (Ok(ack), Delivery::Tick { due, .. }) => {
                let lag = Timestamp::now().since(Timestamp::from_millis(due));
                self.figures.acknowledge(lag);
                self.figures.waiting.fetch_sub(1, Ordering::Relaxed);
                Figures::add(&self.figures.refused, u64::from(ack.refused.is_some()));
                RETRY_FIRST
            }
            (Ok(ack), Delivery::Events { last, .. }) => {
                self.outbox.forget_events(ack.seq.min(last));
                RETRY_FIRST
            }
            (Err(error), delivery) => {
                tracing::debug!(%error, host = %self.host.name, "a simulated outbox waits");
                Figures::add(&self.figures.unanswered, 1);
                let dropped = self.outbox.put_back(delivery);
                self.drop_ticks(dropped);
                (retry * 2).min(RETRY_LAST)
            }
        }
    }

    async fn answer(&mut self, message: Incoming) {
        let Some(responder) = message.reply else { return };
        if self.is_away() {
            return;
        }
        let report = self.host.report(Timestamp::now(), self.outbox.len());
        let answer = match message.subject {
            Subject::List => encode(&report),
            _ => encode(&reply(&message.payload, report)),
        };
        if let Err(error) = responder.send(answer).await {
            tracing::debug!(%error, "a simulated answer was not sent");
        }
    }
}

fn reply(payload: &Bytes, report: crate::bus::HostReport) -> AgentReply {
    match decode::<AgentCommand>(payload) {
        Err(error) => AgentReply::Error(CommandError::Malformed { reason: error.to_string() }),
        Ok(AgentCommand::Report) => AgentReply::Report(Box::new(report)),
        Ok(AgentCommand::Disputed { .. } | AgentCommand::Fleet { .. }) => AgentReply::Done,
        Ok(_) => AgentReply::Error(CommandError::Refused {
            reason: "this host is simulated: there is nothing to restart, release or explain".to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn turns_are_spread_and_none_comes_twice() {
        let schedule = Schedule { step: 10, turn: Duration::from_millis(2_500) };
        let after = |millis| schedule.after(Timestamp::from_millis(millis));
        assert_eq!((after(100_000), after(102_499), after(102_500), after(112_499)), (100, 100, 110, 110));
        assert_eq!(schedule.due(110), 112_500);
    }
}
