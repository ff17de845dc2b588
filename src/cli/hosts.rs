//! Which hosts the operator may send credentials to, as options: the same wherever hosts are judged.
use clap::Args;

use crate::databricks::{HostPattern, HostPolicy};
use crate::worlds::artifact;

/// Options about hosts. Each can also be given as an environment variable.
#[derive(Clone, Debug, Default, Args)]
pub struct Hosts {
    /// Hosts that credentials may be sent to: exact ones or whole zones, e.g. `*.cloud.databricks.com`. Default: the zones
    /// of Databricks.
    #[arg(
        long,
        env = "DAO_ALLOWED_HOSTS",
        value_delimiter = ',',
        value_name = "HOST,…"
    )]
    allowed_hosts: Vec<HostPattern>,
    /// Also allow plain http and loopback addresses, as far as --allowed-hosts lists them. For tests only.
    #[arg(long, env = "DAO_ALLOW_INSECURE_HOSTS")]
    allow_insecure_hosts: bool,
}

/// Where Flux artifacts may be fetched from. Can also be given as an environment variable.
#[derive(Clone, Debug, Args)]
pub struct ArtifactHosts {
    /// Hosts that Flux artifacts may be fetched from, by http or https: exact ones or whole zones.
    #[arg(
        long,
        env = "DAO_ARTIFACT_HOSTS",
        value_delimiter = ',',
        value_name = "HOST,…",
        default_values_t = artifact::default_hosts()
    )]
    pub artifact_hosts: Vec<HostPattern>,
}

impl Hosts {
    /// What the options say, over the defaults.
    pub fn policy(self) -> HostPolicy {
        let mut policy = HostPolicy {
            allow_insecure: self.allow_insecure_hosts,
            ..HostPolicy::default()
        };
        if !self.allowed_hosts.is_empty() {
            policy.allowed = self.allowed_hosts;
        }
        policy
    }
}
