//! A scripted [`Pinger`] for tests of what uses one: answers come at once, nothing sleeps, no packet is sent.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Mutex;
use std::time::Duration;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{PingError, Pinger, ProbeOutcome, ProbePlan};
use crate::model::LossPercent;

/// What becomes of the probes to one address.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LossSpec {
    /// So many percent of each check's probes are lost, rounded to whole probes.
    Lost(LossPercent),
    /// The next checks find these losses, one each; the last one stays.
    Script(Vec<LossPercent>),
    /// No probe counts, as when the agent is starved.
    Void,
}

impl LossSpec {
    /// Every probe is lost.
    pub(crate) const ALL: Self = Self::Lost(LossPercent::ALL);
    /// No probe is lost.
    pub(crate) const NONE: Self = Self::Lost(LossPercent::NONE);
}

/// A pinger whose network is a table. Addresses it was told nothing of answer every probe.
#[derive(Debug, Default)]
pub(crate) struct FakePinger {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    losses: HashMap<IpAddr, LossSpec>,
    failure: Option<PingError>,
    calls: Vec<(Vec<IpAddr>, ProbePlan)>,
}

impl FakePinger {
    /// The round trip of every answer.
    pub(crate) const RTT: Duration = Duration::from_micros(50);

    /// A network where everything answers.
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// From now on, probes to `address` fare as `loss` says.
    pub(crate) fn set_loss(&self, address: IpAddr, loss: LossSpec) {
        self.lock().losses.insert(address, loss);
    }

    /// From now on every call fails with `failure`; `None` ends that.
    pub(crate) fn set_failure(&self, failure: Option<PingError>) {
        self.lock().failure = failure;
    }

    /// What was asked so far, in order.
    pub(crate) fn calls(&self) -> Vec<(Vec<IpAddr>, ProbePlan)> {
        self.lock().calls.clone()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().expect("no test panics while it holds the table")
    }
}

impl State {
    /// The loss the next check of `address` finds; `None` when no probe counts.
    fn next_loss(&mut self, address: IpAddr) -> Option<LossPercent> {
        match self.losses.get_mut(&address) {
            None => Some(LossPercent::NONE),
            Some(LossSpec::Lost(loss)) => Some(*loss),
            Some(LossSpec::Script(losses)) if losses.len() > 1 => Some(losses.remove(0)),
            Some(LossSpec::Script(losses)) => Some(losses.first().copied().unwrap_or(LossPercent::NONE)),
            Some(LossSpec::Void) => None,
        }
    }
}

#[async_trait]
impl Pinger for FakePinger {
    async fn probe(&self, addresses: &[IpAddr], plan: ProbePlan) -> Result<Vec<ProbeOutcome>, PingError> {
        let mut state = self.lock();
        state.calls.push((addresses.to_vec(), plan));
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        let outcome = |&address: &IpAddr| {
            let Some(loss) = state.next_loss(address) else {
                return ProbeOutcome { address, sent: 0, received: 0, void: plan.count, rtts: Vec::new() };
            };
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "0 to 100 % of a u32"
            )]
            let missing = (f64::from(plan.count) * loss.percent() / 100.0).round() as u32;
            let received = plan.count - missing;
            let rtts = vec![Self::RTT; received as usize];
            ProbeOutcome { address, sent: plan.count, received, void: 0, rtts }
        };
        Ok(addresses.iter().map(outcome).collect())
    }

    async fn probe_each(
        &self,
        addresses: &[IpAddr],
        plan: ProbePlan,
        outcomes: mpsc::Sender<ProbeOutcome>,
    ) -> Result<(), PingError> {
        for outcome in self.probe(addresses, plan).await? {
            outcomes.send(outcome).await.expect("somebody waits for it");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn losses_follow_the_table_and_the_script() {
        let [quiet, half, scripted, starved] = [1, 2, 3, 4].map(|last| IpAddr::from([10, 0, 0, last]));
        let percent = |p| LossPercent::new(p).unwrap();
        let fake = FakePinger::new();
        fake.set_loss(half, LossSpec::Lost(percent(40.0)));
        fake.set_loss(scripted, LossSpec::Script(vec![LossPercent::ALL, LossPercent::NONE]));
        fake.set_loss(starved, LossSpec::Void);
        let plan = ProbePlan {
            count: 5,
            spacing: Duration::from_millis(100),
            timeout: Duration::from_secs(1),
            threshold: None,
        };
        let all = [quiet, half, scripted, starved];
        for scripted_answers in [0, 5, 5] {
            let outcomes = fake.probe(&all, plan).await.unwrap();
            let received: Vec<u32> = outcomes.iter().map(|o| o.received).collect();
            assert_eq!(received, [5, 3, scripted_answers, 0]);
            assert_eq!((outcomes[3].sent, outcomes[3].void), (0, 5));
        }
        assert_eq!(fake.calls().len(), 3);
        fake.set_failure(Some(PingError::Io("gone".into())));
        assert!(fake.probe(&all, plan).await.is_err());
        fake.set_loss(half, LossSpec::NONE);
        fake.set_failure(None);
        assert_eq!(fake.probe(&[half], plan).await.unwrap()[0].received, 5);
        fake.set_loss(half, LossSpec::ALL);
        assert_eq!(fake.probe(&[half], plan).await.unwrap()[0].received, 0);
    }
}
