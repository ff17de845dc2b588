//! One shape of `status` for every kind, its condition types and reasons, and the rule that merges conditions.
//!
//! `Ready`, `Reconciling`, `Stalled` and `Suspended` follow kstatus; a kind adds its own aspects.
use std::fmt;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Longest condition message, in bytes.
pub const MESSAGE_LIMIT: usize = 1024;

/// `status` of every kind: `M` is what later passes need, `D` is only shown.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("default" = {"observedGeneration": -1}))]
pub struct Status<M, D> {
    /// The `metadata.generation` that this status speaks of; -1 until the object was seen once.
    #[serde(default = "unseen")]
    pub observed_generation: i64,
    /// What is true of the object now. `Ready`, `Reconciling`, `Stalled` and `Suspended` follow the kstatus rules.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), extend("x-kubernetes-list-type" = "map", "x-kubernetes-list-map-keys" = ["type"]))]
    pub conditions: Vec<Condition>,
    #[serde(flatten)]
    pub memory: M,
    #[serde(flatten)]
    pub details: D,
}

fn unseen() -> i64 {
    -1
}

/// The condition types, once.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ConditionType {
    Ready,
    Reconciling,
    Stalled,
    Suspended,
    AppSynced,
    Deployed,
    PermissionsSynced,
    ScopesSynced,
    Generated,
    ResourcesUpToDate,
    RolloutProgressing,
}

impl ConditionType {
    /// The name written into `conditions[].type`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Reconciling => "Reconciling",
            Self::Stalled => "Stalled",
            Self::Suspended => "Suspended",
            Self::AppSynced => "AppSynced",
            Self::Deployed => "Deployed",
            Self::PermissionsSynced => "PermissionsSynced",
            Self::ScopesSynced => "ScopesSynced",
            Self::Generated => "Generated",
            Self::ResourcesUpToDate => "ResourcesUpToDate",
            Self::RolloutProgressing => "RolloutProgressing",
        }
    }
}

macro_rules! reasons {
    ($($(#[doc = $doc:literal])+ $name:ident),* $(,)?) => {
        /// Why a condition is as it is: the closed catalogue, with the remedy a reader needs.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        pub enum Reason { $($(#[doc = $doc])+ $name),* }

        impl Reason {
            /// Every reason, in the order of the catalogue.
            pub const ALL: &'static [Reason] = &[$(Reason::$name),*];

            /// The name written into `conditions[].reason`.
            pub fn name(self) -> &'static str {
                match self { $(Reason::$name => stringify!($name)),* }
            }

            /// What the reason means and what to do, for the documentation.
            pub fn meaning(self) -> &'static str {
                match self { $(Reason::$name => concat!($($doc),+)),* }
            }
        }
    };
}

