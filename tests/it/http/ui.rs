//! How the web UI is served: its pages, its files, and their headers; or the page of a build that has none.

use dockhealth::controller::has_ui;

use super::client::Ask;
use super::world::World;

#[tokio::test]
async fn every_page_is_served_to_anybody_under_a_strict_policy() {
    let world = World::new().await;
    for path in [
        "/",
        "/hosts/vm-1",
        "/containers/vm-1/web?range=7d&metrics=cpu_percent",
        "/events?kind=container_failing",
        "/incidents",
        "/drills",
        "/drills/018f",
        "/settings",
        "/login",
    ] {
        let ask = Ask::new("GET", path).header("x-forwarded-for", "203.0.113.7");
        let answer = ask.send(world.address).await.expect(200);
        assert_eq!(answer.header("content-type"), "text/html; charset=utf-8", "{path}");
        assert_eq!(answer.header("cache-control"), "no-cache");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        assert_eq!(answer.header("x-frame-options"), "DENY");
        assert_eq!(answer.header("referrer-policy"), "no-referrer");
        let policy = answer.header("content-security-policy");
        for rule in ["default-src 'none'", "script-src 'self'", "base-uri 'none'", "frame-ancestors 'none'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe") && !policy.contains("http"), "{policy}");
        // The one script within the page: it sets a chosen theme before the first paint.
        assert_eq!(policy.matches("'sha256-").count(), usize::from(has_ui()), "{policy}");
        assert_eq!(answer.text().contains("no web UI"), !has_ui(), "{path}");
    }
    for path in ["/nothing", "/hosts/a/b", "/assets/nothing.js", "/assets/..%2findex.html", "/assets/%00"] {
        world.get(path).await.problem(404);
        let person = Ask::new("GET", path).header("accept", "text/html,application/xhtml+xml,*/*;q=0.8");
        let answer = person.send(world.address).await.expect(404);
        let kind = if has_ui() { "text/html; charset=utf-8" } else { "application/problem+json" };
        assert_eq!(answer.header("content-type"), kind, "{path}");
    }
    let nothing = Ask::new("GET", "/api/v1/nothing").header("accept", "text/html");
    nothing.send(world.address).await.problem(404);
    world.call("POST", "/login", "").await.problem(405);
}

#[tokio::test]
async fn files_with_a_hash_in_their_name_are_kept_for_ever() {
    let world = World::new().await;
    let page = world.get("/").await.expect(200);
    let assets: Vec<_> =
        page.text().split('"').filter(|text| text.starts_with("/assets/")).map(str::to_owned).collect();
    assert_eq!(assets.is_empty(), !has_ui(), "{}", page.text());
    for path in assets {
        let packed =
            Ask::new("GET", &path).header("accept-encoding", "gzip, deflate, br").send(world.address).await;
        let packed = packed.expect(200);
        assert_eq!(packed.header("cache-control"), "public, max-age=31536000, immutable", "{path}");
        assert_eq!(packed.header("content-encoding"), "gzip");
        let plain = world.get(&path).await.expect(200);
        assert_eq!(plain.header("content-encoding"), "");
        assert!(packed.body.len() < plain.body.len(), "{path}");
        let known =
            Ask::new("GET", &path).header("if-none-match", plain.header("etag")).send(world.address).await;
        assert!(known.expect(304).body.is_empty());
    }
}

#[tokio::test]
async fn a_long_answer_is_compressed_for_those_who_take_it() {
    let world = World::new().await;
    let ask = || Ask::new("GET", "/api/v1/openapi.json");
    let plain = ask().send(world.address).await.expect(200);
    assert_eq!(plain.header("content-encoding"), "");
    let packed = ask().header("accept-encoding", "gzip").send(world.address).await.expect(200);
    assert_eq!((packed.header("content-encoding"), packed.header("vary")), ("gzip", "Accept-Encoding"));
    assert_eq!(dockhealth::bus::gunzip(&packed.body, 1 << 20).unwrap(), plain.body);
    let short = Ask::new("GET", "/api/v1/hosts").header("accept-encoding", "gzip").send(world.address).await;
    assert_eq!(short.expect(200).header("content-encoding"), "");
}
