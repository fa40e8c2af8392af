//! From the engine's description of a container to the request that makes the same one again. Pure.
//!
//! It starts from everything that the engine says was configured and takes away what the engine itself filled in, so
//! what a newer engine knows is carried over without being known here.

use std::collections::HashSet;
use std::fmt;

use serde_json::{Map, Value, json};

use crate::docker::{AnonymousVolumes, convert};
use crate::model::{ContainerId, ContainerName, clean};

/// Why a container cannot be made again as it is. Nothing was touched.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecreateRefusal {
    /// The engine removes it as soon as it stops, so there would be no way back.
    #[error("it was started with --rm: the engine would remove it before a new one runs")]
    AutoRemove,
    /// Somebody froze it on purpose.
    #[error("it is paused")]
    Paused,
    /// It is on its way out.
    #[error("it is being removed")]
    BeingRemoved,
    /// Swarm would replace it too.
    #[error("it is a task of a swarm service, which swarm itself replaces")]
    Swarm,
    /// A new one would begin with an empty volume there.
    #[error("it keeps data in an anonymous volume at {0:?}")]
    AnonymousVolume(String),
    /// There is nothing to make it from.
    #[error("its image {0:?} is gone")]
    ImageGone(String),
    /// It lives in the network namespace of a container that does not exist any more.
    #[error("the container whose network it shares is gone: {0:?}")]
    NamespaceGone(String),
    /// The engine's description lacks what is needed.
    #[error("the engine's description of it cannot be used: {0}")]
    Unreadable(&'static str),
}

/// What the description does not tell.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// The id of the image that the container's image name stands for now; `None` when it stands for none.
    pub named_image: Option<String>,
    /// Whether the very image it was made from still exists.
    pub image_exists: bool,
    /// Whether the container whose network it shares exists; true when it shares none.
    pub namespace_exists: bool,
    /// `Keep` carries anonymous volumes over; `Remove` refuses where there are any, for their data would be lost.
    pub volumes: AnonymousVolumes,
}

/// How to make a container again.
#[derive(Clone, PartialEq)]
pub struct RecreatePlan {
    /// Its name.
    pub name: ContainerName,
    /// The container to replace.
    pub old: ContainerId,
    /// Whether that one runs.
    pub was_running: bool,
    /// The create request; it holds the container's environment, so it belongs into no log.
    pub body: Value,
    /// Networks to leave that the engine joins by itself.
    pub disconnect: Vec<String>,
    /// Further networks, with their endpoint settings: older engines take only one at creation.
    pub connect: Vec<(String, Value)>,
}

impl fmt::Debug for RecreatePlan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RecreatePlan")
            .field("name", &self.name)
            .field("old", &self.old)
            .finish_non_exhaustive()
    }
}

/// What the engine fills in at each endpoint by itself.
const OPERATIONAL: [&str; 9] = [
    "NetworkID",
    "EndpointID",
    "Gateway",
    "IPAddress",
    "IPPrefixLen",
    "IPv6Gateway",
    "GlobalIPv6Address",
    "GlobalIPv6PrefixLen",
    "DNSNames",
];

/// The container whose network namespace this one shares.
pub(super) fn shared_namespace(inspect: &Value) -> Option<&str> {
    convert::text(inspect, "/HostConfig/NetworkMode")?.strip_prefix("container:")
}

/// How to make the container of `inspect` again.
pub fn recreate_plan(inspect: &Value, around: &Surroundings) -> Result<RecreatePlan, RecreateRefusal> {
    let facts = convert::facts(inspect).map_err(|_| RecreateRefusal::Unreadable("no valid id or name"))?;
    let config = inspect.get("Config").and_then(Value::as_object);
    let mut config = config.cloned().ok_or(RecreateRefusal::Unreadable("no Config"))?;
    let host = inspect.get("HostConfig").and_then(Value::as_object);
    let mut host = host.cloned().ok_or(RecreateRefusal::Unreadable("no HostConfig"))?;
    refuse_by_state(inspect)?;
    if !around.namespace_exists {
        return Err(RecreateRefusal::NamespaceGone(clean(shared_namespace(inspect).unwrap_or_default(), 80)));
    }
    config.insert("Image".to_owned(), json!(image(inspect, around)?));
    carry_volumes(inspect, &mut host, around.volumes)?;
    untangle_links(&mut host);
    if config.get("Hostname").and_then(Value::as_str) == Some(facts.id.short()) {
        config.remove("Hostname");
    }
    if convert::text(inspect, "/HostConfig/UTSMode") == Some("host") {
        config.remove("Hostname");
        config.remove("Domainname");
    }
    if shared_namespace(inspect).is_some() {
        // They are the other container's, shown here, and refused at creation.
        for inherited in ["Hostname", "Domainname", "ExposedPorts", "MacAddress"] {
            config.remove(inherited);
        }
    }
    let networks = Networks::of(inspect, &facts.id);
    config.insert("HostConfig".to_owned(), Value::Object(host));
    if let Some((home, endpoint)) = networks.home {
        config.insert("NetworkingConfig".to_owned(), json!({ "EndpointsConfig": { home: endpoint } }));
    }
    Ok(RecreatePlan {
        name: facts.name,
        old: facts.id,
        was_running: convert::flag(inspect, "/State/Running"),
        body: Value::Object(config),
        disconnect: networks.leave,
        connect: networks.further,
    })
}

