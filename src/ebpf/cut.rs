//! The classifier of `bpf/chaos.bpf.c`: what it is told, what it counts, and where it is attached.

use std::io;
use std::net::IpAddr;
use std::time::Duration;

use super::EbpfError;
use super::object::CutProgram;
use crate::model::LossPercent;
use crate::netlink::{Clsact, Direction};

/// `struct settings`
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Settings {
    /// Nanoseconds of `CLOCK_BOOTTIME`, which goes on while the machine sleeps.
    until_ns: u64,
    lost_ppm: u32,
    corrupted_ppm: u32,
}

/// `struct counts`: packets, counting what the kernel handles as one piece once, however it was or will be cut up.
#[repr(C)]
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Counts {
    /// Those that the fault could have hit.
    pub(crate) seen: u64,
    /// Those lost.
    pub(crate) lost: u64,
    /// Those damaged.
    pub(crate) corrupted: u64,
}

/// What is done to IP packets.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Damage {
    /// This share is lost, each packet independently.
    pub(crate) lost: LossPercent,
    /// In this share of the others a bit is flipped.
    pub(crate) corrupted: LossPercent,
    /// All from and to these addresses is lost.
    pub(crate) peers: Vec<IpAddr>,
    /// For how long; none: until it is ended.
    pub(crate) span: Option<Duration>,
}

impl Default for Damage {
    fn default() -> Self {
        Self { lost: LossPercent::NONE, corrupted: LossPercent::NONE, peers: Vec::new(), span: None }
    }
}

