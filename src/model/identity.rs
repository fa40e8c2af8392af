//! The identity card of a host.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::clean;

/// The longest text that is passed on, characters; interfaces of a host, and addresses of each.
const LONGEST_TEXT: usize = 200;
const MOST: usize = 64;

/// What a machine is. `None` (null in JSON) is what could not be read there.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, utoipa::ToSchema)]
pub struct HostIdentity {
    /// The system's UUID as its firmware tells it, in small letters.
    pub system_uuid: Option<String>,
    /// Why there is none; null where there is one.
    pub system_uuid_missing: Option<String>,
    /// CPU cores in use.
    pub cores: Option<u32>,
    /// Memory, bytes.
    pub memory_bytes: Option<u64>,
    /// Its network interfaces, without loopback and those that engines make for containers.
    #[serde(default)]
    pub interfaces: Vec<InterfaceIdentity>,
    /// The kernel's release, e.g. `6.1.0-18-amd64`.
    pub kernel: Option<String>,
    /// The operating system, e.g. `Debian GNU/Linux 12 (bookworm)`.
    pub os: Option<String>,
    /// The processor architecture, e.g. `x86_64`.
    pub architecture: Option<String>,
    /// The version of its engine; null until that first answered.
    pub engine_version: Option<String>,
}

impl HostIdentity {
    /// The same without what a terminal would obey, and no longer than a machine's own would be.
    #[must_use]
    pub fn cleaned(&self) -> Self {
        let safe = |text: &Option<String>| text.as_deref().map(|text| clean(text, LONGEST_TEXT));
        let interface = |of: &InterfaceIdentity| InterfaceIdentity {
            name: clean(&of.name, LONGEST_TEXT),
            mac: safe(&of.mac),
            addresses: of.addresses.iter().take(MOST).copied().collect(),
        };
        Self {
            system_uuid: safe(&self.system_uuid),
            system_uuid_missing: safe(&self.system_uuid_missing),
            cores: self.cores,
            memory_bytes: self.memory_bytes,
            interfaces: self.interfaces.iter().take(MOST).map(interface).collect(),
            kernel: safe(&self.kernel),
            os: safe(&self.os),
            architecture: safe(&self.architecture),
            engine_version: safe(&self.engine_version),
        }
    }
}

/// A network interface of a machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct InterfaceIdentity {
    /// Its name, e.g. `eth0`.
    pub name: String,
    /// Its MAC address, e.g. `02:00:5e:10:00:01`; null where it has none.
    pub mac: Option<String>,
    /// Its IP addresses.
    #[serde(default)]
    #[schema(value_type = Vec<String>)]
    pub addresses: Vec<IpAddr>,
}
