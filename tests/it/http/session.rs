//! Browsers that log in: the cookie, the word that changes repeat, and when a session ends.

use dockhealth::controller::mint_token;
use dockhealth::model::Scope;
use serde_json::{Value, json};

use super::client::{Answer, Ask, SseReader};
use super::world::{ScriptedAgent, World, container, host, report};
use crate::support::eventually;

/// A browser that logged in.
struct Browser {
    cookie: String,
    csrf: String,
}

impl Browser {
    async fn login(world: &World, token: &str) -> Self {
        let answer = try_login(world, token).await.expect(200);
        let csrf = answer.json()["csrf"].as_str().unwrap().to_owned();
        let cookie = answer.header("set-cookie").split(';').next().unwrap().to_owned();
        Self { cookie, csrf }
    }

    /// A request with the cookie alone.
    fn ask(&self, method: &'static str, path: &str) -> Ask {
        Ask::new(method, path).header("cookie", format!("theme=dark; {}", self.cookie))
    }

    /// With the word too.
    fn change(&self, method: &'static str, path: &str) -> Ask {
        self.ask(method, path).header("x-csrf-token", &self.csrf)
    }

    async fn session(&self, world: &World) -> Value {
        self.ask("GET", "/api/v1/session").send(world.address).await.expect(200).json()
    }
}

/// Waits until the stream ends, whatever it tells before.
async fn ended(stream: &mut SseReader) {
    while stream.next().await.is_some() {}
}

async fn try_login(world: &World, token: &str) -> Answer {
    let body = json!({"token": token}).to_string();
    Ask::new("POST", "/api/v1/session").body(body).send(world.address).await
}

#[tokio::test]
async fn a_browser_logs_in_changes_something_and_logs_out() {
    let world = World::new().await;
    let nobody = world.get("/api/v1/session").await.expect(200).json();
    assert_eq!(
        (&nobody["scope"], &nobody["csrf"], &nobody["local_read"]),
        (&Value::Null, &Value::Null, &json!(true))
    );
    assert!(nobody["version"].is_string());

    let answer = try_login(&world, &world.token).await.expect(200);
    let cookie = answer.header("set-cookie");
    let (secret, attributes) = cookie.split_once("; ").unwrap();
    assert_eq!(attributes, "Path=/; Max-Age=604800; HttpOnly; SameSite=Strict");
    assert!(
        secret.starts_with("dockhealth_session=dhs_") && secret.len() == "dockhealth_session=dhs_".len() + 64
    );
    assert_eq!(answer.header("cache-control"), "no-store");
    assert!(!answer.text().contains("dhs_") && !answer.text().contains(&world.token));

    let browser = Browser::login(&world, &world.token).await;
    let session = browser.session(&world).await;
    assert_eq!((&session["scope"], &session["name"]), (&json!("write"), &json!("first token")));
    assert_eq!(session["csrf"], browser.csrf);
    assert!(session["expires"].as_str().unwrap().ends_with('Z'));

    browser.change("PUT", "/api/v1/threshold").body("20").send(world.address).await.expect(204);
    assert_eq!(world.get("/api/v1/threshold").await.expect(200).text(), "20.0");
    browser.ask("DELETE", "/api/v1/session").send(world.address).await.problem(403);
    let answer = browser.change("DELETE", "/api/v1/session").send(world.address).await.expect(204);
    assert!(answer.header("set-cookie").starts_with("dockhealth_session=; Path=/; Max-Age=0; HttpOnly"));
    assert_eq!(browser.session(&world).await["scope"], Value::Null);
    let detail = browser.change("PUT", "/api/v1/threshold").body("30").send(world.address).await.problem(401);
    assert!(detail.contains("session is over"), "{detail}");
    browser.ask("GET", "/api/v1/hosts").send(world.address).await.expect(200);
    Ask::new("DELETE", "/api/v1/session").send(world.address).await.expect(204);
}

#[tokio::test]
async fn a_change_by_cookie_needs_the_sessions_word_and_an_origin_of_ours() {
    let world = World::new().await;
    let browser = Browser::login(&world, &world.token).await;
    let other = Browser::login(&world, &world.token).await;
    let wrong = [
        None,
        Some(String::new()),
        Some(other.csrf.clone()),
        Some(browser.csrf.to_uppercase()),
        Some("x".repeat(64)),
    ];
    for word in wrong {
        let mut ask = browser.ask("PUT", "/api/v1/threshold").body("20");
        if let Some(word) = &word {
            ask = ask.header("x-csrf-token", word);
        }
        let detail = ask.send(world.address).await.problem(403);
        assert!(detail.contains("X-CSRF-Token"), "{word:?}: {detail}");
    }
    for evil in ["http://evil.example", "null"] {
        let ask = browser.change("PUT", "/api/v1/threshold").body("20").header("origin", evil);
        ask.send(world.address).await.problem(403);
    }
    let login = Ask::new("POST", "/api/v1/session").body(json!({"token": world.token}).to_string());
    login.header("origin", "http://evil.example").send(world.address).await.problem(403);
    assert_eq!(world.get("/api/v1/threshold").await.expect(200).text(), "50.0", "nothing came through");
    let ours = browser.change("PUT", "/api/v1/threshold").body("20");
    ours.header("origin", format!("http://{}", world.address)).send(world.address).await.expect(204);
}

