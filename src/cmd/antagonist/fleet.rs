//! `dockhealth antagonist --host`: the same on other hosts, through the controller.
//!
//! Whoever began a campaign renews it every second. So each host ends it by itself when this process, the controller or the
//! network is gone, and undoes what it did.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::bus::{ChaosOrder, ChaosState, ChaosSummary};
use crate::client::{Api, ApiError, ChaosHostView, ChaosView, Method};
use crate::cmd::Failure;
use crate::cmd::output::{note, print, print_json, time};
use crate::cmd::reach::Reach;
use crate::cmd::runtime::{block_on, until_told_to_stop};
use crate::cmd::settings::{OPTIONS, Resolver, Setting, parse};
use crate::model::{HostName, NamePattern, format_span};

pub(super) const HOST: Setting = Setting::value("NAME|GLOB|all").flag_only().called(
    "host",
    OPTIONS,
    "Do it on these hosts of the fleet, through the controller: a name, a name with `*` and `?`, or all; their agents' own \
     configuration must say chaos = true",
);
pub(super) const RENEW_WITHIN: Setting = Setting::value("SPAN").or("15s").flag_only().called(
    "renew-within",
    OPTIONS,
    "With --host: how long a host goes on when it hears nothing of this process, 5s to 1m; then it undoes everything",
);

/// Between two renewals; what was done is shown as often.
const RENEW_EVERY: Duration = Duration::from_secs(1);
/// A host that was told to end has so long to undo its faults.
const END_WITHIN: Duration = Duration::from_secs(100);

/// What is wanted of other hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wish {
    /// To play.
    Play,
    /// To say what would be done.
    Plan,
    /// To end whatever is played.
    Sweep,
}

/// Which hosts, and how they are reached.
pub(super) struct Fleet {
    hosts: NamePattern,
    within: Duration,
    reach: Reach,
}

impl Fleet {
    /// Reads [`HOST`], [`RENEW_WITHIN`] and where the controller is.
    pub(super) fn resolve(r: &mut Resolver) -> Option<Self> {
        let hosts = r.opt(&HOST, parse::typed::<NamePattern>);
        let within = r.get(&RENEW_WITHIN, parse::span(parse::millis(5_000, 60_000)));
        if hosts.is_none() && r.is_given(&RENEW_WITHIN) {
            r.wrong(&RENEW_WITHIN, "it is about other hosts, and none is named: give --host");
        }
        let reach = Reach::resolve(r);
        Some(Self { hosts: hosts?, within, reach })
    }

    /// Does it, to the end of the campaign on every host.
    pub(super) fn run(&self, order: &ChaosOrder, wish: Wish) -> Result<(), Failure> {
        let api = Arc::new(self.reach.api()?);
        block_on(async {
            match wish {
                Wish::Play => self.play(&api, order).await,
                Wish::Plan => self.plan(&api, order).await,
                Wish::Sweep => self.sweep(&api).await,
            }
        })
    }

    async fn plan(&self, api: &Arc<Api>, order: &ChaosOrder) -> Result<(), Failure> {
        let body = json!({ "host": self.hosts.to_string(), "order": order, "plan": true });
        let answer = call(api, Method::Post, "/chaos".to_owned(), Some(body)).await?;
        say_refusals(&answer.hosts);
        let plans: BTreeMap<_, _> = answer
            .hosts
            .into_iter()
            .filter_map(|host| Some((host.hostname.to_string(), host.plan?)))
            .collect();
        print_json(&plans)
    }

    async fn sweep(&self, api: &Arc<Api>) -> Result<(), Failure> {
        let answer = call(api, Method::Delete, self.end_path(None), None).await?;
        for host in answer.hosts {
            let said =
                host.detail.unwrap_or_else(|| "its campaign ends, and its faults are undone".to_owned());
            print(&format!("{}: {said}\n", host.hostname))?;
        }
        Ok(())
    }

    fn end_path(&self, campaign: Option<Uuid>) -> String {
        let hosts = self.hosts.to_string().replace('?', "%3F");
        campaign.map_or_else(
            || format!("/chaos?host={hosts}"),
            |campaign| format!("/chaos?host={hosts}&campaign={campaign}"),
        )
    }

