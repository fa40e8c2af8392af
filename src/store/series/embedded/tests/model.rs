//! The store against a plain model in memory: whatever is written, in whatever order and however often, and however far
//! it is compacted, rolled up, forgotten and opened anew, the answers are the same.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

/// What the store has to know: the first value told of each moment of each series.
type Model = BTreeMap<(MetricSubject, SeriesName), BTreeMap<i64, f64>>;

fn tell(model: &mut Model, now: i64, HostTick { host, tick }: &HostTick) {
    if tick.time <= now - 7 * DAY || tick.time > now + HOUR {
        return;
    }
    let own = std::iter::once((None, &tick.host));
    for (container, values) in own.chain(tick.containers.iter().map(|(name, v)| (Some(name.clone()), v))) {
        for (name, value) in values {
            let subject = MetricSubject { host: host.clone(), container: container.clone() };
            let series = model.entry((subject, name.clone())).or_default();
            series.entry(tick.time).or_insert(*value);
        }
    }
}

fn same(a: f64, b: f64) -> bool {
    (a - b).abs() <= 2e-4 * a.abs().max(b.abs()).max(1e-9)
}

const NAMES: [&str; 3] = ["cpu_percent", "memory_bytes", "pids"];

#[derive(Debug, Clone)]
enum Step {
    /// A stretch of ticks: of a host, from some time before now, so many, so far apart; some left out, some said again.
    Write {
        host: u8,
        ago: i64,
        count: i64,
        every: i64,
        mask: u64,
        seed: u64,
    },
    Compact(usize),
    Age,
    Reopen,
    /// Time goes on.
    Pass(i64),
}

fn step() -> impl Strategy<Value = Step> {
    let ago = prop_oneof![0..2 * HOUR, 0..2 * DAY, 0..8 * DAY];
    let every = prop_oneof![Just(10_i64), Just(1), Just(7), Just(60)];
    prop_oneof![
        6 => (1_u8..3, ago, 1_i64..500, every, any::<u64>(), any::<u64>()).prop_map(
            |(host, ago, count, every, mask, seed)| Step::Write { host, ago, count, every, mask, seed }
        ),
        3 => (1_usize..20).prop_map(Step::Compact),
        2 => Just(Step::Age),
        1 => Just(Step::Reopen),
        2 => (0..10 * HOUR).prop_map(Step::Pass),
    ]
}

fn ticks(now: i64, step: &Step) -> Vec<HostTick> {
    let Step::Write { host, ago, count, every, mask, seed } = *step else { return Vec::new() };
    let mut state = seed;
    let mut random = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        state >> 33
    };
    let mut ticks = Vec::new();
    for n in 0..count {
        if mask.rotate_left((n % 64) as u32) % 4 == 0 {
            continue;
        }
        let time = (now - ago + n * every).div_euclid(every) * every;
        let value = |n: u64| match n % 3 {
            0 => (random() % 10_000) as f64 / 100.0,
            1 => (random() % 1_000_000) as f64 * 4096.0,
            _ => 7.0,
        };
        let mut value = value;
        let mut of = Vec::new();
        for subject in 0..3_u8 {
            for (at, name) in NAMES.iter().enumerate() {
                if mask >> (u64::from(subject) * 3 + at as u64) & 1 == 1 {
                    of.push((subject, *name, value(at as u64)));
                }
            }
        }
        ticks.push(tick(host, time, &of));
    }
    if seed & 1 == 1 {
        ticks.reverse();
    }
    if seed & 2 == 2 {
        let again = ticks.iter().step_by(3).cloned().collect::<Vec<_>>();
        ticks.extend(again);
    }
    ticks
}