#[tokio::test]
async fn a_session_has_its_tokens_rights_and_a_bearer_goes_before_it() {
    let world = World::new().await;
    let (_, reader) = mint_token(&world.db, "reader", Scope::Read).await.unwrap();
    let browser = Browser::login(&world, &reader).await;
    let forwarded = |ask: Ask| ask.header("x-forwarded-for", "203.0.113.7");
    forwarded(browser.ask("GET", "/api/v1/hosts")).send(world.address).await.expect(200);
    let detail = browser.change("PUT", "/api/v1/threshold").body("20").send(world.address).await.problem(403);
    assert!(detail.contains("\"reader\" may only read"), "{detail}");
    let both = browser.ask("PUT", "/api/v1/threshold").token(&world.token).body("20");
    both.send(world.address).await.expect(204);
    let writer = Browser::login(&world, &world.token).await;
    writer
        .change("PUT", "/api/v1/threshold")
        .token(&reader)
        .body("30")
        .send(world.address)
        .await
        .problem(403);
    writer.ask("GET", "/api/v1/hosts").token("dh_wrong").send(world.address).await.problem(401);

    let remote = forwarded(Ask::new("GET", "/api/v1/session")).send(world.address).await.expect(200).json();
    assert_eq!((&remote["local_read"], &remote["version"]), (&json!(false), &Value::Null));
    let secure = forwarded(Ask::new("POST", "/api/v1/session")).header("x-forwarded-proto", "https");
    let answer = secure.body(json!({"token": reader}).to_string()).send(world.address).await.expect(200);
    assert!(answer.header("set-cookie").ends_with("; SameSite=Strict; Secure"), "{answer:?}");
    assert_eq!(answer.json()["local_read"], false);
}

#[tokio::test]
async fn sessions_outlive_the_controller_and_not_their_token() {
    let world = World::new().await;
    let (_, reader) = mint_token(&world.db, "reader", Scope::Read).await.unwrap();
    let (gone, kept) = (Browser::login(&world, &reader).await, Browser::login(&world, &world.token).await);
    let world = world.restarted(|_| {}).await;
    assert_eq!(gone.session(&world).await["name"], "reader");
    let tokens = world.call("GET", "/api/v1/tokens", "").await.expect(200).json();
    let id = tokens.as_array().unwrap().iter().find(|token| token["name"] == "reader").unwrap()["id"].clone();

    let streaming = |browser: &Browser| {
        SseReader::open(world.address, browser.ask("GET", "/api/v1/stream?topics=events"))
    };
    let (mut ends, mut lasts, mut logged_out) =
        (streaming(&gone).await, streaming(&kept).await, streaming(&kept).await);
    world.call("DELETE", &format!("/api/v1/tokens/{id}"), "").await.expect(204);
    ended(&mut ends).await;
    assert_eq!(gone.session(&world).await["scope"], Value::Null);
    assert_eq!(lasts.next_named("event").await.json()["kind"], "token_changed", "another's stream goes on");
    kept.change("DELETE", "/api/v1/session").send(world.address).await.expect(204);
    ended(&mut logged_out).await;
}

#[tokio::test]
async fn wrong_tokens_are_refused_and_soon_slowed_down() {
    let world = World::new().await;
    for (body, says) in [
        ("", "it is empty"),
        ("{}", "missing field"),
        ("{\"token\": 7}", "invalid type"),
        ("{\"token\":\"a\",\"x\":1}", "unknown field"),
    ] {
        let detail = Ask::new("POST", "/api/v1/session").body(body).send(world.address).await.problem(400);
        assert!(detail.contains(says), "{body}: {detail}");
    }
    let refused = eventually("tries are slowed down", async || {
        let answer = try_login(&world, "dh_wrong").await;
        if answer.status == 429 {
            return Some(answer);
        }
        assert_eq!(answer.header("set-cookie"), "");
        assert!(answer.problem(401).contains("not an access token"));
        None
    });
    let refused = refused.await;
    let wait: u64 = refused.header("retry-after").parse().unwrap();
    assert!((1..=7).contains(&wait), "{wait}");
    try_login(&world, &world.token).await.problem(429);
    let elsewhere = Ask::new("POST", "/api/v1/session").header("x-forwarded-for", "203.0.113.7");
    elsewhere.body(json!({"token": world.token}).to_string()).send(world.address).await.expect(200);
}

#[tokio::test]
async fn the_overview_counts_and_says_what_is_broken() {
    let world = World::new().await;
    let _a = ScriptedAgent::start(&world, report("a", vec![container("web"), container("db")])).await;
    let seen = world.get("/api/v1/overview").await.expect(200).json();
    assert_eq!(seen["agents"], "nats");
    assert_eq!(seen["controller"]["store"], "writable");
    assert_eq!(seen["retention"], json!({"metrics": 604_800, "events": 7_776_000}));
    assert_eq!((&seen["threshold"], &seen["freezes"]), (&json!(50.0), &json!([])));
    assert_eq!(seen["hosts"], json!({"total": 1, "live": 1, "in_conflict": 0, "engine_unreachable": 0}));
    let of = json!({"total": 2, "unheard": 0, "monitored": 2, "by_health": {"healthy": 2}});
    assert_eq!(seen["containers"], of);
    world.call("POST", "/api/v1/freeze?host=a", "").await.expect(200);
    world.bus.take_down();
    let seen = world.get("/api/v1/overview").await.expect(200).json();
    assert_eq!(seen["controller"]["bus"], "connection refused");
    assert_eq!(seen["freezes"][0]["hostname"], host("a").as_str());
}
