//! Where the engine listens.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use crate::model::clean;

/// Where the engine listens: a Unix socket, or TCP without encryption.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineAddress {
    /// A socket in the file system.
    Unix(PathBuf),
    /// A host (name or address, IPv6 in brackets) and a port.
    Tcp(String),
}

/// Why a text is no address of an engine that dockhealth can speak to; the message says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddressError {
    /// A scheme or a setting that exists but is not spoken here.
    #[error("DOCKER_HOST {address:?}: {problem}")]
    Unsupported {
        /// The address as given, cleaned.
        address: String,
        /// What is the matter and what would do.
        problem: &'static str,
    },
    /// No address at all.
    #[error("DOCKER_HOST {0:?} is no engine address: give unix:///path/to/docker.sock or tcp://host:2375")]
    Malformed(String),
}

const DEFAULT_SOCKET: &str = "/var/run/docker.sock";
const DEFAULT_PORT: u16 = 2375;

impl EngineAddress {
    /// As Docker's own command line finds it: `DOCKER_HOST`, else `unix:///var/run/docker.sock`.
    pub fn from_env() -> Result<Self, AddressError> {
        let tls = std::env::var_os("DOCKER_TLS_VERIFY").is_some_and(|value| !value.is_empty());
        match std::env::var("DOCKER_HOST") {
            Ok(text) if !text.is_empty() => Self::resolve(&text, tls),
            Ok(_) | Err(std::env::VarError::NotPresent) => Ok(Self::default()),
            Err(std::env::VarError::NotUnicode(text)) => {
                Err(AddressError::Malformed(clean(&text.to_string_lossy(), 120)))
            }
        }
    }

    /// Whether it listens on this machine, as far as its address tells.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Unix(_) => true,
            Self::Tcp(authority) => {
                let host = authority.rsplit_once(':').map_or(authority.as_str(), |(host, _)| host);
                let host = host.trim_matches(['[', ']']);
                host == "localhost" || host.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_loopback())
            }
        }
    }

    fn resolve(text: &str, tls: bool) -> Result<Self, AddressError> {
        match text.parse()? {
            Self::Tcp(_) if tls => Err(unsupported(
                text,
                "TLS (DOCKER_TLS_VERIFY) is not supported: run dockhealth on the engine's host and use its unix:// socket",
            )),
            address => Ok(address),
        }
    }
}

impl Default for EngineAddress {
    fn default() -> Self {
        Self::Unix(PathBuf::from(DEFAULT_SOCKET))
    }
}

impl FromStr for EngineAddress {
    type Err = AddressError;
    fn from_str(text: &str) -> Result<Self, AddressError> {
        let malformed = || AddressError::Malformed(clean(text, 120));
        let (scheme, rest) = text.split_once("://").ok_or_else(malformed)?;
        match scheme {
            "unix" if rest.starts_with('/') && !rest.contains('\0') => Ok(Self::Unix(PathBuf::from(rest))),
            "tcp" => {
                let authority = rest.strip_suffix('/').unwrap_or(rest);
                tcp_authority(authority).map(Self::Tcp).ok_or_else(malformed)
            }
            "ssh" => Err(unsupported(text, "ssh:// is not supported: run dockhealth on that host instead")),
            "npipe" => Err(unsupported(text, "named pipes are for Windows: give unix:// or tcp://")),
            "http" | "https" => Err(unsupported(text, "write tcp://host:port")),
            _ => Err(malformed()),
        }
    }
}

impl fmt::Display for EngineAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tcp(authority) => write!(f, "tcp://{authority}"),
        }
    }
}

fn unsupported(text: &str, problem: &'static str) -> AddressError {
    AddressError::Unsupported { address: clean(text, 120), problem }
}

/// `host[:port]` with the port filled in; `None` when it is none.
fn tcp_authority(text: &str) -> Option<String> {
    let authority: http::uri::Authority = text.parse().ok()?;
    let host = authority.host();
    if host.is_empty() || text.contains('@') {
        return None;
    }
    let port = match text.get(host.len()..)? {
        "" => DEFAULT_PORT,
        rest => rest.strip_prefix(':')?.parse().ok().filter(|port| *port != 0)?,
    };
    Some(format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_two_kinds_and_their_defaults() {
        let read = |text: &str| text.parse::<EngineAddress>().unwrap().to_string();
        assert_eq!(EngineAddress::default().to_string(), "unix:///var/run/docker.sock");
        assert_eq!(read("unix:///run/user/1000/docker.sock"), "unix:///run/user/1000/docker.sock");
        assert_eq!(read("tcp://10.0.0.1"), "tcp://10.0.0.1:2375");
        assert_eq!(read("tcp://engine.lan:9999/"), "tcp://engine.lan:9999");
        assert_eq!(read("tcp://[::1]:2375"), "tcp://[::1]:2375");
        assert_eq!(read("tcp://[::1]"), "tcp://[::1]:2375");
    }

    #[test]
    fn what_is_not_spoken_is_said() {
        let error = |text: &str| text.parse::<EngineAddress>().unwrap_err().to_string();
        assert!(error("ssh://me@host").contains("on that host"), "{}", error("ssh://me@host"));
        assert!(error("npipe:////./pipe/docker_engine").contains("Windows"));
        let bad =
            ["", "docker.sock", "/var/run/docker.sock", "unix://relative", "tcp://", "tcp://:1", "fd://"];
        for text in
            bad.into_iter().chain(["tcp://a:0", "tcp://a:b", "tcp://a:99999", "tcp://a/b", "tcp://u@a:1"])
        {
            assert!(error(text).contains("unix:///path"), "{text}: {}", error(text));
        }
        let tls = EngineAddress::resolve("tcp://h:2376", true).unwrap_err().to_string();
        assert!(tls.contains("TLS"), "{tls}");
        assert!(EngineAddress::resolve("unix:///s", true).is_ok());
    }

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_reads_back(text in "(unix|tcp)?(://)?.*") {
            if let Ok(address) = text.parse::<EngineAddress>() {
                prop_assert_eq!(address.to_string().parse::<EngineAddress>().unwrap(), address);
            }
        }
    }
}
