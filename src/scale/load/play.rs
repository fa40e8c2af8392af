//! Sends the requests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use super::{Answered, LoadFigures};
use crate::scale::proxy::WAIT;
use crate::scale::workload::Arrival;

/// Requests under way at once; further ones are sent when one of those is through, and thus late.
const AT_ONCE: usize = 4096;

/// What a request asks of the server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// To compute for its time (`/start_task?cpu=`).
    Compute,
    /// To wait for its time (`/start_task?sleep=`).
    Wait,
    /// What its URL says, whatever its time is.
    AsNamed,
}

/// What is played, and where.
#[derive(Debug, Clone)]
pub struct LoadPlan {
    /// What the arrivals are called.
    pub trace: String,
    /// When requests come, and what each takes.
    pub arrivals: Vec<Arrival>,
    /// The server: `http://host:port`, with the path and query that are asked for under [`Work::AsNamed`].
    pub target: Uri,
    /// What they ask for.
    pub work: Work,
    /// How many times faster all is played: arrivals and what each takes. Above 0.
    pub scale_time: f64,
    /// How long an answer may take; then it counts as lost.
    pub patience: Duration,
}

impl LoadPlan {
    /// What is asked of the server for a request of so many seconds.
    fn path(&self, service: f64) -> String {
        let millis = (service / self.scale_time * 1000.0).round().max(1.0);
        match self.work {
            Work::Compute => format!("/start_task?n=20&cpu={millis}ms"),
            Work::Wait => format!("/start_task?n=1&sleep={millis}ms"),
            Work::AsNamed => self.target.path_and_query().map_or("/", |path| path.as_str()).to_owned(),
        }
    }
}

/// Plays it to its end, or until `stop`; then what was sent is given up.
pub async fn play(plan: LoadPlan, stop: &CancellationToken) -> LoadFigures {
    let (plan, places) = (Arc::new(plan), Arc::new(Semaphore::new(AT_ONCE)));
    let begun = Instant::now();
    let (mut tasks, mut answers) = (JoinSet::new(), Vec::new());
    for arrival in &plan.arrivals {
        let at = begun + Duration::from_secs_f64(arrival.at.seconds() / plan.scale_time);
        let place = async {
            sleep_until(at).await;
            places.clone().acquire_owned().await.expect("the semaphore is never closed")
        };
        let Some(place) = stop.run_until_cancelled(place).await else { break };
        let (plan, path) = (plan.clone(), plan.path(arrival.service.seconds()));
        tasks.spawn(async move {
            let sent = Instant::now();
            let answer = timeout(plan.patience, ask(&plan.target, &path)).await;
            drop(place);
            let answer = answer.unwrap_or_else(|_| Err("it took too long".into()));
            if let Err(error) = &answer {
                tracing::debug!(%error, "a request was lost");
            }
            let answer = answer.ok();
            Answered {
                sent: (sent - begun).as_secs_f64(),
                sojourn: sent.elapsed().as_secs_f64(),
                wait: answer.as_ref().and_then(|(_, headers)| wait(headers)),
                status: answer.map(|(status, _)| status),
            }
        });
    }
    while let Some(Some(answer)) = stop.run_until_cancelled(tasks.join_next()).await {
        // A task that was lost to a panic is no answer; the panic was told.
        answers.extend(answer.ok());
    }
    LoadFigures::of(&plan.trace, plan.scale_time, &answers)
}

type Broken = Box<dyn std::error::Error + Send + Sync>;

/// One request over a connection of its own, to the end of its answer.
async fn ask(target: &Uri, path: &str) -> Result<(u16, HeaderMap), Broken> {
    let host = target.host().unwrap_or_default();
    let port = target.port_u16().unwrap_or(80);
    let stream = TcpStream::connect((host.trim_matches(['[', ']']), port)).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake::<_, Empty<Bytes>>(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = Request::get(path)
        .header(header::HOST, format!("{host}:{port}"))
        .header(header::USER_AGENT, concat!("dockhealth/", env!("CARGO_PKG_VERSION")))
        .header(header::CONNECTION, "close")
        .body(Empty::new())?;
    let outcome = async {
        let (parts, mut body) = sender.send_request(request).await?.into_parts();
        while let Some(frame) = body.frame().await {
            frame?;
        }
        Ok((parts.status.as_u16(), parts.headers))
    };
    let outcome = outcome.await;
    connection.abort();
    outcome
}

/// What our proxy says of the wait, seconds.
fn wait(headers: &HeaderMap) -> Option<f64> {
    let millis: f64 = headers.get(WAIT)?.to_str().ok()?.parse().ok()?;
    (millis.is_finite() && millis >= 0.0).then_some(millis / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scale::control::Micros;
    use crate::scale::serverapp::serve_tasks;
    use tokio::net::TcpListener;

    fn plan(target: &str, work: Work, arrivals: Vec<Arrival>) -> LoadPlan {
        let (target, patience) = (target.parse().unwrap(), Duration::from_secs(30));
        LoadPlan { trace: "x".into(), arrivals, target, work, scale_time: 10.0, patience }
    }

    #[test]
    fn time_is_compressed_for_work_too() {
        let of = |work| plan("http://h:1/a?b=c", work, Vec::new()).path(13.0);
        assert_eq!(of(Work::Compute), "/start_task?n=20&cpu=1300ms");
        assert_eq!(of(Work::Wait), "/start_task?n=1&sleep=1300ms");
        assert_eq!(of(Work::AsNamed), "/a?b=c");
    }

    #[tokio::test]
    async fn a_server_without_our_header_tells_no_waits_and_one_that_is_away_loses_all() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let stop = CancellationToken::new();
        let server = tokio::spawn(serve_tasks(listener, "me".into(), stop.clone()));
        let arrival = |millis: u64| Arrival { at: Micros(millis * 1000), service: Micros::from_secs(1) };
        let arrivals = vec![arrival(0), arrival(0), arrival(500)];
        let figures = play(plan(&address, Work::Wait, arrivals.clone()), &CancellationToken::new()).await;
        assert_eq!((figures.requests, figures.answered, figures.mean_wait_s), (3, 3, None));
        assert!(figures.makespan_s.is_some_and(|span| span >= 0.15), "{figures:?}");
        stop.cancel();
        server.await.unwrap();
        let figures = play(plan(&address, Work::Wait, arrivals), &CancellationToken::new()).await;
        assert_eq!((figures.answered, figures.lost), (0, 3));
    }
}
