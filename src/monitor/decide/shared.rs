//! The breaker: when much of what shares something loses packets at once, that is to blame and not its containers.
//!
//! Of all that could be to blame the best fit is: what most of the failing containers have and few of the others, by
//! the harmonic mean of both shares (F1). What it does not explain is tried again, so each failing container counts for
//! one cause, and one incident names it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::model::Mono;

/// A common image, project or host only suggests a common cause; a guess that nothing bears out for so long no longer
/// keeps anyone from being healed. Networks have no such end: a restart does not mend a bridge.
const GUESS_HOLDS: Duration = Duration::from_mins(10);

/// What containers share. Where two fit alike, the first of this order is named.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Shared {
    /// A network, by its name.
    Network(String),
    /// A compose project.
    Project(String),
    /// An image.
    Image(String),
    /// This host.
    Host,
}

impl Shared {
    /// The word for its kind, for programs.
    pub(super) fn kind(&self) -> &'static str {
        match self {
            Self::Network(_) => "network",
            Self::Project(_) => "project",
            Self::Image(_) => "image",
            Self::Host => "host",
        }
    }

    /// Its name; a host's is told beside.
    pub(super) fn name(&self) -> Option<&str> {
        match self {
            Self::Network(name) | Self::Project(name) | Self::Image(name) => Some(name),
            Self::Host => None,
        }
    }

    fn patience(&self) -> Option<Duration> {
        (!matches!(self, Self::Network(_))).then_some(GUESS_HOLDS)
    }
}

impl fmt::Display for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Network(name) => write!(f, "network {name}"),
            Self::Project(name) => write!(f, "compose project {name}"),
            Self::Image(name) => write!(f, "image {name}"),
            Self::Host => f.write_str("this host"),
        }
    }
}

/// One container of a sweep: all that it shares, each with whether it fails there.
pub(super) type Member = BTreeMap<Shared, bool>;

/// How one sweep found what is shared.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Containers with an address that has answered before.
    pub(super) pingable: u32,
    /// Those of them that failed.
    pub(super) failing: u32,
}

impl Tally {
    fn add(&mut self, failing: bool) {
        self.pingable += 1;
        self.failing += u32::from(failing);
    }

    /// At least three containers, and at least half of the pingable ones.
    fn is_broken(self) -> bool {
        self.failing >= 3 && self.failing * 2 >= self.pingable
    }

    /// Most of it answers again; one container that still fails among others is a trouble of its own.
    fn is_well(self) -> bool {
        self.failing * 2 < self.pingable || (self.failing <= 1 && self.pingable >= 2)
    }
}

/// A breaker opened or closed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum BreakerChange {
    /// Loss-healing of what shares it waits.
    Opened(Shared, Tally),
    /// It goes on: that is well again, or nothing of it is monitored any more.
    Closed(Shared),
    /// It goes on although it fails still.
    GivenUp(Shared),
}

/// Which breakers are open.
#[derive(Debug, Clone, Default)]
pub(super) struct Breaker {
    /// Since when, and the last broken tally.
    open: BTreeMap<Shared, (Mono, Tally)>,
    /// Those that were open for too long, until they have been well.
    given_up: BTreeSet<Shared>,
}

