//! TLS: certificate and key from PEM files, read anew on request.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::sync::watch;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::{self, ServerConfig};

/// Where the server's certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// PEM file of the certificate chain, the server's own first.
    pub cert: PathBuf,
    /// PEM file of its key.
    pub key: PathBuf,
}

/// What is wrong with the files.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("{}: {problem}", file.display())]
    File {
        /// Which.
        file: PathBuf,
        /// What is wrong with it.
        problem: String,
    },
    /// The two do not belong together, or are of a kind that is not supported.
    #[error("{} and {} do not make a TLS server: {source}", files.cert.display(), files.key.display())]
    Pair {
        /// The files.
        files: TlsFiles,
        /// What rustls says.
        source: rustls::Error,
    },
}

/// The server's side of TLS, and the handle that reads the files anew; clones are the same.
#[derive(Clone)]
pub struct TlsReload {
    files: TlsFiles,
    current: Arc<watch::Sender<Arc<ServerConfig>>>,
}

impl TlsReload {
    /// Reads the files.
    pub fn open(files: TlsFiles) -> Result<Self, TlsError> {
        let current = Arc::new(watch::Sender::new(read(&files)?));
        Ok(Self { files, current })
    }

    /// Reads the files anew, for connections from now on. Where they are bad, the old ones stay in use; the error is
    /// logged, and returned.
    pub fn reload(&self) -> Result<(), TlsError> {
        let read = read(&self.files).inspect_err(|error| {
            tracing::error!("TLS certificate not reloaded, the one before stays in use: {error}");
        })?;
        self.current.send_replace(read);
        tracing::info!(cert = %self.files.cert.display(), "TLS certificate reloaded");
        Ok(())
    }

    /// For one new connection.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.borrow().clone())
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let wrong = |file: &Path, problem: String| TlsError::File { file: file.to_owned(), problem };
    let chain = CertificateDer::pem_file_iter(&files.cert)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|e| wrong(&files.cert, e.to_string()))?;
    if chain.is_empty() {
        return Err(wrong(&files.cert, "holds no certificate in PEM (BEGIN CERTIFICATE)".into()));
    }
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|e| wrong(&files.key, e.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let pair = |source| TlsError::Pair { files: files.clone(), source };
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(pair)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(pair)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
