//! What a node makes of a Pod, as far as a process without a container can have it: arguments, environment, probes, who
//! it is, and the files that are mounted.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use k8s_openapi::ByteString;
use k8s_openapi::api::apps::v1::Deployment;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{
    ConfigMap, Container, EnvVar, KeyToPath, PodSpec, Probe, Secret, ServiceAccount, Volume,
};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use kube::api::PostParams;
use kube::{Api, Client};

use crate::cluster::{Cluster, ClusterError, api};

/// Where the program listens when nothing says otherwise, and the variable that says so.
const LISTEN: (&str, &str) = ("DAO_LISTEN", "--listen=");

/// Why no process can be made of a Pod.
#[derive(Debug, thiserror::Error)]
pub enum PodError {
    #[error("the Deployment's Pod has no {what}")]
    Lacks { what: &'static str },
    #[error(
        "the Deployment's Pod has {what}, which nothing here plays; teach hack/envtest/src/pod.rs"
    )]
    Unplayed { what: String },
    #[error("{probe} asks port {asked}, and the program listens on {listens}")]
    Deaf {
        probe: &'static str,
        asked: i32,
        listens: String,
    },
    #[error("cannot write {}", path.display())]
    Write {
        path: PathBuf,
        #[source]
        source: std::io::Error,
    },
    #[error(transparent)]
    Cluster(Box<ClusterError>),
}

impl From<ClusterError> for PodError {
    fn from(error: ClusterError) -> Self {
        Self::Cluster(Box::new(error))
    }
}

/// A Pod of a Deployment, with one container.
#[derive(Clone, Debug)]
pub struct Pod {
    name: String,
    namespace: String,
    spec: PodSpec,
    container: Container,
    /// Where a mount lies on this machine: path in the container, path here.
    mounts: Vec<(String, PathBuf)>,
}

impl Pod {
    /// As the Deployment's template says, under the Deployment's name.
    pub fn of(deployment: &Deployment) -> Result<Self, PodError> {
        let lacks = |what| PodError::Lacks { what };
        let spec = deployment.spec.clone().and_then(|s| s.template.spec);
        let spec = spec.ok_or(lacks("spec"))?;
        let [container] = spec.containers.as_slice() else {
            return Err(PodError::Unplayed {
                what: format!("{} containers", spec.containers.len()),
            });
        };
        if container.command.is_some() || container.env_from.is_some() {
            return Err(PodError::Unplayed {
                what: "a command or envFrom".into(),
            });
        }
        Ok(Self {
            name: deployment.metadata.name.clone().unwrap_or_default(),
            namespace: deployment
                .metadata
                .namespace
                .clone()
                .ok_or(lacks("namespace"))?,
            container: container.clone(),
            spec,
            mounts: Vec::new(),
        })
    }

    /// Another name; by it replicas tell each other apart.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Name of the ServiceAccount that it is towards the API server.
    pub fn service_account(&self) -> &str {
        let named = self.spec.service_account_name.as_deref();
        named.unwrap_or("default")
    }

    /// Arguments of the program.
    pub fn arguments(&self) -> Vec<String> {
        let all = self.container.args.iter().flatten();
        all.map(|argument| self.here(argument)).collect()
    }

    /// Variables of the container, and those that every Pod has.
    pub fn environment(&self) -> Result<BTreeMap<String, String>, PodError> {
        let mut all = BTreeMap::from([("HOSTNAME".to_owned(), self.name.clone())]);
        for variable in self.container.env.iter().flatten() {
            let value = self.value(variable)?;
            all.insert(variable.name.clone(), self.here(&value));
        }
        Ok(all)
    }

    fn value(&self, variable: &EnvVar) -> Result<String, PodError> {
        let Some(source) = &variable.value_from else {
            return Ok(variable.value.clone().unwrap_or_default());
        };
        let field = source.field_ref.as_ref().map(|f| f.field_path.as_str());
        match field {
            Some("metadata.name") => Ok(self.name.clone()),
            Some("metadata.namespace") => Ok(self.namespace.clone()),
            _ => Err(PodError::Unplayed {
                what: format!("variable {} from {source:?}", variable.name),
            }),
        }
    }

