//! Containers that come and go leave nothing behind: no entries in the kernel's tables, no descriptors, no namespaces.

use std::net::Ipv4Addr;
use std::os::fd::RawFd;
use std::process::{Child, Stdio};

use super::*;

/// A network namespace with one interface, which is as much of a container as the sensors see.
pub(super) struct Namespace {
    process: Child,
    pub(super) facts: ContainerFacts,
}

impl Namespace {
    /// Of its interface `d0`.
    pub(super) const ADDRESS: Ipv4Addr = Ipv4Addr::new(10, 9, 8, 7);

    pub(super) fn start(number: usize, like: &ContainerFacts) -> Self {
        let mut command = Command::new("unshare");
        command.args(["--net", "sleep", "600"]).stdin(Stdio::null());
        let process = command.spawn().expect("util-linux is installed");
        let own = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/net")).ok();
        let name = || fs::read_to_string(format!("/proc/{}/comm", process.id())).unwrap_or_default();
        wait_for("a namespace of its own", DEADLINE, || {
            (own(process.id()) != own(std::process::id()) && name() == "sleep\n").then_some(())
        });
        let facts = ContainerFacts {
            name: format!("churn-{number}").parse().unwrap(),
            pid: Some(process.id()),
            ..like.clone()
        };
        let address = Self::ADDRESS;
        let batch = format!(
            "link add d0 type veth peer name d1\naddress add {address}/24 dev d0\nlink set d0 up\nlink set d1 up\n"
        );
        let one = Self { process, facts };
        in_netns(one.process.id(), || {
            let mut ip = Command::new("ip").args(["-batch", "-"]).stdin(Stdio::piped()).spawn().unwrap();
            ip.stdin.take().unwrap().write_all(batch.as_bytes()).unwrap();
            assert!(ip.wait().unwrap().success());
        })
        .unwrap();
        one
    }

    /// Sends so many datagrams into nowhere.
    fn send(&self, count: usize) {
        in_netns(self.process.id(), || {
            let socket = UdpSocket::bind((Self::ADDRESS, 0)).unwrap();
            socket.set_broadcast(true).unwrap();
            for _ in 0..count {
                socket.send_to(b"x", "10.9.8.255:9").unwrap();
            }
        })
        .unwrap();
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// The descriptors of our own process that are BPF hash tables of each processor, and how long their keys are.
fn tables() -> Vec<(RawFd, usize)> {
    let field = |text: &str, name: &str| -> Option<usize> {
        text.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
    };
    let all = fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
    let table = all.filter_map(|entry| {
        let text = fs::read_to_string(entry.path()).ok()?;
        // BPF_MAP_TYPE_PERCPU_HASH
        (field(&text, "map_type:")? == 5).then_some(())?;
        Some((entry.file_name().to_str()?.parse().ok()?, field(&text, "key_size:")?))
    });
    table.collect()
}

/// How many entries there are in each table, by the system call itself.
fn entries() -> Vec<usize> {
    tables()
        .into_iter()
        .map(|(table, size)| {
            let (mut key, mut next, mut count) = (vec![0_u8; size], vec![0_u8; size], 0);
            let mut first = true;
            loop {
                let at = if first { 0 } else { key.as_ptr() as u64 };
                // `BPF_MAP_GET_NEXT_KEY` of `union bpf_attr { u32 map_fd; u64 key; u64 next_key; }`
                let attributes: [u64; 3] = [u64::try_from(table).unwrap(), at, next.as_mut_ptr() as u64];
                // SAFETY: the keys are as long as the table's, and outlive the call.
                let answer = unsafe {
                    libc::syscall(libc::SYS_bpf, 4, &raw const attributes, size_of_val(&attributes))
                };
                if answer != 0 {
                    return count;
                }
                (count, first) = (count + 1, false);
                std::mem::swap(&mut key, &mut next);
            }
        })
        .collect()
}

fn descriptors() -> usize {
    fs::read_dir("/proc/self/fd").unwrap().count()
}

#[test]
fn two_hundred_starts_and_stops_leave_nothing() {
    let lab = Lab::new("net-churn");
    let one = One::run(&lab, "like", &[]);
    let mut watch = Watch::begin(lab.prefix(), "");
    let like = watch.view.containers[0].clone();
    watch.settle(&[&one]);
    let (before, open) = (entries(), descriptors());
    assert!(!tables().is_empty(), "this test needs CAP_BPF and CAP_PERFMON");
    for round in 0..10 {
        let number = |index: usize| round * 20 + index;
        let mut all: Vec<Namespace> = (0..20).map(|index| Namespace::start(number(index), &like)).collect();
        watch.view.containers.truncate(1);
        watch.view.containers.extend(all.iter().map(|one| one.facts.clone()));
        watch.monitor.look(&watch.view);
        all.iter().enumerate().for_each(|(index, one)| one.send(1 + number(index)));
        all.clear();
        watch.view.containers.truncate(1);
        watch.roll();
    }
    for number in 0..200 {
        let name: ContainerName = format!("churn-{number}").parse().unwrap();
        let flows = watch.told.iter().flat_map(|interval| &interval.flows);
        let flows =
            flows.filter(|flow| flow.container == name && flow.peer.address == Some([10, 9, 8, 255].into()));
        let packets: u64 = flows.map(|flow| flow.sent.packets.unwrap()).sum();
        assert_eq!(
            packets,
            1 + number,
            "{name}: each is told its own, though numbers of namespaces come again"
        );
    }
    // What is nobody's is kept for a few intervals.
    for _ in 0..8 {
        watch.roll();
    }
    let after = entries();
    let more = before.iter().zip(&after).filter(|(before, after)| *after > &(*before + 20));
    assert_eq!(more.count(), 0, "200 came and went, and of the entries {before:?} became {after:?}");
    assert_eq!(descriptors(), open);
}
