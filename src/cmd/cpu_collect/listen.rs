//! The sensors over HTTP: to each poller what was measured since it polled last, and the newest for Prometheus.
//!
//! ```text
//!  samples ──► Board ◄── questions ── warp ◄── GET /?poller=NAME, GET /metrics
//! ```
//!
//! The board belongs to the loop that samples; requests ask it over a channel.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use serde::Serialize;
use serde::ser::{SerializeMap, Serializer};
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;
use warp::Filter;
use warp::reply::Response;

use super::super::Failure;
use super::columns::Columns;
use super::page::{Format, Page, Place, json};
use crate::controller::{Arrival, Counters, Gate, Problem, Query, check_door, serve};
use crate::metrics::{ContainerSample, MeanMax, Tallied, Tally};
use crate::model::{ContainerName, Timestamp, clean};

/// Pollers that are known at once; one more takes the place of the one that polled longest ago.
const MOST_POLLERS: usize = 32;
/// The longest name of one.
const LONGEST_NAME: usize = 64;
/// Requests that wait for the loop at most; whoever sends more waits before that.
const QUESTIONS: usize = 64;

/// What a request wants.
pub(super) enum Question {
    /// What was measured since the poller of this name polled last.
    Poll(String, oneshot::Sender<String>),
    /// The newest sample as Prometheus' text.
    Metrics(oneshot::Sender<String>),
}

/// Serves at `address` until `shutdown`; the questions that come, and where it listens.
pub(super) async fn listen(
    address: SocketAddr,
    allowed: Vec<String>,
    shutdown: CancellationToken,
) -> Result<(mpsc::Receiver<Question>, SocketAddr), Failure> {
    let failed = |error| Failure::Failed(format!("--listen {address}: {error}"));
    let listener = TcpListener::bind(address).await.map_err(failed)?;
    let bound = listener.local_addr().map_err(failed)?;
    let (ask, questions) = mpsc::channel(QUESTIONS);
    let allowed: Arc<[String]> = allowed.into();
    let filter = warp::method().and(warp::header::headers_cloned()).and(warp::ext::get::<Arrival>()).then(
        move |method, headers, arrival| {
            let (ask, allowed) = (ask.clone(), allowed.clone());
            async move {
                let answer = answer(&method, &headers, &arrival, &allowed, &ask).await;
                let mut response = answer.unwrap_or_else(Problem::into_response);
                response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
                response
            }
        },
    );
    let gate = Gate { listener, tls: None, shutdown };
    tokio::spawn(serve(gate, Arc::new(Counters::default()), filter));
    Ok((questions, bound))
}

