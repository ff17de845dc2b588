//! The workspace: everything that requests read and change. One room for each API; each has its table of routes.
//!
//! ```text
//!            directory (users, groups, service principals)
//!                 ▲            ▲
//!   permissions ──┘            └── apps ──► resources ──► warehouses, jobs, secrets, serving endpoints, …
//!       ▲                            │  grants to the app's service principal
//!       └────────────────────────────┘
//!                                    └──► files (sources of deployments)
//! ```
//! Nothing runs by itself: state is a function of time, and [`Workspace::tick`] applies what has come due.
pub mod apps;
pub mod directory;
pub mod federation;
pub mod files;
pub mod git_credentials;
pub mod identity;
pub mod jobs;
pub mod objects;
mod paging;
pub mod permissions;
pub mod secrets;
pub mod spaces;
pub mod templates;
pub mod unity;
pub mod warehouses;

use jiff::Timestamp;
use rand::Rng;

use crate::clock::{Clock, ServiceTime};
use crate::config::Config;
use crate::faults::Faults;
use crate::http::Route;
use crate::seed::{Seed, SeedError};

pub use identity::Caller;

/// What a workspace does throughout its life.
#[derive(Clone, Debug)]
pub struct Rules {
    /// Every source path exists.
    pub any_source: bool,
    pub max_apps: usize,
    pub page_size: usize,
    /// Scopes that users can grant to apps.
    pub scopes: Vec<String>,
}

#[derive(Debug)]
pub struct Workspace {
    pub id: u64,
    pub account_id: String,
    pub clock: Clock,
    pub faults: Faults,
    pub rules: Rules,
    pub tokens: identity::Tokens,
    pub federation: federation::Policies,
    pub directory: directory::Directory,
    pub apps: apps::Apps,
    pub spaces: spaces::Spaces,
    pub templates: templates::Templates,
    pub acls: permissions::Acls,
    pub files: files::Files,
    pub git_credentials: git_credentials::GitCredentials,
    pub warehouses: warehouses::Warehouses,
    pub jobs: jobs::Jobs,
    pub secrets: secrets::Secrets,
    pub unity: unity::Unity,
    pub objects: objects::Objects,
    /// The instant of the request being worked on.
    now: ServiceTime,
    stamp: Timestamp,
}

impl Workspace {
    pub fn new(config: &Config, seed: &Seed) -> Result<Self, SeedError> {
        let clock = Clock::new(config.time_scale);
        let mut workspace = Self {
            id: seed.workspace.id.unwrap_or_default(),
            account_id: seed
                .workspace
                .account_id
                .clone()
                .unwrap_or_else(|| "3f6c1d5e-7a2b-4c8d-9e0f-1a2b3c4d5e6f".into()),
            now: clock.now(),
            stamp: clock.stamp(),
            clock,
            faults: Faults::default(),
            rules: Rules {
                any_source: config.any_source,
                max_apps: config.max_apps,
                page_size: config.page_size.max(1),
                scopes: seed.user_api_scopes.clone(),
            },
            tokens: identity::Tokens::default(),
            federation: federation::Policies::default(),
            directory: directory::Directory::default(),
            apps: apps::Apps::default(),
            spaces: spaces::Spaces::default(),
            templates: templates::Templates::default(),
            acls: permissions::Acls::default(),
            files: files::Files::default(),
            git_credentials: git_credentials::GitCredentials::default(),
            warehouses: warehouses::Warehouses::default(),
            jobs: jobs::Jobs::default(),
            secrets: secrets::Secrets::default(),
            unity: unity::Unity::default(),
            objects: objects::Objects::default(),
        };
        workspace.admit(config);
        seed.sow(&mut workspace)?;
        Ok(workspace)
    }

    /// Moves to the present and applies what has come due until then. Each request starts with it.
    pub fn tick(&mut self) {
        self.now = self.clock.now();
        self.stamp = self.clock.stamp();
        self.settle_apps();
        self.settle_spaces();
    }

    pub fn now(&self) -> ServiceTime {
        self.now
    }

    pub fn stamp(&self) -> Timestamp {
        self.stamp
    }

    /// RFC 3339 with seconds, as Apps bodies have it.
    pub fn stamp_text(&self) -> String {
        seconds(self.stamp)
    }

    /// Epoch milliseconds, as the older APIs have it.
    pub fn stamp_millis(&self) -> i64 {
        self.stamp.as_millisecond()
    }
}

/// All routes under tokens and below, one table for each API.
pub fn routes() -> impl Iterator<Item = &'static Route> {
    [
        identity::ROUTES,
        federation::ROUTES,
        federation::secrets::ROUTES,
        directory::ROUTES,
        apps::ROUTES,
        spaces::ROUTES,
        templates::ROUTES,
        permissions::ROUTES,
        files::ROUTES,
        git_credentials::ROUTES,
        warehouses::ROUTES,
        jobs::ROUTES,
        secrets::ROUTES,
        unity::ROUTES,
        objects::ROUTES,
    ]
    .into_iter()
    .flatten()
}

fn seconds(stamp: Timestamp) -> String {
    stamp.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

/// A random UUID, version 4.
pub fn uuid() -> String {
    let bits: u128 = rand::rng().random();
    let hex = format!("{bits:032x}");
    format!(
        "{}-{}-4{}-a{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}

/// `length` random characters out of `0-9a-z`.
pub fn short_id(length: usize) -> String {
    let mut rng = rand::rng();
    (0..length)
        .map(|_| char::from(b"0123456789abcdefghijklmnopqrstuvwxyz"[rng.random_range(0..36)]))
        .collect()
}

/// A random positive id such as SCIM and Jobs give.
pub fn numeric_id() -> i64 {
    rand::rng().random_range(1_000_000_000_000_i64..9_000_000_000_000_000)
}