    /// Path that the kubelet asks whether the Pod is ready.
    pub fn readiness_path(&self) -> Result<String, PodError> {
        self.probed("readinessProbe", self.container.readiness_probe.as_ref())
    }

    /// Path that the kubelet asks whether the container lives.
    pub fn liveness_path(&self) -> Result<String, PodError> {
        self.probed("livenessProbe", self.container.liveness_probe.as_ref())
    }

    fn probed(&self, name: &'static str, probe: Option<&Probe>) -> Result<String, PodError> {
        let get = probe.and_then(|p| p.http_get.as_ref());
        let get = get.ok_or(PodError::Lacks { what: name })?;
        let asked = match &get.port {
            IntOrString::Int(port) => Some(*port),
            IntOrString::String(port) => {
                let ports = self.container.ports.iter().flatten();
                let named = ports.filter(|p| p.name.as_ref() == Some(port));
                named.map(|p| p.container_port).next()
            }
        };
        let asked = asked.ok_or(PodError::Lacks {
            what: "port of that name",
        })?;
        let listens = self.listens()?;
        if !listens.ends_with(&format!(":{asked}")) {
            return Err(PodError::Deaf {
                probe: name,
                asked,
                listens,
            });
        }
        Ok(get.path.clone().unwrap_or_else(|| "/".into()))
    }

    fn listens(&self) -> Result<String, PodError> {
        let (variable, flag) = LISTEN;
        let arguments = self.arguments();
        let said = arguments.iter().find_map(|a| a.strip_prefix(flag));
        let said = said.map(str::to_owned);
        let said = said.or(self.environment()?.remove(variable));
        said.ok_or(PodError::Lacks {
            what: "address to listen on",
        })
    }

    /// Puts what its volumes hold into `folder`, as a kubelet would, once: tokens for the audiences they name, keys of
    /// ConfigMaps and Secrets. Paths in arguments and variables lead there from now on.
    pub async fn mounted(mut self, cluster: &Cluster, folder: &Path) -> Result<Self, PodError> {
        let client = cluster.client().await?;
        for mount in self.container.volume_mounts.iter().flatten() {
            let volumes = self.spec.volumes.iter().flatten();
            let volume = volumes.into_iter().find(|v| v.name == mount.name);
            let volume = volume.ok_or(PodError::Lacks {
                what: "volume for a mount",
            })?;
            let here = folder.join(&self.name).join(&volume.name);
            write(&here, self.content(&client, volume).await?)?;
            self.mounts.push((mount.mount_path.clone(), here));
        }
        Ok(self)
    }

    async fn content(
        &self,
        client: &Client,
        volume: &Volume,
    ) -> Result<Vec<(String, Vec<u8>)>, PodError> {
        let namespace = &self.namespace;
        if let Some(source) = &volume.config_map {
            let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
            let action = format!("read ConfigMap {namespace}/{}", source.name);
            let map = maps.get(&source.name).await.map_err(api(action))?;
            let data = map.data.unwrap_or_default().into_iter();
            let data = data.map(|(key, text)| (key, text.into_bytes()));
            return Ok(items(data.collect(), source.items.as_deref()));
        }
        if let Some(source) = &volume.secret {
            let name = source.secret_name.clone().unwrap_or_default();
            let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
            let action = format!("read Secret {namespace}/{name}");
            let secret = secrets.get(&name).await.map_err(api(action))?;
            let data = secret.data.unwrap_or_default().into_iter();
            let data = data.map(|(key, ByteString(bytes))| (key, bytes));
            return Ok(items(data.collect(), source.items.as_deref()));
        }
        let Some(projected) = &volume.projected else {
            return Err(PodError::Unplayed {
                what: format!("volume {}", volume.name),
            });
        };
        let mut files = Vec::new();
        for source in projected.sources.iter().flatten() {
            let Some(token) = &source.service_account_token else {
                return Err(PodError::Unplayed {
                    what: format!("a source of volume {}", volume.name),
                });
            };
            let request = TokenRequest {
                spec: TokenRequestSpec {
                    audiences: token.audience.clone().into_iter().collect(),
                    expiration_seconds: token.expiration_seconds,
                    ..TokenRequestSpec::default()
                },
                ..TokenRequest::default()
            };
            let account = self.service_account();
            let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), namespace);
            let answer = accounts
                .create_token_request(account, &PostParams::default(), &request)
                .await
                .map_err(api(format!(
                    "get a token of ServiceAccount {namespace}/{account}"
                )))?;
            let text = answer.status.map(|status| status.token).unwrap_or_default();
            files.push((token.path.clone(), text.into_bytes()));
        }
        Ok(files)
    }

    /// A path in the container, as it is on this machine; any other text as it is.
    fn here(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for (there, here) in &self.mounts {
            text = text.replace(there.as_str(), &here.to_string_lossy());
        }
        text
    }
}