async fn answer(
    method: &Method,
    headers: &HeaderMap,
    arrival: &Arrival,
    allowed: &[String],
    ask: &mpsc::Sender<Question>,
) -> Result<Response, Problem> {
    check_door(headers, &arrival.uri, arrival.link, allowed)?;
    let path = arrival.uri.path();
    if !["/", "/metrics"].contains(&path) {
        let path = clean(path, 80);
        return Err(Problem::not_found(format!("there is nothing at {path:?}: GET / or GET /metrics")));
    }
    if *method != Method::GET {
        return Err(Problem::new(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here"));
    }
    let query = arrival.uri.query().unwrap_or_default();
    let (answer, answered) = oneshot::channel();
    let (question, kind) = if path == "/" {
        let poller = Query::parse(query, &["poller"])?.read("poller", poller)?.unwrap_or_default();
        (Question::Poll(poller, answer), "application/json")
    } else {
        Query::parse(query, &[])?;
        (Question::Metrics(answer), "text/plain; version=0.0.4; charset=utf-8")
    };
    let ending = || Problem::unavailable("the measuring is ending");
    ask.send(question).await.map_err(|_| ending())?;
    let mut response = Response::new(answered.await.map_err(|_| ending())?.into());
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    Ok(response)
}

fn poller(text: &str) -> Result<String, String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if text.len() <= LONGEST_NAME && text.bytes().all(plain) {
        Ok(text.to_owned())
    } else {
        Err(format!("give a name of at most {LONGEST_NAME} letters, digits, '.', '_' and '-'"))
    }
}

/// What was measured, for each poller since it polled last.
pub(super) struct Board {
    host: String,
    columns: Columns,
    newest: Newest,
    pollers: HashMap<String, Poller>,
    polls: u64,
}

/// The sample taken last, and since when its rates are.
struct Newest {
    since: Timestamp,
    time: Timestamp,
    rows: Vec<ContainerSample>,
}

struct Poller {
    since: Timestamp,
    tally: Tally<MeanMax>,
    /// The number of its last poll, of all polls.
    last: u64,
}

impl Board {
    /// A board of `host` that has no sample yet.
    pub(super) fn new(host: String, columns: Columns, begun: Timestamp) -> Self {
        let newest = Newest { since: begun, time: begun, rows: Vec::new() };
        Self { host, columns, newest, pollers: HashMap::new(), polls: 0 }
    }

    /// Takes a sample.
    pub(super) fn add(&mut self, time: Timestamp, rows: &[ContainerSample]) {
        for poller in self.pollers.values_mut() {
            poller.tally.add(rows, |name| self.columns.has(name));
        }
        self.newest = Newest { since: self.newest.time, time, rows: rows.to_vec() };
    }

    /// Answers a question.
    pub(super) fn answer(&mut self, question: Question) {
        let (text, to) = match question {
            Question::Poll(poller, to) => (self.poll(&poller), to),
            Question::Metrics(to) => (self.metrics(), to),
        };
        // Who asked may be gone; what was counted for it is then lost.
        let _ = to.send(text);
    }

    fn metrics(&self) -> String {
        let Newest { time, rows, .. } = &self.newest;
        let page = Page { time: *time, host: &self.host, rows, columns: &self.columns };
        page.render(Format::Prom, Place::First)
    }

    /// What was measured since the poller's last poll; at its first, the newest sample.
    fn poll(&mut self, name: &str) -> String {
        self.polls += 1;
        let poller = self.pollers.remove(name).unwrap_or_else(|| {
            let mut tally = Tally::default();
            if self.newest.since < self.newest.time {
                tally.add(&self.newest.rows, |name| self.columns.has(name));
            }
            Poller { since: self.newest.since, tally, last: 0 }
        });
        if self.pollers.len() >= MOST_POLLERS
            && let Some(oldest) = self.pollers.iter().min_by_key(|(_, poller)| poller.last)
        {
            let oldest = oldest.0.clone();
            self.pollers.remove(&oldest);
        }
        let next = Poller { since: self.newest.time, tally: Tally::default(), last: self.polls };
        self.pollers.insert(name.to_owned(), next);
        json(&Polled {
            host: &self.host,
            poller: name,
            since: poller.since,
            until: self.newest.time,
            samples: poller.tally.samples(),
            containers: Containers { of: &poller.tally, columns: &self.columns },
            passed_over: poller.tally.passed_over(),
        })
    }
}

/// The answer to a poll.
#[derive(Serialize)]
struct Polled<'a> {
    host: &'a str,
    poller: &'a str,
    since: Timestamp,
    until: Timestamp,
    samples: u64,
    containers: Containers<'a>,
    /// Samples of containers beyond the bound.
    passed_over: u64,
}

/// The containers by name, each with its id and its metrics.
struct Containers<'a> {
    of: &'a Tally<MeanMax>,
    columns: &'a Columns,
}

impl Serialize for Containers<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let entry = |(name, of): (&'_ ContainerName, _)| (name.clone(), Entry { of, columns: self.columns });
        to.collect_map(self.of.containers().iter().map(entry))
    }
}

struct Entry<'a> {
    of: &'a Tallied<MeanMax>,
    columns: &'a Columns,
}

