//! The fake workspace.

use std::ffi::OsString;
use std::ops::Deref;
use std::path::PathBuf;
use std::time::Duration;

use serde_json::Value;

use super::{Name, Program, ProgramError, Variables};
use crate::tls;

pub(super) const NAME: Name = Name {
    name: "databricks-sim",
    variable: "DAO_SIM_BIN",
};

/// What the fake workspace knows and how fast its time runs.
#[derive(Clone, Debug)]
pub struct SimOptions {
    /// Personal access tokens and whose they are.
    pub tokens: Vec<(String, String)>,
    /// Client ids and secrets of service principals.
    pub oauth_clients: Vec<(String, String)>,
    /// Service time runs so many times faster than wire time. Default 1.
    pub time_scale: u32,
    /// Every source path exists. Default false.
    pub any_source: bool,
    /// Users, groups, warehouses and so on; the program's own format.
    pub seed: Option<PathBuf>,
    /// More flags of the program.
    pub arguments: Vec<String>,
    /// Where its log goes.
    pub log: PathBuf,
}

impl SimOptions {
    /// One user's token, everything else as the program's defaults.
    pub fn new(token: &str, user: &str, log: impl Into<PathBuf>) -> Self {
        Self {
            tokens: vec![(token.to_owned(), user.to_owned())],
            oauth_clients: Vec::new(),
            time_scale: 1,
            any_source: false,
            seed: None,
            arguments: Vec::new(),
            log: log.into(),
        }
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut all: Vec<OsString> = Vec::new();
        for (token, user) in &self.tokens {
            all.extend(["--pat".into(), format!("{token}={user}").into()]);
        }
        for (id, secret) in &self.oauth_clients {
            all.extend(["--oauth-client".into(), format!("{id}:{secret}").into()]);
        }
        all.extend(["--time-scale".into(), self.time_scale.to_string().into()]);
        if self.any_source {
            all.push("--any-source".into());
        }
        if let Some(seed) = &self.seed {
            all.extend(["--seed".into(), seed.into()]);
        }
        all.extend(self.arguments.iter().map(OsString::from));
        all
    }
}

/// A running `databricks-sim`.
#[derive(Debug)]
pub struct Sim {
    program: Program,
}

impl Deref for Sim {
    type Target = Program;

    fn deref(&self) -> &Program {
        &self.program
    }
}

impl Sim {
    /// Starts it at a free port of 127.0.0.1; returns when it answers.
    pub async fn start(options: SimOptions) -> Result<Self, ProgramError> {
        let arguments = options.arguments();
        let program = Program::first(
            NAME,
            arguments,
            Variables::Inherited,
            options.log,
            "/sim/requests",
        )
        .await?;
        Ok(Self { program })
    }

    /// GET, POST, PUT or DELETE of a path under `/sim/`, e.g. `("POST", "/sim/clock", Some(json!({"advance": "20m"})))`.
    /// Returns the answer, `null` when it is empty; an answer other than 2xx is an error.
    pub async fn call(
        &self,
        method: &str,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Value, ProgramError> {
        let failed = |source| ProgramError::Request {
            method: method.to_owned(),
            path: path.to_owned(),
            source,
        };
        tls::use_ring();
        let verb = reqwest::Method::from_bytes(method.as_bytes()).unwrap_or(reqwest::Method::GET);
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .map_err(failed)?;
        let mut request = http.request(verb, format!("{}{path}", self.url()));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(failed)?;
        let status = answer.status();
        let text = answer.text().await.map_err(failed)?;
        if !status.is_success() {
            return Err(ProgramError::Refused {
                method: method.to_owned(),
                path: path.to_owned(),
                status: status.as_u16(),
                body: text,
            });
        }
        Ok(serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn options_become_the_flags_of_the_fake_workspace() {
        let mut options = SimOptions::new("t", "a@b.c", "/log");
        options.oauth_clients = vec![("id".into(), "s".into())];
        options.time_scale = 60;
        options.any_source = true;
        assert_eq!(
            options.arguments(),
            [
                "--pat",
                "t=a@b.c",
                "--oauth-client",
                "id:s",
                "--time-scale",
                "60",
                "--any-source"
            ]
        );
    }
}
