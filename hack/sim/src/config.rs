//! What a workspace is started with.
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Settings of a [`Simulator`](crate::Simulator). The default listens at a free port of 127.0.0.1 and knows nobody.
#[derive(Clone, Debug)]
pub struct Config {
    /// A loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Personal access tokens, and the e-mail addresses of their users.
    pub pats: Vec<(String, String)>,
    /// Service principals that take part in OAuth: client id (their application id) and secret.
    pub oauth_clients: Vec<(String, String)>,
    /// Service time runs so many times faster than the wall clock.
    pub time_scale: u32,
    /// Every source path exists.
    pub any_source: bool,
    /// The quota of apps, those in DELETING included.
    pub max_apps: usize,
    /// The largest page of any list.
    pub page_size: usize,
    /// YAML with what the workspace knows from the start; see [`Seed`](crate::Seed).
    pub seed: Option<PathBuf>,
    /// Each request is appended to this file as a line of JSON.
    pub log: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 0),
            pats: Vec::new(),
            oauth_clients: Vec::new(),
            time_scale: 1,
            any_source: false,
            max_apps: 100,
            page_size: 100,
            seed: None,
            log: None,
        }
    }
}

impl Config {
    /// Adds a personal access token of a user.
    pub fn with_pat(mut self, token: &str, user: &str) -> Self {
        self.pats.push((token.to_owned(), user.to_owned()));
        self
    }
}