#[derive(Serialize)]
struct Figures {
    mean: f64,
    max: f64,
}

impl Serialize for Entry<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        map.serialize_entry("id", &self.of.id)?;
        for name in self.columns.metrics() {
            let gathered = self.of.series.get(&crate::model::SeriesName::of(name));
            let figures = gathered.and_then(|of| Some(Figures { mean: of.mean()?, max: of.max()? }));
            // What is not known is left out: most containers lack half of all metrics.
            if let Some(figures) = figures {
                map.serialize_entry(name, &figures)?;
            }
        }
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::super::page::tests::sample;
    use super::*;
    use serde_json::Value;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_millis(second * 1000)
    }

    fn board() -> Board {
        Board::new("vm".to_owned(), Columns::parse("cpu,pids").unwrap(), at(0))
    }

    fn add(board: &mut Board, second: i64, cpu: f64) {
        let values = [("cpu_percent", cpu), ("memory_bytes", 9.0)];
        board.add(at(second), &[sample("web", &values)]);
    }

    fn poll(board: &mut Board, poller: &str) -> (u64, Value, String) {
        let answer: Value = serde_json::from_str(&board.poll(poller)).unwrap();
        let span = format!("{}..{}", answer["since"].as_str().unwrap(), answer["until"].as_str().unwrap());
        (answer["samples"].as_u64().unwrap(), answer["containers"]["web"]["cpu_percent"].clone(), span)
    }

    #[test]
    fn each_poller_gets_what_was_measured_since_it_polled_last() {
        let mut board = board();
        assert_eq!(poll(&mut board, "early").0, 0, "there is no sample yet");
        add(&mut board, 1, 10.0);
        add(&mut board, 2, 30.0);
        let figures = |mean: f64, max: f64| serde_json::json!({ "mean": mean, "max": max });
        let (samples, cpu, span) = poll(&mut board, "late");
        assert_eq!((samples, cpu), (1, figures(30.0, 30.0)), "the first time the newest alone");
        assert_eq!(span, "1970-01-01T00:00:01.000Z..1970-01-01T00:00:02.000Z");
        let (samples, cpu, span) = poll(&mut board, "early");
        assert_eq!((samples, cpu), (2, figures(20.0, 30.0)), "nobody took it away");
        assert_eq!(span, "1970-01-01T00:00:00.000Z..1970-01-01T00:00:02.000Z");
        add(&mut board, 3, 50.0);
        let (_, cpu, span) = poll(&mut board, "early");
        assert_eq!(cpu, figures(50.0, 50.0));
        assert_eq!(span, "1970-01-01T00:00:02.000Z..1970-01-01T00:00:03.000Z");
        let (samples, cpu, _) = poll(&mut board, "early");
        assert_eq!((samples, cpu), (0, Value::Null));
    }

    #[test]
    fn pollers_are_bounded_and_the_one_longest_silent_goes() {
        let mut board = board();
        for n in 0..MOST_POLLERS {
            poll(&mut board, &format!("p{n}"));
        }
        poll(&mut board, "p0");
        poll(&mut board, "one-more");
        assert_eq!(board.pollers.len(), MOST_POLLERS);
        assert!(board.pollers.contains_key("p0") && !board.pollers.contains_key("p1"));
    }

    #[test]
    fn only_what_is_known_and_wanted_is_told() {
        let mut board = board();
        add(&mut board, 1, 10.0);
        let answer: Value = serde_json::from_str(&board.poll("")).unwrap();
        let keys: Vec<&String> = answer["containers"]["web"].as_object().unwrap().keys().collect();
        assert_eq!(keys, ["cpu_percent", "id"]);
        assert!(
            board.metrics().contains("dockhealth_container_cpu_ratio{host=\"vm\",container=\"web\"} 0.1\n")
        );
        assert!(poller("a.b-c_1").is_ok() && poller("a b").is_err() && poller(&"x".repeat(65)).is_err());
    }
}
