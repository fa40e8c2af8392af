//! The one binary; everything it does is a subcommand of `dockhealth::cmd`.

use std::process::ExitCode;

fn main() -> ExitCode {
    resolve_names_without_plugins();
    dockhealth::cmd::main(std::env::args_os())
}

/// Keeps glibc from loading resolver plugins (`myhostname`, `mdns`, `resolve` of nsswitch.conf): a static binary
/// crashes in them. Plain files and DNS are what is needed.
#[cfg(all(target_os = "linux", target_env = "gnu"))]
fn resolve_names_without_plugins() {
    unsafe extern "C" {
        fn __nss_configure_lookup(
            database: *const libc::c_char,
            services: *const libc::c_char,
        ) -> libc::c_int;
    }
    // SAFETY: glibc's documented signature; both texts are static and end in NUL, and no other thread runs yet.
    // When it refuses, lookups stay as nsswitch.conf says.
    unsafe {
        __nss_configure_lookup(c"hosts".as_ptr(), c"files dns".as_ptr());
    }
}

/// Other C libraries load no plugins.
#[cfg(not(all(target_os = "linux", target_env = "gnu")))]
fn resolve_names_without_plugins() {}
