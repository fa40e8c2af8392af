//! Usage of real containers, beside what `docker stats` says of them. The machine's own cgroup version is what is
//! tested here; the other one is tested on recorded trees, next to the code.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dockhealth::docker::EngineError;
use dockhealth::metrics::{ContainerUsage, StatsSource, UsageSampler};
use dockhealth::model::{ContainerFacts, ContainerId, ContainerName, Namespace, RestartPolicy, RunState};

use crate::support::{Lab, docker, wait_for};

const MIB: u64 = 1 << 20;
/// Generous: it measures over a second, we over the two that it takes, on a machine that does other things too.
const CPU_TOLERANCE: f64 = 15.0;

/// The engine's statistics, asked of its socket without our adapter.
struct Socket;

#[async_trait]
impl StatsSource for Socket {
    async fn stats(&self, id: &ContainerId) -> Result<serde_json::Value, EngineError> {
        let mut stream = UnixStream::connect("/var/run/docker.sock").expect("a Docker engine");
        let request = format!("GET /containers/{id}/stats?stream=false&one-shot=true HTTP/1.0\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the engine listens");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("the engine answers in UTF-8");
        let (_, body) = answer.split_once("\r\n\r\n").expect("an HTTP answer");
        serde_json::from_str(body).map_err(|error| EngineError::Malformed(error.to_string()))
    }
}

fn facts(lab: &Lab, container: &str) -> ContainerFacts {
    ContainerFacts {
        id: ContainerId::new(lab.inspect(container, "{{.Id}}")).expect("Docker's ids"),
        name: ContainerName::new(container).expect("the lab's names"),
        image: String::new(),
        state: RunState::from_word(&lab.inspect(container, "{{.State.Status}}")),
        exit_code: None,
        oom_killed: false,
        healthcheck: None,
        started_at: None,
        finished_at: None,
        restart_count: None,
        restart_policy: RestartPolicy::No,
        labels: BTreeMap::new(),
        namespace: Namespace::Own,
        networks: Vec::new(),
        published: Vec::new(),
        pid: lab.inspect(container, "{{.State.Pid}}").parse().ok().filter(|&pid| pid > 0),
        auto_remove: false,
        links: Vec::new(),
    }
}

/// What `docker stats` says: CPU percent, bytes used, bytes allowed.
#[derive(Debug)]
struct Oracle {
    cpu_percent: f64,
    memory: f64,
    limit: f64,
}

impl Oracle {
    fn parse(line: &str) -> Self {
        let number = |text: &str| -> f64 {
            let digits = text.trim().trim_end_matches(|c: char| c.is_alphabetic() || c == '%');
            let unit = text.trim()[digits.len()..].trim();
            let scale = match unit {
                "KiB" => 1024.0,
                "MiB" => 1_048_576.0,
                "GiB" => 1_073_741_824.0,
                _ => 1.0,
            };
            scale
                * digits.parse::<f64>().unwrap_or_else(|error| panic!("docker stats said {text:?}: {error}"))
        };
        let parts: Vec<&str> = line.split(['|', '/']).collect();
        Self { cpu_percent: number(parts[0]), memory: number(parts[1]), limit: number(parts[2]) }
    }

    fn assert_agrees(&self, Beside { before, usage, .. }: &Beside) {
        let cpu = usage.cpu_percent.expect("the second sample knows it");
        assert!((cpu - self.cpu_percent).abs() < CPU_TOLERANCE, "{usage:?} but docker stats says {self:?}");
        // It rounds to four digits, and the memory itself moves: the kernel puts fresh cache on its lists by the batch.
        let [before, after] = [before, usage].map(|u| u.memory_bytes.expect("it runs") as f64);
        let (least, most) = (before.min(after) - MIB as f64, before.max(after) + MIB as f64);
        assert!(
            (least..=most).contains(&self.memory),
            "{before} and {after}, but docker stats says {self:?}"
        );
        let limit = usage.memory_limit_bytes.expect("it runs") as f64;
        assert!((limit - self.limit).abs() <= self.limit / 500.0, "{usage:?} but {self:?}");
    }
}

