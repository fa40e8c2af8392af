//! Where tests kill the antagonist or the holder of a fault, to see that nothing outlives them. In a release build there
//! is nothing here.

/// Ends the process as `kill -9` would when the variable `DHTEST_KILL_AT` names this point; `both:POINT` first ends its
/// parent so, which is the antagonist where the process holds a fault.
#[cfg(debug_assertions)]
pub(super) fn kill_point(name: &str) {
    let Ok(wanted) = std::env::var("DHTEST_KILL_AT") else { return };
    let both = wanted.strip_prefix("both:");
    if both.unwrap_or(&wanted) != name {
        return;
    }
    // SAFETY: kill, getpid and getppid take no pointers.
    unsafe {
        if both.is_some() {
            libc::kill(libc::getppid(), libc::SIGKILL);
        }
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(super) fn kill_point(_: &str) {}
