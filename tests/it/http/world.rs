//! A controller on a real listener, and agents that follow a script.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dockhealth::bus::{
    AgentCommand, AgentReply, Bus, BusError, BusStatus, ContainerReport, DesiredChange, DesiredStore,
    DesiredUpdate, EngineReport, EngineStatus, HostReport, Incoming, LocalBus, OutboxAck, OutboxBatch,
    OutboxItem, PROTOCOL_VERSION, Responder, Subject, decode, encode,
};
use dockhealth::controller::{Controller, ControllerConfig};
use dockhealth::model::{
    Actor, DesiredState, Event, EventDraft, EventKind, Health, HostName, LossPercent, RunState, Threshold,
    Timestamp,
};
use dockhealth::store::{ControllerDb, DEFAULT_RETENTION, EmbeddedStore};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::client::{Answer, Ask, SseReader};
use crate::support::{DEADLINE, eventually};

struct Kept;

#[async_trait]
impl DesiredStore for Kept {
    async fn put(&self, _change: &DesiredChange) -> Result<(), String> {
        Ok(())
    }
}

/// The local bus with a switch to take it down.
#[derive(Clone)]
pub(super) struct TestBus {
    pub(super) local: LocalBus,
    status: Arc<watch::Sender<BusStatus>>,
}

impl TestBus {
    pub(super) fn new() -> Self {
        let local = LocalBus::new(DesiredState::default(), Kept);
        Self { local, status: Arc::new(watch::Sender::new(BusStatus::Connected)) }
    }

    pub(super) fn take_down(&self) {
        self.status.send_replace(BusStatus::Disconnected("connection refused".into()));
    }

    pub(super) fn bring_up(&self) {
        self.status.send_replace(BusStatus::Connected);
    }

    fn up(&self) -> Result<&LocalBus, BusError> {
        match &*self.status.borrow() {
            BusStatus::Connected => Ok(&self.local),
            BusStatus::Disconnected(why) => Err(BusError::Disconnected(why.clone())),
        }
    }
}

#[async_trait]
impl Bus for TestBus {
    async fn publish(&self, subject: &Subject, payload: Bytes) -> Result<(), BusError> {
        self.up()?.publish(subject, payload).await
    }

    async fn subscribe(&self, subject: &Subject) -> Result<BoxStream<'static, Incoming>, BusError> {
        self.up()?.subscribe(subject).await
    }

    async fn subscribe_shared(
        &self,
        subject: &Subject,
        group: &str,
    ) -> Result<BoxStream<'static, Incoming>, BusError> {
        self.up()?.subscribe_shared(subject, group).await
    }

    async fn request(&self, subject: &Subject, payload: Bytes, within: Duration) -> Result<Bytes, BusError> {
        self.up()?.request(subject, payload, within).await
    }

    async fn request_many(
        &self,
        subject: &Subject,
        payload: Bytes,
        within: Duration,
    ) -> Result<BoxStream<'static, Bytes>, BusError> {
        self.up()?.request_many(subject, payload, within).await
    }

    async fn put_desired(&self, change: DesiredChange) -> Result<(), BusError> {
        self.up()?.put_desired(change).await
    }

    async fn watch_desired(&self) -> Result<BoxStream<'static, DesiredUpdate>, BusError> {
        self.up()?.watch_desired().await
    }

    fn status(&self) -> watch::Receiver<BusStatus> {
        self.status.subscribe()
    }
}

/// A controller at work in a folder of its own.
pub(super) struct World {
    pub(super) address: SocketAddr,
    pub(super) bus: TestBus,
    pub(super) db: ControllerDb,
    pub(super) dir: tempfile::TempDir,
    /// The first token.
    pub(super) token: String,
    pub(super) shutdown: CancellationToken,
    pub(super) controller: Controller,
}

/// How the controller of a test differs from the default.
pub(super) type Setup<'a> = &'a dyn Fn(&mut ControllerConfig);

impl World {
    pub(super) async fn new() -> Self {
        Self::with(&|_| {}).await
    }

    pub(super) async fn with(setup: Setup<'_>) -> Self {
        Self::on(TestBus::new(), setup).await
    }

    /// On a bus where there may be agents already.
    pub(super) async fn on(bus: TestBus, setup: Setup<'_>) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), bus, setup, "127.0.0.1:0").await
    }

    /// On an address of choice.
    pub(super) async fn listening(listen: &str, setup: Setup<'_>) -> Self {
        Self::in_dir(tempfile::tempdir().unwrap(), TestBus::new(), setup, listen).await
    }

