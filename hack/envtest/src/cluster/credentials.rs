//! Keys, tokens and kubeconfigs of one run. Everything is made anew for it and goes with its folder.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use ring::rand::{SecureRandom, SystemRandom};
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair};
use serde_json::json;

use super::{ClusterError, failed};

/// DER of a SubjectPublicKeyInfo up to the point itself, for an uncompressed point on P-256 (RFC 5480).
const P256_HEADER: [u8; 26] = [
    0x30, 0x59, 0x30, 0x13, 0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01, 0x06, 0x08, 0x2a,
    0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07, 0x03, 0x42, 0x00,
];

/// Tokens of the two identities that stand above RBAC. Two, so that the audit log tells tests from controllers.
pub(super) struct Tokens {
    admin: String,
    controllers: String,
}

pub(super) fn certificates(folder: &Path) -> PathBuf {
    folder.join("certificates")
}

/// kube-apiserver makes its certificate and its authority at the first start and keeps both in one file.
pub(super) fn ca(folder: &Path) -> PathBuf {
    certificates(folder).join("apiserver.crt")
}

pub(super) fn tokens(folder: &Path) -> PathBuf {
    folder.join("tokens.csv")
}

pub(super) fn private_key(folder: &Path) -> PathBuf {
    folder.join("service-accounts.key")
}

pub(super) fn public_key(folder: &Path) -> PathBuf {
    folder.join("service-accounts.pub")
}

pub(super) fn admin_kubeconfig(folder: &Path) -> PathBuf {
    folder.join("admin.kubeconfig")
}

pub(super) fn controllers_kubeconfig(folder: &Path) -> PathBuf {
    folder.join("controllers.kubeconfig")
}

/// Writes the signing key of service accounts and the token file.
pub(super) fn write(folder: &Path) -> Result<Tokens, ClusterError> {
    let random = SystemRandom::new();
    let no_key = || ClusterError::Generate {
        what: "the signing key of service accounts",
    };
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)
        .map_err(|_| no_key())?;
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random)
        .map_err(|_| no_key())?;
    let public = [&P256_HEADER, pair.public_key().as_ref()].concat();
    write_private(&private_key(folder), &pem("PRIVATE KEY", pkcs8.as_ref()))?;
    write_private(&public_key(folder), &pem("PUBLIC KEY", &public))?;

    let token = || {
        let mut bytes = [0; 16];
        random
            .fill(&mut bytes)
            .map_err(|_| ClusterError::Generate { what: "a token" })?;
        Ok::<_, ClusterError>(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
    };
    let made = Tokens {
        admin: token()?,
        controllers: token()?,
    };
    let rows = format!(
        "{},admin,admin,\"system:masters\"\n{},controllers,controllers,\"system:masters\"\n",
        made.admin, made.controllers
    );
    write_private(&tokens(folder), &rows)?;
    Ok(made)
}

/// Writes the kubeconfigs of both identities; the server must have made its certificate by now.
pub(super) fn write_kubeconfigs(
    folder: &Path,
    server: &str,
    tokens: &Tokens,
) -> Result<(), ClusterError> {
    for (path, user, token) in [
        (admin_kubeconfig(folder), "admin", &tokens.admin),
        (
            controllers_kubeconfig(folder),
            "controllers",
            &tokens.controllers,
        ),
    ] {
        write_kubeconfig(&path, &ca(folder), server, "default", user, token)?;
    }
    Ok(())
}

/// Writes one kubeconfig that stands alone: the certificate is in it. Requests that name no namespace are about
/// `namespace`.
pub(super) fn write_kubeconfig(
    path: &Path,
    ca: &Path,
    server: &str,
    namespace: &str,
    user: &str,
    token: &str,
) -> Result<(), ClusterError> {
    let certificate = std::fs::read(ca).map_err(failed("read", ca))?;
    let config = json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "envtest", "cluster": {
            "server": server,
            "certificate-authority-data": STANDARD.encode(certificate),
        }}],
        "users": [{"name": user, "user": {"token": token}}],
        "contexts": [{"name": "envtest", "context": {
            "cluster": "envtest", "user": user, "namespace": namespace,
        }}],
        "current-context": "envtest",
    });
    let yaml = serde_saphyr::to_string(&config).map_err(|error| ClusterError::Encode {
        what: "a kubeconfig",
        reason: error.to_string(),
    })?;
    write_private(path, &yaml)
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for start in (0..body.len()).step_by(64) {
        text.push_str(&body[start..body.len().min(start + 64)]);
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

fn write_private(path: &Path, text: &str) -> Result<(), ClusterError> {
    OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)
        .and_then(|mut file: File| file.write_all(text.as_bytes()))
        .map_err(failed("write", path))
}
