//! A server with something to do, to practise scaling on: it computes or sleeps, and says what that took.
//!
//! ```text
//! GET /            {"container": "0a1b2c3d4e5f"}
//! GET /start_task  {"container": ..., "n": 35, "result": 9227465, "cpu_seconds": 0.04, "seconds": 0.05}
//!      ?n=30       another Fibonacci number, by the slow way of adding up ones
//!      ?cpu=500ms  again and again, until that much CPU time was used
//!      ?sleep=13s  waits as well, without a processor
//! ```

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::model::{clean, parse_span};

/// Tasks at once; more are refused with 503.
const MOST_TASKS: usize = 256;
/// Connections at once; further ones wait in the kernel's queue.
const MOST_CONNECTIONS: usize = 1024;
/// The Fibonacci number that is computed unless another is asked for, and the largest.
const NUMBER: u32 = 35;
const LARGEST: u32 = 50;
/// The longest a task may compute or sleep.
const LONGEST: Duration = Duration::from_mins(10);
/// How long tasks under way may take when it is told to end.
const GRACE: Duration = Duration::from_secs(5);
/// Numbers below this are computed without looking whether anybody still waits for them.
const LOOK_ABOVE: u32 = 24;

/// What is asked of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Task {
    number: u32,
    cpu: Duration,
    sleep: Duration,
}

/// What it came to.
#[derive(Debug, Serialize)]
struct Done<'a> {
    container: &'a str,
    n: u32,
    result: u64,
    /// How often it was computed.
    rounds: u64,
    /// CPU time that the computing took, seconds; null where the system does not tell.
    cpu_seconds: Option<f64>,
    /// All time, seconds.
    seconds: f64,
}

/// Serves until `shutdown`. `name` is what it calls itself.
pub async fn serve_tasks(listener: TcpListener, name: String, shutdown: CancellationToken) {
    let (name, tasks): (Arc<str>, _) = (name.into(), Arc::new(Semaphore::new(MOST_TASKS)));
    let connections = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    loop {
        let permit = connections.clone().acquire_owned().await.expect("the semaphore is never closed");
        let accepted = tokio::select! {
            () = shutdown.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            // For want of file descriptors, mostly: some come back.
            sleep(Duration::from_millis(100)).await;
            continue;
        };
        let _ = stream.set_nodelay(true);
        let (name, tasks) = (name.clone(), tasks.clone());
        let service = service_fn(move |request| {
            let (name, tasks) = (name.clone(), tasks.clone());
            async move { Ok::<_, Infallible>(answer(&request, &name, &tasks).await) }
        });
        let connection =
            http1::Builder::new().timer(TokioTimer::new()).serve_connection(TokioIo::new(stream), service);
        let connection = graceful.watch(connection);
        tokio::spawn(async move {
            // A client that leaves is its own affair.
            let _ = connection.await;
            drop(permit);
        });
    }
    drop(listener);
    let _ = timeout(GRACE, graceful.shutdown()).await;
}

async fn answer(request: &Request<Incoming>, name: &str, tasks: &Semaphore) -> Response<Full<Bytes>> {
    if !matches!(*request.method(), Method::GET | Method::POST) {
        return text(StatusCode::METHOD_NOT_ALLOWED, "only GET and POST are answered");
    }
    match request.uri().path() {
        "/" => json(&serde_json::json!({ "container": name })),
        "/start_task" => {
            let task = match Task::parse(request.uri().query().unwrap_or_default()) {
                Ok(task) => task,
                Err(why) => return text(StatusCode::BAD_REQUEST, &why),
            };
            let Ok(_place) = tasks.try_acquire() else {
                return text(StatusCode::SERVICE_UNAVAILABLE, "too many tasks at once");
            };
            task.perform(name).await
        }
        path => text(StatusCode::NOT_FOUND, &format!("there is nothing at {:?}", clean(path, 80))),
    }
}

