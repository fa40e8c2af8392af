//! Where tests kill the antagonist or the holder of a fault, to see that nothing outlives them. In a release build there
//! is nothing here.

/// Ends the process as `kill -9` would when the variable `DHTEST_KILL_AT`, points separated by commas, names this one, and
/// says so on standard error; `both:POINT` first ends its parent so, which is the antagonist where the process holds a
/// fault.
#[cfg(debug_assertions)]
pub(super) fn kill_point(name: &str) {
    let Ok(wanted) = std::env::var("DHTEST_KILL_AT") else { return };
    let named = |prefix: &str| wanted.split(',').any(|point| point.strip_prefix(prefix) == Some(name));
    let both = named("both:");
    if !both && !named("") {
        return;
    }
    eprintln!("killed at {name}");
    // SAFETY: kill, getpid and getppid take no pointers.
    unsafe {
        if both {
            libc::kill(libc::getppid(), libc::SIGKILL);
        }
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
}

/// Nothing.
#[cfg(not(debug_assertions))]
pub(super) fn kill_point(_: &str) {}
