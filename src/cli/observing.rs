//! What others can see of the operator, as options: logs, metrics, traces.
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;

use clap::Args;

use crate::serve::{Access, MetricsAt};
use crate::telemetry::logs::{self, Filter, LogFormat};
use crate::telemetry::traces::{self, Traces};

/// Options about logs, metrics and traces. Each can also be given as an environment variable.
#[derive(Debug, Args)]
pub struct Observing {
    /// Where /metrics is served over TLS, e.g. 0.0.0.0:8443; off: plain and to everybody, beside the probes at --listen.
    #[arg(
        long,
        env = "DAO_METRICS_LISTEN",
        default_value_t = MetricsListen::Off,
        value_name = "ADDRESS|off"
    )]
    metrics_listen: MetricsListen,
    /// Folder with tls.crt and tls.key for --metrics-listen, such as a mounted Secret; a change is noticed within seconds.
    /// Default: a certificate made at the start, which nobody has signed.
    #[arg(long, env = "DAO_METRICS_CERT_DIR", value_name = "DIR")]
    metrics_cert_dir: Option<PathBuf>,
    /// Whether --metrics-listen asks for a token whose holder may get the non-resource URL /metrics. An answer of the API
    /// server holds for 30s.
    #[arg(
        long,
        env = "DAO_METRICS_AUTH",
        default_value_t = true,
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        value_name = "true|false"
    )]
    metrics_auth: bool,
    /// How log lines are written: text on a terminal, JSON elsewhere, unless said otherwise.
    #[arg(long, env = "DAO_LOG_FORMAT", value_enum, default_value_t)]
    log_format: LogFormat,
    /// Which log lines are written, e.g. `info` or `info,databricks_app_operator=debug`.
    #[arg(
        long,
        env = "DAO_LOG_FILTER",
        default_value = "info",
        value_name = "FILTER"
    )]
    log_filter: String,
    /// File with a filter that replaces --log-filter as long as it is there and not empty, such as a mounted ConfigMap's; a
    /// change is noticed within seconds, and a bad filter changes nothing.
    #[arg(long, env = "DAO_LOG_FILTER_FILE", value_name = "FILE")]
    log_filter_file: Option<PathBuf>,
    /// Collector that traces are sent to by OTLP over HTTP, e.g. http://collector:4318; headers for it come from
    /// OTEL_EXPORTER_OTLP_HEADERS. Default: no traces.
    #[arg(long, env = "DAO_OTLP_ENDPOINT", value_name = "URL")]
    otlp_endpoint: Option<String>,
}

/// An address, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetricsListen {
    Off,
    At(SocketAddr),
}

impl FromStr for MetricsListen {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "off" => Ok(Self::Off),
            address => address
                .parse()
                .map(Self::At)
                .map_err(|_| "write an address like 0.0.0.0:8443, or off".to_owned()),
        }
    }
}

impl fmt::Display for MetricsListen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::At(address) => address.fmt(f),
        }
    }
}

/// Why nothing can be seen.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(transparent)]
    Logs(#[from] logs::Error),
    #[error(transparent)]
    Traces(#[from] traces::Error),
    #[error(
        "--metrics-cert-dir is of no use without --metrics-listen; add an address such as 0.0.0.0:8443"
    )]
    CertificateUnused,
}

impl Observing {
    /// Starts logs and traces; within a Tokio runtime. `instance` names this installation in traces.
    pub fn start(&self, instance: &str) -> Result<Option<Traces>, Error> {
        if self.metrics_listen == MetricsListen::Off && self.metrics_cert_dir.is_some() {
            return Err(Error::CertificateUnused);
        }
        let endpoint = self.otlp_endpoint.as_deref().filter(|url| !url.is_empty());
        let traces = endpoint.map(|url| Traces::new(url, instance)).transpose()?;
        let filter = logs::init(self.log_format, &self.log_filter, traces.as_ref())?;
        if let Some(file) = &self.log_filter_file {
            tokio::spawn(Filter::follow(filter, file.clone()));
        }
        Ok(traces)
    }

    /// Where metrics are served; `reviews` asks the API server who may read them.
    pub fn metrics_at(&self, reviews: &kube::Client) -> MetricsAt<'_> {
        match self.metrics_listen {
            MetricsListen::Off => MetricsAt::Probes,
            MetricsListen::At(address) => MetricsAt::Tls {
                address,
                certificate: self.metrics_cert_dir.as_deref(),
                access: self
                    .metrics_auth
                    .then(|| Arc::new(Access::new(reviews.clone()))),
            },
        }
    }
}
