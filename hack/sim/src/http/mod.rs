//! HTTP: routes, the way of a request through faults and authentication, and the controls under `/sim`.
mod answer;
mod call;
mod control;
mod exchange;
mod socket;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::extract::{ConnectInfo, RawPathParams, Request};
use axum::routing::{MethodFilter, on};

use crate::config::Config;
use crate::log::RequestLog;
use crate::seed::{Seed, SeedError};
use crate::workspace::{Workspace, routes};

pub use call::{Access, Call, Reply, Route, required, text};
pub use control::GUIDE;
pub use socket::{Cut, Sockets};

/// The workspace and what it was asked, behind one lock: each request sees and leaves a consistent whole.
#[derive(Debug)]
pub struct World {
    pub workspace: Workspace,
    pub log: RequestLog,
}

#[derive(Debug)]
pub struct Shared {
    world: Mutex<World>,
    pub config: Config,
    pub seed: Seed,
}

impl Shared {
    pub fn new(config: Config, seed: Seed, log: RequestLog) -> Result<Self, SeedError> {
        let workspace = Workspace::new(&config, &seed)?;
        Ok(Self {
            world: Mutex::new(World { workspace, log }),
            config,
            seed,
        })
    }

    pub fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Every route of every table, a fallback that answers as the service does, and `/sim`.
pub fn router(shared: Arc<Shared>) -> Router {
    let mut router = Router::new();
    for route in routes() {
        let Ok(filter) = MethodFilter::try_from(
            axum::http::Method::from_bytes(route.method.as_bytes()).unwrap_or_default(),
        ) else {
            continue;
        };
        let shared = shared.clone();
        let handle = move |cut: ConnectInfo<Cut>, params: RawPathParams, request: Request| {
            exchange::serve(shared, route, cut.0, params, request)
        };
        router = router.route(route.pattern, on(filter, handle));
    }
    let unknown = {
        let shared = shared.clone();
        move |cut: ConnectInfo<Cut>, params: RawPathParams, request: Request| {
            exchange::serve(shared, &exchange::UNMATCHED, cut.0, params, request)
        }
    };
    router
        .method_not_allowed_fallback(unknown.clone())
        .fallback(unknown)
        .merge(control::router(shared))
}
