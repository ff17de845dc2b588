//! Logs: human on a terminal, JSON elsewhere.

use std::io::IsTerminal;
use std::path::PathBuf;

use tracing::{info, warn};
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use super::audit;
use super::traces::{self, Traces};
use super::watched::Watched;

/// How log lines are written; they always go to standard error.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// Text when standard error is a terminal, JSON otherwise
    #[default]
    Auto,
    /// One human-readable line an event
    Text,
    /// One JSON object a line
    Json,
}

#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "reading log filter {filter:?}: {source}; write it like \"info\" or \"info,kube=warn\""
    )]
    Filter {
        filter: String,
        #[source]
        source: tracing_subscriber::filter::ParseError,
    },
    #[error("installing the log subscriber: {0}")]
    Install(#[from] tracing_subscriber::util::TryInitError),
    #[error("changing the log filter: {0}")]
    Change(#[from] reload::Error),
}

/// Which log lines are written; it can be changed while the process runs.
pub struct Filter {
    handle: reload::Handle<EnvFilter, Registry>,
    /// What holds unless something else is asked for.
    usual: String,
}

impl Filter {
    /// Takes another filter from now on; a bad one changes nothing.
    pub fn set(&self, filter: &str) -> Result<(), Error> {
        Ok(self.handle.reload(parse(filter)?)?)
    }

    /// Follows a file that holds a filter, such as a mounted ConfigMap's; while it is missing or empty the usual one holds.
    pub async fn follow(self, file: PathBuf) {
        let mut watched = Watched::new(vec![file.clone()]);
        let mut contents = watched.look().await.unwrap_or_default();
        loop {
            let text = contents.pop().and_then(Result::ok).unwrap_or_default();
            let text = String::from_utf8_lossy(&text).trim().to_owned();
            let filter = match text.as_str() {
                "" => &self.usual,
                text => text,
            };
            match self.set(filter) {
                Ok(()) => info!(filter, file = %file.display(), "log filter"),
                Err(error) => {
                    warn!(file = %file.display(), "{error}; the log filter stays as it was");
                }
            }
            contents = watched.changed().await;
        }
    }
}

fn parse(filter: &str) -> Result<EnvFilter, Error> {
    EnvFilter::try_new(filter).map_err(|source| Error::Filter {
        filter: filter.to_owned(),
        source,
    })
}

/// Installs the process-wide subscriber. Audit records pass whatever `filter` says; it uses the `tracing` directive syntax.
pub fn init(format: LogFormat, filter: &str, traces: Option<&Traces>) -> Result<Filter, Error> {
    let (directives, handle) = reload::Layer::new(parse(filter)?);
    let terminal = std::io::stderr().is_terminal();
    let json = match format {
        LogFormat::Auto => !terminal,
        LogFormat::Text => false,
        LogFormat::Json => true,
    };
    // Audit records are JSON, and no filter drops them.
    let audited = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_current_span(false)
        .with_span_list(false)
        .with_writer(std::io::stderr)
        .with_filter(filter_fn(|event| event.target() == audit::TARGET));
    let others = filter_fn(|event| !matches!(event.target(), audit::TARGET | traces::TARGET));
    let lines = if json {
        tracing_subscriber::fmt::layer()
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .with_writer(std::io::stderr)
            .with_filter(directives)
            .with_filter(others)
            .boxed()
    } else {
        tracing_subscriber::fmt::layer()
            .with_ansi(terminal)
            .with_target(false)
            .with_writer(std::io::stderr)
            .with_filter(directives)
            .with_filter(others)
            .boxed()
    };
    let mut layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> = vec![audited.boxed(), lines];
    layers.extend(traces.map(|traces| traces.layer().boxed()));
    tracing_subscriber::registry().with(layers).try_init()?;
    Ok(Filter {
        handle,
        usual: filter.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_with_an_example() {
        let error = init(LogFormat::Text, "a=b=c", None);
        let error = error.err().unwrap().to_string();
        assert!(
            error.contains("a=b=c") && error.contains("info,kube=warn"),
            "{error}"
        );
    }
}
