//! Somebody else's changes in a fake workspace, and what the workspace then holds.

use envtest::STRANGER;
use serde_json::{Value, json};

use super::trouble::Trouble;
use super::workspaces::Workspace;

/// One change that nobody declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Drift {
    Description,
    Access,
    Stop,
}

impl Drift {
    pub(super) const ALL: [Self; 3] = [Self::Description, Self::Access, Self::Stop];

    pub(super) fn story(self) -> &'static str {
        match self {
            Self::Description => "its description was changed",
            Self::Access => "a stranger was granted CAN_MANAGE",
            Self::Stop => "it was stopped",
        }
    }
}

impl Workspace<'_> {
    pub(super) async fn inflict(&self, drift: Drift, app: &str) -> Result<(), Trouble> {
        let (method, path, body) = match drift {
            Drift::Description => (
                "POST",
                format!("/sim/apps/{app}"),
                json!({"description": "changed by hand", "updater": STRANGER}),
            ),
            Drift::Stop => (
                "POST",
                format!("/sim/apps/{app}"),
                json!({"compute_status": {"state": "STOPPED"}, "updater": STRANGER}),
            ),
            Drift::Access => {
                let mut list = self.grants(app).await?;
                list.push(json!({"user_name": STRANGER, "permission_level": "CAN_MANAGE"}));
                (
                    "PUT",
                    format!("/sim/permissions/{app}"),
                    json!({"access_control_list": list}),
                )
            }
        };
        self.sim.call(method, &path, Some(&body)).await?;
        Ok(())
    }

    /// The aspect that `drift` changes, as the workspace holds it now.
    pub(super) async fn state(&self, drift: Drift, app: &str) -> Result<Value, Trouble> {
        Ok(match drift {
            Drift::Description => self.app(app).await?["description"].take(),
            Drift::Stop => self.app(app).await?["compute_status"]["state"].take(),
            Drift::Access => {
                let mut list = self.grants(app).await?;
                list.sort_by_key(Value::to_string);
                list.into()
            }
        })
    }

    /// Direct grants, in the form in which a request gives them.
    async fn grants(&self, app: &str) -> Result<Vec<Value>, Trouble> {
        let answer = self
            .found(&format!("/api/2.0/permissions/apps/{app}"))
            .await?;
        Ok(direct(&answer))
    }
}

fn direct(answer: &Value) -> Vec<Value> {
    const PRINCIPALS: [&str; 3] = ["user_name", "group_name", "service_principal_name"];
    let entries = answer["access_control_list"].as_array();
    entries
        .into_iter()
        .flatten()
        .filter_map(|entry| {
            let level = entry["all_permissions"]
                .as_array()?
                .iter()
                .find(|permission| permission["inherited"] != true)?;
            let principal = PRINCIPALS.iter().find(|name| entry[**name].is_string())?;
            Some(json!({
                *principal: entry[*principal],
                "permission_level": level["permission_level"],
            }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn inherited_entries_are_no_grants_to_repeat() {
        let answer = json!({"access_control_list": [
            {"user_name": "a@b", "display_name": "A", "all_permissions": [{"permission_level": "CAN_MANAGE", "inherited": false}]},
            {"group_name": "admins", "all_permissions": [{"permission_level": "CAN_MANAGE", "inherited": true}]},
        ]});
        assert_eq!(
            direct(&answer),
            [json!({"user_name": "a@b", "permission_level": "CAN_MANAGE"})]
        );
    }
}
