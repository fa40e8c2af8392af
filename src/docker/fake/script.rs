//! What tests do to the fake engine: as a container itself, as someone else at the keyboard, or as fate.

use std::time::Duration;

use serde_json::{Value, json};

use super::{Call, FakeEngine, Op, World};
use crate::docker::EngineError;
use crate::model::{ContainerId, ContainerName};

/// What a call does instead of what it should.
#[derive(Debug, Clone)]
pub enum Behaviour {
    /// Nothing, and fails.
    Fail(EngineError),
    /// What it should, and fails all the same.
    ActThenFail(EngineError),
    /// Nothing, for a minute; then it has timed out.
    Hang,
    /// What it should, this much later.
    Slow(Duration),
}

impl FakeEngine {
    /// Someone runs a container; `body` is a create body, in which all is optional.
    pub fn run(&self, name: &str, body: &Value) -> ContainerId {
        let id = self.create_only(name, body);
        self.user_start(name);
        id
    }

    /// Someone creates a container and does not start it.
    pub fn create_only(&self, name: &str, body: &Value) -> ContainerId {
        self.world().create(&named(name), body).expect("the test's container can be created")
    }

    /// It ends by itself.
    pub fn crash(&self, name: &str, exit_code: i64) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.die(&id, exit_code, false);
    }

    /// The kernel kills it for want of memory.
    pub fn oom(&self, name: &str) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.die(&id, 137, true);
    }

    /// Someone starts it.
    pub fn user_start(&self, name: &str) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.start(&id).expect("the test's container can be started");
    }

    /// Someone stops it.
    pub fn user_stop(&self, name: &str) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.stop(&id).expect("it exists");
    }

    /// The engine begins a stop: it sends the signal, and says so.
    pub fn begin_stop(&self, name: &str) {
        let mut world = self.world();
        let id = world.find(name).expect("it is there").id.clone();
        world.emit(&id, "kill", &[("signal", "15".to_owned())]);
    }

    /// Someone restarts it.
    pub fn user_restart(&self, name: &str) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.restart(&id).expect("the test's container can be started");
    }

    /// Someone removes it by force.
    pub fn user_remove(&self, name: &str) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.remove(&id);
    }

    /// Someone renames it.
    pub fn user_rename(&self, name: &str, to: &str) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.rename(&id, &named(to)).expect("the name is free");
    }

    /// Someone pauses it.
    pub fn user_pause(&self, name: &str) {
        self.set_status(name, "paused", "pause");
    }

    /// Someone unpauses it.
    pub fn user_unpause(&self, name: &str) {
        self.set_status(name, "running", "unpause");
    }

    fn set_status(&self, name: &str, status: &'static str, event: &str) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.find(name).expect("just found").status = status;
        world.emit(&id, event, &[]);
    }

    /// Its HEALTHCHECK says `status`: `starting`, `healthy` or `unhealthy`.
    pub fn set_health(&self, name: &str, status: &str) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.find(name).expect("just found").health = Some(status.to_owned());
        world.emit(&id, &format!("health_status: {status}"), &[]);
    }

    /// Someone connects it to a further network; its addresses are new ones.
    pub fn join(&self, name: &str, network: &str, endpoint: &Value) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.find(name).expect("just found").networks.insert(network.to_owned(), endpoint.clone());
        world.attach(&id);
    }

    /// Its networks are disconnected and connected anew, with other addresses.
    pub fn readdress(&self, name: &str) {
        let mut world = self.world();
        let id = id_of(&mut world, name);
        world.detach(&id);
        world.attach(&id);
    }

    /// The engine goes away, which ends all streams, or comes back. Containers go on meanwhile.
    pub fn set_reachable(&self, reachable: bool) {
        let mut world = self.world();
        world.reachable = reachable;
        if !reachable {
            for listener in world.listeners.drain(..) {
                let _ = listener.send(Err(World::unreachable()));
            }
        }
    }

    /// The next call of the kind `op` that is not scripted yet behaves so.
    pub fn next(&self, op: Op, behaviour: Behaviour) {
        self.world().behaviours.push_back((op, behaviour));
    }

    /// The engine does `changes` more calls that change something, then neither that last one nor any other ever
    /// returns: its caller is as good as dead.
    pub fn halt_after(&self, changes: u32) {
        self.world().halt_after = Some(changes);
    }

    /// Ends what [`FakeEngine::halt_after`] began, for the next caller.
    pub fn resume(&self) {
        self.world().halt_after = None;
    }

    /// The image `reference` is `id` from now on, or gone.
    pub fn set_image(&self, reference: &str, id: Option<&str>) {
        let mut world = self.world();
        match id {
            Some(id) => world.images.insert(reference.to_owned(), id.to_owned()),
            None => world.images.remove(reference),
        };
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.world().calls.clone()
    }

    /// Every call so far that may change something.
    pub fn changes(&self) -> Vec<Call> {
        self.world().calls.iter().filter(|call| call.changes()).cloned().collect()
    }

    /// The names of all containers and whether they run.
    pub fn names(&self) -> Vec<(String, bool)> {
        let mut names: Vec<_> =
            self.world().containers.values().map(|c| (c.name.to_string(), c.runs())).collect();
        names.sort();
        names
    }

    /// What is asked of the container as the engine describes it.
    pub fn describe(&self, name: &str) -> Option<Value> {
        self.world().find(name).ok().map(|container| container.describe())
    }

    /// A create body with these labels.
    pub fn labelled(labels: &[(&str, &str)]) -> Value {
        let labels: serde_json::Map<String, Value> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        json!({ "Labels": labels })
    }
}

fn named(name: &str) -> ContainerName {
    ContainerName::new(name).expect("a test's name")
}

fn id_of(world: &mut World, name: &str) -> ContainerId {
    world.find(name).expect("the test's container exists").id.clone()
}