/// What we say of a container, and what `docker stats` said meanwhile.
#[derive(Debug)]
struct Beside {
    before: ContainerUsage,
    usage: ContainerUsage,
    theirs: Oracle,
}

/// Measures from before `docker stats` begins until it is through.
async fn beside_docker_stats(sampler: &mut UsageSampler, containers: &[ContainerFacts]) -> Vec<Beside> {
    let before = sampler.sample(containers).await;
    let mut command = Command::new("docker");
    command.args(["stats", "--no-stream", "--format", "{{.CPUPerc}}|{{.MemUsage}}"]);
    let theirs = command.args(containers.iter().map(|c| c.id.as_str())).output().expect("docker stats ends");
    let usage = sampler.sample(containers).await;
    let theirs = String::from_utf8(theirs.stdout).expect("text");
    assert_eq!(theirs.lines().count(), containers.len(), "{theirs}");
    let theirs = theirs.lines().map(Oracle::parse);
    let rows = before.into_iter().zip(usage).zip(theirs);
    rows.map(|((before, usage), theirs)| Beside { before, usage, theirs }).collect()
}

#[tokio::test]
async fn usage_agrees_with_docker_stats_from_files_and_from_the_engine() {
    let lab = Lab::new("metrics");
    let idle = lab.run("idle", &[], &["sleep", "600"]);
    // 20 MiB that count, 20 MiB of page cache that do not, a third of a core.
    let work = "dd if=/dev/zero of=/dev/shm/a bs=1M count=20; dd if=/dev/zero of=/b bs=1M count=20; echo; \
                touch /ready; while :; do :; done";
    let busy = lab.run("busy", &["--cpus", "0.33", "--memory", "100m"], &["sh", "-c", work]);
    wait_for("the busy container to be busy", Duration::from_secs(30), || {
        let ready = docker(&["exec", &busy, "test", "-e", "/ready"]);
        ready.status.success().then_some(())
    });
    let containers = [facts(&lab, &idle), facts(&lab, &busy)];
    let nothing = tempfile::tempdir().expect("a temporary folder");
    let samplers =
        [UsageSampler::new(Path::new("/"), None), UsageSampler::new(nothing.path(), Some(Arc::new(Socket)))];
    for mut sampler in samplers {
        let both = beside_docker_stats(&mut sampler, &containers).await;
        for row in &both {
            row.theirs.assert_agrees(row);
        }
        let [Beside { usage: idle, .. }, Beside { usage: busy, .. }] = &both[..] else {
            panic!("two rows: {both:?}")
        };
        assert!(idle.cpu_percent < busy.cpu_percent, "{idle:?} {busy:?}");
        assert_eq!(busy.memory_limit_bytes, Some(100 * MIB));
        assert!((18 * MIB..30 * MIB).contains(&busy.memory_bytes.expect("known")), "{busy:?}");
    }
}

#[tokio::test]
async fn a_restart_gives_no_sample_and_a_stopped_container_no_figures() {
    let lab = Lab::new("metrics-restart");
    let name = lab.run("twice", &[], &["sleep", "600"]);
    let mut sampler = UsageSampler::new(Path::new("/"), None);
    let before = facts(&lab, &name);
    sampler.sample(std::slice::from_ref(&before)).await;
    lab.docker(&["restart", "--time", "0", &name]);
    let after = facts(&lab, &name);
    let row = &sampler.sample(std::slice::from_ref(&after)).await[0];
    assert_eq!(row.cpu_percent, None, "its counter began anew");
    assert!(row.memory_bytes.is_some(), "the new cgroup is found: {row:?}");
    assert!(sampler.sample(&[after]).await[0].cpu_percent.is_some());
    // The files still held are of a cgroup that is gone, when the engine's word comes late too.
    lab.docker(&["stop", "--time", "0", &name]);
    let late = ContainerFacts { pid: None, ..before };
    let row = &sampler.sample(&[late]).await[0];
    assert_eq!((row.cpu_percent, row.memory_bytes, row.memory_limit_bytes), (None, None, None));
}
