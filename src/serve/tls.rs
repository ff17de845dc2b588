//! The certificate of the metrics endpoint: from mounted files and read again when they change, else made at the start.
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::ServerConfig;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::connections::Tls;
use crate::telemetry::watched::{Contents, Watched};

/// Names of the files, as in a Secret of type kubernetes.io/tls.
const FILES: [&str; 2] = ["tls.crt", "tls.key"];

/// Why there is no certificate. Never quotes a key.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "reading {path}: {source}; mount a Secret of type kubernetes.io/tls at --metrics-cert-dir"
    )]
    Read {
        path: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{path} holds no PEM {what}; it must be as in a Secret of type kubernetes.io/tls")]
    Pem { path: String, what: &'static str },
    #[error("the certificate cannot be used: {0}; check that tls.crt and tls.key belong together")]
    Unusable(#[from] rustls::Error),
    #[error("making a certificate: {0}")]
    Make(#[from] rcgen::Error),
}

/// The certificate of `folder`, followed until `shutdown`; without a folder one that nobody has signed.
pub(super) async fn certificate(
    folder: Option<&Path>,
    shutdown: CancellationToken,
) -> Result<Tls, Error> {
    let Some(folder) = folder else {
        let (sender, tls) = watch::channel(self_signed()?);
        // Never changed, and there as long as it is asked for.
        tokio::spawn(async move {
            shutdown.cancelled().await;
            drop(sender);
        });
        return Ok(tls);
    };
    let paths: Vec<PathBuf> = FILES.iter().map(|file| folder.join(file)).collect();
    let mut watched = Watched::new(paths.clone());
    let first = watched.look().await.unwrap_or_default();
    let (sender, tls) = watch::channel(mounted(&paths, first)?);
    tokio::spawn(async move {
        loop {
            let contents = tokio::select! {
                contents = watched.changed() => contents,
                () = shutdown.cancelled() => break,
            };
            match mounted(&paths, contents) {
                Ok(config) => {
                    sender.send_replace(config);
                    info!("the certificate of the metrics endpoint was read anew");
                }
                // Perhaps only one of the two files was written yet.
                Err(error) => {
                    warn!(%error, "the certificate of the metrics endpoint stays as it was")
                }
            }
        }
    });
    Ok(tls)
}

fn mounted(paths: &[PathBuf], contents: Contents) -> Result<Arc<ServerConfig>, Error> {
    let mut texts = Vec::new();
    for (path, content) in paths.iter().zip(contents) {
        let path = path.display().to_string();
        texts.push((
            content.map_err(|source| Error::Read {
                path: path.clone(),
                source,
            })?,
            path,
        ));
    }
    let [(chain, chain_path), (key, key_path)] = &texts[..] else {
        return Err(rustls::Error::NoCertificatesPresented.into());
    };
    let pem = |path: &String, what| Error::Pem {
        path: path.clone(),
        what,
    };
    let chain: Vec<CertificateDer<'static>> = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<_, _>>()
        .map_err(|_| pem(chain_path, "certificate"))?;
    if chain.is_empty() {
        return Err(pem(chain_path, "certificate"));
    }
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| pem(key_path, "private key"))?;
    config(chain, key)
}

fn self_signed() -> Result<Arc<ServerConfig>, Error> {
    let names = vec!["databricks-app-operator".to_owned(), "localhost".to_owned()];
    let made = rcgen::generate_simple_self_signed(names)?;
    let key = PrivatePkcs8KeyDer::from(made.signing_key.serialize_der());
    config(vec![made.cert.der().clone()], key.into())
}

fn config(
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKeyDer<'static>,
) -> Result<Arc<ServerConfig>, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_no_client_auth()
        .with_single_cert(chain, key)?;
    Ok(Arc::new(config))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(chain: &str, key: &str) -> Result<Arc<ServerConfig>, Error> {
        let paths = FILES.map(PathBuf::from);
        let contents = vec![Ok(chain.as_bytes().to_vec()), Ok(key.as_bytes().to_vec())];
        mounted(&paths, contents)
    }

    #[test]
    fn a_pair_that_does_not_belong_together_is_refused_and_no_key_is_quoted() {
        let names = || vec!["a.example".to_owned()];
        let one = rcgen::generate_simple_self_signed(names()).unwrap();
        let other = rcgen::generate_simple_self_signed(names()).unwrap();
        let (chain, key) = (one.cert.pem(), one.signing_key.serialize_pem());
        assert!(read(&chain, &key).is_ok());
        let error = read(&chain, &other.signing_key.serialize_pem()).unwrap_err();
        assert!(error.to_string().contains("belong together"), "{error}");
        for (chain, key) in [(chain.as_str(), "hunter2"), ("hunter2", key.as_str())] {
            let said = read(chain, key).unwrap_err().to_string();
            assert!(said.contains("PEM") && !said.contains("hunter2"), "{said}");
        }
    }
}
