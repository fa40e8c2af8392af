//! Notifications queued, delivered, given up and pruned, in a real file.

use super::*;
use crate::model::{Event, EventKind};
use crate::store::fixture::{self, Dir};

fn notice(kind: NoticeKind, answers: Option<NoticeId>) -> NoticeRow {
    NoticeRow {
        id: uuid::Uuid::now_v7(),
        kind,
        answers,
        made: Timestamp::from_millis(1),
        title: "title".into(),
        body: "{}".into(),
    }
}

fn target(id: &str) -> TargetRow {
    TargetRow { id: id.into(), shown: id.to_uppercase() }
}

fn attempt(state: DeliveryState) -> Attempt {
    Attempt { state, at: Timestamp::from_millis(2), status: Some(500), detail: "said so".into() }
}

async fn due(db: &ControllerDb, target: &str) -> Option<NoticeId> {
    db.next_delivery(target).await.unwrap().map(|due| due.notice.id)
}

async fn tried(db: &ControllerDb, target: &str, state: DeliveryState) {
    let n = db.next_delivery(target).await.unwrap().unwrap().n;
    db.note_attempt(target, n, attempt(state)).await.unwrap();
}

#[test]
fn an_incident_is_marked_with_its_notification_and_looked_at_until_its_end_is_told() {
    fixture::block_on(async {
        let dir = Dir::new();
        let db = ControllerDb::open(dir.path()).unwrap();
        let event = |kind| Event { kind, ..fixture::event("h1", "it") };
        let failing = Event {
            data: serde_json::json!({ "ailment": "loss" }),
            drill_id: Some(uuid::Uuid::nil()),
            ..event(EventKind::ContainerFailing)
        };
        db.append(vec![failing, event(EventKind::ContainerRestarted), event(EventKind::Quarantined)])
            .await
            .unwrap();
        let tracked = db.tracked_incidents().await.unwrap();
        let one = &tracked[0];
        assert_eq!((tracked.len(), one.lossy, one.quarantined, one.action_failed), (1, true, true, false));
        assert_eq!(one.incident.healed_by, Some(EventKind::ContainerRestarted));
        assert_eq!(one.incident.drill_id, Some(uuid::Uuid::nil()));
        let told = Told { begun: vec![one.incident.id], over: vec![] };
        let first = notice(NoticeKind::Problem, None);
        db.queue_notice(first.clone(), told.clone(), vec![target("a")]).await.unwrap();
        db.queue_notice(notice(NoticeKind::Problem, None), told, vec![]).await.unwrap();
        let notification =
            async || db.tracked_incidents().await.unwrap().first().map(|one| one.incident.notification);
        assert_eq!(notification().await, Some(Some(first.id)), "the first stays");
        db.append(vec![event(EventKind::ContainerRecovered)]).await.unwrap();
        let tracked = db.tracked_incidents().await.unwrap();
        assert_eq!(tracked[0].incident.ended_by, Some(EventKind::ContainerRecovered));
        let told = Told { begun: vec![], over: vec![tracked[0].incident.id] };
        db.queue_notice(notice(NoticeKind::Recovery, Some(first.id)), told, vec![]).await.unwrap();
        assert_eq!(notification().await, None);
    });
}

#[test]
fn ends_wait_for_beginnings_tests_for_nothing_and_nobody_for_what_fails_again_and_again() {
    fixture::block_on(async {
        let dir = Dir::new();
        let db = ControllerDb::open(dir.path()).unwrap();
        let both = || vec![target("a"), target("b")];
        let first = notice(NoticeKind::Problem, None);
        let end = notice(NoticeKind::Recovery, Some(first.id));
        let other = notice(NoticeKind::Problem, None);
        db.queue_notice(first.clone(), Told::default(), both()).await.unwrap();
        tried(&db, "b", DeliveryState::Failed).await;
        for notice in [&end, &other] {
            db.queue_notice(notice.clone(), Told::default(), both()).await.unwrap();
        }
        assert_eq!(due(&db, "b").await, Some(other.id), "who was not told of it is not told of its end");
        for _ in 0..PATIENCE {
            assert_eq!(due(&db, "a").await, Some(first.id));
            tried(&db, "a", DeliveryState::Waiting).await;
        }
        assert_eq!(due(&db, "a").await, Some(other.id));
        let test = notice(NoticeKind::Test, None);
        db.queue_notice(test.clone(), Told::default(), both()).await.unwrap();
        assert_eq!(due(&db, "a").await, Some(test.id));
        for expected in [&test, &other, &first, &end] {
            assert_eq!(due(&db, "a").await, Some(expected.id));
            tried(&db, "a", DeliveryState::Delivered).await;
        }
        assert_eq!(due(&db, "a").await, None);
        assert_eq!(db.waiting_for("b").await.unwrap(), 2);
        assert_eq!(db.keep_targets(vec![target("a")]).await.unwrap(), 2);
        assert_eq!(db.waiting_for("b").await.unwrap(), 0);
        let kept = db.notices(10).await.unwrap();
        let ids: Vec<NoticeId> = kept.iter().map(|(notice, _)| notice.id).collect();
        assert_eq!(ids, [test.id, other.id, end.id, first.id]);
        let delivery = &kept[3].1[0];
        assert_eq!((delivery.shown.as_str(), delivery.attempts), ("A", 6));
        assert_eq!(delivery.state, DeliveryState::Delivered);
    });
}

#[test]
fn the_queue_is_bounded_and_says_what_it_gave_up() {
    fixture::block_on(async {
        let dir = Dir::new();
        let db = ControllerDb::open(dir.path()).unwrap();
        let conn = db.db.write(|tx| {
            let mut given_up = 0;
            for _ in 0..KEPT + 5 {
                let notice = notice(NoticeKind::Problem, None);
                given_up += queue(tx, &notice, &Told::default(), &[target("a"), target("b")])?;
            }
            Ok(given_up)
        });
        assert_eq!(conn.await.unwrap(), 10);
        assert_eq!(db.waiting_for("a").await.unwrap(), KEPT.unsigned_abs());
        db.prune(Timestamp::from_millis(2 + 90 * 86_400_000)).await.unwrap();
        assert_eq!((db.waiting_for("a").await.unwrap(), db.notices(10).await.unwrap().len()), (0, 0));
    });
}
