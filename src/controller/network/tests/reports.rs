//! Whose reports count, when, and how many.

use super::*;

#[test]
fn only_the_process_that_reports_speaks_for_its_host_and_once() {
    let mut world = World::new(&TWO);
    let fleet = world.view();
    let good = world.report("a", two(0, 1, 1)[0].clone());
    let refused =
        |state: &mut NetworkState, report: NetworkReport| state.hear(report, &fleet, now(10)).unwrap_err();
    let stranger = NetworkReport { nonce: uuid::Uuid::from_u128(99), ..good.clone() };
    assert!(refused(&mut world.state, stranger).contains("nonce"));
    let unknown = NetworkReport { host: "x".parse().unwrap(), ..good.clone() };
    assert!(refused(&mut world.state, unknown).contains("nonce"));
    let mut long = good.clone();
    long.interval.drops =
        vec![
            Drops { container: None, reason: String::new(), from: None, to: None, packets: 1 };
            Interval::MAX_ROWS + 1
        ];
    assert!(refused(&mut world.state, long).contains("4097 rows"));
    let mut endless = good.clone();
    endless.interval.start = Timestamp::from_millis(0);
    assert!(refused(&mut world.state, endless).contains("10 min"));
    world.state.hear(good.clone(), &fleet, now(10)).unwrap();
    assert!(refused(&mut world.state, good.clone()).contains("twice"));
    let later = NetworkReport { seq: good.seq + 3, interval: two(1, 1, 1)[0].clone(), ..good };
    world.state.hear(later, &fleet, now(20)).unwrap();
    assert_eq!(world.state.view().hosts.values().next().unwrap().missed, 2);
}

#[test]
fn a_host_whose_clock_is_off_counts_now_and_is_compared_with_nobody() {
    let mut world = World::new(&TWO);
    let [a, mut b] = two(0, 100, 80);
    for time in [&mut b.start, &mut b.end] {
        *time = Timestamp::from_millis(time.millis() - 600_000);
    }
    world.hear("a", a);
    world.hear_at("b", b, now(11));
    world.settle(20);
    let view = world.state.view();
    let near = view.windows.sum(START, START + 20);
    assert_eq!(near.covered.len(), 2, "{near:?}");
    assert!(near.pairs.values().all(|pair| pair.total().both.is_none()));
}

#[test]
fn a_new_process_of_an_agent_goes_on_where_the_old_one_ended() {
    let mut world = World::new(&TWO);
    let [a, b] = two(0, 100, 100);
    world.hear("a", a);
    world.hear("b", b);
    let name: HostName = "b".parse().unwrap();
    let mut report = (**world.view()[&name].report.as_ref().unwrap()).clone();
    report.nonce = uuid::Uuid::from_u128(77);
    world.fleet.feed(Arc::new(report), now(12)).unwrap();
    world.seqs.remove(&name);
    let [a, b] = two(1, 100, 50);
    world.hear("a", a);
    world.hear("b", b);
    assert_eq!(world.edge("a/web", "b/db").unwrap().loss_percent, Some(25.0));
    assert_eq!(world.state.view().hosts[&name].missed, 0);
}

#[test]
fn peers_outside_are_told_apart_up_to_a_bound() {
    let mut world = World::new(&TWO[..1]);
    let mut a = interval(0, &[("web", "10.9.0.2")]);
    for n in 1..=100_u8 {
        a.flows.push(flow("web", at(&format!("203.0.113.{n}")), n.into(), 0));
    }
    world.hear("a", a);
    let all = world.all();
    assert_eq!(all.pairs.len(), 2 * 33);
    let sum: u64 =
        all.pairs.values().filter_map(|pair| pair.total().sent).map(|sent| sent.packets.unwrap()).sum();
    assert_eq!(sum, 5050);
    assert_eq!(world.edge("a/web", "external").unwrap().packets, Some((1..=68).sum()));
}

#[test]
fn waiting_for_others_ends() {
    let mut world = World::new(&TWO);
    let [a, b] = two(0, 1, 1);
    let host: HostName = "a".parse().unwrap();
    let covered = |world: &World| world.all().covered.get(&host).copied();
    world.hear("a", a);
    assert_eq!(covered(&world), None, "b may speak too");
    world.hear("b", b);
    assert_eq!(covered(&world), Some(10_000));
    let [a, _] = two(1, 1, 1);
    world.hear("a", a);
    assert_eq!(covered(&world), Some(10_000), "b is waited for");
    let due = world.state.next().unwrap();
    assert_eq!(due, Mono(20_500) + Duration::from_secs(3));
    world.settle(24);
    assert_eq!((covered(&world), world.state.next()), (Some(20_000), None));
    for n in [2, 3] {
        let [a, _] = two(n, 1, 1);
        world.hear("a", a);
        assert_eq!(
            covered(&world).map(|millis| millis / 10_000),
            u64::try_from(n).ok(),
            "b is waited for again"
        );
        world.settle(n * 10 + 14);
    }
    let [a, b] = two(4, 1, 1);
    world.hear("a", a);
    assert_eq!(covered(&world), Some(50_000), "b was waited for in vain, three times");
    world.hear("b", b);
    let [a, _] = two(5, 1, 1);
    world.hear("a", a);
    assert_eq!(covered(&world), Some(50_000), "b spoke again");
}
