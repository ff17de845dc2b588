//! The one TLS provider.

/// Must have run before the first HTTP client is built, else that panics; every place that builds one calls it.
pub(crate) fn use_ring() {
    // An error means that a provider is installed already, which is as good.
    let _ = rustls::crypto::ring::default_provider().install_default();
}