/// All keys under their own names, or the listed ones under theirs.
fn items(
    mut data: BTreeMap<String, Vec<u8>>,
    listed: Option<&[KeyToPath]>,
) -> Vec<(String, Vec<u8>)> {
    match listed {
        None => data.into_iter().collect(),
        Some(listed) => listed
            .iter()
            .filter_map(|item| Some((item.path.clone(), data.remove(&item.key)?)))
            .collect(),
    }
}

fn write(folder: &Path, files: Vec<(String, Vec<u8>)>) -> Result<(), PodError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| PodError::Write { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, content) in files {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(failed(&path))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;

    fn pod(change: impl FnOnce(&mut Value)) -> Result<Pod, PodError> {
        let mut deployment = json!({
            "metadata": {"name": "operator", "namespace": "ops"},
            "spec": {"selector": {}, "template": {"spec": {
                "serviceAccountName": "operator",
                "containers": [{
                    "name": "operator",
                    "args": ["run", "--metrics-cert-dir=/etc/x/certificates"],
                    "env": [
                        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
                        {"name": "DAO_LISTEN", "value": "0.0.0.0:8080"},
                    ],
                    "ports": [{"name": "http", "containerPort": 8080}],
                    "readinessProbe": {"httpGet": {"path": "/readyz", "port": "http"}},
                }],
            }}},
        });
        change(&mut deployment["spec"]["template"]["spec"]["containers"][0]);
        Pod::of(&serde_json::from_value(deployment).unwrap())
    }

    #[test]
    fn a_process_gets_what_the_container_would() {
        let pod = pod(|_| {}).unwrap().named("operator-1");
        assert_eq!(pod.service_account(), "operator");
        assert_eq!(pod.environment().unwrap()["POD_NAME"], "operator-1");
        assert_eq!(pod.readiness_path().unwrap(), "/readyz");
        let error = pod.liveness_path().unwrap_err().to_string();
        assert_eq!(error, "the Deployment's Pod has no livenessProbe");
    }

    #[test]
    fn a_probe_of_a_port_where_nothing_listens_is_refused() {
        let pod = pod(|c| c["env"][1]["value"] = json!("0.0.0.0:9090")).unwrap();
        let error = pod.readiness_path().unwrap_err().to_string();
        assert_eq!(
            error,
            "readinessProbe asks port 8080, and the program listens on 0.0.0.0:9090"
        );
    }

    #[test]
    fn what_cannot_be_played_is_refused_and_not_left_out() {
        let from_secret =
            json!({"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}});
        let pod = pod(|c| c["env"] = json!([from_secret])).unwrap();
        let error = pod.environment().unwrap_err().to_string();
        assert!(error.contains("variable A"), "{error}");
    }

    #[test]
    fn paths_of_mounts_lead_to_this_machine() {
        let mut pod = pod(|_| {}).unwrap();
        pod.mounts = vec![("/etc/x".into(), "/tmp/here".into())];
        assert_eq!(
            pod.arguments()[1],
            "--metrics-cert-dir=/tmp/here/certificates"
        );
    }
}
