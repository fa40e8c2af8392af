//! The antagonist's side of its faults: it writes each down, starts its holder, and sees to it that the fault ends in time,
//! also when the holder does not.

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::CommandExt;
use std::process::Stdio;
use std::time::Duration;

use async_trait::async_trait;
use futures_util::stream::{FuturesUnordered, StreamExt};
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::hold::{ActError, UNDO_WITHIN, Word, engine_of, undo, undo_patiently, within};
use super::kill_point::kill_point;
use super::{Attack, Entry, Lease, LeaseId, Ledger, LedgerError, Undone};
use crate::docker::EngineAddress;
use crate::model::{ContainerId, ContainerName};

/// A holder that has not begun to undo its fault so long after its time is taken for stuck, and killed.
const GUARD: Duration = Duration::from_millis(500);
/// How long the end of all faults is waited for; those that take longer end by themselves, or are swept.
const END_WITHIN: Duration = Duration::from_secs(90);
/// A holder that ended is waited for so long.
const REAP_WITHIN: Duration = Duration::from_secs(5);
/// What is said of a fault whose holder says nothing.
const NOT_SEEN: &str = "it was not seen to its end";
/// Leases that ended and were not heard of yet.
const NEWS: usize = 1024;

/// A fault that is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Begun {
    /// Its lease.
    pub lease: LeaseId,
    /// How it is done, for people; may be empty.
    pub how: String,
}

/// A fault that is over.
#[derive(Debug, Clone)]
pub struct Ended {
    /// Its lease.
    pub lease: Lease,
    /// How it ended, or why it did not: then the ledger has it for the next start.
    pub outcome: Result<Undone, String>,
}

/// Who is told how an attack went.
pub type Told<'a> = dyn FnMut(&Attack, Result<Begun, String>) + Send + 'a;

/// Why a container that carries no fault is not attacked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spared {
    /// It has not recovered from the last fault: what is found then could be either's.
    Recovering,
    /// It takes no part.
    Outside,
}

/// Where attacks are made and their faults kept: one's own machine, or a scripted one in tests.
#[async_trait]
pub trait Arena: Send {
    /// Makes an attack. On return the fault is in force, or why it is not, and nothing of it is left.
    async fn begin(&mut self, attack: &Attack) -> Result<Begun, String>;

    /// Makes attacks at once, as far as that is possible here, and tells `told` how each went as soon as that is known.
    async fn begin_all(&mut self, attacks: &[Attack], told: &mut Told<'_>) {
        for attack in attacks {
            let outcome = self.begin(attack).await;
            told(attack, outcome);
        }
    }

    /// Those who carry a fault.
    fn busy(&self) -> BTreeSet<ContainerId>;

    /// Ends the faults of a container, which were seen healed.
    fn release(&mut self, container: &ContainerId);

    /// Why a container is not to be attacked now though it carries no fault; `None`: it may be.
    fn spares(&self, _: &ContainerName) -> Option<Spared> {
        None
    }

    /// The next fault that ends; waits for ever when there is none.
    async fn ended(&mut self) -> Ended;

    /// Ends all faults, and waits until they are undone.
    async fn end_all(&mut self) -> Vec<Ended>;
}

/// The faults of this process.
pub struct Keeper {
    ledger: Ledger,
    engine: EngineAddress,
    drill: Option<String>,
    live: BTreeMap<LeaseId, Live>,
    news: mpsc::Sender<Ended>,
    heard: mpsc::Receiver<Ended>,
}

struct Live {
    lease: Lease,
    end: CancellationToken,
}

/// A fault whose holder was started; what that says of it comes.
struct Starting {
    live: Live,
    begins: oneshot::Receiver<Result<String, String>>,
}

impl Keeper {
    /// Faults on the containers of `engine`, written down in `ledger`; `drill` marks them.
    pub fn new(ledger: Ledger, engine: EngineAddress, drill: Option<String>) -> Self {
        let (news, heard) = mpsc::channel(NEWS);
        Self { ledger, engine, drill, live: BTreeMap::new(), news, heard }
    }

    /// The leases that are in force.
    pub fn leases(&self) -> impl Iterator<Item = &Lease> {
        self.live.values().map(|live| &live.lease)
    }