impl Damage {
    fn settings(&self, now: Duration) -> Settings {
        let until = self.span.map_or(u128::MAX, |span| (now + span).as_nanos());
        Settings {
            until_ns: u64::try_from(until).unwrap_or(u64::MAX),
            lost_ppm: per_million(self.lost),
            corrupted_ppm: per_million(self.corrupted),
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to a million")]
fn per_million(share: LossPercent) -> u32 {
    (share.percent() * 10_000.0).round() as u32
}

/// The classifier, and the interfaces it is attached to. Dropping it ends both.
pub(crate) struct Cutter {
    program: CutProgram,
    name: String,
    /// Where there are no links.
    qdiscs: Vec<Clsact>,
}

impl Cutter {
    /// Loads it; nothing is attached. `name` is what it is found by where it may outlive this process.
    pub(crate) fn load(name: &str) -> Result<Self, EbpfError> {
        Ok(Self { program: CutProgram::load()?, name: name.to_owned(), qdiscs: Vec::new() })
    }

    /// Does this from now on, on all interfaces at once.
    pub(crate) fn set(&mut self, damage: &Damage) -> Result<(), EbpfError> {
        self.program.cut_off(&damage.peers)?;
        self.program.set(damage.settings(since_boot()))
    }

    /// Attaches it to an interface of the calling thread's network namespace.
    pub(crate) fn attach(&mut self, interface: &str, index: i32, to: Direction) -> Result<(), EbpfError> {
        if self.program.link(interface, to)? {
            return Ok(());
        }
        self.attach_by_qdisc(interface, index, to)
    }

    fn attach_by_qdisc(&mut self, interface: &str, index: i32, to: Direction) -> Result<(), EbpfError> {
        let refused = |error: io::Error| match error.raw_os_error() {
            Some(libc::ENOENT) => EbpfError::NoFeature("clsact (CONFIG_NET_SCH_INGRESS, CONFIG_NET_CLS_BPF)"),
            _ => EbpfError::of(format!("to attach it to {interface}"), error),
        };
        let mut qdisc = Clsact::of(index).map_err(refused)?;
        qdisc.add(to, &self.name, self.program.descriptor()).map_err(refused)?;
        self.qdiscs.push(qdisc);
        Ok(())
    }

    /// Whether the kernel detaches it with this process.
    pub(crate) fn dies_with_its_process(&self) -> bool {
        self.qdiscs.is_empty()
    }

    /// What it has done since it was loaded.
    pub(crate) fn counts(&self) -> Result<Counts, EbpfError> {
        self.program.counts()
    }

    /// Ends it; what is gone already is a success.
    pub(crate) fn end(&mut self) -> Result<(), EbpfError> {
        while let Some(qdisc) = self.qdiscs.last_mut() {
            qdisc.remove(&self.name).map_err(|error| EbpfError::of("to detach it", error))?;
            self.qdiscs.pop();
        }
        self.program.unlink()
    }
}

impl Drop for Cutter {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            tracing::warn!(%error, "a network fault was not removed");
        }
    }
}

/// Removes from interface `index` of the calling thread's network namespace what a process left there under `name`.
pub(crate) fn sweep(index: i32, name: &str) -> io::Result<()> {
    Clsact::of(index)?.remove(name)
}

/// The time on `CLOCK_BOOTTIME`.
fn since_boot() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime writes one timespec to a valid pointer.
    unsafe { libc::clock_gettime(libc::CLOCK_BOOTTIME, &raw mut time) };
    let nanos = u32::try_from(time.tv_nsec).unwrap_or_default();
    Duration::new(u64::try_from(time.tv_sec).unwrap_or_default(), nanos)
}

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;
    use std::process::Command;
    use std::time::Instant;

    use super::*;
    use crate::netlink::in_own_netns;

    const LO: i32 = 1;
    const PAYLOAD: &[u8] = b"a payload that must stay as it is";
    const BOTH: [&str; 2] = ["127.0.0.1", "::1"];

    fn run(words: &str) -> String {
        let mut words = words.split(' ');
        let output = Command::new(words.next().unwrap()).args(words).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    }

    /// What tc itself sees on the loopback interface.
    fn on_loopback() -> String {
        let qdiscs = run("tc qdisc show dev lo");
        ["ingress", "egress"].map(|way| run(&format!("tc filter show dev lo {way}"))).concat() + &qdiscs
    }

    /// How many of `count` datagrams that a socket sends to itself arrive, each whole.
    fn arrive(address: &str, count: u32) -> u32 {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        let own = socket.local_addr().unwrap();
        let receive = || {
            let mut buffer = [0; 64];
            match socket.recv(&mut buffer) {
                Ok(length) => {
                    assert_eq!(&buffer[..length], PAYLOAD, "damaged, and the socket was not told");
                    1
                }
                Err(error) => {
                    assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
                    0
                }
            }
        };
        socket.set_nonblocking(true).unwrap();
        let mut arrived = 0;
        for _ in 0..count {
            socket.send_to(PAYLOAD, own).unwrap();
            arrived += receive();
        }
        // On a busy machine the last may take their time.
        socket.set_nonblocking(false).unwrap();
        socket.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        while arrived < count && receive() == 1 {
            arrived += 1;
        }
        arrived
    }

    fn with_loopback(test: impl FnOnce() + Send) {
        in_own_netns(|| {
            run("ip link set lo up");
            test();
        });
    }

    fn share(percent: f64) -> LossPercent {
        LossPercent::new(percent).unwrap()
    }

    #[test]
    fn the_share_that_was_set_is_lost_and_what_is_damaged_is_thrown_away() {
        with_loopback(|| {
            let mut cutter = Cutter::load("dockhealth_t").unwrap();
            cutter.attach("lo", LO, Direction::In).unwrap();
            assert!(cutter.dies_with_its_process(), "this test needs Linux 6.6, with TCX links");
            for (percent, corrupted) in [(20.0, false), (50.0, false), (80.0, false), (50.0, true)] {
                let rate = share(percent);
                let damage = if corrupted {
                    Damage { corrupted: rate, ..Damage::default() }
                } else {
                    Damage { lost: rate, ..Damage::default() }
                };
                cutter.set(&damage).unwrap();
                for address in BOTH {
                    let before = cutter.counts().unwrap();
                    let sent = 20_000;
                    let lost = sent - arrive(address, sent);
                    // 6 standard deviations of the binomial distribution: chance goes beyond once in 5e8 tries.
                    let (n, p) = (f64::from(sent), percent / 100.0);
                    let off = (f64::from(lost) - n * p).abs();
                    assert!(
                        off < 6.0 * (n * p * (1.0 - p)).sqrt(),
                        "{address}, {damage:?}: {lost} of {sent}"
                    );
                    let after = cutter.counts().unwrap();
                    let hit =
                        if corrupted { after.corrupted - before.corrupted } else { after.lost - before.lost };
                    assert_eq!((after.seen - before.seen, hit), (sent.into(), lost.into()), "{address}");
                }
            }
            for (damage, expected) in [(share(100.0), 0), (share(0.0), 50)] {
                for address in BOTH {
                    cutter.set(&Damage { lost: damage, ..Damage::default() }).unwrap();
                    assert_eq!(arrive(address, 50), expected, "{address}, {damage}");
                    cutter.set(&Damage { corrupted: damage, ..Damage::default() }).unwrap();
                    assert_eq!(arrive(address, 50), expected, "{address}, {damage} damaged");
                }
            }
        });
    }

    #[test]
    fn only_peers_are_cut_off() {
        with_loopback(|| {
            let mut cutter = Cutter::load("dockhealth_t").unwrap();
            let peers = vec!["127.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
            cutter.set(&Damage { peers, ..Damage::default() }).unwrap();
            cutter.attach("lo", LO, Direction::Out).unwrap();
            assert_eq!([arrive("127.0.0.1", 5), arrive("127.0.0.2", 5), arrive("::1", 5)], [0, 5, 5]);
            cutter.end().unwrap();
            assert_eq!(arrive("127.0.0.1", 5), 5);
        });
    }

    #[test]
    fn what_a_killed_process_left_ends_with_its_time_and_is_swept_by_its_name() {
        with_loopback(|| {
            let began = Instant::now();
            let span = Duration::from_millis(700);
            let mut cutter = Cutter::load("dockhealth_left").unwrap();
            cutter.set(&Damage { lost: LossPercent::ALL, span: Some(span), ..Damage::default() }).unwrap();
            cutter.attach_by_qdisc("lo", LO, Direction::In).unwrap();
            let mut other = Cutter::load("somebodys").unwrap();
            other.attach_by_qdisc("lo", LO, Direction::Out).unwrap();
            // As kill -9 does: descriptors are closed and nothing else is done.
            cutter.qdiscs.clear();
            drop(cutter);
            assert!(on_loopback().contains("dockhealth_left direct-action"), "{}", on_loopback());
            assert_eq!(arrive("127.0.0.1", 5), 0);
            while arrive("127.0.0.1", 1) == 0 {
                assert!(began.elapsed() < span + Duration::from_secs(1), "it does not end");
            }
            assert!(began.elapsed() >= span, "it ended early, after {:?}", began.elapsed());
            sweep(LO, "dockhealth_left").unwrap();
            sweep(LO, "dockhealth_left").expect("gone already");
            let left = on_loopback();
            assert!(left.contains("somebodys") && !left.contains("dockhealth_left"), "{left}");
            other.end().unwrap();
            assert_eq!(on_loopback().matches("clsact").count() + on_loopback().matches("bpf").count(), 0);
            sweep(LO, "dockhealth_left").expect("there is no qdisc");
        });
    }
}
