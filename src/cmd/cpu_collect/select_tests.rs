use serde_json::json;

use super::*;
use crate::docker::fake::{Call, FakeEngine};

fn engine() -> FakeEngine {
    let engine = FakeEngine::default();
    engine.run("web-1", &FakeEngine::labelled(&[("tier", "front"), ("com.docker.compose.project", "shop")]));
    engine.run("web-2", &FakeEngine::labelled(&[("tier", "back"), ("com.docker.compose.project", "shop")]));
    engine.run("db", &json!({}));
    engine.run("old-db", &json!({}));
    engine.user_stop("old-db");
    engine
}

fn selection(names: &[&str], labels: &[&str], project: Option<&str>) -> Selection {
    Selection {
        names: names.iter().map(|name| name.parse().unwrap()).collect(),
        labels: labels.iter().map(|label| label.parse().unwrap()).collect(),
        project: project.map(str::to_owned),
    }
}

async fn chosen(selection: Selection) -> Result<Vec<String>, String> {
    let watch = Watch::start(engine(), selection).await.map_err(|failure| failure.to_string())?;
    Ok(watch.chosen.iter().map(|facts| facts.name.to_string()).collect())
}

#[tokio::test]
async fn names_patterns_labels_and_projects_choose() {
    for (names, labels, project, expected) in [
        (&[][..], &[][..], None, &["db", "web-1", "web-2"][..]),
        (&["old-db"], &[], None, &["old-db"]),
        (&["*db", "web-?"], &[], None, &["db", "web-1", "web-2"]),
        (&[], &["tier"], None, &["web-1", "web-2"]),
        (&[], &["tier=back"], Some("shop"), &["web-2"]),
        (&["web-1"], &[], Some("shop"), &["web-1"]),
    ] {
        assert_eq!(
            chosen(selection(names, labels, project)).await.unwrap(),
            expected,
            "{names:?} {labels:?}"
        );
    }
}

#[tokio::test]
async fn what_is_not_there_is_said_at_the_start() {
    for (names, labels, project, says) in [
        (&["bd"][..], &[][..], None, "there is no container bd on this machine; did you mean db?"),
        (&["x*"], &[], None, "no running container is chosen by the name x*"),
        (&["old*"], &[], None, "no running container is chosen by the name old*"),
        (
            &["db"],
            &["tier=front"],
            None,
            "no running container is chosen by the name db, the label tier=front",
        ),
        (&[], &[], Some("ship"), "no running container is chosen by the project ship"),
    ] {
        assert_eq!(chosen(selection(names, labels, project)).await.unwrap_err(), says);
    }
    assert_eq!("=x".parse::<LabelFilter>().unwrap_err(), "\"=x\" names no label: give key or key=value");
}

#[tokio::test]
async fn containers_come_and_go_without_being_listed_each_time() {
    let engine = engine();
    let mut watch = Watch::start(engine.clone(), selection(&["web-*"], &[], None)).await.unwrap();
    let lists = || engine.calls().iter().filter(|call| **call == Call::List).count();
    for _ in 0..3 {
        watch.refresh().await;
    }
    assert_eq!(lists(), 1, "nothing happened");
    engine.run("web-3", &json!({}));
    engine.user_stop("web-1");
    watch.refresh().await;
    watch.refresh().await;
    let names: Vec<&str> = watch.chosen.iter().map(|facts| facts.name.as_str()).collect();
    assert_eq!((lists(), names), (2, vec!["web-2", "web-3"]));
}

#[tokio::test]
async fn an_engine_that_goes_away_takes_nothing_with_it() {
    let engine = engine();
    let mut watch = Watch::start(engine.clone(), Selection::default()).await.unwrap();
    engine.set_reachable(false);
    watch.refresh().await;
    assert_eq!(watch.chosen.len(), 3, "measured on as known");
    engine.set_reachable(true);
    engine.user_remove("web-1");
    watch.refresh().await;
    assert_eq!(watch.chosen.len(), 2);
}
