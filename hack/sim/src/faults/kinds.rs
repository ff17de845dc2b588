//! The kinds of faults, as they are written in JSON. `guide.txt` says what each does; a test reads its examples.
use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::clock::wire;
use crate::error::ErrorShape;

/// What each kind does, with an example in JSON.
pub const GUIDE: &str = include_str!("guide.txt");

#[derive(Clone, Debug, Deserialize, PartialEq)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum Kind {
    Status {
        status_code: u16,
        #[serde(default)]
        headers: BTreeMap<String, String>,
        #[serde(default)]
        body: Value,
        #[serde(default)]
        when: Moment,
    },
    Latency {
        #[serde(with = "wire")]
        delay: Duration,
        #[serde(default)]
        when: Moment,
        #[serde(default)]
        abandoned: Abandoned,
    },
    Reset {
        #[serde(default)]
        when: Moment,
    },
    ErrorShape {
        shape: ErrorShape,
    },
    RateLimit {
        per_second: u32,
        /// The `Retry-After` of its refusals.
        retry_after: Option<u32>,
    },
    ExtraFields {},
    EmptyPage {},
    LargePageRefused {},
    TokenLifetime {
        #[serde(rename = "for", with = "wire")]
        life: Duration,
    },
    Durations {
        #[serde(default, with = "wire::option")]
        create: Option<Duration>,
        #[serde(default, with = "wire::option")]
        start: Option<Duration>,
        #[serde(default, with = "wire::option")]
        stop: Option<Duration>,
        #[serde(default, with = "wire::option")]
        deploy: Option<Duration>,
        #[serde(default, with = "wire::option")]
        update: Option<Duration>,
        #[serde(default, with = "wire::option")]
        resize: Option<Duration>,
        #[serde(default, with = "wire::option")]
        delete: Option<Duration>,
    },
    AutoDeployAtCreate {},
    DeployRefusedAfterActive {
        #[serde(rename = "for", with = "wire")]
        span: Duration,
    },
    DeployRefusedWhileCrashed {},
    DelayedRedeploy {
        #[serde(with = "wire")]
        delay: Duration,
    },
    NoRedeployOnStart {},
    StartOutcome {
        #[serde(default)]
        message: String,
    },
    DeploymentOutcome {
        outcome: DeploymentVerdict,
        #[serde(default)]
        message: String,
    },
    FailedDeploymentStaysPending {},
    MissingSourceRefused {
        #[serde(default = "not_found")]
        status_code: u16,
    },
    UpdateOutcome {
        outcome: UpdateVerdict,
        #[serde(default)]
        message: String,
    },
    UpdatesQueue {},
    NoUpdateIsMissing {},
    EndedUpdateReadsNotUpdated {},
    UpdateTouchesCompute {},
    UpdateRefusedInTransit {},
    MaskFieldsRefused {
        fields: Vec<String>,
    },
    InstanceCountsRefused {},
    PoliciesExclusive {},
    InstanceCountsAbsent {},
    GitRefused {},
    UserAuthorizationRefused {},
    MissingReference {
        status_code: u16,
        error_code: String,
    },
    Refusal {
        status_code: u16,
        error_code: String,
    },
    NoOpRefused {},
    NotFoundCode {
        error_code: String,
    },
    NameTakenCode {
        error_code: String,
    },
    NameHeldAfterDelete {
        #[serde(rename = "for", with = "wire")]
        span: Duration,
    },
    DeleteReplyEmpty {},
    StopClearsActiveDeployment {
        /// Also `default_source_code_path` and `default_git_source`.
        #[serde(default)]
        default_sources: bool,
    },
    IdleStop {
        #[serde(with = "wire")]
        after: Duration,
    },
    ResolvedCommit {
        shown: CommitShown,
    },
    RunningInstancesShown {},
    ForwardUserAccessTokenReadsTrue {},
    ScopesNotEchoed {},
    EnvMasking {
        mode: EnvMasking,
        /// Where it strikes; everywhere if empty.
        #[serde(default)]
        places: Vec<Place>,
    },
    ActiveSourcePathIsSnapshot {},
    ListLag {
        #[serde(rename = "for", with = "wire")]
        lag: Duration,
    },
    ListThin {
        fields: Vec<String>,
    },
    ListHidesDeleting {},
    ReversedOrder {},
    ShuffledOrder {},
    RevokeGrantsOnRemoval {},
    GrantsFollowRecreatedObjects {},
    PutWithoutCallerRefused {},
    CallerLockout {},
    NoDefaultAcl {},
    SpaceOperation {
        #[serde(default, with = "wire")]
        delay: Duration,
        /// The operation ends with this error.
        error_code: Option<String>,
        #[serde(default)]
        message: String,
        /// The operation has a name of its own instead of its space's.
        #[serde(default)]
        own_name: bool,
    },
    SpaceCanBeLeft {},
}

/// Before or after the request takes effect.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Moment {
    #[default]
    BeforeCommit,
    AfterCommit,
}

/// What becomes of a held request whose client has gone.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Abandoned {
    #[default]
    Drop,
    Commit,
}

/// How a deployment ends.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum DeploymentVerdict {
    Succeeded,
    Failed,
    Cancelled,
    /// It succeeds, and the process that it started exits.
    Crashed,
}

/// How an asynchronous update ends.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum UpdateVerdict {
    Succeeded,
    Failed,
    /// It reads so from the start and never changes.
    NotUpdated,
}

/// How much of `env_vars` a read shows.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum EnvMasking {
    #[default]
    Names,
    Absent,
    Visible,
    /// A value is there, and is not the value.
    Starred,
}

/// Where a deployment is read.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// As the active or pending deployment of its app.
    App,
    /// By itself, the reply to its creation included.
    Deployment,
    DeploymentList,
}

/// When the commit that a Git reference resolved to is shown.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
pub enum CommitShown {
    Never,
    OnceSucceeded,
}

impl Kind {
    /// Such a fault is placed by `pattern`, the others by `app`.
    pub fn about_requests(&self) -> bool {
        self.strikes_once()
            || matches!(
                self,
                Kind::ErrorShape { .. }
                    | Kind::RateLimit { .. }
                    | Kind::ExtraFields {}
                    | Kind::EmptyPage {}
                    | Kind::LargePageRefused {}
                    | Kind::TokenLifetime { .. }
            )
    }

    /// Only one such fault can have a request.
    pub fn decides(&self) -> bool {
        matches!(
            self,
            Kind::Status { .. } | Kind::RateLimit { .. } | Kind::Reset { .. }
        )
    }

    /// Strikes one time unless `times` says otherwise; the others for ever.
    pub fn strikes_once(&self) -> bool {
        matches!(
            self,
            Kind::Status { .. } | Kind::Latency { .. } | Kind::Reset { .. }
        )
    }
}

fn not_found() -> u16 {
    404
}
