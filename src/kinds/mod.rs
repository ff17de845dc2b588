//! Floor 4: the kinds. A kind is one room: its spec, what it looks at, and the pure plan that follows.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;

use crate::api::workspace::DatabricksWorkspace;

pub mod app;

pub use app::spec::DatabricksApp;

/// One line a kind: everything that has to know them all is derived from it.
macro_rules! kinds {
    ($($kind:ident),+ $(,)?) => {
        /// The definitions of all kinds, as kube derives them.
        pub fn crds() -> Vec<CustomResourceDefinition> {
            vec![$($kind::crd()),+]
        }
    };
}

kinds! { DatabricksWorkspace, DatabricksApp }
