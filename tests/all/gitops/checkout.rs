//! A checkout of a repository, and the commands of both tools over it.
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{Judges, customizations, text};
use crate::support::Scene;

/// Manifests by file, an Application and Kustomizations over them, on one cluster.
pub struct Checkout<'a> {
    judges: &'a Judges,
    folder: tempfile::TempDir,
    kubeconfig: PathBuf,
    /// Where objects without a namespace go; also the name of the Application.
    pub namespace: String,
    /// Of the Application, e.g. `Replace=true`.
    pub options: Vec<&'static str>,
    /// How the Application knows what is its own: `annotation` or `label`.
    pub tracking: &'static str,
}

impl<'a> Checkout<'a> {
    /// For what comes into the scene's namespace.
    pub fn of(judges: &'a Judges, scene: &Scene) -> Self {
        Self::new(judges, scene.cluster.admin_kubeconfig(), &scene.namespace)
    }

    pub fn new(judges: &'a Judges, kubeconfig: PathBuf, namespace: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for part in ["repository/apps", "inventory"] {
            fs::create_dir_all(folder.path().join(part)).unwrap();
        }
        Self {
            judges,
            folder,
            kubeconfig,
            namespace: namespace.into(),
            options: Vec::new(),
            tracking: "annotation",
        }
    }

    pub fn root(&self) -> PathBuf {
        self.folder.path().join("repository")
    }

    /// Writes a manifest under `apps/`.
    pub fn write(&self, file: &str, manifest: &Value) {
        self.write_text(file, &manifest.to_string());
    }

    pub fn write_text(&self, file: &str, manifest: &str) {
        let path = self.root().join("apps").join(format!("{file}.yaml"));
        fs::write(path, manifest).unwrap();
    }

    pub fn remove(&self, file: &str) {
        let path = self.root().join("apps").join(format!("{file}.yaml"));
        fs::remove_file(path).unwrap();
    }

    /// Runs a command of Argo CD on the Application over `apps/`.
    pub fn argo(&self, command: &str, more: &[&str]) -> Value {
        let application = json!({
            "apiVersion": "argoproj.io/v1alpha1", "kind": "Application",
            "metadata": {"name": self.namespace, "namespace": "argocd"},
            "spec": {
                "source": {"path": "apps"},
                "destination": {"namespace": self.namespace},
                "syncPolicy": {
                    "automated": {"prune": true, "selfHeal": true},
                    "syncOptions": self.options,
                },
            },
        });
        let file = self.folder.path().join("application.yaml");
        fs::write(&file, application.to_string()).unwrap();
        self.argo_with(command, &file, &self.namespace, more)
    }

    /// Runs a command of Argo CD on an Application of a file.
    pub fn argo_with(&self, command: &str, file: &Path, name: &str, more: &[&str]) -> Value {
        let (root, folder) = (self.root(), customizations());
        let mut arguments = vec![
            command,
            "-kubeconfig",
            text(&self.kubeconfig),
            "-customizations",
            text(&folder),
            "-repository",
            text(&root),
            "-file",
            text(file),
            "-name",
            name,
            "-tracking",
            self.tracking,
        ];
        arguments.extend(more);
        self.judges.run(&arguments, "")
    }

    /// Syncs and expects the operation to end so; returns it.
    pub fn synced(&self, phase: &str) -> Value {
        let said = self.argo("argo-sync", &[]);
        assert_eq!(said["phase"], phase, "{said:#}");
        said
    }

    /// Sync status and health of the Application, e.g. `("Synced", "Healthy")`, in that way of comparing.
    pub fn status(&self, diff: &str) -> (String, String, Value) {
        let said = self.argo("argo-status", &["-diff", diff]);
        let part = |key: &str| said[key].as_str().unwrap().to_owned();
        (part("sync"), part("health"), said)
    }

    /// Runs a command of Flux on the one Kustomization over `apps/`, with more fields of its spec.
    pub fn flux(&self, command: &str, spec: Value) -> Value {
        let mut whole = json!({"path": "./apps", "prune": true, "wait": true, "timeout": "60s", "interval": "10m"});
        let more = spec.as_object().unwrap().clone();
        whole.as_object_mut().unwrap().extend(more);
        let kustomization = json!({
            "apiVersion": "kustomize.toolkit.fluxcd.io/v1", "kind": "Kustomization",
            "metadata": {"name": self.namespace, "namespace": "flux-system"}, "spec": whole,
        });
        let file = self.folder.path().join("kustomization.yaml");
        fs::write(&file, kustomization.to_string()).unwrap();
        self.flux_with(command, &file, &[])[0].clone()
    }

    /// Runs a command of Flux on the Kustomizations of a file.
    pub fn flux_with(&self, command: &str, file: &Path, more: &[&str]) -> Value {
        let (root, inventory) = (self.root(), self.folder.path().join("inventory"));
        let mut arguments = vec![
            command,
            "-kubeconfig",
            text(&self.kubeconfig),
            "-repository",
            text(&root),
            "-file",
            text(file),
            "-inventory",
            text(&inventory),
        ];
        arguments.extend(more);
        self.judges.run(&arguments, "")
    }
}

/// A manifest without a namespace.
pub fn manifest(kind: &str, name: &str, spec: Value) -> Value {
    json!({
        "apiVersion": "appofapps.dev/v1alpha1", "kind": kind,
        "metadata": {"name": name}, "spec": spec,
    })
}

/// The manifest with an annotation.
pub fn annotated(mut manifest: Value, key: &str, value: &str) -> Value {
    let metadata = manifest["metadata"].as_object_mut().unwrap();
    let annotations = metadata.entry("annotations").or_insert(json!({}));
    annotations[key] = json!(value);
    manifest
}

pub fn wave(manifest: Value, wave: i32) -> Value {
    annotated(manifest, "argocd.argoproj.io/sync-wave", &wave.to_string())
}
