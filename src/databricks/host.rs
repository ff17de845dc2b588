//! Which hosts may be sent a credential.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use url::{Host, Url};

use super::error::Error;

/// The DNS zones under which Databricks serves workspaces and accounts.
const DATABRICKS_ZONES: [&str; 6] = [
    "cloud.databricks.com",
    "azuredatabricks.net",
    "gcp.databricks.com",
    "databricks.azure.us",
    "databricks.azure.cn",
    "cloud.databricks.us",
];

/// One entry of the list of allowed hosts: an exact host (`dbc-1.cloud.databricks.com`, `127.0.0.1`), or all
/// hosts below a zone (`*.cloud.databricks.com`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HostPattern {
    Exact(String),
    Below(String),
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "allowed host {0:?} is neither a host (db.example.com, 127.0.0.1) nor a zone (*.example.com); leave out scheme, port and path"
)]
pub struct PatternError(String);

impl FromStr for HostPattern {
    type Err = PatternError;

    fn from_str(text: &str) -> Result<Self, PatternError> {
        let refuse = || PatternError(text.to_owned());
        let trimmed = text.trim();
        let (zone, name) = match trimmed
            .strip_prefix("*.")
            .or_else(|| trimmed.strip_prefix('.'))
        {
            Some(rest) => (true, rest),
            None => (false, trimmed),
        };
        // What `Host::parse` lets through, but no host has.
        if name.contains('*') {
            return Err(refuse());
        }
        // `Host::parse` normalizes case, internationalized names and odd spellings of IPv4.
        let bracketed = match name.parse::<Ipv6Addr>() {
            Ok(v6) => format!("[{v6}]"),
            Err(_) => name.to_owned(),
        };
        let host = Host::parse(&bracketed).map_err(|_| refuse())?;
        match (zone, host) {
            (true, Host::Domain(name)) if name.contains('.') => Ok(Self::Below(plain(&name))),
            (true, _) => Err(refuse()),
            (false, Host::Domain(name)) => Ok(Self::Exact(plain(&name))),
            (false, address) => Ok(Self::Exact(address.to_string())),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exact(host) => f.write_str(host),
            Self::Below(zone) => write!(f, "*.{zone}"),
        }
    }
}

impl HostPattern {
    /// Whether a URL's host is meant; neither letter case nor a dot at the end matters.
    pub fn admits(&self, host: &Host<&str>) -> bool {
        let host = normal(host);
        match self {
            Self::Exact(exact) => *exact == host,
            // On a label boundary: `evilazuredatabricks.net` is not below `azuredatabricks.net`.
            Self::Below(zone) => host
                .strip_suffix(zone.as_str())
                .is_some_and(|rest| rest.len() > 1 && rest.ends_with('.')),
        }
    }

    fn is_loopback(&self) -> bool {
        match self {
            Self::Exact(host) => is_loopback(host),
            Self::Below(_) => false,
        }
    }
}

/// The operator's list of hosts that credentials may be sent to. An IP address is only admitted when it is
/// listed itself; plain http and loopback addresses need `allow_insecure` on top.
#[derive(Clone, Debug)]
pub struct HostPolicy {
    pub allowed: Vec<HostPattern>,
    pub allow_insecure: bool,
}

impl Default for HostPolicy {
    fn default() -> Self {
        Self {
            allowed: DATABRICKS_ZONES
                .iter()
                .map(|zone| HostPattern::Below((*zone).to_owned()))
                .collect(),
            allow_insecure: false,
        }
    }
}

impl HostPolicy {
    /// Whether credentials may be sent to `url`; the error names the host, the list and the way out.
    pub fn check(&self, url: &Url) -> Result<(), Error> {
        let refuse = |why: String| {
            Err(Error::HostNotAllowed {
                host: cut_host(url),
                why,
            })
        };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("the URL holds a user name or a password; leave them out".to_owned());
        }
        let Some(host) = url.host() else {
            return refuse("the URL names no host".to_owned());
        };
        let name = normal(&host);
        match url.scheme() {
            "https" => {}
            "http" if self.allow_insecure => {}
            "http" => {
                return refuse(
                    "plain http would show the credentials to the network; use https".to_owned(),
                );
            }
            other => return refuse(format!("scheme {other:?} is not https")),
        }
        if !self.allowed.iter().any(|pattern| pattern.admits(&host)) {
            let list: Vec<String> = self.allowed.iter().map(ToString::to_string).collect();
            return refuse(format!(
                "allowed are {}; correct the host, or have the operator started with it in --allowed-hosts",
                list.join(", ")
            ));
        }
        if is_loopback(&name) && !self.allow_insecure {
            return refuse(
                "loopback addresses are for tests; the operator must be started with --allow-insecure-hosts".to_owned(),
            );
        }
        Ok(())
    }

    /// True if every listed host is this machine, so that nothing real can be reached.
    pub fn only_loopback(&self) -> bool {
        !self.allowed.is_empty() && self.allowed.iter().all(HostPattern::is_loopback)
    }
}