/// Compares what the store says with the model, in whole minutes, since that is all that is left of old samples.
async fn check(rig: &Rig, model: &Model) {
    let now = rig.store.now();
    // What is just about to be forgotten may or may not be there.
    let from = (now - 7 * DAY + BLOCK).div_euclid(BLOCK) * BLOCK + BLOCK;
    for n in 0..6_u8 {
        let subject = subject(n % 2 + 1, n / 2);
        for (step, statistic) in [
            (60_i64, Statistic::Max),
            (600, Statistic::Mean),
            (HOUR, Statistic::Mean),
            (HOUR, Statistic::Max),
        ] {
            let (from, to) = if step == 60 {
                (now.div_euclid(60) * 60 - 8 * HOUR, now + HOUR)
            } else {
                (from, now + HOUR)
            };
            let from = from.div_euclid(step) * step;
            let query = RangeQuery {
                subject: subject.clone(),
                names: Vec::new(),
                from,
                to,
                step: step as u32,
                statistic,
            };
            let answer = rig.store.range(query).await.unwrap();
            assert!(answer.times.windows(2).all(|two| two[1] - two[0] == step));
            let mut expected: BTreeMap<SeriesName, Vec<Option<f64>>> = BTreeMap::new();
            for ((of, name), samples) in model {
                if *of != subject {
                    continue;
                }
                let point = |time: &i64| {
                    let of: Vec<f64> = samples.range(time - step + 1..=*time).map(|(_, v)| *v).collect();
                    match statistic {
                        _ if of.is_empty() => None,
                        Statistic::Mean => Some(of.iter().sum::<f64>() / of.len() as f64),
                        Statistic::Max => of.into_iter().reduce(f64::max),
                    }
                };
                let points: Vec<_> = answer.times.iter().map(point).collect();
                if points.iter().any(Option::is_some) {
                    expected.insert(name.clone(), points);
                }
            }
            let names =
                |series: &BTreeMap<SeriesName, Vec<Option<f64>>>| series.keys().cloned().collect::<Vec<_>>();
            assert_eq!(names(&answer.series), names(&expected), "{subject:?}");
            for (name, points) in &answer.series {
                for ((time, found), expected) in answer.times.iter().zip(points).zip(&expected[name]) {
                    let alike = match (found, expected) {
                        (Some(a), Some(b)) => same(*a, *b),
                        (None, None) => true,
                        _ => false,
                    };
                    assert!(
                        alike,
                        "{subject:?} {name} at now - {} s, {statistic:?} of {step} s: {found:?}, not {expected:?}",
                        now - time
                    );
                }
            }
        }
    }
    check_summaries(rig, model, now).await;
}

async fn check_summaries(rig: &Rig, model: &Model, now: i64) {
    let spans = [(now - 600, now), (now - 20 * HOUR, now - 300)];
    let asked = [
        (Subjects::Hosts, [1, 2].map(|n| subject(n, 0)).to_vec()),
        (Subjects::Containers, [(1, 1), (1, 2), (2, 1), (2, 2)].map(|(h, c)| subject(h, c)).to_vec()),
        (Subjects::ContainersOf(host(2)), [1, 2].map(|n| subject(2, n)).to_vec()),
    ];
    for ((from, to), (subjects, whose)) in
        spans.into_iter().flat_map(|span| asked.clone().map(|asked| (span, asked)))
    {
        let names = ["cpu_percent", "pids"].map(SeriesName::of);
        let query = SummaryQuery { subjects, names: names.to_vec(), from, to };
        let found = rig.store.summarize(query).await.unwrap();
        let mut expected = Vec::new();
        for ((subject, name), samples) in model {
            let all: Vec<f64> = samples.range(from + 1..=to).map(|(_, v)| *v).collect();
            if names.contains(name) && whose.contains(subject) && !all.is_empty() {
                let mean = all.iter().sum::<f64>() / all.len() as f64;
                let max = all.iter().copied().fold(f64::MIN, f64::max);
                let summary = Summary { mean, max, last: *all.last().unwrap() };
                expected.push(Summarized { subject: subject.clone(), name: name.clone(), summary });
            }
        }
        assert_eq!(found.len(), expected.len());
        for (found, expected) in found.iter().zip(&expected) {
            assert_eq!((&found.subject, &found.name), (&expected.subject, &expected.name));
            let (found, expected) = (found.summary, expected.summary);
            assert!(
                same(found.mean, expected.mean) && same(found.max, expected.max),
                "{found:?} {expected:?}"
            );
            assert!(same(found.last, expected.last), "{found:?} {expected:?}");
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, max_shrink_iters: 60, ..ProptestConfig::default() })]
    #[test]
    fn answers_are_those_of_a_plain_model(steps in proptest::collection::vec(step(), 1..14)) {
        fixture::block_on(async {
            let mut rig = Rig::new();
            let mut model = Model::new();
            for step in steps {
                match step {
                    Step::Write { .. } => {
                        let now = rig.store.now();
                        let ticks = ticks(now, &step);
                        ticks.iter().for_each(|tick| tell(&mut model, now, tick));
                        rig.write(ticks).await;
                    }
                    Step::Compact(count) => rig.compact(count).await,
                    Step::Age => rig.age().await,
                    Step::Reopen => rig.reopen().await,
                    Step::Pass(seconds) => drop(rig.clock.fetch_add(seconds, Ordering::Relaxed)),
                }
            }
            check(&rig, &model).await;
            rig.compact(usize::MAX).await;
            rig.age().await;
            check(&rig, &model).await;
            assert_eq!(rig.rows("metric_head").await, 0);
        });
    }
}
