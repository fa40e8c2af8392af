//! A process that uses up what a container has: it puts itself into the container's cgroups, so that the kernel charges the
//! container, then burns processors or takes memory. Nothing of it is in the container: neither program nor process.
//!
//! Memory is taken as a file in memory (memfd_create(2)): charged to the container like any, but no part of this process's
//! own size, so that the kernel, when it must kill in the cgroup, rather finds one of the container's.
//!
//! The kernel ends it with its parent (`PR_SET_PDEATHSIG`), and by a timer of its own when its time is over, so it can
//! outlive neither.

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, FromRawFd};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Memory is taken in pieces of so many bytes.
const PIECE: usize = 1 << 20;
/// The timer rings this long after the one who holds the fault should have ended it.
const TIMER_MARGIN: Duration = Duration::from_millis(500);
/// Memory that cannot be had now is asked for again after this: the pressure stays.
const ASK_AGAIN: Duration = Duration::from_millis(50);
/// Just above "never": where the kernel must kill in the cgroup, it takes the container's own processes first, but of the
/// whole machine's this one before it gives up.
const OOM_SCORE: &str = "-999";

/// What it is told, as JSON on its command line.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct HogOrder {
    /// Files to write itself into.
    join: Vec<PathBuf>,
    work: Work,
    /// For how long at most, milliseconds.
    lasts_ms: u64,
    /// Who must live.
    parent: u32,
}

/// What it uses up.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Work {
    /// So many processors.
    Cpu(u32),
    /// So many bytes.
    Memory(u64),
}

/// A hog that runs. It ends when dropped, and what it took is free again.
pub(super) struct Hog {
    child: Child,
    /// What it took, which stays taken although the kernel kills the hog.
    _memory: Option<File>,
}

impl Hog {
    /// Starts one, and waits until it is in the cgroups.
    pub(super) fn start(join: Vec<PathBuf>, work: Work, lasts: Duration) -> io::Result<Self> {
        let lasts_ms = u64::try_from((lasts + TIMER_MARGIN).as_millis()).unwrap_or(u64::MAX);
        let order = HogOrder { join, work, lasts_ms, parent: std::process::id() };
        let memory = match work {
            Work::Memory(_) => Some(file_in_memory()?),
            Work::Cpu(_) => None,
        };
        let input = match &memory {
            Some(file) => file.try_clone()?.into(),
            None => Stdio::null(),
        };
        let child = Command::new("/proc/self/exe")
            .arg0("dockhealth")
            .arg("hog")
            .arg(serde_json::to_string(&order).expect("plain data becomes JSON"))
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let mut hog = Self { child, _memory: memory };
        let mut said = [0; 6];
        let mut output = hog.child.stdout.take().expect("piped above");
        if output.read_exact(&mut said).is_ok() {
            return Ok(hog);
        }
        let mut why = String::new();
        if let Some(errors) = hog.child.stderr.take() {
            errors.take(1000).read_to_string(&mut why)?;
        }
        Err(io::Error::other(crate::model::clean(why.trim(), 300)))
    }
}

impl Drop for Hog {
    fn drop(&mut self) {
        // One that ended already is a success.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Does as it is told, and returns only when it cannot: it is killed in the end.
pub fn run_hog(order: &HogOrder) -> io::Result<()> {
    // SAFETY: prctl with PR_SET_PDEATHSIG takes a number; getppid takes nothing.
    let orphan = unsafe {
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL as libc::c_ulong);
        libc::getppid().cast_unsigned() != order.parent
    };
    if orphan {
        return Err(io::Error::other("its parent is gone"));
    }
    set_timer(Duration::from_millis(order.lasts_ms))?;
    for file in &order.join {
        fs::write(file, "0").map_err(|error| io::Error::other(format!("{}: {error}", file.display())))?;
    }
    // Without the right to it the kernel may kill this process first, and the container is spared.
    let _ = fs::write("/proc/self/oom_score_adj", OOM_SCORE);
    io::stdout().write_all(b"ready\n")?;
    match order.work {
        Work::Cpu(count) => {
            for _ in 1..count {
                std::thread::Builder::new().stack_size(64 * 1024).spawn(burn)?;
            }
            burn();
        }
        Work::Memory(bytes) => take(&mut File::from(io::stdin().as_fd().try_clone_to_owned()?), bytes),
    }
    Ok(())
}

/// A file without a name that is nowhere but in memory.
fn file_in_memory() -> io::Result<File> {
    // SAFETY: the name ends in a zero byte; memfd_create returns a new descriptor or -1.
    let descriptor = unsafe { libc::memfd_create(c"dockhealth".as_ptr(), libc::MFD_CLOEXEC) };
    if descriptor < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the kernel just made this descriptor, and nobody else has it.
    Ok(unsafe { File::from_raw_fd(descriptor) })
}

/// The kernel ends this process with SIGALRM then.
fn set_timer(lasts: Duration) -> io::Result<()> {
    let once = libc::itimerval {
        it_interval: libc::timeval { tv_sec: 0, tv_usec: 0 },
        it_value: libc::timeval {
            tv_sec: libc::time_t::try_from(lasts.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_usec: libc::suseconds_t::from(lasts.subsec_micros().cast_signed()),
        },
    };
    // SAFETY: setitimer reads one itimerval; a null pointer means that the old one is not wanted.
    let answer = unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const once, std::ptr::null_mut()) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

fn burn() {
    loop {
        std::hint::spin_loop();
    }
}

/// Takes memory for `file` and keeps at it: what the kernel refuses now it may grant when it has killed.
fn take(file: &mut File, bytes: u64) {
    let piece = vec![1; PIECE];
    let mut taken = 0;
    while taken < bytes {
        match file.write(&piece) {
            Ok(written) => taken += written as u64,
            Err(_) => std::thread::sleep(ASK_AGAIN),
        }
    }
    loop {
        std::thread::park();
    }
}
