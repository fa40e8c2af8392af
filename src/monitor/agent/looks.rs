//! Looks at containers, several at the same time, so that one whose facts hang keeps no other waiting. What concerns one
//! container stays in order: each has a line of steps, and only the first of each line is under way.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::time::timeout;

use crate::docker::{ContainerSource, EngineError};
use crate::model::{ContainerFacts, ContainerId};
use crate::monitor::decide::Input;

/// How long the engine may take to tell one container's facts.
const LOOK_WITHIN: Duration = Duration::from_secs(3);
/// Containers looked at at the same time, at most; further ones wait their turn.
const AT_ONCE: usize = 8;
/// Steps that wait in all lines, at most. Beyond that nothing more should be taken in: it waits where it comes from.
const ROOM: usize = 1024;

/// One thing to do for a container.
#[derive(Debug)]
pub(super) enum Step {
    /// Tell the owner this.
    Tell(Input),
    /// Look at it, and tell this after what was seen.
    Look(Option<Input>),
}

/// What a look came to.
pub(super) struct Seen {
    pub(super) id: ContainerId,
    pub(super) facts: Result<ContainerFacts, EngineError>,
    /// What is to be told after that.
    pub(super) then: Option<Input>,
}

type Looking = BoxFuture<'static, (ContainerId, Result<ContainerFacts, EngineError>)>;

/// The containers that are looked at.
pub(super) struct Looks {
    source: Arc<dyn ContainerSource>,
    /// By container; each begins with the look that is under way, or has its turn next.
    lines: BTreeMap<ContainerId, VecDeque<Step>>,
    /// How many steps there are in all lines.
    steps: usize,
    ready: VecDeque<ContainerId>,
    under_way: FuturesUnordered<Looking>,
}

impl Looks {
    pub(super) fn new(source: Arc<dyn ContainerSource>) -> Self {
        Self {
            source,
            lines: BTreeMap::new(),
            steps: 0,
            ready: VecDeque::new(),
            under_way: FuturesUnordered::new(),
        }
    }

    /// Whether more steps should be taken in.
    pub(super) fn has_room(&self) -> bool {
        self.steps < ROOM
    }

    /// Adds a step; gives back what can be told at once, as nothing of that container comes before it.
    pub(super) fn add(&mut self, id: ContainerId, step: Step) -> Option<Input> {
        match (self.lines.get_mut(&id), step) {
            (None, Step::Tell(input)) => return Some(input),
            (None, look) => {
                self.lines.insert(id.clone(), VecDeque::from([look]));
                self.ready.push_back(id);
            }
            // The look before it has not begun, and will see what this one would.
            (Some(line), Step::Look(None))
                if line.len() > 1 && matches!(line.back(), Some(Step::Look(_))) =>
            {
                return None;
            }
            (Some(line), step) => line.push_back(step),
        }
        self.steps += 1;
        self.begin();
        None
    }

    fn begin(&mut self) {
        while self.under_way.len() < AT_ONCE
            && let Some(id) = self.ready.pop_front()
        {
            let source = self.source.clone();
            self.under_way.push(Box::pin(async move {
                let late = || EngineError::TimedOut(LOOK_WITHIN, "inspect".to_owned());
                let facts = timeout(LOOK_WITHIN, source.inspect(id.as_str())).await;
                (id, facts.unwrap_or_else(|_| Err(late())))
            }));
        }
    }

    /// The next look that is through; `None` when none is under way. [`Looks::after`] must follow. May be dropped at any
    /// moment.
    pub(super) async fn next(&mut self) -> Option<Seen> {
        let (id, facts) = self.under_way.next().await?;
        let then = match self.lines.get_mut(&id).and_then(VecDeque::pop_front) {
            Some(Step::Look(then)) => then,
            _ => None,
        };
        self.steps -= 1;
        Some(Seen { id, facts, then })
    }

    /// What is to be told of a container after what was seen of it, up to the next look at it.
    pub(super) fn after(&mut self, id: &ContainerId) -> Vec<Input> {
        let mut told = Vec::new();
        let Some(line) = self.lines.get_mut(id) else { return told };
        while let Some(Step::Tell(_)) = line.front() {
            if let Some(Step::Tell(input)) = line.pop_front() {
                told.push(input);
            }
        }
        self.steps -= told.len();
        if line.is_empty() {
            self.lines.remove(id);
        } else {
            self.ready.push_back(id.clone());
        }
        self.begin();
        told
    }

