//! What every bus does. Each test runs in process, over an open nats-server, and over the fleet's.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use dockhealth::bus::{Bus, BusError, DesiredChange, DesiredUpdate, Subject};
use dockhealth::model::{DesiredState, Freeze, FreezeScope, Timestamp};
use futures_util::StreamExt;

use super::rig::{DEADLINE, Follower, Rig, monitored, name, next, state_of, threshold};

/// Names that are hard on subjects and keys.
const HARD: [&str; 4] = ["web.example.org", "all", "controller", "a_b-c.1"];

macro_rules! on_every_bus {
    ($($test:ident($hosts:expr);)*) => {
        mod local {
            $(#[tokio::test(flavor = "multi_thread")] async fn $test() { super::$test(super::Rig::local()).await; })*
        }
        mod nats {
            $(#[tokio::test(flavor = "multi_thread")] async fn $test() { super::$test(super::Rig::nats()).await; })*
        }
        mod fleet {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread")] async fn $test() {
                let hosts: Vec<String> = $hosts;
                let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
                super::$test(Rig::fleet(&hosts)).await;
            })*
        }
    };
}

on_every_bus! {
    reports_reach_their_readers(hard());
    a_command_reaches_one_host_and_is_answered(hard());
    an_outbox_is_acknowledged(hard());
    a_group_shares_messages(hard());
    nobody_there_is_known_at_once(hard());
    silence_ends_in_time(hard());
    fifty_hosts_answer_one_question(many());
    a_question_without_listeners_has_no_answers(hard());
    the_desired_state_is_told_whole_then_by_change(hard());
    each_host_sees_what_concerns_it(hard());
    a_bus_nobody_wrote_to_has_an_empty_state(hard());
}

fn hard() -> Vec<String> {
    HARD.map(str::to_owned).to_vec()
}

fn many() -> Vec<String> {
    (0..50).map(|n| format!("host-{n}")).collect()
}

async fn a_group_shares_messages(rig: Rig) {
    const MESSAGES: usize = 60;
    let controllers = [rig.controller().await, rig.controller().await];
    let mut all = controllers[0].subscribe(&Subject::AllOutboxes).await.unwrap();
    let mut members = Vec::new();
    for controller in &controllers {
        members.push(controller.subscribe_shared(&Subject::AllOutboxes, "controllers").await.unwrap());
    }
    let agent = rig.agent(HARD[0]).await;
    let subject = Subject::Outbox(name(HARD[0]));
    for n in 0..MESSAGES {
        agent.publish(&subject, n.to_string().into()).await.unwrap();
    }
    for n in 0..MESSAGES {
        assert_eq!(next(&mut all).await.payload, n.to_string());
    }
    let [mut one, mut other] = <[_; 2]>::try_from(members).ok().unwrap();
    let (mut shared, mut counts) = (Vec::new(), [0, 0]);
    while shared.len() < MESSAGES {
        let (who, message) = tokio::select! {
            message = next(&mut one) => (0, message),
            message = next(&mut other) => (1, message),
        };
        counts[who] += 1;
        shared.push(String::from_utf8(message.payload.to_vec()).unwrap().parse::<usize>().unwrap());
    }
    shared.sort_unstable();
    assert_eq!(shared, (0..MESSAGES).collect::<Vec<_>>(), "each reached one of the group");
    assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
}

async fn reports_reach_their_readers(rig: Rig) {
    let controller = rig.controller().await;
    let mut all = controller.subscribe(&Subject::AllReports).await.unwrap();
    let mut outboxes = controller.subscribe(&Subject::AllOutboxes).await.unwrap();
    for host in HARD {
        let subject = Subject::Report(name(host));
        let agent = rig.agent(host).await;
        agent.publish(&subject, Bytes::from(host)).await.unwrap();
        let report = next(&mut all).await;
        assert_eq!(report.subject, subject);
        assert_eq!(report.payload, host);
        assert!(report.reply.is_none(), "a report wants no answer");
    }
    let other = Subject::Outbox(name("all"));
    let _ = rig.agent("all").await.request(&other, Bytes::from("batch"), Duration::from_millis(200)).await;
    assert_eq!(next(&mut outboxes).await.payload, "batch", "reports do not reach the outboxes' reader");
}

