//! The host: containers, and the cores they share.

use std::collections::BTreeMap;

use crate::scale::control::{Member, Micros, Phase};

/// A request at work.
#[derive(Debug, Clone, Copy)]
pub(super) struct Work {
    /// Its place in the plan's arrivals.
    pub(super) request: usize,
    /// When it was handed over, seconds.
    pub(super) begun_s: f64,
    /// What is left of it, seconds alone.
    left_s: f64,
}

#[derive(Debug, Clone, Copy)]
enum Container {
    Starting { ordered_s: f64, ready_s: f64 },
    Idle { since_s: f64 },
    Busy(Work),
    Draining { work: Work, since_s: f64 },
}

/// Cores, and containers by number. Requests at work share the cores that others leave, each using up to its own share.
#[derive(Debug)]
pub(super) struct Host {
    containers: BTreeMap<u32, Container>,
    next: u32,
    pub(super) now_s: f64,
    free_cores: f64,
    share: f64,
    /// CPU seconds, request-seconds at work and container-seconds until now.
    pub(super) cpu_s: f64,
    pub(super) in_service_s: f64,
    pub(super) container_s: f64,
}

/// What happens next by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Due {
    Done(u32),
    Ready(u32),
}

impl Host {
    /// With `ready` containers, idle.
    pub(super) fn new(ready: u32, free_cores: f64, share: f64) -> Self {
        Self {
            containers: (0..ready).map(|id| (id, Container::Idle { since_s: 0.0 })).collect(),
            next: ready,
            now_s: 0.0,
            free_cores,
            share,
            cpu_s: 0.0,
            in_service_s: 0.0,
            container_s: 0.0,
        }
    }

    fn works(&self) -> impl Iterator<Item = (u32, &Work)> {
        self.containers.iter().filter_map(|(id, container)| match container {
            Container::Busy(work) | Container::Draining { work, .. } => Some((*id, work)),
            _ => None,
        })
    }

    /// How fast each request goes on, from above 0 to 1.
    fn pace(&self) -> f64 {
        let busy = self.works().count() as f64;
        if busy > 0.0 { (self.free_cores / (self.share * busy)).min(1.0) } else { 1.0 }
    }

    /// What happens next, and when, seconds; a request that ends goes before a container that becomes ready.
    pub(super) fn due(&self) -> Option<(f64, Due)> {
        let pace = self.pace();
        let done = self.works().min_by(|a, b| a.1.left_s.total_cmp(&b.1.left_s));
        let done = done.map(|(id, work)| (self.now_s + work.left_s.max(0.0) / pace, Due::Done(id)));
        let ready = self.containers.iter().filter_map(|(id, container)| match container {
            Container::Starting { ready_s, .. } => Some((*ready_s, Due::Ready(*id))),
            _ => None,
        });
        done.into_iter().chain(ready).min_by(|a, b| a.0.total_cmp(&b.0))
    }

    /// Lets time go on.
    pub(super) fn advance(&mut self, to_s: f64) {
        let span = to_s - self.now_s;
        if span <= 0.0 {
            return;
        }
        let (pace, busy) = (self.pace(), self.works().count() as f64);
        for container in self.containers.values_mut() {
            if let Container::Busy(work) | Container::Draining { work, .. } = container {
                work.left_s -= pace * span;
            }
        }
        self.cpu_s += self.share * pace * span * busy;
        self.in_service_s += span * busy;
        self.container_s += span * self.containers.len() as f64;
        self.now_s = to_s;
    }

    /// The request that container `id` worked on has ended; the container is idle, or gone if it drained.
    pub(super) fn done(&mut self, id: u32) -> Option<Work> {
        match self.containers.get(&id).copied()? {
            Container::Busy(work) => {
                self.containers.insert(id, Container::Idle { since_s: self.now_s });
                Some(work)
            }
            Container::Draining { work, .. } => {
                self.containers.remove(&id);
                Some(work)
            }
            _ => None,
        }
    }

    /// Container `id` takes requests from now on; says how long it took, seconds.
    pub(super) fn ready(&mut self, id: u32) -> Option<f64> {
        let Some(Container::Starting { ordered_s, .. }) = self.containers.get(&id).copied() else {
            return None;
        };
        self.containers.insert(id, Container::Idle { since_s: self.now_s });
        Some(self.now_s - ordered_s)
    }

    /// Hands a request to the container that is idle longest; false when none is.
    pub(super) fn dispatch(&mut self, request: usize, service_s: f64) -> bool {
        let idle = self.containers.iter().filter_map(|(id, container)| match container {
            Container::Idle { since_s } => Some((*since_s, *id)),
            _ => None,
        });
        let Some((_, id)) = idle.min_by(|a, b| a.0.total_cmp(&b.0)) else { return false };
        let work = Work { request, begun_s: self.now_s, left_s: service_s };
        self.containers.insert(id, Container::Busy(work));
        true
    }

    /// Orders one more, ready after `boot_s`.
    pub(super) fn start(&mut self, boot_s: f64) {
        let container = Container::Starting { ordered_s: self.now_s, ready_s: self.now_s + boot_s };
        self.containers.insert(self.next, container);
        self.next += 1;
    }

    /// Removes one that has no request.
    pub(super) fn remove(&mut self, id: u32) {
        self.containers.remove(&id);
    }

    /// Container `id` drains from now on, or does no longer.
    pub(super) fn turn_drain(&mut self, id: u32) {
        if let Some(container) = self.containers.get_mut(&id) {
            *container = match *container {
                Container::Busy(work) => Container::Draining { work, since_s: self.now_s },
                Container::Draining { work, .. } => Container::Busy(work),
                other => other,
            };
        }
    }

    /// How many are in `phase`.
    pub(super) fn count(&self, phase: Phase) -> u32 {
        let count = self.members().iter().filter(|member| member.phase == phase).count();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// For each that starts: how long ago it was ordered, seconds.
    pub(super) fn starting(&self) -> Vec<f64> {
        let ages = self.containers.values().filter_map(|container| match container {
            Container::Starting { ordered_s, .. } => Some(self.now_s - ordered_s),
            _ => None,
        });
        ages.collect()
    }

    /// All of them.
    pub(super) fn members(&self) -> Vec<Member<u32>> {
        let member = |(id, container): (&u32, &Container)| {
            let (phase, since_s) = match container {
                Container::Starting { ordered_s, .. } => (Phase::Starting, *ordered_s),
                Container::Idle { since_s } => (Phase::Idle, *since_s),
                Container::Busy(work) => (Phase::Busy, work.begun_s),
                Container::Draining { since_s, .. } => (Phase::Draining, *since_s),
            };
            Member { id: *id, phase, since: Micros::from_seconds(since_s) }
        };
        self.containers.iter().map(member).collect()
    }
}
