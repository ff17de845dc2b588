//! A fake Databricks workspace: Apps and the APIs around them on a loopback port, over plain HTTP, with faults that can be
//! set and a clock that can run faster or be advanced.
//!
//! It knows the service by its public API alone and shares no type with any client of it, so that a client's mistake can't
//! hide in a mirror.
//!
//! ```no_run
//! # async fn demo() -> Result<(), databricks_sim::Error> {
//! use databricks_sim::{Config, Simulator};
//! let sim = Simulator::start(Config::default().with_pat("dapi-1", "ann@example.com")).await?;
//! println!("{}/api/2.0/apps", sim.url());
//! sim.stop().await;
//! # Ok(())
//! # }
//! ```
//!
//! Where things are: a new endpoint is a line in a table of routes (`workspace/`, one room for each API); a new fault is a
//! variant of `faults::Kind`; the way of a request is `http/exchange.rs`; what time does to an app is
//! `workspace/apps/model.rs`.
mod clock;
mod config;
mod error;
mod faults;
mod http;
mod log;
mod seed;
mod workspace;

use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

pub use config::Config;
pub use seed::{Seed, SeedError};

/// Examples, controls, faults and seed, as `--help` and `GET /sim` show them.
pub fn guide() -> String {
    format!(
        "{}\n{}\n{}\n{}",
        include_str!("examples.txt"),
        http::GUIDE,
        faults::GUIDE,
        seed::GUIDE
    )
}

/// So long requests that are under way may take when the workspace stops.
/// The id of a workspace whose seed names none is this one and the port.
const FIRST_ID: u64 = 1_234_567_890_000_000;
const GRACE: Duration = Duration::from_secs(1);

/// Why a workspace could not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("listen at {0}: only loopback addresses are taken, such as 127.0.0.1:8787")]
    NotLoopback(SocketAddr),
    #[error("listen at {address}")]
    Listen {
        address: SocketAddr,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Seed(#[from] SeedError),
    #[error("open the log {}", path.display())]
    Log {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
}

/// A running workspace. Dropping it ends it at once.
#[derive(Debug)]
pub struct Simulator {
    address: SocketAddr,
    stop: CancellationToken,
    /// Cuts every connection.
    end: CancellationToken,
    server: JoinHandle<()>,
}

impl Simulator {
    /// Returns once it listens. Needs a Tokio runtime.
    pub async fn start(config: Config) -> Result<Self, Error> {
        if !config.listen.ip().is_loopback() {
            return Err(Error::NotLoopback(config.listen));
        }
        let seed = config.seed.as_deref().map(Seed::read).transpose()?;
        let log = config
            .log
            .as_ref()
            .map(|path| {
                OpenOptions::new()
                    .create(true)
                    .append(true)
                    .open(path)
                    .map_err(|source| Error::Log {
                        path: path.clone(),
                        source,
                    })
            })
            .transpose()?;
        let failed = |source| Error::Listen {
            address: config.listen,
            source,
        };
        let listener = TcpListener::bind(config.listen).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;

        let log = log::RequestLog::new(log);
        let mut seed = seed.unwrap_or_default();
        // Two of them on one machine are two workspaces.
        let id = FIRST_ID + u64::from(address.port());
        seed.workspace.id.get_or_insert(id);
        let shared = Arc::new(http::Shared::new(config, seed, log)?);
        let service = http::router(shared).into_make_service_with_connect_info::<http::Cut>();
        let stop = CancellationToken::new();
        let stopped = stop.clone().cancelled_owned();
        let end = CancellationToken::new();
        let sockets = http::Sockets {
            listener,
            end: end.clone(),
        };
        let server = tokio::spawn(async move {
            // The server ends only when told to; nothing is left to report.
            let _ = axum::serve(sockets, service)
                .with_graceful_shutdown(stopped)
                .await;
        });
        Ok(Self {
            address,
            stop,
            end,
            server,
        })
    }

    /// `http://127.0.0.1:PORT`.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers what is under way for a second, then ends.
    pub async fn stop(mut self) {
        self.stop.cancel();
        let _ = tokio::time::timeout(GRACE, &mut self.server).await;
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.stop.cancel();
        self.end.cancel();
        self.server.abort();
    }
}
