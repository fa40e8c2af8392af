//! Loading what clang made by the crate `aya`: the one way that all programs take into the kernel.

use std::error::Error;
use std::io::{self, Read};

use aya::{Ebpf, EbpfLoader};
use flate2::read::GzDecoder;

use super::EbpfError;

/// Loads an object of build.rs, with its constants set. Its programs are not loaded yet.
pub(super) fn object<'a>(packed: &[u8], constants: &'a [(&'a str, u32)]) -> Result<Ebpf, EbpfError> {
    allow_locked_memory();
    let mut object = Vec::new();
    GzDecoder::new(packed).read_to_end(&mut object).map_err(|error| EbpfError::of("to unpack it", error))?;
    let mut loader = EbpfLoader::new();
    for (name, value) in constants {
        loader.override_global(name, value, true);
    }
    loader.load(&object).map_err(|error| refused("to load it", error))
}

/// What the crate's error means.
pub(super) fn refused(doing: &str, error: impl Error + 'static) -> EbpfError {
    let words = chain(&error).map(ToString::to_string).collect::<Vec<_>>().join(": ");
    let errno = errno_of(&error).map_or_else(|| io::Error::other(words), io::Error::from_raw_os_error);
    EbpfError::of(doing, errno)
}

fn chain<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    // Not `error.source()`, which is that of the reference.
    std::iter::successors(Some(error), |error| (**error).source())
}

/// The kernel's errno at the root of what the crate says.
pub(super) fn errno_of(error: &(dyn Error + 'static)) -> Option<i32> {
    chain(error).find_map(|error| error.downcast_ref::<io::Error>()?.raw_os_error())
}

/// Before Linux 5.11 maps count as locked memory, of which little is allowed. Where the limit stays, the kernel says so.
fn allow_locked_memory() {
    let all = libc::rlimit { rlim_cur: libc::RLIM_INFINITY, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: setrlimit reads one rlimit.
    let _ = unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &raw const all) };
}