reasons! {
    /// The remote side is as the spec asks.
    Succeeded,
    /// The app runs as asked.
    Running,
    /// The app is stopped because the spec says so, or nobody asked for it to run.
    Stopped,
    /// The connection works.
    Connected,
    /// Nothing has been looked at yet; the first look is under way.
    Observing,
    /// The remote app is being created.
    Creating,
    /// The app's compute is starting.
    Starting,
    /// The app's compute is stopping.
    Stopping,
    /// A deployment is under way.
    Deploying,
    /// Settings are being changed.
    Updating,
    /// The remote app is being deleted, which takes the service up to 20 minutes.
    Deleting,
    /// Something failed that may pass by itself; it is tried again with growing pauses.
    ProgressingWithRetry,
    /// No look at the workspace succeeded for three intervals; see the DatabricksWorkspace.
    WorkspaceUnavailable,
    /// The deployment waits until the app is started.
    WaitingForStart,
    /// Another object of the same remote name is still being deleted, or the service still holds the name.
    WaitingForName,
    /// The annotation `appofapps.dev/paused` holds the object; remove it to go on.
    Paused,
    /// `spec.suspend` holds the object; set it to false to go on.
    SuspendedBySpec,
    /// `management.mode` lets nothing be written, and something differs; see `status.pendingChanges`.
    ReadOnly,
    /// The workspace is frozen by its `freeze`; nothing is written until that ends.
    Frozen,
    /// The annotation `appofapps.dev/run-state` overrides the run state of the spec; remove it to go back.
    RunStateOverridden,
    /// The spec, or an annotation of the operator, holds something that cannot be carried out; the message names the field.
    InvalidSpec,
    /// A field that cannot change after creation was changed; put it back, or delete and create the object.
    ImmutableField,
    /// An app of that name exists and is not this object's; choose another name or set `management.adopt`.
    NameConflict,
    /// The app was deleted and created anew by somebody else; rename it there, or set `management.adopt: Always`.
    RemoteReplaced,
    /// The service refused the creation; the message holds its words.
    CreateRefused,
    /// The workspace holds as many apps as it may; remove one or raise the quota.
    QuotaExceeded,
    /// The service refused a change of settings; the message names the fields sent and its words.
    UpdateRefused,
    /// A change of settings was accepted and then failed; the message holds the service's words.
    UpdateFailed,
    /// The deployment failed; the message holds the service's words. Mend the source, or ask for a redeploy.
    DeploymentFailed,
    /// The deployment, or the start before it, takes longer than `deployment.deadline`; look at the app's logs.
    DeadlineExceeded,
    /// What is new could not run, and what ran before does again; change the source or the spec, or ask for another try.
    RolledBack,
    /// The app crashed, and no earlier deployment is left to go back to.
    RollbackUnavailable,
    /// A deployment would take variables away that nobody listed; list them, or set `env: []`.
    EnvWouldBeLost,
    /// Files of the source changed; the folder has to come to rest before they are deployed.
    SourceMoving,
    /// The source's files cannot be deployed: too large, too many, or of a kind that is refused; the message names one.
    SourceRefused,
    /// A Secret or ConfigMap that the spec names, or a key in it, is missing.
    ReferenceMissing,
    /// The service refused a file or a folder of the source; the message holds its words.
    UploadRefused,
    /// The service refused the Git credential; the message holds its words.
    CredentialRefused,
    /// The service refused to give the app's service principal back a grant on a resource.
    RestoreRefused,
    /// The service refused to remove an upload that nothing uses any more.
    SweepRefused,
    /// Grants differ from those declared, and the mode only observes.
    GrantsDiffer,
    /// The service refused to deploy; the message holds its words.
    DeploymentRefused,
    /// The service refused to start the app; the message holds its words.
    StartRefused,
    /// The service refused to stop the app; the message holds its words.
    StopRefused,
    /// The service refused to delete the app; the message holds its words.
    DeleteRefused,
    /// The app's process ended; the message holds the service's words.
    AppCrashed,
    /// The app's compute failed; the message holds the service's words.
    ComputeFailed,
    /// The source path does not exist in the workspace, or the operator's identity cannot read it.
    SourceNotFound,
    /// A user, group or service principal of a grant does not exist in the workspace.
    PrincipalNotFound,
    /// The service refused the grants; the message holds its words.
    GrantsRefused,
    /// Changed scopes take effect only after a stop and a start of the app.
    RestartRequired,
    /// The named DatabricksWorkspace does not exist.
    WorkspaceNotFound,
    /// The DatabricksWorkspace does not admit this namespace; see its `allowedNamespaces`.
    WorkspaceForbidden,
    /// The DatabricksWorkspace cannot be used; its own conditions say why.
    WorkspaceNotReady,
    /// The Secret with the credentials, or its key, is missing.
    CredentialsMissing,
    /// The service does not accept the credentials.
    Unauthenticated,
    /// The operator's identity lacks a right; the message names it as far as the service tells.
    PermissionDenied,
    /// The host is no URL, or not one that the operator may connect to.
    HostNotAllowed,
    /// The host cannot be reached.
    HostUnreachable,
    /// The host answers, but not as a Databricks workspace does.
    UnexpectedAnswer,
    /// The object is still used by others and stays until they are gone.
    InUse,
    /// The definition of the object's kind is being deleted, and all objects with it; nothing goes before somebody decides.
    DefinitionDeleted,
    /// The field is not managed by this object.
    NotManaged,
    /// A child is still moving.
    ChildrenProgressing,
    /// A child failed; `status.failing` names the worst few.
    ChildrenFailed,
    /// Children go through their steps and waves; `status.rollout` says how far they are.
    RollingOut,
    /// A child failed with its new spec, and nothing more is released: mend it, or change the spec.
    RolloutHalted,
    /// All children of a step are stopped, so that it proves nothing: start one, or set `resume-rollout` to go on.
    NotExercised,
    /// `abort-rollout` quotes the present rollout: change the spec, or remove it and set `resume-rollout`.
    RolloutAborted,
    /// What a child waits for comes after it, or does not exist: mend `wave`, `dependsOn` or the labels of the steps.
    InvalidOrder,
    /// The child's code may change without its spec, which steps could not hold up: pin the source, or allow it.
    UnpinnedSource,
    /// A child under a new name stands for the same app as one that leaves, or the workspace has no room for both.
    RenameBlocked,
    /// The namespace is being deleted; nothing can be created in it.
    NamespaceTerminating,
    /// A hold has ended.
    Resumed,
    /// A child is held before it became ready; see the child.
    ChildrenHeld,
    /// Children that left the spec wait: too many at once, or confirmation is needed.
    PruneWaiting,
    /// An element could not be turned into a child; the others go on.
    GenerationFailed,
    /// The operator's first list of what this object depends on has not arrived; the message names it.
    NotSynced,
    /// An object of a child's name exists and belongs to somebody else.
    ForeignChild,
    /// A child could not be written; the message holds the API server's words.
    ChildRefused,
    /// The API server refused the object's own status or finalizer.
    KubernetesRefused,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// One condition as a pass found it, before it is merged with what was there.
#[derive(Clone, Debug, PartialEq)]
pub struct Fact {
    pub kind: ConditionType,
    /// `None` is `Unknown`.
    pub status: Option<bool>,
    pub reason: Reason,
    pub message: String,
}

impl Fact {
    pub fn new(
        kind: ConditionType,
        status: Option<bool>,
        reason: Reason,
        message: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            status,
            reason,
            message: message.into(),
        }
    }
}

