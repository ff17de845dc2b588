//! Floor 0: the vocabulary that every other floor shares. Data only: no async, no I/O.

pub mod annotation;
pub mod app_of_apps;
pub mod digest;
pub mod duration;
pub mod management;
pub mod names;
pub mod row;
pub mod status;
pub mod workspace;

/// API group of every kind.
pub const GROUP: &str = "appofapps.dev";
/// The one served version.
pub const VERSION: &str = "v1alpha1";
/// `apiVersion` of every kind.
pub const API_VERSION: &str = "appofapps.dev/v1alpha1";
/// Finalizer that holds an object until its remote side is gone.
pub const FINALIZER: &str = "appofapps.dev/finalizer";
/// Field manager of every server-side apply the operator sends.
pub const FIELD_MANAGER: &str = "databricks-app-operator";

/// Labels that the operator writes.
pub mod label {
    /// On a child: the name of the `AppOfApps` that generates it.
    pub const PARENT: &str = "appofapps.dev/parent";
    /// On a ConfigMap that an `AppOfApps` may take elements from.
    pub const GENERATOR: &str = "appofapps.dev/generator";
}

/// Removes what schemars adds for `Option` (`nullable: true`, a `null` among the values of an enum) from a CRD's schema:
/// a stored null would beat a static default and differ from an absent field for ever.
pub fn without_nulls(mut crd: serde_json::Value) -> serde_json::Value {
    strip_nulls(&mut crd);
    crd
}

fn strip_nulls(value: &mut serde_json::Value) {
    match value {
        serde_json::Value::Object(map) => {
            if map.get("nullable") == Some(&serde_json::Value::Bool(true)) {
                map.remove("nullable");
            }
            if let Some(serde_json::Value::Array(values)) = map.get_mut("enum") {
                values.retain(|v| !v.is_null());
            }
            map.values_mut().for_each(strip_nulls);
        }
        serde_json::Value::Array(items) => items.iter_mut().for_each(strip_nulls),
        _ => {}
    }
}
