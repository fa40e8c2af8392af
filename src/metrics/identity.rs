//! Reads the identity card of this machine from `/proc`, `/sys` and `/etc`.

use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::text::keyed;
use crate::model::{HostIdentity, InterfaceIdentity, clean};

/// The file of the system's UUID, below the root folder.
const SYSTEM_UUID: &str = "sys/class/dmi/id/product_uuid";
/// Interfaces that are told of at most.
const INTERFACES: usize = 64;
/// The longest word of any file that is told, characters.
const LONGEST: usize = 120;

/// The card of the machine whose root folder is `root`; its engine is not asked. The interfaces are those of the network
/// namespace that this process is in.
pub fn host_identity(root: &Path) -> HostIdentity {
    let read = |path: &str| fs::read_to_string(root.join(path));
    let word =
        |path: &str| read(path).ok().map(|text| clean(text.trim(), LONGEST)).filter(|text| !text.is_empty());
    let (system_uuid, system_uuid_missing) = match system_uuid(read(SYSTEM_UUID)) {
        Ok(uuid) => (Some(uuid), None),
        Err(why) => (None, Some(why)),
    };
    let [memory] = keyed(&read("proc/meminfo").unwrap_or_default(), ["MemTotal"]);
    HostIdentity {
        system_uuid,
        system_uuid_missing,
        cores: read("proc/stat").ok().as_deref().and_then(cores),
        memory_bytes: memory.and_then(|kib| kib.checked_mul(1024)),
        interfaces: interfaces(),
        kernel: word("proc/sys/kernel/osrelease"),
        os: read("etc/os-release").or_else(|_| read("usr/lib/os-release")).ok().as_deref().and_then(os_name),
        // Linux 6.1 and later say it.
        architecture: word("proc/sys/kernel/arch"),
        engine_version: None,
    }
}

fn system_uuid(read: io::Result<String>) -> Result<String, String> {
    match read {
        Ok(text) => match text.trim().parse::<uuid::Uuid>() {
            Ok(uuid) if !uuid.is_nil() && !uuid.is_max() => Ok(uuid.hyphenated().to_string()),
            _ => Err("the firmware tells none".to_owned()),
        },
        Err(error) => Err(match error.kind() {
            ErrorKind::PermissionDenied => format!("only root may read /{SYSTEM_UUID}"),
            ErrorKind::NotFound => format!("this machine has no /{SYSTEM_UUID}"),
            _ => format!("/{SYSTEM_UUID} cannot be read: {error}"),
        }),
    }
}

fn cores(stat: &str) -> Option<u32> {
    let is_core = |line: &&str| {
        line.strip_prefix("cpu").is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit()))
    };
    u32::try_from(stat.lines().filter(is_core).count()).ok().filter(|cores| *cores > 0)
}

/// The name an `os-release` gives for people to read.
fn os_name(text: &str) -> Option<String> {
    let name = text.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="))?;
    let name = clean(name.trim().trim_matches(['"', '\'']), LONGEST);
    (!name.is_empty()).then_some(name)
}

/// Interfaces of the machine, but loopback and those that engines make for containers.
fn interfaces() -> Vec<InterfaceIdentity> {
    let machines = pnet::datalink::interfaces()
        .into_iter()
        .filter(|found| !found.is_loopback() && !is_inner(&found.name));
    let told = machines.map(|found| InterfaceIdentity {
        name: clean(&found.name, LONGEST),
        mac: found.mac.filter(|mac| !mac.is_zero()).map(|mac| mac.to_string()),
        addresses: found.ips.iter().map(pnet::ipnetwork::IpNetwork::ip).collect(),
    });
    let mut told: Vec<InterfaceIdentity> = told
        .filter(|interface| interface.mac.is_some() || !interface.addresses.is_empty())
        .take(INTERFACES)
        .collect();
    told.sort_by(|a, b| a.name.cmp(&b.name));
    told
}

/// Whether an engine made an interface of this name for containers.
pub fn is_inner(name: &str) -> bool {
    ["docker", "br-", "veth"].iter().any(|prefix| name.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_uuid_has_its_reason() {
        let of = |kind: ErrorKind| system_uuid(Err(kind.into())).unwrap_err();
        assert_eq!(of(ErrorKind::PermissionDenied), "only root may read /sys/class/dmi/id/product_uuid");
        assert_eq!(of(ErrorKind::NotFound), "this machine has no /sys/class/dmi/id/product_uuid");
        let told = |text: &str| system_uuid(Ok(text.to_owned()));
        assert_eq!(
            told("4C4C4544-0042-3510-8056-B4C04F4D3432\n").unwrap(),
            "4c4c4544-0042-3510-8056-b4c04f4d3432"
        );
        for none in [
            "",
            "Not Settable",
            "00000000-0000-0000-0000-000000000000",
            "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        ] {
            assert_eq!(told(none).unwrap_err(), "the firmware tells none", "{none}");
        }
    }

    #[test]
    fn a_recorded_machine_is_read_and_an_empty_one_tells_nothing() {
        let root = tempfile::tempdir().unwrap();
        let empty = HostIdentity { interfaces: Vec::new(), ..host_identity(root.path()) };
        let missing = Some("this machine has no /sys/class/dmi/id/product_uuid".to_owned());
        assert_eq!(empty, HostIdentity { system_uuid_missing: missing, ..HostIdentity::default() });
        for (path, text) in [
            ("sys/class/dmi/id/product_uuid", "4c4c4544-0042-3510-8056-b4c04f4d3432\n"),
            ("proc/meminfo", "MemTotal:       24684084 kB\n"),
            ("proc/stat", "cpu  1 2 3 4\ncpu0 1 2 3 4\ncpu1 1 2 3 4\nintr 1\n"),
            ("proc/sys/kernel/osrelease", "6.18.5\n"),
            ("proc/sys/kernel/arch", "x86_64\n"),
            ("etc/os-release", "NAME=\"Debian\"\nPRETTY_NAME=\"Debian GNU/Linux 12 (bookworm)\"\n"),
        ] {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let full = HostIdentity { interfaces: Vec::new(), ..host_identity(root.path()) };
        let expected = HostIdentity {
            system_uuid: Some("4c4c4544-0042-3510-8056-b4c04f4d3432".into()),
            cores: Some(2),
            memory_bytes: Some(24_684_084 << 10),
            kernel: Some("6.18.5".into()),
            os: Some("Debian GNU/Linux 12 (bookworm)".into()),
            architecture: Some("x86_64".into()),
            ..HostIdentity::default()
        };
        assert_eq!(full, expected);
    }
}