/// The merge rule: a fact replaces the condition of its type; a type that no fact speaks of keeps what it had, except
/// those of `dropped`, which go. `lastTransitionTime` moves only when `status` does. Sorted by type, `Ready` first.
///
/// What a host that is away answers with may differ each time by nothing but ids, times and addresses. That is no news, and
/// would be written to every object of the workspace: the words of the first time stay.
pub fn merge(
    before: &[Condition],
    facts: &[Fact],
    dropped: &[ConditionType],
    generation: i64,
    at: Timestamp,
) -> Vec<Condition> {
    let mut merged: Vec<Condition> = before
        .iter()
        .filter(|c| {
            !dropped.iter().any(|d| d.name() == c.type_)
                && !facts.iter().any(|f| f.kind.name() == c.type_)
        })
        .cloned()
        .collect();
    let outage = facts.iter().find(|fact| {
        matches!(
            fact.reason,
            Reason::HostUnreachable | Reason::WorkspaceUnavailable
        )
    });
    let is_outage = |message: &str| outage.is_some_and(|outage| outage.message == message);
    for fact in facts {
        let status = match fact.status {
            Some(true) => "True",
            Some(false) => "False",
            None => "Unknown",
        };
        let old = before.iter().find(|c| c.type_ == fact.kind.name());
        let message = cut(&fact.message, MESSAGE_LIMIT);
        let again = old.filter(|old| {
            let same = old.status == status && old.reason == fact.reason.name();
            same && is_outage(&fact.message) && read_alike(&old.message, &message)
        });
        merged.push(Condition {
            type_: fact.kind.name().into(),
            status: status.into(),
            reason: fact.reason.name().into(),
            message: again.map_or(message, |old| old.message.clone()),
            observed_generation: Some(generation),
            last_transition_time: match old {
                Some(old) if old.status == status => old.last_transition_time.clone(),
                _ => Time(at.round(jiff::Unit::Second).unwrap_or(at)),
            },
        });
    }
    merged.sort_by_key(|c| (c.type_ != "Ready", c.type_.clone()));
    merged
}

/// Whether two texts differ by nothing but what tells one failure of a server from the next: words of some length that hold
/// a digit.
fn read_alike(a: &str, b: &str) -> bool {
    const SHORTEST: usize = 8;
    let joins = |c: char| c.is_alphanumeric() || "-_:.+/".contains(c);
    let marked = |word: &str| word.len() >= SHORTEST && word.contains(|c: char| c.is_ascii_digit());
    let words = |text| str::split_inclusive(text, |c| !joins(c)).map(|w| (!marked(w)).then_some(w));
    words(a).eq(words(b))
}

/// At most `limit` bytes of `text`, cut in the middle at character boundaries.
pub fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.into();
    }
    let half = limit.saturating_sub('…'.len_utf8()) / 2;
    let head = (0..=half).rev().find(|i| text.is_char_boundary(*i));
    let tail = (text.len() - half..=text.len()).find(|i| text.is_char_boundary(*i));
    match (head, tail) {
        (Some(head), Some(tail)) => format!("{}…{}", &text[..head], &text[tail..]),
        _ => String::new(),
    }
}

