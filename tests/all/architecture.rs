//! The floors hold: a module imports only what the table below lets it, so no cycle can grow.
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// What each module of `src` may import, as the architecture lists it.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("api", &[]),
    ("telemetry", &[]),
    ("term", &[]),
    ("admission", &["api"]),
    ("databricks", &["telemetry", "term"]),
    ("election", &["telemetry", "term"]),
    ("policy", &["api"]),
    ("fleet", &["api", "telemetry"]),
    ("engine", &["policy", "telemetry", "term", "api"]),
    (
        "worlds",
        &["engine", "databricks", "fleet", "api", "telemetry", "term"],
    ),
    (
        "kinds",
        &[
            "worlds",
            "engine",
            "fleet",
            "admission",
            "databricks",
            "api",
            "telemetry",
            "term",
        ],
    ),
    ("serve", &["kinds", "policy", "api", "telemetry"]),
    (
        "cli",
        &[
            "serve",
            "kinds",
            "worlds",
            "engine",
            "fleet",
            "policy",
            "admission",
            "databricks",
            "election",
            "api",
            "telemetry",
            "term",
        ],
    ),
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
}

#[test]
fn a_module_imports_only_lower_floors() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let may: BTreeMap<_, _> = MAY_IMPORT.iter().copied().collect();
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut wrong = Vec::new();
    for file in files {
        let inside = file.strip_prefix(&src).unwrap();
        let module = inside.iter().next().unwrap().to_str().unwrap();
        let module = module.trim_end_matches(".rs");
        if matches!(module, "lib" | "main") {
            continue;
        }
        let Some(allowed) = may.get(module) else {
            wrong.push(format!("src/{module} has no floor: add it to MAY_IMPORT"));
            continue;
        };
        for line in fs::read_to_string(&file).unwrap().lines() {
            for rest in line.split("crate::").skip(1) {
                let name: String = rest
                    .chars()
                    .take_while(|c| c.is_alphanumeric() || *c == '_')
                    .collect();
                if may.contains_key(name.as_str())
                    && name != module
                    && !allowed.contains(&name.as_str())
                {
                    wrong.push(format!(
                        "{} imports {name}, which {module} may not",
                        inside.display()
                    ));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
