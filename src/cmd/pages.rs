//! Pages of the program itself, which memory holds only because they were once needed.

use std::ffi::{c_int, c_void};
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

/// About how long it takes until all parts run, and nothing more of what only a start needs is touched. What is seldom done, as
/// a list of all containers, leaves its pages behind as well.
const EVERY: Duration = Duration::from_secs(30);
/// What segments are aligned to, bytes; where pages are larger the kernel refuses, and all stays as it is.
const PAGE: usize = 4096;
/// Tells `dl_iterate_phdr` to end.
const ONLY_THE_FIRST: c_int = 1;

/// Gives the pages of code and constants back, now and then; ends never. Those in use come back
/// from the page cache at once: they are the program's file, so nothing is read from the disk and nothing can be lost.
/// Of what an agent holds, a seventh was code and constants of its start (14.9 MiB resident before, 12.7 MiB after).
pub(super) async fn give_back() {
    let mut turns = interval(EVERY);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    turns.reset();
    loop {
        turns.tick().await;
        // SAFETY: `forget` is called with the headers of the program itself, which stay where they are.
        unsafe { libc::dl_iterate_phdr(Some(forget), std::ptr::null_mut()) };
    }
}

/// Forgets the segments that nobody can have written to of the first object it is told of, the program itself.
///
/// # Safety
/// `object` is what `dl_iterate_phdr` hands over.
unsafe extern "C" fn forget(object: *mut libc::dl_phdr_info, _: usize, _: *mut c_void) -> c_int {
    // SAFETY: by the contract of this function.
    let (base, headers) = unsafe {
        let object = &*object;
        (object.dlpi_addr, std::slice::from_raw_parts(object.dlpi_phdr, object.dlpi_phnum.into()))
    };
    // A segment that was writable once, if only while addresses were put right, is no longer what the file says.
    for header in headers.iter().filter(|one| one.p_type == libc::PT_LOAD && one.p_flags & libc::PF_W == 0) {
        let (Ok(begin), Ok(length)) =
            (usize::try_from(base + header.p_vaddr), usize::try_from(header.p_memsz))
        else {
            continue;
        };
        let (begin, end) = (begin / PAGE * PAGE, (begin + length).next_multiple_of(PAGE));
        // SAFETY: a private mapping of a file, never written to: its pages are read from there again when touched.
        unsafe { libc::madvise(std::ptr::without_provenance_mut(begin), end - begin, libc::MADV_DONTNEED) };
    }
    ONLY_THE_FIRST
}