    fn start_holder(entry: &Entry) -> std::io::Result<Child> {
        let mut command = Command::new("/proc/self/exe");
        command.as_std_mut().arg0("dockhealth");
        command.arg("hold").arg(entry.path()).stdin(Stdio::piped()).stdout(Stdio::piped());
        // What a terminal sends to all at once reaches the antagonist alone, which ends its faults in order.
        command.process_group(0).spawn()
    }

    /// Writes an attack down and starts its holder.
    fn start(&self, attack: &Attack) -> Result<Starting, String> {
        let lease = Lease::of(attack, &self.engine, self.drill.clone());
        let entry = self.ledger.record(&lease).map_err(|error| error.to_string())?;
        kill_point("antagonist:recorded");
        let child = match Self::start_holder(&entry) {
            Ok(child) => child,
            Err(error) => {
                entry.erase().map_err(|error| error.to_string())?;
                return Err(format!("no holder could be started: {error}"));
            }
        };
        kill_point("antagonist:started");
        let (begun, begins) = oneshot::channel();
        let end = CancellationToken::new();
        let care = Care::of(entry, child, begun, end.clone());
        let news = self.news.clone();
        tokio::spawn(async move {
            if let Some(ended) = care.run().await {
                // The antagonist hears of it unless it is ending itself.
                let _ = news.send(ended).await;
            }
        });
        Ok(Starting { live: Live { lease, end }, begins })
    }

    /// A fault is in force.
    fn began(&mut self, live: Live, how: String) -> Begun {
        let lease = live.lease.id;
        self.live.insert(lease, live);
        kill_point("antagonist:begun");
        Begun { lease, how }
    }
}

#[async_trait]
impl Arena for Keeper {
    async fn begin(&mut self, attack: &Attack) -> Result<Begun, String> {
        let starting = self.start(attack)?;
        let how = starting.begins.await.unwrap_or_else(|_| Err(NOT_SEEN.to_owned()))?;
        Ok(self.began(starting.live, how))
    }

    async fn begin_all(&mut self, attacks: &[Attack], told: &mut Told<'_>) {
        let mut starting = FuturesUnordered::new();
        for attack in attacks {
            match self.start(attack) {
                Ok(Starting { live, begins }) => starting.push(async move { (attack, live, begins.await) }),
                Err(why) => told(attack, Err(why)),
            }
        }
        while let Some((attack, live, begun)) = starting.next().await {
            let how = begun.unwrap_or_else(|_| Err(NOT_SEEN.to_owned()));
            told(attack, how.map(|how| self.began(live, how)));
        }
    }

    fn busy(&self) -> BTreeSet<ContainerId> {
        self.live.values().map(|live| live.lease.container.clone()).collect()
    }

    fn release(&mut self, container: &ContainerId) {
        for live in self.live.values().filter(|live| live.lease.container == *container) {
            live.end.cancel();
        }
    }

    async fn ended(&mut self) -> Ended {
        let ended = self.heard.recv().await.expect("the sender is held beside the receiver");
        self.live.remove(&ended.lease.id);
        ended
    }

    async fn end_all(&mut self) -> Vec<Ended> {
        for live in self.live.values() {
            live.end.cancel();
        }
        let mut all = Vec::new();
        let end = Instant::now() + END_WITHIN;
        while !self.live.is_empty() {
            let left = end.saturating_duration_since(Instant::now());
            match within(left, self.ended()).await {
                Some(ended) => all.push(ended),
                None => break,
            }
        }
        let late = std::mem::take(&mut self.live).into_values();
        all.extend(late.map(|live| Ended {
            lease: live.lease,
            outcome: Err(format!("it takes longer than {} s", END_WITHIN.as_secs())),
        }));
        all
    }
}

/// An arena for a dry run: nothing happens in it.
pub struct Nowhere;

#[async_trait]
impl Arena for Nowhere {
    async fn begin(&mut self, _: &Attack) -> Result<Begun, String> {
        Err("a dry run does nothing".to_owned())
    }

    fn busy(&self) -> BTreeSet<ContainerId> {
        BTreeSet::new()
    }

    fn release(&mut self, _: &ContainerId) {}

    async fn ended(&mut self) -> Ended {
        std::future::pending().await
    }

    async fn end_all(&mut self) -> Vec<Ended> {
        Vec::new()
    }
}

