//! From an artifact's URL to bytes that are proven to be the artifact's.
use std::collections::VecDeque;
use std::io::{self, Read};
use std::time::Duration;

use bytes::{Buf, Bytes};
use url::Url;

use super::{Artifact, Error, hasher};
use crate::databricks::{HostPattern, chain};
use crate::worlds::files::{TOTAL_BYTES, hex, shown};

/// An archive is no larger than what it holds, some headers apart.
pub(super) const ARCHIVE_BYTES: u64 = TOTAL_BYTES;
const CONNECT: Duration = Duration::from_secs(10);
/// Between two pieces of an answer.
const SILENCE: Duration = Duration::from_secs(30);
const TOTAL: Duration = Duration::from_secs(120);

/// Whether an archive may be fetched from there.
pub(super) fn check(url: &Url, hosts: &[HostPattern]) -> Result<(), Error> {
    let refuse = |why| {
        let allowed: Vec<String> = hosts.iter().map(ToString::to_string).collect();
        Err(Error::HostNotAllowed {
            url: place(url),
            why,
            allowed: allowed.join(", "),
        })
    };
    if !matches!(url.scheme(), "http" | "https") {
        return refuse("its scheme is not allowed");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return refuse("it holds a user name or a password");
    }
    match url.host() {
        Some(host) if hosts.iter().any(|pattern| pattern.admits(&host)) => Ok(()),
        _ => refuse("its host is not allowed"),
    }
}

/// The archive's bytes, proven to be those that the digest names.
pub(super) async fn download(artifact: &Artifact) -> Result<Chunks, Error> {
    let url = || place(&artifact.url);
    let lost = |error: reqwest::Error| Error::Transport {
        url: url(),
        message: shown(&chain(&error.without_url())),
    };
    let too_large = || Error::TooLarge {
        url: url(),
        limit: ARCHIVE_BYTES,
    };
    let differs = |found: String| Error::Digest {
        url: url(),
        expected: artifact.digest.clone(),
        found,
    };
    let Some(mut hasher) = hasher(&artifact.digest) else {
        return Err(differs("of an unknown algorithm".to_owned()));
    };
    let request = http_client(&artifact.url)
        .map_err(lost)?
        .get(artifact.url.clone());
    let mut response = request.send().await.map_err(lost)?;
    let status = response.status();
    if !status.is_success() {
        let hint = match status.as_u16() {
            300..400 => "; redirects are not followed",
            404 | 410 => "; the source may have a newer version by now",
            _ => "",
        };
        return Err(Error::Status {
            url: url(),
            status: status.as_u16(),
            hint,
        });
    }
    if response.content_length().is_some_and(|n| n > ARCHIVE_BYTES) {
        return Err(too_large());
    }
    let (mut archive, mut size) = (VecDeque::new(), 0);
    while let Some(chunk) = response.chunk().await.map_err(lost)? {
        size += chunk.len() as u64;
        if size > ARCHIVE_BYTES {
            return Err(too_large());
        }
        hasher.update(&chunk);
        archive.push_back(chunk);
    }
    let algorithm = artifact.digest.split(':').next().unwrap_or_default();
    let found = format!("{algorithm}:{}", hex(&hasher.finalize()));
    match found == artifact.digest {
        true => Ok(Chunks(archive)),
        false => Err(differs(found)),
    }
}

/// One for each archive: they are rare, and no connection is worth keeping.
fn http_client(url: &Url) -> reqwest::Result<reqwest::Client> {
    // rustls is built without a default provider; whoever installs one first wins.
    rustls::crypto::ring::default_provider()
        .install_default()
        .ok();
    let mut builder = reqwest::Client::builder()
        .redirect(reqwest::redirect::Policy::none())
        // The archive itself is what the digest is of.
        .no_gzip()
        // Flux serves inside the cluster.
        .no_proxy()
        .referer(false)
        .connect_timeout(CONNECT)
        .read_timeout(SILENCE)
        .timeout(TOTAL);
    if url.scheme() == "http" {
        // Without TLS the system's authorities don't matter; an image may have none.
        builder = builder.tls_certs_only([]);
    }
    builder.build()
}

/// A URL as errors show it: without what may hold a credential.
fn place(url: &Url) -> String {
    let port = url
        .port()
        .map_or_else(String::new, |port| format!(":{port}"));
    let host = url.host_str().unwrap_or_default();
    shown(&format!("{}://{host}{port}{}", url.scheme(), url.path()))
}

/// Gives each chunk's memory back once it is read, so that archive and files are not held together.
pub(super) struct Chunks(VecDeque<Bytes>);

impl Read for Chunks {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        while self.0.front().is_some_and(|chunk| !chunk.has_remaining()) {
            self.0.pop_front();
        }
        match self.0.front_mut() {
            None => Ok(0),
            Some(chunk) => {
                let read = chunk.len().min(buf.len());
                chunk.copy_to_slice(&mut buf[..read]);
                Ok(read)
            }
        }
    }
}
