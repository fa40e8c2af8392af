//! The Docker engine, and who else watches it.

use std::path::Path;

use super::{Finding, State};
use crate::docker::{ContainerSource, Engine, EngineAddress, EngineError};

/// Whether the engine answers, and its name.
pub(super) async fn engine(address: &EngineAddress) -> (Finding, Option<String>) {
    let engine = match Engine::connect(address) {
        Ok(engine) => engine,
        Err(error) => {
            let remedy = "give --docker-host unix:///var/run/docker.sock";
            return (Finding::not("engine", State::Missing, error.to_string(), remedy), None);
        }
    };
    match engine.info().await {
        Ok(info) => {
            let detail = format!("Docker {} answers at {address} as {}", info.version, info.name);
            (Finding::works("engine", detail), Some(info.name))
        }
        Err(error) => {
            (Finding::not("engine", State::Missing, error.to_string(), remedy(&error, address)), None)
        }
    }
}

fn remedy(error: &EngineError, address: &EngineAddress) -> String {
    if error.to_string().to_lowercase().contains("permission denied") {
        return "run as root or as a member of the group docker, which is as powerful".into();
    }
    match address {
        EngineAddress::Unix(path) if !path.exists() => format!(
            "there is no {}: install or start Docker (systemctl start docker), or name its address with --docker-host",
            path.display()
        ),
        _ => "start it (systemctl start docker), or name its address with --docker-host".into(),
    }
}

/// Which agents run on this machine: two that watch one engine stand in each other's way.
pub(super) fn agents() -> Finding {
    let pids = agents_in(Path::new("/proc"));
    match &pids[..] {
        [] => Finding::works("agents", "none runs here yet"),
        [pid] => Finding::works("agents", format!("one runs here, process {pid}")),
        _ => {
            let list: Vec<String> = pids.iter().map(ToString::to_string).collect();
            let detail = format!("{} run here, processes {}", list.len(), list.join(", "));
            let remedy =
                "those that watch one engine do not heal by label until only one is left: stop the others";
            Finding::not("agents", State::Limited, detail, remedy)
        }
    }
}

fn agents_in(proc: &Path) -> Vec<u32> {
    let entries = std::fs::read_dir(proc).into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let is_agent = |pid: &u32| {
        let path = proc.join(pid.to_string()).join("cmdline");
        std::fs::read(path).is_ok_and(|cmdline| is_agent(&String::from_utf8_lossy(&cmdline)))
    };
    let mut pids: Vec<u32> = pids.filter(is_agent).collect();
    pids.sort_unstable();
    pids
}

/// Whether a command line, its arguments ended by NULs, is that of an agent.
fn is_agent(cmdline: &str) -> bool {
    let mut args = cmdline.split('\0');
    let name = args.next().and_then(|program| program.rsplit('/').next()).unwrap_or_default();
    match name {
        "dockhealth" => matches!(args.next(), Some("agent" | "up")),
        other => matches!(other, "dockhealth-agent" | "dockhealth-up"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agents_are_told_from_everything_else() {
        let dir = tempfile::tempdir().unwrap();
        let processes = [
            ("7", "/usr/bin/dockhealth\0agent\0--dry-run\0"),
            ("12", "dockhealth-up\0"),
            ("13", "dockhealth\0ps\0"),
            ("14", "vi\0dockhealth\0agent\0"),
            ("self", "dockhealth\0agent\0"),
        ];
        for (pid, cmdline) in processes {
            std::fs::create_dir(dir.path().join(pid)).unwrap();
            std::fs::write(dir.path().join(pid).join("cmdline"), cmdline).unwrap();
        }
        assert_eq!(agents_in(dir.path()), [7, 12]);
        assert!(agents_in(Path::new("/nonexistent")).is_empty());
    }
}