impl Task {
    fn parse(query: &str) -> Result<Self, String> {
        let mut task = Self { number: NUMBER, cpu: Duration::ZERO, sleep: Duration::ZERO };
        let span = |text: &str| {
            let span = parse_span(text).map_err(|error| error.to_string())?;
            if span <= LONGEST { Ok(span) } else { Err("no task takes longer than 10m".to_owned()) }
        };
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            match pair.split_once('=') {
                Some(("n", text)) => {
                    let number = text.parse().ok().filter(|number| *number <= LARGEST);
                    task.number = number.ok_or_else(|| format!("n: give a number from 0 to {LARGEST}"))?;
                }
                Some(("cpu", text)) => task.cpu = span(text)?,
                Some(("sleep", text)) => task.sleep = span(text)?,
                _ => return Err(format!("{:?} is none of n=, cpu= and sleep=", clean(pair, 40))),
            }
        }
        Ok(task)
    }

    async fn perform(self, name: &str) -> Response<Full<Bytes>> {
        let begun = Instant::now();
        sleep(self.sleep).await;
        // Whoever hangs up drops this future, and with it the reason to go on computing.
        let wanted = Arc::new(AtomicBool::new(true));
        let _hung_up = HungUp(wanted.clone());
        let computed = tokio::task::spawn_blocking(move || self.compute(&wanted)).await;
        let Ok(Some((result, rounds, cpu))) = computed else {
            return text(StatusCode::INTERNAL_SERVER_ERROR, "the task was given up");
        };
        json(&Done {
            container: name,
            n: self.number,
            result,
            rounds,
            cpu_seconds: cpu.map(|cpu| cpu.as_secs_f64()),
            seconds: begun.elapsed().as_secs_f64(),
        })
    }

    /// The number, how often it was computed, and the CPU time of that; `None` when nobody wants it any more.
    fn compute(self, wanted: &AtomicBool) -> Option<(u64, u64, Option<Duration>)> {
        let (begun, mut rounds) = (thread_cpu(), 0);
        loop {
            let result = fibonacci(black_box(self.number), wanted)?;
            rounds += 1;
            let used = begun.zip(thread_cpu()).map(|(begun, now)| now.saturating_sub(begun));
            // Without a clock of its own it computes once.
            if used.is_none_or(|used| used >= self.cpu) {
                return Some((result, rounds, used));
            }
        }
    }
}

/// Says so when it is dropped.
struct HungUp(Arc<AtomicBool>);

impl Drop for HungUp {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// The slow way, on purpose; `None` when nobody wants it any more.
fn fibonacci(number: u32, wanted: &AtomicBool) -> Option<u64> {
    fn plain(number: u32) -> u64 {
        if number < 2 { number.into() } else { black_box(plain(number - 1) + plain(number - 2)) }
    }
    if number < LOOK_ABOVE {
        return Some(plain(number));
    }
    if !wanted.load(Ordering::Relaxed) {
        return None;
    }
    Some(fibonacci(number - 1, wanted)? + fibonacci(number - 2, wanted)?)
}

/// CPU time that this thread has used (`clock_gettime(2)`).
fn thread_cpu() -> Option<Duration> {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: it writes one timespec to the pointer, which is valid for that.
    let answer = unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &raw mut time) };
    let (seconds, nanos) = (u64::try_from(time.tv_sec).ok()?, u32::try_from(time.tv_nsec).ok()?);
    (answer == 0).then(|| Duration::new(seconds, nanos))
}

fn json(value: &impl Serialize) -> Response<Full<Bytes>> {
    let body = serde_json::to_vec(value).expect("plain data becomes JSON");
    respond(StatusCode::OK, "application/json", body)
}

fn text(status: StatusCode, why: &str) -> Response<Full<Bytes>> {
    respond(status, "text/plain; charset=utf-8", format!("{why}\n").into_bytes())
}

fn respond(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_asked_for_is_bounded_and_named_when_wrong() {
        let task = Task::parse("").unwrap();
        assert_eq!((task.number, task.cpu, task.sleep), (35, Duration::ZERO, Duration::ZERO));
        let task = Task::parse("n=3&cpu=10ms&sleep=1.5s").unwrap();
        assert_eq!((task.number, task.cpu.as_millis(), task.sleep.as_millis()), (3, 10, 1500));
        for (query, word) in
            [("n=51", "0 to 50"), ("n=x", "0 to 50"), ("sleep=11m", "10m"), ("m=1", "n="), ("n", "n=")]
        {
            assert!(Task::parse(query).unwrap_err().contains(word), "{query}");
        }
    }

    #[test]
    fn fibonacci_is_right_and_stops_when_nobody_waits() {
        let wanted = AtomicBool::new(true);
        for (number, expected) in [(0, 0), (1, 1), (2, 1), (10, 55), (26, 121_393)] {
            assert_eq!(fibonacci(number, &wanted), Some(expected));
        }
        wanted.store(false, Ordering::Relaxed);
        assert_eq!(fibonacci(LARGEST, &wanted), None);
    }

    #[test]
    fn a_task_goes_on_until_it_used_its_cpu_time() {
        let task = Task { number: 10, cpu: Duration::from_millis(20), sleep: Duration::ZERO };
        let (result, rounds, cpu) = task.compute(&AtomicBool::new(true)).unwrap();
        assert!(result == 55 && rounds > 1, "{rounds}");
        assert!(cpu.is_some_and(|cpu| cpu >= task.cpu), "{cpu:?}");
    }

    proptest! {
        #[test]
        fn no_query_panics(query in ".{0,60}") {
            let _ = Task::parse(&query);
        }
    }
}