impl Breaker {
    /// The first open breaker among `shared`.
    pub(super) fn open_among<'a>(&self, mut shared: impl Iterator<Item = &'a Shared>) -> Option<&'a Shared> {
        shared.find(|shared| self.open.contains_key(shared))
    }

    /// Every open breaker with its tally.
    pub(super) fn open(&self) -> impl Iterator<Item = (&Shared, Tally)> {
        self.open.iter().map(|(shared, (_, tally))| (shared, *tally))
    }

    /// When the next guess is given up.
    pub(super) fn wake_at(&self) -> Option<Mono> {
        self.open.iter().filter_map(|(shared, (since, _))| Some(*since + shared.patience()?)).min()
    }

    /// Gives up the guesses whose time is over.
    pub(super) fn expire(&mut self, now: Mono) -> Vec<BreakerChange> {
        let over =
            |shared: &Shared, since: Mono| shared.patience().is_some_and(|patience| since + patience <= now);
        let gone: Vec<Shared> =
            self.open.iter().filter(|(s, (since, _))| over(s, *since)).map(|(s, _)| s.clone()).collect();
        for shared in &gone {
            self.open.remove(shared);
            self.given_up.insert(shared.clone());
        }
        gone.into_iter().map(BreakerChange::GivenUp).collect()
    }

    /// Judges one sweep. What the sweep says nothing of stays as it was, since silence is no evidence, unless nothing of
    /// it is `monitored` any more.
    pub(super) fn judge(
        &mut self,
        sweep: &[Member],
        monitored: &BTreeSet<Shared>,
        now: Mono,
    ) -> Vec<BreakerChange> {
        let mut tallies = BTreeMap::<&Shared, Tally>::new();
        for (shared, failing) in sweep.iter().flatten() {
            tallies.entry(shared).or_default().add(*failing);
        }
        let stays = |shared: &Shared| match tallies.get(shared) {
            Some(tally) => !tally.is_well(),
            None => monitored.contains(shared),
        };
        self.given_up.retain(|shared| stays(shared));
        let mut changes = Vec::new();
        self.open.retain(|shared, (_, known)| {
            if let Some(tally) = tallies.get(shared).filter(|tally| tally.is_broken()) {
                *known = *tally;
            }
            let stays = stays(shared);
            if !stays {
                changes.push(BreakerChange::Closed(shared.clone()));
            }
            stays
        });
        let fails_at = |member: &Member, shared: &Shared| member.get(shared) == Some(&true);
        let mut unexplained: Vec<&Member> = sweep
            .iter()
            .filter(|member| member.values().any(|failing| *failing))
            .filter(|member| !self.open.keys().any(|shared| fails_at(member, shared)))
            .collect();
        loop {
            let candidates = tallies.iter().filter(|(shared, tally)| {
                tally.is_broken() && !self.open.contains_key(**shared) && !self.given_up.contains(**shared)
            });
            let fits = candidates.filter_map(|(shared, tally)| {
                let explained = unexplained.iter().filter(|member| fails_at(member, shared)).count() as u64;
                let size = u64::from(tally.pingable) + unexplained.len() as u64;
                (explained >= 3).then_some((*shared, *tally, explained, size))
            });
            // By a / (b + c), compared without division; of equals the first.
            let best = fits.reduce(|best, next| if next.2 * best.3 > best.2 * next.3 { next } else { best });
            let Some((shared, tally, ..)) = best else { break };
            self.open.insert(shared.clone(), (now, tally));
            changes.push(BreakerChange::Opened(shared.clone(), tally));
            unexplained.retain(|member| !fails_at(member, shared));
        }
        changes
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn net(name: &str) -> Shared {
        Shared::Network(name.into())
    }

    fn member(shared: &[Shared], failing: bool) -> Member {
        shared.iter().map(|shared| (shared.clone(), failing)).collect()
    }

    /// A sweep of one network.
    fn judge(breaker: &mut Breaker, pingable: u32, failing: u32) -> Vec<BreakerChange> {
        let sweep: Vec<_> = (0..pingable).map(|n| member(&[net("net")], n < failing)).collect();
        breaker.judge(&sweep, &BTreeSet::from([net("net")]), Mono(0))
    }

    #[test]
    fn opens_at_three_and_half_and_closes_below() {
        let mut breaker = Breaker::default();
        assert!(judge(&mut breaker, 2, 2).is_empty(), "two containers are no network");
        assert!(judge(&mut breaker, 7, 3).is_empty(), "three of seven are less than half");
        assert_eq!(judge(&mut breaker, 6, 3).len(), 1);
        assert!(breaker.open_among([&net("net")].into_iter()).is_some());
        assert!(breaker.open_among([&net("other")].into_iter()).is_none());
        assert!(judge(&mut breaker, 6, 6).is_empty(), "it says so once");
        assert_eq!(judge(&mut breaker, 6, 2), [BreakerChange::Closed(net("net"))]);
    }

    #[test]
    fn silence_closes_nothing_but_the_end_of_monitoring_does() {
        let mut breaker = Breaker::default();
        judge(&mut breaker, 3, 3);
        assert!(judge(&mut breaker, 2, 2).is_empty(), "one of them went down, and the network is no better");
        assert!(breaker.judge(&[], &BTreeSet::from([net("net")]), Mono(0)).is_empty());
        assert_eq!(breaker.judge(&[], &BTreeSet::new(), Mono(0)).len(), 1);
        judge(&mut breaker, 3, 3);
        assert_eq!(judge(&mut breaker, 2, 1).len(), 1, "one that still fails is a trouble of its own");
    }

    #[test]
    fn the_best_fit_is_named_and_nothing_beside_it() {
        let (front, back) = (net("front"), net("back"));
        let (shop, nginx) = (Shared::Project("shop".into()), Shared::Image("nginx".into()));
        let opened = |sweep: &[Member]| {
            let changes = Breaker::default().judge(sweep, &BTreeSet::new(), Mono(0));
            changes.into_iter().map(|change| match change {
                BreakerChange::Opened(shared, _) => shared,
                other => panic!("{other:?}"),
            })
        };
        let of = |causes: &[&Shared], failing, count: usize| {
            let causes: Vec<Shared> = causes.iter().copied().cloned().chain([Shared::Host]).collect();
            vec![member(&causes, failing); count]
        };
        for (what, sweep, named) in [
            ("all that is on one network", of(&[&front, &shop, &nginx], true, 4), vec![&front]),
            (
                "a project among others of its network",
                [of(&[&front, &shop], true, 3), of(&[&front], false, 4)].concat(),
                vec![&shop],
            ),
            (
                "an image in several networks",
                [
                    of(&[&front, &nginx], true, 2),
                    of(&[&back, &nginx], true, 1),
                    of(&[&front, &back], false, 4),
                ]
                .concat(),
                vec![&nginx],
            ),
            ("everything", [of(&[&front], true, 3), of(&[&back], true, 3)].concat(), vec![&Shared::Host]),
            (
                "two networks of three",
                [of(&[&front], true, 4), of(&[&back], true, 3), of(&[&net("well")], false, 9)].concat(),
                vec![&front, &back],
            ),
            ("two containers", of(&[&front, &shop], true, 2), vec![]),
        ] {
            assert_eq!(opened(&sweep).collect::<Vec<_>>().iter().collect::<Vec<_>>(), named, "{what}");
        }
    }

    #[test]
    fn a_guess_is_given_up_in_time_and_not_made_again_before_it_was_well() {
        let mut breaker = Breaker::default();
        let shop = Shared::Project("shop".into());
        let sweep = |failing| vec![member(std::slice::from_ref(&shop), failing); 3];
        let all = BTreeSet::from([shop.clone()]);
        assert_eq!(breaker.judge(&sweep(true), &all, Mono(0)).len(), 1);
        assert_eq!(breaker.wake_at(), Some(Mono(600_000)));
        assert!(breaker.expire(Mono(599_999)).is_empty());
        assert_eq!(breaker.expire(Mono(600_000)), [BreakerChange::GivenUp(shop.clone())]);
        assert!(breaker.judge(&sweep(true), &all, Mono(610_000)).is_empty());
        breaker.judge(&sweep(false), &all, Mono(620_000));
        assert_eq!(breaker.judge(&sweep(true), &all, Mono(630_000)).len(), 1);
    }

    proptest! {
        #[test]
        fn what_opens_has_three_that_fail_and_explains_each_once(
            members in proptest::collection::vec((0_u8..4, 0_u8..3, 0_u8..3, any::<bool>()), 0..30),
        ) {
            let sweep: Vec<Member> = members
                .iter()
                .map(|(network, project, image, failing)| {
                    let all = [
                        net(&network.to_string()),
                        Shared::Project(project.to_string()),
                        Shared::Image(image.to_string()),
                        Shared::Host,
                    ];
                    member(&all, *failing)
                })
                .collect();
            let failing = members.iter().filter(|(.., failing)| *failing).count();
            let mut breaker = Breaker::default();
            let opened = breaker.judge(&sweep, &BTreeSet::new(), Mono(0)).len();
            prop_assert!(opened * 3 <= failing, "{opened} causes for {failing} containers");
            prop_assert!(breaker.judge(&sweep, &BTreeSet::new(), Mono(1)).is_empty(), "it is said once");
            let well: Vec<Member> = sweep.iter().map(|m| m.keys().map(|s| (s.clone(), false)).collect()).collect();
            breaker.judge(&well, &BTreeSet::new(), Mono(2));
            prop_assert_eq!(breaker.open().count(), 0);
        }
    }
}