/// The first `limit` of `all` as `show` spells them, `between` between them, and after `and` how many more there are.
pub fn some<T>(
    all: impl IntoIterator<Item = T>,
    limit: usize,
    between: &str,
    and: &str,
    show: impl Fn(T) -> String,
) -> String {
    let mut all = all.into_iter();
    let shown: Vec<String> = all.by_ref().take(limit).map(show).collect();
    let shown = shown.join(between);
    match all.count() {
        0 => shown,
        more => format!("{shown}{and}and {more} more"),
    }
}

/// Whether the condition of that type is `True`.
pub fn is_true(conditions: &[Condition], kind: ConditionType) -> bool {
    find(conditions, kind).is_some_and(|c| c.status == "True")
}

/// The condition of that type.
pub fn find(conditions: &[Condition], kind: ConditionType) -> Option<&Condition> {
    conditions.iter().find(|c| c.type_ == kind.name())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_long_message_is_cut_in_the_middle_within_its_limit() {
        let long = "ä".repeat(2000);
        let short = cut(&long, 1024);
        assert!(short.len() <= 1024);
        assert!(short.starts_with('ä') && short.ends_with('ä'));
    }

    #[test]
    fn the_first_few_are_named_and_the_rest_counted() {
        let some = |n: i32| some(1..=n, 2, ", ", " ", |n| n.to_string());
        assert_eq!(some(0), "");
        assert_eq!(some(2), "1, 2");
        assert_eq!(some(5), "1, 2 and 3 more");
    }

    #[test]
    fn the_transition_time_moves_only_with_the_status() {
        let early: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let late: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let fact = |ok, message: &str| {
            Fact::new(ConditionType::Ready, Some(ok), Reason::Succeeded, message)
        };
        let first = merge(&[], &[fact(true, "one")], &[], 1, early);
        let same = merge(&first, &[fact(true, "two")], &[], 2, late);
        assert_eq!(same[0].last_transition_time.0, early);
        let turned = merge(&same, &[fact(false, "three")], &[], 2, late);
        assert_eq!(turned[0].last_transition_time.0, late);
    }

    #[test]
    fn an_outage_is_told_anew_only_when_it_reads_otherwise_than_by_ids_times_and_addresses() {
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let retrying = |reason, message: &str| {
            [
                Fact::new(ConditionType::Ready, Some(false), reason, message),
                Fact::new(
                    ConditionType::Reconciling,
                    Some(true),
                    Reason::ProgressingWithRetry,
                    message,
                ),
            ]
        };
        let first = "listing apps: SERVER_ERROR (502): 2026-01-31T12:00:00Z 10.0.113.17:8443 is gone, #18.2d3b1202.17";
        let next = "listing apps: SERVER_ERROR (502): 2026-01-31T12:05:03Z 10.0.99.3:8443 is gone, #18.9c11a0ff.18";
        let other = "listing apps: SERVER_ERROR (502): 2026-01-31T12:05:03Z 10.0.99.3:8443 is slow, #18.9c11a0ff.18";
        for reason in [Reason::HostUnreachable, Reason::WorkspaceUnavailable] {
            let before = merge(&[], &retrying(reason, first), &[], 1, at);
            assert_eq!(merge(&before, &retrying(reason, next), &[], 1, at), before);
            let told = merge(&before, &retrying(reason, other), &[], 1, at);
            assert!(told.iter().all(|c| c.message == other), "{told:?}");
        }
        // Of anything else every word counts.
        let before = merge(&[], &retrying(Reason::NameConflict, first), &[], 1, at);
        let told = merge(&before, &retrying(Reason::NameConflict, next), &[], 1, at);
        assert!(told.iter().all(|c| c.message == next), "{told:?}");
    }

    #[test]
    fn an_aspect_without_a_fact_keeps_its_condition() {
        let at: Timestamp = "2026-01-01T00:00:00Z".parse().unwrap();
        let deployed = Fact::new(ConditionType::Deployed, Some(true), Reason::Succeeded, "");
        let before = merge(&[], &[deployed], &[], 1, at);
        assert_eq!(merge(&before, &[], &[], 2, at), before);
        assert!(merge(&before, &[], &[ConditionType::Deployed], 2, at).is_empty());
    }
}
