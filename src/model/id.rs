//! Names and ids. Each is checked once, where it enters, and is a type of its own from then on.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why a text is not a valid name or id; the message says what would be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} {text:?} {problem}")]
pub struct IdError {
    what: &'static str,
    text: String,
    problem: &'static str,
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $what:literal, $check:expr) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text`; the error says what would be right.
            pub fn new(text: impl AsRef<str>) -> Result<Self, IdError> {
                let text = text.as_ref();
                let check: fn(&str) -> Result<(), &'static str> = $check;
                match check(text) {
                    Ok(()) => Ok(Self(Arc::from(text))),
                    Err(problem) => Err(IdError { what: $what, text: super::clean(text, 80), problem }),
                }
            }

            /// The text itself.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = IdError;
            fn from_str(text: &str) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = IdError;
            fn try_from(text: String) -> Result<Self, IdError> {
                Self::new(text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> String {
                id.0.to_string()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:?}", &*self.0)
            }
        }
    };
}

text_id!(
    /// The name a host is known by in the fleet: 1 to 253 letters, digits, `.`, `_` or `-`, beginning
    /// with a letter or digit. By default the Docker engine's own name.
    HostName,
    "host name",
    |text| name_shape(text, 253)
);

text_id!(
    /// A container's name as Docker gives it, without the leading `/`: letters, digits, `.`, `_` or
    /// `-`, beginning with a letter or digit, at most 255 bytes.
    ContainerName,
    "container name",
    |text| name_shape(text, 255)
);

text_id!(
    /// A container's id: 12 to 64 hexadecimal digits; Docker's full ids have 64.
    ContainerId,
    "container id",
    |text| {
        let hex = text.bytes().all(|b| b.is_ascii_hexdigit());
        if hex && (12..=64).contains(&text.len()) { Ok(()) } else { Err("must be 12 to 64 hexadecimal digits") }
    }
);

text_id!(
    /// A pool's name on its host: 1 to 40 letters, digits, `_` or `-`, beginning with a letter or digit. Names of its
    /// containers begin with it.
    PoolName,
    "pool name",
    |text| {
        let problem = "must begin with a letter or digit, then letters, digits, '_' or '-', at most 40 in all";
        if text.contains('.') { Err(problem) } else { name_shape(text, 40).map_err(|_| problem) }
    }
);

text_id!(
    /// The id a Docker engine gives itself (`docker info`, field `ID`): 1 to 128 printable characters.
    EngineId,
    "engine id",
    printable
);

text_id!(
    /// The generated identity of one agent installation, kept in its data directory.
    InstanceId,
    "instance id",
    printable
);

text_id!(
    /// Names one action of ours from the decision to its outcome, in journal, log and events.
    OperationId,
    "operation id",
    printable
);

impl ContainerId {
    /// The first 12 digits, as `docker ps` shows them.
    pub fn short(&self) -> &str {
        &self.0[..12]
    }
}

impl ContainerName {
    /// Stands in the name of a container that is being replaced.
    pub const OLD_ASIDE: &'static str = "-dockhealth-old-";
    /// Stands in the name of the one that is about to replace it.
    pub const NEW_ASIDE: &'static str = "-dockhealth-new-";

    /// Whether it is such a name: not yet, or no longer, anybody's to monitor.
    pub fn is_aside(&self) -> bool {
        [Self::OLD_ASIDE, Self::NEW_ASIDE].iter().any(|mark| self.as_str().contains(mark))
    }
}

/// A container in the fleet: host and name, stable over recreation (the id is not).
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ContainerKey {
    /// The host it runs on.
    pub host: HostName,
    /// Its name there.
    pub name: ContainerName,
}

impl fmt::Display for ContainerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

/// A pool in the fleet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PoolKey {
    /// The host it runs on.
    pub host: HostName,
    /// Its name there.
    pub name: PoolName,
}

impl fmt::Display for PoolKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.name)
    }
}

fn name_shape(text: &str, longest: usize) -> Result<(), &'static str> {
    let first = text.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    let rest = text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-'));
    if first && rest && text.len() <= longest {
        Ok(())
    } else {
        Err("must begin with a letter or digit, then letters, digits, '.', '_' or '-', at most 253 in all")
    }
}

fn printable(text: &str) -> Result<(), &'static str> {
    if (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic()) {
        Ok(())
    } else {
        Err("must be 1 to 128 printable characters without spaces")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_where_they_enter() {
        for good in ["web", "a.b_c-d", "0a", "Web.1"] {
            assert_eq!(ContainerName::new(good).unwrap().as_str(), good);
        }
        for bad in ["", "/web", "-web", "a b", "a/b", "é", "a\nb"] {
            assert!(ContainerName::new(bad).is_err(), "{bad:?} was taken");
        }
        let error = HostName::new("a\u{1b}[31m b").unwrap_err().to_string();
        assert!(!error.contains('\u{1b}'), "{error}");
    }

    #[test]
    fn ids_survive_json_and_bad_json_is_refused() {
        let id: ContainerId = serde_json::from_str("\"0123456789abcdef\"").unwrap();
        assert_eq!(id.short(), "0123456789ab");
        assert!(serde_json::from_str::<ContainerId>("\"xyz\"").is_err());
    }
}