async fn a_command_reaches_one_host_and_is_answered(rig: Rig) {
    let controller = rig.controller().await;
    for host in HARD {
        let bus = rig.agent(host).await;
        let mut commands = bus.subscribe(&Subject::Command(name(host))).await.unwrap();
        tokio::spawn(async move {
            while let Some(command) = commands.next().await {
                let answer = format!("{host}: {:?}", command.payload);
                command.reply.expect("a command wants an answer").send(answer.into()).await.unwrap();
            }
            drop(bus);
        });
    }
    for host in HARD {
        let answer = controller.request(&Subject::Command(name(host)), Bytes::from("go"), DEADLINE).await;
        assert_eq!(answer.unwrap(), format!("{host}: b\"go\""));
    }
}

async fn an_outbox_is_acknowledged(rig: Rig) {
    let controller = rig.controller().await;
    let mut batches = controller.subscribe(&Subject::AllOutboxes).await.unwrap();
    let ingest = tokio::spawn(async move {
        let batch = next(&mut batches).await;
        assert_eq!(batch.subject, Subject::Outbox(name(HARD[0])));
        batch.reply.expect("a batch wants an answer").send(batch.payload).await.unwrap();
    });
    let agent = rig.agent(HARD[0]).await;
    let ack = agent.request(&Subject::Outbox(name(HARD[0])), Bytes::from("7"), DEADLINE).await;
    assert_eq!(ack.unwrap(), "7");
    ingest.await.unwrap();
}

async fn nobody_there_is_known_at_once(rig: Rig) {
    let (within, at_most) = absence(&rig);
    let start = Instant::now();
    let subject = Subject::Outbox(name(HARD[0]));
    let error = rig.agent(HARD[0]).await.request(&subject, Bytes::new(), within).await.unwrap_err();
    assert!(matches!(error, BusError::NoAnswer(_)), "{error:?}");
    let subject = Subject::Command(name(HARD[0]));
    let error = rig.controller().await.request(&subject, Bytes::new(), within).await.unwrap_err();
    assert!(matches!(error, BusError::NoAnswer(_)), "{error:?}");
    assert!(start.elapsed() < at_most, "it took {:?}", start.elapsed());
}

/// How long to wait for an answer of nobody, and how soon that must be known. Between accounts of one server nobody
/// tells an asker that nobody listens; so there it takes as long as was allowed.
fn absence(rig: &Rig) -> (Duration, Duration) {
    match rig {
        Rig::Local(_) | Rig::Nats(_) => (DEADLINE, DEADLINE / 2),
        Rig::Fleet(_) => (Duration::from_millis(500), DEADLINE / 2),
    }
}

async fn silence_ends_in_time(rig: Rig) {
    let agent = rig.agent(HARD[0]).await;
    let controller = rig.controller().await;
    // Held, never answered.
    let mut silent = agent.subscribe(&Subject::Command(name(HARD[0]))).await.unwrap();
    let within = Duration::from_millis(200);
    let start = Instant::now();
    let error = controller.request(&Subject::Command(name(HARD[0])), Bytes::new(), within).await.unwrap_err();
    assert!(matches!(error, BusError::NoAnswer(_)), "{error:?}");
    assert!(start.elapsed() >= within);
    assert!(next(&mut silent).await.reply.is_some());
}

async fn fifty_hosts_answer_one_question(rig: Rig) {
    let controller = rig.controller().await;
    let mut agents = Vec::new();
    for host in many() {
        let bus = rig.agent(&host).await;
        let mut questions = bus.subscribe(&Subject::List).await.unwrap();
        agents.push(bus);
        tokio::spawn(async move {
            while let Some(question) = questions.next().await {
                question.reply.unwrap().send(host.clone().into()).await.unwrap();
            }
        });
    }
    for _ in 0..2 {
        let answers = controller.request_many(&Subject::List, Bytes::new(), DEADLINE).await.unwrap();
        let answers = tokio::time::timeout(DEADLINE / 2, answers.take(50).collect::<Vec<_>>()).await.unwrap();
        let mut hosts: Vec<_> = answers.iter().map(|a| String::from_utf8(a.to_vec()).unwrap()).collect();
        hosts.sort();
        hosts.dedup();
        assert_eq!(hosts.len(), 50);
    }
    let within = Duration::from_millis(500);
    let start = Instant::now();
    let answers = controller.request_many(&Subject::List, Bytes::new(), within).await.unwrap();
    assert_eq!(answers.collect::<Vec<_>>().await.len(), 50, "every answer, and an end");
    assert!(start.elapsed() < DEADLINE / 2);
}