fn normal(host: &Host<&str>) -> String {
    match host {
        Host::Domain(name) => plain(name),
        address => address.to_string(),
    }
}

fn plain(name: &str) -> String {
    name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase()
}

pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    match bare.parse::<IpAddr>() {
        Ok(IpAddr::V4(v4)) => v4.is_loopback(),
        Ok(IpAddr::V6(v6)) => {
            v6.is_loopback()
                || v6
                    .to_ipv4_mapped()
                    .is_some_and(|v4: Ipv4Addr| v4.is_loopback())
        }
        Err(_) => bare == "localhost",
    }
}

/// What a refusal shows of a URL: no user info, no path.
fn cut_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{}://{host}:{port}", url.scheme()),
        None => format!("{}://{host}", url.scheme()),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn verdict(policy: &HostPolicy, url: &str) -> bool {
        policy.check(&Url::parse(url).unwrap()).is_ok()
    }

    fn policy(patterns: &[&str], allow_insecure: bool) -> HostPolicy {
        HostPolicy {
            allowed: patterns.iter().map(|p| p.parse().unwrap()).collect(),
            allow_insecure,
        }
    }

    #[test]
    fn the_default_list_admits_databricks_and_nothing_that_only_looks_like_it() {
        let default = HostPolicy::default();
        for good in [
            "https://dbc-1.cloud.databricks.com",
            "https://adb-123.7.azuredatabricks.net/",
            "https://ADB-123.7.AzureDatabricks.net",
            "https://adb-123.7.azuredatabricks.net.",
            "https://1.gcp.databricks.com",
            "https://adb.databricks.azure.us",
            "https://adb.databricks.azure.cn",
            "https://accounts.cloud.databricks.com",
            "https://x.cloud.databricks.us",
        ] {
            assert!(verdict(&default, good), "{good}");
        }
        for bad in [
            "http://dbc-1.cloud.databricks.com",
            "https://evilazuredatabricks.net",
            "https://azuredatabricks.net",
            "https://adb.azuredatabricks.net.evil.com",
            "https://127.0.0.1",
            "https://10.0.0.1",
            "https://169.254.169.254",
            "https://[::1]",
            "https://localhost",
            "https://user:pw@dbc-1.cloud.databricks.com",
            "ftp://dbc-1.cloud.databricks.com",
            "https://.azuredatabricks.net",
        ] {
            let parsed = Url::parse(bad);
            assert!(
                parsed.is_err() || !verdict(&default, bad),
                "{bad} was let through"
            );
        }
    }

    #[test]
    fn loopback_and_http_need_the_list_and_the_flag() {
        assert!(verdict(
            &policy(&["127.0.0.1"], true),
            "http://127.0.0.1:8787"
        ));
        assert!(verdict(
            &policy(&["127.0.0.1"], true),
            "http://2130706433:8787"
        ));
        assert!(verdict(&policy(&["::1"], true), "http://[::1]:8787"));
        assert!(!verdict(
            &policy(&["127.0.0.1"], false),
            "https://127.0.0.1:8787"
        ));
        assert!(!verdict(
            &policy(&["127.0.0.1"], false),
            "http://127.0.0.1:8787"
        ));
        assert!(!verdict(
            &policy(&["localhost"], true),
            "http://127.0.0.1:8787"
        ));
        assert!(!verdict(
            &HostPolicy {
                allow_insecure: true,
                ..HostPolicy::default()
            },
            "http://127.0.0.1"
        ));
    }

    #[test]
    fn a_refusal_names_host_list_and_way_out_but_no_password() {
        let error = HostPolicy::default()
            .check(&Url::parse("https://db.example.com/path?x=1").unwrap())
            .unwrap_err()
            .to_string();
        for part in ["db.example.com", "*.azuredatabricks.net", "--allowed-hosts"] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
        let error = HostPolicy::default()
            .check(&Url::parse("https://u:canary@x.cloud.databricks.com").unwrap())
            .unwrap_err();
        assert!(!format!("{error} {error:?}").contains("canary"));
    }

    #[test]
    fn only_a_list_of_loopback_hosts_counts_as_loopback() {
        assert!(policy(&["127.0.0.1", "localhost", "::1"], true).only_loopback());
        assert!(!policy(&["127.0.0.1", "*.azuredatabricks.net"], true).only_loopback());
        assert!(!policy(&[], true).only_loopback());
        assert!(!HostPolicy::default().only_loopback());
    }

    #[test]
    fn patterns_with_scheme_port_path_or_a_bare_top_level_are_refused() {
        for bad in [
            "",
            "*",
            "*.",
            "*.com",
            "https://a.b",
            "a.b:443",
            "a.b/c",
            "*.10.0.0.1",
        ] {
            assert!(bad.parse::<HostPattern>().is_err(), "{bad} was accepted");
        }
        assert_eq!(
            "*.Example.com".parse::<HostPattern>().unwrap().to_string(),
            "*.example.com"
        );
    }
}
