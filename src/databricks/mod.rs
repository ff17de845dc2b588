//! Floor 1: transport to a Databricks workspace; knows no resource.
//!
//! A [`Client`] is one connection to one host with one identity. A call passes, in this order: the breaker
//! (fail fast while the workspace is down), the token cache, the rate limiter (lists first), the wire, and
//! the classification of the answer into a typed [`Error`]. Reads are tried again after transient errors;
//! writes only when the service said that it did not look at them.

mod breaker;
mod classify;
mod client;
mod credentials;
mod error;
mod exchange;
mod host;
mod limit;
mod retry;
mod token;

pub use client::{Answer, Client, ClientSettings, Route, UserAgent};
pub use credentials::{CredentialSource, Credentials, SourceError, SourceReason};
pub use error::{ApiError, Error, FieldViolation, redact};
pub use exchange::Timeouts;
pub(crate) use exchange::chain;
pub use host::{HostPattern, HostPolicy, PatternError};
pub use reqwest::Method;
