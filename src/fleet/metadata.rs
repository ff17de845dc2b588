//! Which names, labels and annotations a child may have.

use std::collections::BTreeMap;

use crate::api::names::is_qualified;
pub(super) use crate::api::names::{is_label_value, is_name};

/// Keys by which other tools find, track or own objects, or by which this operator does.
fn owner_of(key: &str) -> Option<&'static str> {
    if matches!(
        key,
        "app.kubernetes.io/instance" | "app.kubernetes.io/managed-by"
    ) {
        return Some("Argo CD and Helm");
    }
    let (prefix, _) = key.split_once('/')?;
    match prefix {
        "appofapps.dev" => Some("this operator"),
        "argocd.argoproj.io" | "notifications.argoproj.io" => Some("Argo CD"),
        "kubectl.kubernetes.io" => Some("kubectl"),
        "kustomize.toolkit.fluxcd.io" | "helm.toolkit.fluxcd.io" | "reconcile.fluxcd.io" => {
            Some("Flux")
        }
        "helm.sh" | "meta.helm.sh" => Some("Helm"),
        _ if prefix.ends_with(".argocd.argoproj.io") => Some("Argo CD"),
        _ => None,
    }
}

/// The first key that a template must not set, with what is wrong about it.
pub(super) fn refused_key(keys: &BTreeMap<String, String>) -> Option<(String, String)> {
    keys.keys().find_map(|key| {
        let why = match owner_of(key) {
            Some(owner) => format!("{key:?} belongs to {owner}; leave it out"),
            None if !is_qualified(key) => {
                format!("{key:?} is no valid key; write it like \"team\" or \"example.com/team\"")
            }
            None => return None,
        };
        Some((key.clone(), why))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(key: &str) -> bool {
        refused_key(&BTreeMap::from([(key.to_owned(), String::new())])).is_some()
    }

    #[test]
    fn keys_of_other_tools_are_refused_and_those_of_users_are_not() {
        for key in [
            "appofapps.dev/parent",
            "argocd.argoproj.io/sync-wave",
            "x.argocd.argoproj.io/y",
            "notifications.argoproj.io/subscribe",
            "kubectl.kubernetes.io/last-applied-configuration",
            "app.kubernetes.io/instance",
            "app.kubernetes.io/managed-by",
            "kustomize.toolkit.fluxcd.io/name",
            "helm.toolkit.fluxcd.io/name",
            "reconcile.fluxcd.io/requestedAt",
            "helm.sh/resource-policy",
            "meta.helm.sh/release-name",
            "bad key",
            "/x",
        ] {
            assert!(refused(key), "{key} was accepted");
        }
        for key in [
            "team",
            "app.kubernetes.io/name",
            "example.com/team",
            "myargocd.argoproj.io/x",
        ] {
            assert!(!refused(key), "{key} was refused");
        }
    }
}