    async fn play(&self, api: &Arc<Api>, order: &ChaosOrder) -> Result<(), Failure> {
        let stop = until_told_to_stop()?;
        let body = json!({
            "host": self.hosts.to_string(), "order": order, "renewed_within": format_span(self.within),
        });
        let answer = call(api, Method::Post, "/chaos".to_owned(), Some(body)).await?;
        let campaign =
            answer.campaign.ok_or_else(|| Failure::Failed("the controller began no campaign".into()))?;
        say_refusals(&answer.hosts);
        let mut watch = Watch::new(self.within, answer.hosts);
        note(&format!("campaign {campaign} on {}", watch.names()));
        let mut ending: Option<Instant> = None;
        let mut told = false;
        while !watch.playing.is_empty() {
            if stop.is_cancelled() {
                let since = *ending.get_or_insert_with(Instant::now);
                if since.elapsed() > END_WITHIN {
                    let names = watch.names();
                    return Err(Failure::Failed(format!(
                        "{names}: still undoing after {}",
                        format_span(END_WITHIN)
                    )));
                }
                told = told || call(api, Method::Delete, self.end_path(Some(campaign)), None).await.is_ok();
            }
            let asked = call(api, Method::Put, format!("/chaos/{campaign}"), Some(watch.question()));
            match timeout(self.within, asked).await {
                Ok(Ok(answer)) => watch.hear(answer.hosts, &stop),
                Ok(Err(error)) => watch.hear_nothing(&error.to_string()),
                Err(_) => watch.hear_nothing("the controller does not answer"),
            }
            tokio::select! {
                () = sleep(RENEW_EVERY) => {}
                () = stop.cancelled(), if ending.is_none() => {}
            }
        }
        watch.outcome()
    }
}

fn say_refusals(hosts: &[ChaosHostView]) {
    for why in hosts.iter().filter_map(|host| host.detail.as_ref()) {
        note(why);
    }
}

/// Asks the controller on a thread of its own, which the end of the process need not wait for.
async fn call(
    api: &Arc<Api>,
    method: Method,
    path: String,
    body: Option<Value>,
) -> Result<ChaosView, ApiError> {
    let (done, answered) = oneshot::channel();
    let api = api.clone();
    std::thread::spawn(move || {
        let answer = api.send(method, &path, body.as_ref()).and_then(|answer| api.read(&answer));
        // Who asked may have given up.
        let _ = done.send(answer);
    });
    let gone =
        || ApiError::Unreachable { server: "the controller".into(), why: "the request was not made".into() };
    answered.await.map_err(|_| gone())?
}

/// The hosts of a campaign, as they are heard.
struct Watch {
    within: Duration,
    playing: BTreeMap<HostName, Heard>,
    /// What came of it where it ended.
    summaries: BTreeMap<HostName, ChaosSummary>,
    /// Hosts that were lost on the way, and why.
    lost: BTreeMap<HostName, String>,
}

struct Heard {
    next: u64,
    at: Instant,
}

impl Watch {
    fn new(within: Duration, hosts: Vec<ChaosHostView>) -> Self {
        let at = Instant::now();
        // One that did not answer may have begun.
        let playing = hosts.into_iter().filter(|host| host.state.is_some() || host.silent);
        let playing = playing.map(|host| (host.hostname, Heard { next: 0, at }));
        Self { within, playing: playing.collect(), summaries: BTreeMap::new(), lost: BTreeMap::new() }
    }

    fn names(&self) -> String {
        self.playing.keys().map(HostName::as_str).collect::<Vec<_>>().join(", ")
    }

    fn question(&self) -> Value {
        let hosts: BTreeMap<&HostName, u64> =
            self.playing.iter().map(|(host, heard)| (host, heard.next)).collect();
        json!({ "hosts": hosts })
    }

    fn hear(&mut self, hosts: Vec<ChaosHostView>, stop: &CancellationToken) {
        for told in hosts {
            let Some(heard) = self.playing.get_mut(&told.hostname) else { continue };
            if told.silent {
                self.give_up(&told.hostname, told.detail.as_deref().unwrap_or("it did not answer"));
                continue;
            }
            if let Some(why) = told.detail {
                self.playing.remove(&told.hostname);
                self.lost.insert(told.hostname, why);
                continue;
            }
            (heard.next, heard.at) = (told.next, Instant::now());
            for line in &told.news {
                let line = format!("{} {}: {}\n", time(line.time), told.hostname, line.text);
                if print(&line).is_err() {
                    // Nobody reads what it does: then it must not do it.
                    stop.cancel();
                }
            }
            let all_told = told.news.is_empty();
            if let (Some(ChaosState::Ended), true, Some(summary)) = (told.state, all_told, told.summary) {
                self.playing.remove(&told.hostname);
                self.summaries.insert(told.hostname, summary);
            }
        }
    }

