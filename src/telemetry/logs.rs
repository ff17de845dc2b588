//! Logs: human on a terminal, JSON elsewhere.

use std::io::IsTerminal;

use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{EnvFilter, Layer, layer::SubscriberExt, util::SubscriberInitExt};

use super::audit;

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
}

/// Installs the process-wide subscriber. Audit records pass whatever `filter` says; it uses the `tracing` directive syntax.
pub fn init(format: LogFormat, filter: &str) -> Result<(), Error> {
    let directives = EnvFilter::try_new(filter).map_err(|source| Error::Filter {
        filter: filter.to_owned(),
        source,
    })?;
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
    let others = filter_fn(|event| event.target() != audit::TARGET);
    let registry = tracing_subscriber::registry().with(audited);
    if json {
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .json()
                    .flatten_event(true)
                    .with_current_span(true)
                    .with_span_list(false)
                    .with_writer(std::io::stderr)
                    .with_filter(directives)
                    .with_filter(others),
            )
            .try_init()?;
    } else {
        registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_ansi(terminal)
                    .with_target(false)
                    .with_writer(std::io::stderr)
                    .with_filter(directives)
                    .with_filter(others),
            )
            .try_init()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_bad_filter_is_refused_with_an_example() {
        let error = init(LogFormat::Text, "a=b=c").unwrap_err().to_string();
        assert!(
            error.contains("a=b=c") && error.contains("info,kube=warn"),
            "{error}"
        );
    }
}
