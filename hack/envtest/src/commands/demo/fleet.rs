//! The demo's AppOfApps, and the commits that change it. Pure, but for reading the file.

use envtest::repository;
use serde_json::Value;

use super::WORKSPACES;
use super::trouble::Trouble;

pub(super) const FILE: &str = "config/demo/fleet.yaml";
const ELEMENTS: &str = "/spec/generators/0/matrix/generators/1/list/elements";
const PATH: &str = "/spec/template/spec/source/workspace/path";
/// As they are committed: what comes up, what fails, and what mends it.
pub(super) const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];
const CANARY: [&str; 2] = ["team", "workspace"];

/// The manifest as it is committed.
#[derive(Clone, Debug)]
pub(super) struct Fleet {
    manifest: Value,
}

impl Fleet {
    pub(super) fn read() -> Result<Self, Trouble> {
        let path = repository().join(FILE);
        let text = std::fs::read_to_string(&path)
            .map_err(|error| Trouble::new(format!("cannot read {}: {error}", path.display())))?;
        let manifest = serde_saphyr::from_str(&text)
            .map_err(|error| Trouble::new(format!("cannot parse {}: {error}", path.display())))?;
        Ok(Self { manifest })
    }

    /// JSON is YAML.
    pub(super) fn yaml(&self) -> String {
        self.manifest.to_string()
    }

    pub(super) fn name(&self) -> &str {
        self.manifest["metadata"]["name"]
            .as_str()
            .unwrap_or_default()
    }

    pub(super) fn teams(&self) -> Vec<&str> {
        let elements = self.manifest.pointer(ELEMENTS).and_then(Value::as_array);
        let elements = elements.into_iter().flatten();
        elements
            .filter_map(|element| element["team"].as_str())
            .collect()
    }

    /// Names of all apps, sorted.
    pub(super) fn apps(&self) -> Vec<String> {
        let teams = self.teams();
        let teams = teams.iter();
        let mut apps: Vec<String> = teams
            .flat_map(|team| WORKSPACES.map(|workspace| format!("{team}-{workspace}")))
            .collect();
        apps.sort();
        apps
    }

    /// The app of the first step: what its expressions ask for, as the template names it.
    pub(super) fn canary(&self) -> String {
        let step = &self.manifest["spec"]["strategy"]["rollingSync"]["steps"][0];
        let expressions = step["matchExpressions"].as_array();
        let expressions = expressions.into_iter().flatten();
        let asked = |label: &str| {
            let of = expressions.clone().find(|e| e["key"] == label)?;
            of["values"][0].as_str()
        };
        CANARY
            .map(|label| asked(label).unwrap_or_default())
            .join("-")
    }

    /// The apps of the last step.
    pub(super) fn others(&self) -> Vec<String> {
        let canary = self.canary();
        let apps = self.apps().into_iter();
        apps.filter(|app| *app != canary).collect()
    }

    /// The folder of this version, e.g. `v1`, that an app of that team runs.
    pub(super) fn path(&self, app: &str) -> String {
        let path = self.manifest.pointer(PATH).and_then(Value::as_str);
        let team = app.rsplit_once('-').map_or(app, |(team, _)| team);
        path.unwrap_or_default().replace("{{ team }}", team)
    }

    /// Every version of every team, for the seed of a fake workspace: what fails must not fail for want of a folder.
    pub(super) fn folders(&self) -> String {
        let path = self.manifest.pointer(PATH).and_then(Value::as_str);
        let path = path.unwrap_or_default();
        let mut yaml = "files:\n".to_owned();
        for version in VERSIONS {
            for team in self.teams() {
                let folder = path
                    .replace("{{ team }}", team)
                    .replace(VERSIONS[0], version);
                yaml.push_str(&format!("  {folder}/app.py: print(1)\n"));
            }
        }
        yaml
    }

    /// The same with every app at another version.
    pub(super) fn at(&self, from: &str, to: &str) -> Result<Self, Trouble> {
        let mut changed = self.clone();
        let path = changed.manifest.pointer_mut(PATH);
        let (old, new) = (format!("/{from}/"), format!("/{to}/"));
        match path {
            Some(Value::String(path)) if path.contains(&old) => *path = path.replace(&old, &new),
            _ => return Err(Trouble::new(format!("{FILE} has no {PATH} with {old}"))),
        }
        Ok(changed)
    }

    /// The same without its last team, and that team's apps.
    pub(super) fn without_last_team(&self) -> Result<(Self, Vec<String>), Trouble> {
        let mut changed = self.clone();
        let elements = changed.manifest.pointer_mut(ELEMENTS);
        let gone = elements.and_then(Value::as_array_mut).and_then(Vec::pop);
        if gone.is_none() {
            return Err(Trouble::new(format!("{FILE} has no list at {ELEMENTS}")));
        }
        let stay = changed.apps();
        let gone = self.apps().into_iter();
        let gone = gone.filter(|app| !stay.contains(app)).collect();
        Ok((changed, gone))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn there_are_three_teams_in_two_workspaces_and_one_app_goes_first() {
        let fleet = Fleet::read().unwrap();
        assert_eq!((fleet.name(), fleet.apps().len()), ("storefront", 6));
        assert_eq!(fleet.canary(), "orders-eu");
        assert!(fleet.apps().contains(&fleet.canary()));
        assert_eq!(fleet.others().len(), 5);
    }

    #[test]
    fn a_team_that_leaves_takes_more_than_a_fifth_of_the_apps_along() {
        let fleet = Fleet::read().unwrap();
        let (rest, gone) = fleet.without_last_team().unwrap();
        assert_eq!(gone, ["returns-eu", "returns-us"]);
        assert!(gone.len() * 5 > fleet.apps().len());
        assert!(rest.apps().contains(&rest.canary()));
    }

    #[test]
    fn another_version_is_another_folder() {
        let fleet = Fleet::read().unwrap();
        let path = "/Workspace/Shared/storefront/v1/prices";
        assert_eq!(fleet.path("prices-us"), path);
        let next = fleet.at("v1", "v2").unwrap();
        assert_eq!(next.path("prices-us"), path.replace("v1", "v2"));
        assert!(fleet.at("v7", "v8").is_err());
        assert!(fleet.folders().contains(&next.path("prices-us")));
    }
}