fn refuse_by_state(inspect: &Value) -> Result<(), RecreateRefusal> {
    if convert::flag(inspect, "/HostConfig/AutoRemove") {
        return Err(RecreateRefusal::AutoRemove);
    }
    match convert::text(inspect, "/State/Status") {
        Some("paused") => return Err(RecreateRefusal::Paused),
        Some("removing" | "dead") => return Err(RecreateRefusal::BeingRemoved),
        _ => {}
    }
    let swarm = convert::members(inspect, "/Config/Labels").any(|(key, _)| key == "com.docker.swarm.task.id");
    if swarm { Err(RecreateRefusal::Swarm) } else { Ok(()) }
}

/// The image's name while that still stands for the same image, which keeps `docker ps` readable; else its id, for a
/// restart must not be an upgrade.
fn image(inspect: &Value, around: &Surroundings) -> Result<String, RecreateRefusal> {
    let id = convert::text(inspect, "/Image").ok_or(RecreateRefusal::Unreadable("no Image"))?;
    let name = convert::text(inspect, "/Config/Image").unwrap_or(id);
    if around.named_image.as_deref() == Some(id) {
        Ok(name.to_owned())
    } else if around.image_exists {
        Ok(id.to_owned())
    } else {
        Err(RecreateRefusal::ImageGone(clean(name, 120)))
    }
}

/// Mounts each anonymous volume, which no part of the configuration names, by its name.
fn carry_volumes(
    inspect: &Value,
    host: &mut Map<String, Value>,
    policy: AnonymousVolumes,
) -> Result<(), RecreateRefusal> {
    let list = |at: &str| inspect.pointer(at).and_then(Value::as_array).into_iter().flatten();
    let binds = list("/HostConfig/Binds").filter_map(|bind| bind.as_str()?.split(':').next());
    let mounts = list("/HostConfig/Mounts").filter_map(|mount| convert::text(mount, "/Source"));
    let named: HashSet<&str> = binds.chain(mounts).collect();
    for mount in list("/Mounts").filter(|mount| convert::text(mount, "/Type") == Some("volume")) {
        let Some(volume) = convert::text(mount, "/Name").filter(|name| !named.contains(name)) else {
            continue;
        };
        let target =
            convert::text(mount, "/Destination").ok_or(RecreateRefusal::Unreadable("a mount to nowhere"))?;
        if policy == AnonymousVolumes::Remove {
            return Err(RecreateRefusal::AnonymousVolume(clean(target, 120)));
        }
        let mounts = host.entry("Mounts").or_insert(Value::Null);
        if !mounts.is_array() {
            *mounts = json!([]);
        }
        let Some(mounts) = mounts.as_array_mut() else { continue };
        match mounts.iter_mut().find(|known| convert::text(known, "/Target") == Some(target)) {
            Some(known) => known["Source"] = json!(volume),
            None => mounts.push(json!({
                "Type": "volume", "Source": volume, "Target": target,
                "ReadOnly": mount.get("RW") == Some(&json!(false)),
            })),
        }
    }
    Ok(())
}

/// Legacy links are told as `/other:/self/alias` and asked for as `other:alias`.
fn untangle_links(host: &mut Map<String, Value>) {
    for link in host.get_mut("Links").and_then(Value::as_array_mut).into_iter().flatten() {
        let asked = link.as_str().and_then(|told| {
            let (other, alias) = told.split_once(':')?;
            Some(format!("{}:{}", other.trim_start_matches('/'), alias.rsplit('/').next()?))
        });
        if let Some(asked) = asked {
            *link = json!(asked);
        }
    }
}

struct Networks {
    /// The one that the create request names.
    home: Option<(String, Value)>,
    leave: Vec<String>,
    further: Vec<(String, Value)>,
}

impl Networks {
    fn of(inspect: &Value, id: &ContainerId) -> Self {
        let mode = match convert::text(inspect, "/HostConfig/NetworkMode") {
            None | Some("default") => "bridge",
            Some(mode) => mode,
        };
        let mut this = Self { home: None, leave: Vec::new(), further: Vec::new() };
        if mode == "host" || mode == "none" || mode.starts_with("container:") {
            return this;
        }
        for (network, endpoint) in convert::members(inspect, "/NetworkSettings/Networks") {
            let settings = (network.clone(), configured(endpoint, id));
            if network == mode || convert::text(endpoint, "/NetworkID") == Some(mode) {
                this.home = Some(settings);
            } else {
                this.further.push(settings);
            }
        }
        // It was disconnected from the network it was created in.
        if this.home.is_none() && !this.further.is_empty() {
            this.leave.push(mode.to_owned());
        }
        this
    }
}

/// An endpoint without what the engine filled in.
fn configured(endpoint: &Value, id: &ContainerId) -> Value {
    let mut settings = endpoint.as_object().cloned().unwrap_or_default();
    settings.retain(|key, value| !OPERATIONAL.contains(&key.as_str()) && !value.is_null());
    if let Some(aliases) = settings.get_mut("Aliases").and_then(Value::as_array_mut) {
        aliases.retain(|alias| alias.as_str() != Some(id.short()));
    }
    if generated_mac(endpoint) {
        settings.remove("MacAddress");
    }
    settings.retain(|_, value| value.as_array().is_none_or(|items| !items.is_empty()));
    Value::Object(settings)
}

/// Whether the engine made the endpoint's MAC address of its IPv4 address, as engines before 28 do. Later ones draw
/// it and do not tell it from one that was asked for, so it is kept: its holder is gone when the new one starts.
fn generated_mac(endpoint: &Value) -> bool {
    let Some(mac) = convert::text(endpoint, "/MacAddress") else { return true };
    let address = convert::text(endpoint, "/IPAddress").and_then(|a| a.parse::<std::net::Ipv4Addr>().ok());
    address.is_some_and(|address| {
        let [a, b, c, d] = address.octets();
        mac.eq_ignore_ascii_case(&format!("02:42:{a:02x}:{b:02x}:{c:02x}:{d:02x}"))
    })
}