async fn a_question_without_listeners_has_no_answers(rig: Rig) {
    let controller = rig.controller().await;
    let (within, at_most) = absence(&rig);
    let start = Instant::now();
    let answers = controller.request_many(&Subject::List, Bytes::new(), within).await.unwrap();
    assert_eq!(answers.count().await, 0);
    assert!(start.elapsed() < at_most, "it took {:?}", start.elapsed());
}

async fn the_desired_state_is_told_whole_then_by_change(rig: Rig) {
    let controller = rig.controller().await;
    let host = HARD[0];
    let removed = monitored(host, "gone");
    for change in [threshold(20.0), removed.clone(), threshold(30.0), monitored(host, "web.1")] {
        controller.put_desired(change).await.unwrap();
    }
    controller.put_desired(DesiredChange::removal(removed.key())).await.unwrap();

    let agent = rig.agent(host).await;
    let mut updates = agent.watch_desired().await.unwrap();
    assert_eq!(next(&mut updates).await, DesiredUpdate::Resync);
    let mut first = Vec::new();
    loop {
        match next(&mut updates).await {
            DesiredUpdate::Change(change) => first.push(change),
            DesiredUpdate::Synced => break,
            DesiredUpdate::Resync => panic!("told again without a reason"),
        }
    }
    assert_eq!(state_of(first), state_of([threshold(30.0), monitored(host, "web.1")]));

    let freeze = Freeze { since: Timestamp::from_millis(5), until: None, by: "operator".into() };
    let changes = [
        threshold(31.0),
        DesiredChange::Freeze(FreezeScope::All, Some(freeze)),
        DesiredChange::removal(monitored(host, "web.1").key()),
        DesiredChange::Freeze(FreezeScope::All, None),
        DesiredChange::Threshold(None),
    ];
    for change in changes {
        controller.put_desired(change.clone()).await.unwrap();
        assert_eq!(next(&mut updates).await, DesiredUpdate::Change(change));
    }
}

async fn each_host_sees_what_concerns_it(rig: Rig) {
    let controller = rig.controller().await;
    let mut followers = Vec::new();
    for host in HARD {
        followers.push((host, Follower::new(&*rig.agent(host).await).await));
    }
    let mut everything = Follower::new(&*controller).await;
    let freeze = |host: &str| {
        let freeze = Freeze { since: Timestamp::from_millis(5), until: None, by: host.into() };
        DesiredChange::Freeze(FreezeScope::Host(name(host)), Some(freeze))
    };
    let mut all = vec![threshold(10.0)];
    for host in HARD {
        all.extend([monitored(host, "web"), monitored(host, "db.1"), freeze(host)]);
    }
    for change in &all {
        controller.put_desired(change.clone()).await.unwrap();
    }
    everything.until(&state_of(all.clone())).await;
    for (host, mut follower) in followers {
        if matches!(rig, Rig::Local(_)) {
            follower.until(&state_of(all.clone())).await;
        } else {
            let own = [threshold(10.0), monitored(host, "web"), monitored(host, "db.1"), freeze(host)];
            follower.until(&state_of(own)).await;
        }
    }
}

async fn a_bus_nobody_wrote_to_has_an_empty_state(rig: Rig) {
    let agent = rig.agent(HARD[0]).await;
    let mut follower = Follower::new(&*agent).await;
    let controller: Arc<dyn Bus> = rig.controller().await;
    let mut own = Follower::new(&*controller).await;
    assert_eq!(*own.until_synced(1).await, DesiredState::default());
    assert_eq!(*follower.until_synced(1).await, DesiredState::default());
}