    /// In a folder where `prepare` was done to the database before.
    pub(super) async fn after<F: Future<Output = ()>>(
        setup: Setup<'_>,
        prepare: impl FnOnce(ControllerDb) -> F,
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let db = ControllerDb::open(dir.path()).unwrap();
        prepare(db.clone()).await;
        db.close().await;
        Self::in_dir(dir, TestBus::new(), setup, "127.0.0.1:0").await
    }

    async fn in_dir(dir: tempfile::TempDir, bus: TestBus, setup: Setup<'_>, listen: &str) -> Self {
        let db = ControllerDb::open(dir.path()).unwrap();
        let mut config = ControllerConfig::new("controller".parse().unwrap(), dir.path().to_owned());
        config.response_window = Duration::from_millis(400);
        setup(&mut config);
        let listener = TcpListener::bind(listen).await.unwrap();
        let shutdown = CancellationToken::new();
        let metrics = EmbeddedStore::open(&db, DEFAULT_RETENTION).unwrap();
        let parts = (Arc::new(bus.clone()), db.clone(), Arc::new(metrics), shutdown.clone());
        let controller =
            Controller::start(config, parts.0, parts.1, parts.2, listener, parts.3).await.unwrap();
        let token = std::fs::read_to_string(dir.path().join("token")).unwrap_or_default().trim().to_owned();
        let mut address = controller.address();
        if address.ip().is_unspecified() {
            address.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
        }
        let world = Self { address, bus, db, dir, token, shutdown, controller };
        if world.controller.tls().is_none() {
            eventually("the desired state is read", async || {
                (world.get("/readyz").await.status == 200).then_some(())
            })
            .await;
        }
        world
    }

    /// Ends the controller, does `between` in its folder and starts another there.
    pub(super) async fn restarted(self, between: impl FnOnce(&std::path::Path)) -> Self {
        self.restarted_with(&|_| {}, between).await
    }

    /// The same with a controller that differs from the default.
    pub(super) async fn restarted_with(
        self,
        setup: Setup<'_>,
        between: impl FnOnce(&std::path::Path),
    ) -> Self {
        self.shutdown.cancel();
        self.controller.ended().await;
        self.db.close().await;
        between(self.dir.path());
        Self::in_dir(self.dir, self.bus, setup, "127.0.0.1:0").await
    }

    pub(super) async fn get(&self, path: &str) -> Answer {
        Ask::new("GET", path).send(self.address).await
    }

    /// With the first token.
    pub(super) async fn call(&self, method: &'static str, path: &str, body: &str) -> Answer {
        Ask::new(method, path).token(&self.token).body(body).send(self.address).await
    }

    pub(super) async fn stream(&self, topics: &str) -> SseReader {
        SseReader::open(self.address, Ask::new("GET", &format!("/api/v1/stream?topics={topics}"))).await
    }

    /// Sends an outbox batch of one event as `host` does; gives the acknowledged number.
    pub(super) async fn outbox(&self, batch: &OutboxBatch, subject_host: &str) -> Result<u64, BusError> {
        let subject = Subject::Outbox(host(subject_host));
        let answer = self.bus.request(&subject, encode(batch), DEADLINE).await?;
        Ok(decode::<OutboxAck>(&answer)?.seq)
    }

    pub(super) async fn desired(&self) -> DesiredState {
        let mut state = DesiredState::default();
        let mut told = self.bus.watch_desired().await.unwrap();
        while let Some(update) = told.next().await {
            match update {
                DesiredUpdate::Change(change) => change.apply(&mut state),
                DesiredUpdate::Synced => break,
                DesiredUpdate::Resync => {}
            }
        }
        state
    }

    /// The kinds of all stored events, oldest first.
    pub(super) async fn kinds(&self) -> Vec<String> {
        let events = self.get("/api/v1/events?after=0&limit=1000").await.expect(200).json();
        events.as_array().unwrap().iter().map(|e| e["kind"].as_str().unwrap().to_owned()).collect()
    }
}

pub(super) fn host(name: &str) -> HostName {
    name.parse().unwrap()
}

/// A batch of `outbox` session whose only item, number `seq`, is an event of `kind`.
pub(super) fn batch(name: &str, seq: u64, kind: EventKind, container: Option<&str>) -> OutboxBatch {
    let mut draft = EventDraft::new(kind, Actor::Agent, format!("{kind} number {seq}"));
    draft.container = container.map(|c| c.parse().unwrap());
    let event: Event = draft.stamp(&host(name), Timestamp::now());
    OutboxBatch {
        v: PROTOCOL_VERSION,
        host: host(name),
        session: uuid::Uuid::from_u128(7),
        seq,
        items: vec![OutboxItem::Event(event)],
    }
}