/// One holder, and what becomes of its fault.
struct Care {
    entry: Entry,
    child: Child,
    words: Lines<BufReader<ChildStdout>>,
    /// Closed, it tells the holder to end.
    input: Option<ChildStdin>,
    begun: Option<oneshot::Sender<Result<String, String>>>,
    end: CancellationToken,
}

impl Care {
    fn of(
        entry: Entry,
        mut child: Child,
        begun: oneshot::Sender<Result<String, String>>,
        end: CancellationToken,
    ) -> Self {
        let words = BufReader::new(child.stdout.take().expect("piped above")).lines();
        let input = child.stdin.take();
        Self { entry, child, words, input, begun: Some(begun), end }
    }

    /// Until the fault is over; `None` when it never began.
    async fn run(mut self) -> Option<Ended> {
        let mut guard: Option<Instant> = None;
        let outcome = loop {
            let stuck = async {
                match guard {
                    Some(guard) => sleep_until(guard).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                line = self.words.next_line() => {
                    let line = line.ok().flatten();
                    match line.as_deref().map(serde_json::from_str::<Word>) {
                        Some(Ok(Word::Ready)) => {}
                        Some(Ok(Word::Held { how })) => {
                            guard = self.entry.lease().lasts().map(|lasts| Instant::now() + lasts + GUARD);
                            self.tell(Ok(how));
                        }
                        Some(Ok(Word::Refused { why } | Word::Left { why })) => break Err(why),
                        Some(Ok(Word::Undoing)) => guard = Some(Instant::now() + UNDO_WITHIN + GUARD),
                        Some(Ok(Word::Undone { how })) => break Ok(how),
                        // It died, or speaks nonsense.
                        Some(Err(_)) | None => break self.take_over().await,
                    }
                }
                () = self.end.cancelled(), if self.input.is_some() => {
                    self.input = None;
                    guard = Some(guard.map_or(Instant::now() + UNDO_WITHIN, |guard| guard.min(Instant::now() + GUARD * 4)));
                }
                () = stuck => break self.take_over().await,
            }
        };
        kill_point("antagonist:undone");
        let _ = within(REAP_WITHIN, self.child.wait()).await;
        match outcome {
            Err(why) if self.begun.is_some() => {
                self.tell(Err(why));
                None
            }
            Ok(_) if self.begun.is_some() => {
                self.tell(Err("the process that did it died, and it was undone".to_owned()));
                None
            }
            outcome => Some(Ended { lease: self.entry.lease().clone(), outcome }),
        }
    }

    fn tell(&mut self, outcome: Result<String, String>) {
        if let Some(begun) = self.begun.take() {
            // Whoever asked has gone; the fault ends all the same.
            let _ = begun.send(outcome);
        }
    }

    /// Undoes the fault in place of its holder, which is dead or will be.
    async fn take_over(&mut self) -> Result<Undone, String> {
        let _ = self.child.start_kill();
        let _ = within(REAP_WITHIN, self.child.wait()).await;
        self.entry.look_again();
        kill_point("antagonist:undoing");
        let done = async {
            let engine = engine_of(&self.entry)?;
            let undone = undo_patiently(&self.entry, self.entry.progress(), &engine).await?;
            self.entry.erase()?;
            Ok::<_, ActError>(undone)
        };
        done.await.map_err(|error| error.to_string())
    }
}

/// What became of a fault that an earlier antagonist did not live to undo.
#[derive(Debug)]
pub struct Swept {
    /// Which; `None` where the ledger cannot be read.
    pub lease: Option<Lease>,
    /// How it was undone, or why not: then it stays in the ledger.
    pub outcome: Result<Undone, String>,
}

/// Undoes the faults in `ledger` that nobody cares for any more. Those that cannot be undone now stay.
pub async fn sweep(ledger: &Ledger) -> Result<Vec<Swept>, LedgerError> {
    let mut swept = Vec::new();
    for found in ledger.orphans()? {
        swept.push(match found {
            Ok(entry) => {
                let outcome = undo_orphan(&entry).await.map_err(|error| error.to_string());
                Swept { lease: Some(entry.lease().clone()), outcome }
            }
            Err(error) => Swept { lease: None, outcome: Err(error.to_string()) },
        });
    }
    Ok(swept)
}

async fn undo_orphan(entry: &Entry) -> Result<Undone, ActError> {
    let undone = undo(entry.lease(), entry.progress(), &engine_of(entry)?).await?;
    entry.erase()?;
    Ok(undone)
}
