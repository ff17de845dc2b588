//! `crds`: the generated definitions, the same bytes every time.
use std::path::{Path, PathBuf};

use crate::api::without_nulls;
use crate::kinds;

/// Why definitions could not be written.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error("encoding a definition as YAML: {0}")]
    Encode(String),
    #[error(
        "writing {path}: {source}; --output-dir must name an existing folder that can be written"
    )]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
}

/// Prints every definition, or writes `<plural>.<group>.yaml` for each into `dir`.
pub fn run(dir: Option<&Path>) -> Result<(), Error> {
    for (name, yaml) in documents()? {
        match dir {
            None => print!("---\n{yaml}"),
            Some(dir) => {
                let path = dir.join(format!("{name}.yaml"));
                std::fs::write(&path, yaml).map_err(|source| Error::Write { path, source })?;
            }
        }
    }
    Ok(())
}

/// Name and YAML of each definition.
pub fn documents() -> Result<Vec<(String, String)>, Error> {
    let encode = |e: &dyn std::fmt::Display| Error::Encode(e.to_string());
    kinds::crds()
        .into_iter()
        .map(|crd| {
            let name = crd.metadata.name.clone().unwrap_or_default();
            let value = without_nulls(serde_json::to_value(&crd).map_err(|e| encode(&e))?);
            let yaml = serde_saphyr::to_string(&value).map_err(|e| encode(&e))?;
            Ok((name, yaml))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_definition_is_small_enough_for_client_side_apply_and_knows_no_null() {
        for (name, yaml) in documents().unwrap() {
            assert!(yaml.len() < 256 * 1024, "{name} has {} bytes", yaml.len());
            assert!(!yaml.contains("nullable"), "{name} takes null");
        }
    }

    #[test]
    fn an_object_that_nobody_looked_at_reads_as_unseen() {
        for (name, yaml) in documents().unwrap() {
            assert!(
                yaml.contains("observedGeneration: -1"),
                "{name} has no default status"
            );
        }
    }

    #[test]
    fn the_committed_definitions_are_the_generated_ones() {
        for (name, yaml) in documents().unwrap() {
            let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("crds/{name}.yaml"));
            let committed = std::fs::read_to_string(&path).unwrap_or_default();
            assert!(
                committed == yaml,
                "{} is out of date: run `cargo run -- crds --output-dir crds`",
                path.display()
            );
        }
    }
}