    /// Gives every look up; the steps that are left, in order.
    pub(super) fn give_up(&mut self) -> Vec<(ContainerId, Step)> {
        self.under_way.clear();
        self.ready.clear();
        self.steps = 0;
        let lines = std::mem::take(&mut self.lines);
        lines
            .into_iter()
            .flat_map(|(id, line)| line.into_iter().map(move |step| (id.clone(), step)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::time::Instant;

    use super::*;
    use crate::docker::fake::{Behaviour, FakeEngine, Op};
    use crate::model::{RunState, Timestamp};
    use crate::monitor::decide::{Sign, SignKind};

    fn died(id: &ContainerId) -> Input {
        Input::Told(Sign { id: id.clone(), time: Timestamp::from_millis(0), kind: SignKind::Died })
    }

    /// Everything that comes of the looks: the second, the container, and what.
    async fn all(looks: &mut Looks) -> Vec<(u64, ContainerId, String)> {
        let (begun, mut told) = (Instant::now(), Vec::new());
        while let Some(Seen { id, facts, then }) = looks.next().await {
            let second = begun.elapsed().as_secs();
            let state = match facts {
                Ok(facts) => facts.state.as_str().to_owned(),
                Err(error) => error.to_string(),
            };
            told.push((second, id.clone(), state));
            for input in then.into_iter().chain(looks.after(&id)) {
                let what = match input {
                    Input::Told(_) => "died",
                    Input::Looked(_) => "looked",
                    _ => "other",
                };
                told.push((second, id.clone(), what.to_owned()));
            }
        }
        told
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_hangs_keeps_no_other_waiting() {
        let engine = FakeEngine::new();
        let ids = ["a", "b", "c"].map(|name| engine.run(name, &json!({})));
        engine.next(Op::Inspect, Behaviour::Hang);
        let mut looks = Looks::new(Arc::new(engine));
        for id in &ids {
            assert_eq!(looks.add(id.clone(), Step::Look(None)), None);
        }
        let told = all(&mut looks).await;
        let seen: Vec<_> = told.iter().map(|(second, id, what)| (*second, id, what.as_str())).collect();
        assert_eq!(seen[..2], [(0, &ids[1], "running"), (0, &ids[2], "running")]);
        assert!(
            matches!(&seen[2..], [(3, id, what)] if *id == &ids[0] && what.contains("inspect")),
            "{seen:?}"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_concerns_one_container_stays_in_order() {
        let engine = FakeEngine::new();
        let id = engine.run("a", &json!({}));
        let mut looks = Looks::new(Arc::new(engine.clone()));
        assert_eq!(looks.add(id.clone(), Step::Tell(died(&id))), Some(died(&id)), "nothing comes before it");
        engine.next(Op::Inspect, Behaviour::Slow(Duration::from_secs(1)));
        engine.next(Op::Inspect, Behaviour::Slow(Duration::from_secs(1)));
        for step in [
            Step::Look(None),
            Step::Look(Some(Input::Looked(id.clone()))),
            Step::Look(None),
            Step::Tell(died(&id)),
            Step::Look(None),
            Step::Look(None),
        ] {
            assert_eq!(looks.add(id.clone(), step), None);
        }
        let told = all(&mut looks).await;
        let told: Vec<_> = told.iter().map(|(second, _, what)| (*second, what.as_str())).collect();
        let (running, looked) = (RunState::Running.as_str(), "looked");
        assert_eq!(told, [(1, running), (2, running), (2, looked), (2, "died"), (2, running)]);
        assert!(looks.lines.is_empty() && looks.steps == 0);
    }

    #[tokio::test(start_paused = true)]
    async fn only_so_many_are_looked_at_at_once_and_so_many_steps_wait() {
        let engine = FakeEngine::new();
        let mut looks = Looks::new(Arc::new(engine.clone()));
        for n in 0..=AT_ONCE {
            engine.next(Op::Inspect, Behaviour::Slow(Duration::from_secs(1)));
            let id = engine.run(&format!("c{n}"), &json!({}));
            looks.add(id, Step::Look(None));
        }
        let seconds: Vec<_> = all(&mut looks).await.into_iter().map(|(second, ..)| second).collect();
        assert_eq!(seconds, [vec![1; AT_ONCE], vec![2]].concat());

        let id = engine.run("busy", &json!({}));
        looks.add(id.clone(), Step::Look(None));
        while looks.has_room() {
            assert_eq!(looks.add(id.clone(), Step::Tell(died(&id))), None);
        }
        assert_eq!(looks.give_up().len(), ROOM);
        assert!(looks.has_room() && looks.next().await.is_none());
    }
}
