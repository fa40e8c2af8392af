//! How commands reach the controller and this machine's agent: server, token, socket.

use std::path::{Path, PathBuf};

use super::Failure;
use super::config::data_dir;
use super::settings::{Resolver, Setting, parse, table as t};
use crate::client::{AgentSocket, Api, ApiError, ApiOptions, LocalError};
use crate::outbound::is_loopback;

/// The settings that say so.
pub(super) const SETTINGS: &[&[&Setting]] = &[t::CLIENT, t::INSECURE, &[&t::DATA_DIR]];

/// Where controller and agent are.
#[derive(Debug, Default)]
pub(super) struct Reach {
    options: ApiOptions,
    data_dir: PathBuf,
}

impl Reach {
    /// Reads [`SETTINGS`]; what is wrong with them is recorded in `r`.
    pub(super) fn resolve(r: &mut Resolver) -> Self {
        let server = r.get(&t::SERVER, parse::server);
        let data_dir = data_dir(r);
        let named = r.opt(&t::TOKEN_FILE, parse::secret);
        let ca_pem = r.opt(&t::CA_FILE, |text| parse::contents(Path::new(text)));
        let insecure = r.switch(&t::INSECURE_HTTP);
        let local = server.host().is_some_and(is_loopback);
        if named.is_some() && !local && server.scheme_str() == Some("http") && !insecure {
            r.wrong(
                &t::SERVER,
                "the token would go over the network in the clear: give an https:// URL, or --insecure-http",
            );
        }
        // The token found by itself opens the controller of this machine, and is for no other's ears.
        let found = || local.then(|| parse::secret(data_dir.join("token").to_str()?).ok()).flatten();
        let token = named.or_else(found).map(|secret| secret.expose().to_owned());
        Self { options: ApiOptions { server, token, ca_pem }, data_dir }
    }

    /// The controller.
    pub(super) fn api(&self) -> Result<Api, Failure> {
        Api::new(self.options.clone()).map_err(|why| Failure::Usage(format!("--ca-file: {why}")))
    }

    /// The port of the controller, where its URL says one.
    pub(super) fn port(&self) -> Option<u16> {
        self.options.server.port_u16()
    }

    /// The agent of this machine.
    pub(super) fn agent(&self) -> AgentSocket {
        AgentSocket::of(&self.data_dir)
    }
}

impl From<ApiError> for Failure {
    fn from(error: ApiError) -> Self {
        let text = error.to_string();
        match error {
            // rustls says so in every refusal of the server's certificate.
            ApiError::Unreachable { why, .. } if why.contains("certificate") => {
                Self::Unreachable(format!("{text}\n  name the authorities to trust with --ca-file"))
            }
            ApiError::Unreachable { .. } => Self::Unreachable(format!(
                "{text}\n  start one here with `dockhealth up`, or name another with --server URL"
            )),
            ApiError::Problem { status: 401, .. } => Self::Refused(format!(
                "{text}\n  name a file that holds an access token with --token-file; the first token is in the file `token` of the controller's data directory"
            )),
            ApiError::Problem { status: 403, .. } => Self::Refused(text),
            ApiError::Problem { status: 404, .. } => Self::NotFound(text),
            ApiError::Problem { status: 502..=504, .. } => Self::Unreachable(text),
            ApiError::Malformed { .. } => {
                Self::Failed(format!("{text}\n  is --server right? one with TLS needs https://"))
            }
            ApiError::Problem { .. } => Self::Failed(text),
        }
    }
}

impl From<LocalError> for Failure {
    fn from(error: LocalError) -> Self {
        use crate::bus::CommandError;
        let text = error.to_string();
        match error {
            LocalError::Unreachable(..) => Self::Unreachable(format!(
                "{text}\n  start one with `dockhealth up` or `dockhealth agent`, or name its --data-dir"
            )),
            LocalError::Denied(_) => Self::Refused(text),
            LocalError::Command(CommandError::NoSuchContainer { .. }) => Self::NotFound(text),
            LocalError::Command(_) | LocalError::Malformed(_) => Self::Failed(text),
        }
    }
}
