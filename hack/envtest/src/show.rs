//! What a failed test or demo prints of an object: itself as YAML, and its events.

use k8s_openapi::api::events::v1::Event;
use kube::api::{DynamicObject, ListParams};
use kube::discovery::{Discovery, Scope};
use kube::{Api, Client};

/// The object as YAML and its events, oldest first, for messages: whatever cannot be read is said in its place.
/// `kind` as in a manifest. The values of a Secret are left out.
pub async fn describe(client: &Client, kind: &str, namespace: &str, name: &str) -> String {
    let object = match object(client, kind, namespace, name).await {
        Ok(yaml) => yaml,
        Err(why) => format!("({why})\n"),
    };
    let events = match events(client, kind, namespace, name).await {
        Ok(lines) if lines.is_empty() => "  none\n".to_owned(),
        Ok(lines) => lines
            .iter()
            .map(|line| format!("  {line}\n"))
            .collect::<String>(),
        Err(error) => format!("  ({error})\n"),
    };
    format!("--- {kind} {namespace}/{name}\n{object}events:\n{events}")
}

async fn object(
    client: &Client,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<String, String> {
    let said = |error: kube::Error| error.to_string();
    let groups = Discovery::new(client.clone()).run().await.map_err(said)?;
    let (resource, capabilities) = groups
        .groups()
        .flat_map(|group| group.recommended_resources())
        .find(|(resource, _)| resource.kind == kind)
        .ok_or_else(|| format!("the API server knows no {kind}"))?;
    let api: Api<DynamicObject> = match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => Api::namespaced_with(client.clone(), namespace, &resource),
    };
    let mut object = api
        .get_opt(name)
        .await
        .map_err(said)?
        .ok_or("there is no such object")?;
    object.metadata.managed_fields = None;
    if kind == "Secret" {
        for values in ["data", "stringData"] {
            if let Some(hidden) = object.data.get_mut(values) {
                *hidden = "left out".into();
            }
        }
    }
    serde_saphyr::to_string(&object).map_err(|error| error.to_string())
}

async fn events(
    client: &Client,
    kind: &str,
    namespace: &str,
    name: &str,
) -> Result<Vec<String>, kube::Error> {
    let wanted =
        ListParams::default().fields(&format!("regarding.kind={kind},regarding.name={name}"));
    let mut events = Api::<Event>::namespaced(client.clone(), namespace)
        .list(&wanted)
        .await?
        .items;
    events.sort_by_key(|event| event.event_time.as_ref().map(|time| time.0));
    Ok(events.iter().map(line).collect())
}

fn line(event: &Event) -> String {
    let text = |value: &Option<String>| value.clone().unwrap_or_default();
    let at = event
        .event_time
        .as_ref()
        .map(|time| time.0.to_string())
        .unwrap_or_default();
    let times = match event.series.as_ref().map_or(1, |series| series.count) {
        1 => String::new(),
        count => format!(" (x{count})"),
    };
    format!(
        "{at} {} {}{times}: {}",
        text(&event.type_),
        text(&event.reason),
        text(&event.note)
    )
}