    fn hear_nothing(&mut self, why: &str) {
        let hosts: Vec<HostName> = self.playing.keys().cloned().collect();
        for host in hosts {
            self.give_up(&host, why);
        }
    }

    /// Once a host could not be renewed for so long, it has ended the campaign by itself.
    fn give_up(&mut self, host: &HostName, why: &str) {
        if self.playing.get(host).is_some_and(|heard| heard.at.elapsed() > self.within) {
            self.playing.remove(host);
            self.lost.insert(host.clone(), format!("{why}; it undoes everything by itself"));
        }
    }

    fn outcome(self) -> Result<(), Failure> {
        let mut wrong: Vec<String> = self.lost.iter().map(|(host, why)| format!("{host}: {why}")).collect();
        for (host, summary) in &self.summaries {
            if let Some(why) = &summary.aborted {
                wrong.push(format!("{host}: ended early: {why}"));
            } else if summary.missed > 0 {
                wrong.push(format!("{host}: faults that did not come out as expected: {}", summary.missed));
            }
            if summary.lost > 0 {
                wrong.push(format!(
                    "{host}: faults that are not undone yet, its agent goes on trying: {}",
                    summary.lost
                ));
            }
        }
        if wrong.is_empty() { Ok(()) } else { Err(Failure::Failed(wrong.join("\n"))) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(name: &str, more: &Value) -> ChaosHostView {
        let mut host =
            json!({ "hostname": name, "state": null, "detail": null, "summary": null, "plan": null });
        host.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        serde_json::from_value(host).unwrap()
    }

    fn watch(names: &[&str]) -> Watch {
        let hosts = names.iter().map(|name| host(name, &json!({ "state": "playing" }))).collect();
        Watch::new(Duration::from_secs(15), hosts)
    }

    #[tokio::test(start_paused = true)]
    async fn a_host_counts_as_lost_once_it_must_have_ended_by_itself() {
        let (mut watch, stop) = (watch(&["a", "b"]), CancellationToken::new());
        let silent =
            || vec![host("b", &json!({ "silent": true, "detail": "host b did not answer within 2 s" }))];
        tokio::time::advance(Duration::from_secs(14)).await;
        watch.hear(vec![host("a", &json!({ "state": "playing", "next": 3 }))], &stop);
        watch.hear(silent(), &stop);
        assert_eq!(watch.names(), "a, b");
        assert_eq!(watch.question(), json!({ "hosts": { "a": 3, "b": 0 } }));
        tokio::time::advance(Duration::from_secs(2)).await;
        watch.hear(silent(), &stop);
        assert_eq!(watch.names(), "a");
        tokio::time::advance(Duration::from_secs(14)).await;
        watch.hear_nothing("the controller does not answer");
        assert_eq!(watch.names(), "");
        let why = watch.outcome().unwrap_err().to_string();
        assert!(why.contains("a: the controller does not answer; it undoes everything by itself"), "{why}");
        assert!(why.contains("b: host b did not answer within 2 s"), "{why}");
    }

    #[tokio::test(start_paused = true)]
    async fn it_ends_with_what_each_host_says_of_its_end() {
        let stop = CancellationToken::new();
        let ended = |missed: u32, lost: u32| {
            let summary = json!({ "faults": 3, "met": 0, "missed": missed, "aborted": null, "lost": lost });
            json!({ "state": "ended", "summary": summary })
        };
        let mut good = watch(&["a"]);
        good.hear(vec![host("a", &ended(0, 0))], &stop);
        assert!(good.playing.is_empty() && good.outcome().is_ok());
        let mut bad = watch(&["a", "b", "c"]);
        bad.hear(vec![host("a", &ended(2, 0)), host("b", &ended(0, 1))], &stop);
        bad.hear(vec![host("c", &json!({ "detail": "host c has no campaign" }))], &stop);
        let why = bad.outcome().unwrap_err().to_string();
        for says in [
            "a: faults that did not come out as expected: 2",
            "its agent goes on trying: 1",
            "c: host c has no campaign",
        ] {
            assert!(why.contains(says), "{why}");
        }
    }
}