pub(super) fn container(name: &str) -> ContainerReport {
    ContainerReport {
        name: name.parse().unwrap(),
        id: "0123456789abcdef".parse().unwrap(),
        image: "nginx:1".into(),
        status: RunState::Running,
        monitored: true,
        health: Health::Healthy,
        loss_percent: Some(LossPercent::NONE),
        rtt_ms: Some(0.25),
        restarts: Some(2),
        networks: vec!["bridge".into()],
        addresses: vec!["172.17.0.2".parse().unwrap()],
        project: None,
        service: None,
        reason: "answers every probe".into(),
        outcomes: None,
        maintenance_by_label: false,
    }
}

pub(crate) fn report(name: &str, containers: Vec<ContainerReport>) -> HostReport {
    HostReport {
        v: PROTOCOL_VERSION,
        host: host(name),
        instance: format!("instance-of-{name}").parse().unwrap(),
        nonce: uuid::Uuid::new_v4(),
        seq: 1,
        time: Timestamp::now(),
        agent_version: "0.1.0".into(),
        addresses: Vec::new(),
        engine: EngineReport {
            status: EngineStatus::Reachable,
            id: Some(format!("engine-of-{name}").parse().unwrap()),
            version: Some("20.10.24".into()),
            error: None,
        },
        capabilities: Vec::new(),
        freeze: None,
        dry_run: false,
        threshold: Threshold::default(),
        desired_synced: true,
        outbox: Some(0),
        identity: None,
        fleet: None,
        containers,
        pools: Vec::new(),
    }
}

/// What an agent does with a command.
pub(super) type Script = Box<dyn Fn(AgentCommand) -> AgentReply + Send + Sync>;

/// An agent that reports what it is told to, and answers commands by a script.
pub(super) struct ScriptedAgent {
    report: Arc<Mutex<HostReport>>,
    bus: TestBus,
    /// How many list questions it heard.
    pub(super) asked: watch::Receiver<u64>,
    pub(super) commands: mpsc::UnboundedReceiver<AgentCommand>,
    task: tokio::task::JoinHandle<()>,
}

/// Whether an agent answers lists.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Lists {
    Answered,
    /// Heard, and left open: as an agent that hangs.
    Unanswered,
}

impl ScriptedAgent {
    /// An agent that answers lists, and is known to the controller when this returns.
    pub(super) async fn start(world: &World, report: HostReport) -> Self {
        Self::scripted(world, report, Lists::Answered, Box::new(|_| AgentReply::Done)).await
    }

    pub(super) async fn scripted(world: &World, report: HostReport, lists: Lists, script: Script) -> Self {
        let bus = world.bus.clone();
        let name = report.host.clone();
        let mut questions = bus.subscribe(&Subject::List).await.unwrap();
        let mut commands = bus.subscribe(&Subject::Command(name.clone())).await.unwrap();
        let report = Arc::new(Mutex::new(report));
        let (count, asked) = watch::channel(0);
        let (heard, heard_commands) = mpsc::unbounded_channel();
        let shown = report.clone();
        let task = tokio::spawn(async move {
            let mut unanswered: Vec<Responder> = Vec::new();
            loop {
                tokio::select! {
                    Some(question) = questions.next() => {
                        count.send_modify(|asked| *asked += 1);
                        let reply = question.reply.unwrap();
                        if lists == Lists::Answered {
                            let payload = encode(&*shown.lock().unwrap());
                            reply.send(payload).await.unwrap();
                        } else {
                            unanswered.push(reply);
                        }
                    }
                    Some(command) = commands.next() => {
                        let told: AgentCommand = decode(&command.payload).unwrap();
                        let answer = script(told.clone());
                        let _ = heard.send(told);
                        command.reply.unwrap().send(encode(&answer)).await.unwrap();
                    }
                    else => break,
                }
            }
        });
        let agent = Self { report, bus, asked, commands: heard_commands, task };
        agent.push().await;
        let path = format!("/api/v1/hosts/{name}");
        eventually("the host is live", async || {
            (world.get(&path).await.json()["presence"] == "live").then_some(())
        })
        .await;
        agent
    }

    /// Sends its regular report.
    pub(super) async fn push(&self) {
        let (subject, payload) = {
            let report = self.report.lock().unwrap();
            (Subject::Report(report.host.clone()), encode(&*report))
        };
        self.bus.publish(&subject, payload).await.unwrap();
    }

    /// Changes what it reports, and reports it.
    pub(super) async fn change(&self, change: impl FnOnce(&mut HostReport)) {
        {
            let mut report = self.report.lock().unwrap();
            change(&mut report);
            report.seq += 1;
        }
        self.push().await;
    }
}

impl Drop for ScriptedAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}
