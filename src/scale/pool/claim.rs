//! One runner for a pool: two would adopt each other's containers, and remove them.

use std::io;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixListener};

use crate::model::PoolName;

/// The right to run a pool on this machine. The kernel takes it back when the process ends, however that happens: it is an
/// abstract socket (unix(7)), which nobody ever connects to.
#[derive(Debug)]
pub struct PoolClaim(#[expect(dead_code, reason = "to hold it is all")] UnixListener);

/// Why a pool cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ClaimError {
    /// Somebody runs it.
    #[error("the pool {0} is run by another process of this machine already")]
    Taken(PoolName),
    /// The system refused.
    #[error("the pool {0} cannot be claimed: {1}")]
    Failed(PoolName, io::Error),
}

impl PoolClaim {
    /// Takes the right to run the pool `name`.
    pub fn take(name: &PoolName) -> Result<Self, ClaimError> {
        let claimed = SocketAddr::from_abstract_name(format!("dockhealth-pool-{name}"))
            .and_then(|address| UnixListener::bind_addr(&address));
        claimed.map(Self).map_err(|error| match error.kind() {
            io::ErrorKind::AddrInUse => ClaimError::Taken(name.clone()),
            _ => ClaimError::Failed(name.clone(), error),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pool_has_one_runner_until_that_ends() {
        let name = PoolName::new(format!("claim-{}", std::process::id())).unwrap();
        let held = PoolClaim::take(&name).unwrap();
        assert!(matches!(PoolClaim::take(&name), Err(ClaimError::Taken(_))));
        drop(held);
        assert!(PoolClaim::take(&name).is_ok());
    }
}
