//! Annotations of ours: their keys, which values each takes, and the one place where they are read. None is ever written
//! back to `spec`.
//!
//! A value that nobody understands is an error, and no wish: who writes `paused: yes` wants something else than what an
//! operator does that passes over it. A key that nobody knows holds nothing up, as it may be a newer operator's.
use std::collections::BTreeMap;
use std::fmt;
use std::ops::Bound;

use jiff::Timestamp;

use super::GROUP;
use super::management::RunState;
use super::status::{cut, some};

/// Look at everything once, now. Compared by equality with `status.lastHandledReconcileAt`.
pub const RECONCILE_REQUESTED_AT: &str = "appofapps.dev/reconcile-requested-at";
/// Deploy the same inputs again. Compared by equality with `status.lastHandledRedeployAt`.
pub const REDEPLOY_REQUESTED_AT: &str = "appofapps.dev/redeploy-requested-at";
/// Stop and start the app once. Compared by equality with `status.lastHandledRestartAt`.
pub const RESTART_REQUESTED_AT: &str = "appofapps.dev/restart-requested-at";
/// `Running` or `Stopped`: overrides `spec.lifecycle.state` alone; everything else goes on.
pub const RUN_STATE: &str = "appofapps.dev/run-state";
/// `"true"`: write nothing to this object's remote side until it is removed. Deletion goes on.
pub const PAUSED: &str = "appofapps.dev/paused";
/// Quotes the digest of the prune that a parent reports, to let it happen.
pub const CONFIRM_PRUNE: &str = "appofapps.dev/confirm-prune";
/// On a parent, a time later than the rejection: release what was rolled back once more.
pub const RESUME_ROLLOUT: &str = "appofapps.dev/resume-rollout";
/// On a parent, the digest of a rollout: give every child that it changed its last good spec back.
pub const ABORT_ROLLOUT: &str = "appofapps.dev/abort-rollout";
/// On a child, `"true"`: it leaves its parent, which never writes or deletes it again.
pub const DETACH: &str = "appofapps.dev/detach";
/// Quotes the object's uid: give up on a remote side that cannot be reached any more.
pub const FORCE_DELETE: &str = "appofapps.dev/force-delete";
/// `"true"`: where the definition of its kind is deleted, the object's deletion is meant and goes on.
pub const DELETE_WITH_DEFINITION: &str = "appofapps.dev/delete-with-definition";
/// Where GitOps tools write the Git revision of what they applied; only read, for the audit record.
pub const GIT_REVISION: &[&str] = &[
    "argocd.argoproj.io/revision",
    "kustomize.toolkit.fluxcd.io/revision",
    OWN_GIT_REVISION,
];
const OWN_GIT_REVISION: &str = "appofapps.dev/git-revision";
/// Written on a child: sha256 of its rendered metadata and spec.
pub const REVISION: &str = "appofapps.dev/revision";
/// Written on a child: its parent's uid, where an owner reference to the parent may be taken away.
pub const PARENT_UID: &str = "appofapps.dev/parent-uid";
/// Written on a child whose parent deletes in reverse order: its step, wave and depth of dependencies, as `0.1.0`.
pub const PLACE: &str = "appofapps.dev/place";
/// Written on a child: when it got its revision, RFC 3339.
pub const REVISION_SET_AT: &str = "appofapps.dev/revision-set-at";
/// Written on a child: the rollout that released its revision.
pub const ROLLOUT: &str = "appofapps.dev/rollout";
/// Written on a child: labels, annotations and spec of its revision, as JSON.
pub const APPLIED: &str = "appofapps.dev/applied";
/// Written on a child: the last of these that passed its gate.
pub const LAST_GOOD: &str = "appofapps.dev/last-good";
/// Written on a child that was rolled back: the revision it could not run.
pub const REJECTED: &str = "appofapps.dev/rejected";
/// Written on a child that was rolled back: when, RFC 3339.
pub const REJECTED_AT: &str = "appofapps.dev/rejected-at";
/// Written on a child: sha256 of what the last apply carried.
pub const APPLIED_DIGEST: &str = "appofapps.dev/applied-digest";

type Texts = BTreeMap<String, String>;

const WORKSPACE: &str = "DatabricksWorkspace";
const APP: &str = "DatabricksApp";
const FLEET: &str = "AppOfApps";
const EVERY: &[&str] = &[WORKSPACE, APP, FLEET];

/// What an annotation may say.
#[derive(Clone, Copy)]
enum Values {
    /// Whatever makes it another one than before
    Any,
    Flag,
    RunState,
    Time,
    Digest,
    /// The object's own
    Uid,
    /// The operator writes it on children and puts it back; no wish of anybody
    Noted,
}

/// A key, on which kinds it says something, and what.
type Key = (&'static str, &'static [&'static str], Values);

/// Every one.
const KEYS: &[Key] = &[
    (RECONCILE_REQUESTED_AT, EVERY, Values::Any),
    (REDEPLOY_REQUESTED_AT, &[APP], Values::Any),
    (RESTART_REQUESTED_AT, &[APP], Values::Any),
    (RUN_STATE, &[APP], Values::RunState),
    (PAUSED, &[APP, FLEET], Values::Flag),
    (CONFIRM_PRUNE, &[FLEET], Values::Digest),
    (RESUME_ROLLOUT, &[FLEET], Values::Time),
    (ABORT_ROLLOUT, &[FLEET], Values::Digest),
    (DETACH, &[APP], Values::Flag),
    (FORCE_DELETE, EVERY, Values::Uid),
    (DELETE_WITH_DEFINITION, &[APP, FLEET], Values::Flag),
    (OWN_GIT_REVISION, EVERY, Values::Any),
    (REVISION, &[APP], Values::Noted),
    (PARENT_UID, &[APP], Values::Noted),
    (PLACE, &[APP], Values::Noted),
    (REVISION_SET_AT, &[APP], Values::Noted),
    (ROLLOUT, &[APP], Values::Noted),
    (APPLIED, &[APP], Values::Noted),
    (LAST_GOOD, &[APP], Values::Noted),
    (REJECTED, &[APP], Values::Noted),
    (REJECTED_AT, &[APP], Values::Noted),
    (APPLIED_DIGEST, &[APP], Values::Noted),
];

/// An annotation whose value nobody understands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Misread {
    pub key: &'static str,
    pub value: String,
    /// What it may say
    allowed: String,
}

impl Misread {
    /// What is wrong about the value, without the key.
    pub fn fault(&self) -> String {
        format!(
            "{:?} is not understood; allowed is {}; correct it, or remove the annotation",
            cut(&self.value, 100),
            self.allowed
        )
    }
}

impl fmt::Display for Misread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {}: {}", self.key, self.fault())
    }
}

/// An annotation under our prefix that says nothing on an object of its kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Idle {
    pub key: String,
    kind: String,
    /// The kinds on which it does; none: this version does not know it
    on: &'static [&'static str],
}

impl Idle {
    /// What is wrong about it, without the key.
    pub fn fault(&self) -> String {
        let kind = &self.kind;
        if !self.on.is_empty() {
            let instead = match self.key == PAUSED {
                true => "; to hold all writes to a workspace, set its spec.freeze",
                false => "",
            };
            return format!(
                "does nothing on a {kind}, but on {}{instead}",
                self.on.join(", ")
            );
        }
        let known = KEYS.iter().filter(|(key, kinds, values)| {
            let asks = !matches!(values, Values::Noted) && *key != OWN_GIT_REVISION;
            asks && kinds.contains(&kind.as_str())
        });
        let known: Vec<&str> = known.map(|(key, _, _)| short(key)).collect();
        format!(
            "is not known to this version and does nothing; known on a {kind}: {}",
            known.join(", ")
        )
    }
}

impl fmt::Display for Idle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "annotation {} {}", cut(&self.key, 100), self.fault())
    }
}

/// Whether a flag is set; a value that nobody understands sets none.
pub fn is_true(annotations: &Texts, key: &str) -> bool {
    annotations
        .get(key)
        .is_some_and(|said| flag(said) == Some(true))
}

/// Whether `paused` holds an object of that kind.
pub fn is_paused(kind: &str, annotations: &Texts) -> bool {
    is_true(annotations, PAUSED) && on(PAUSED).contains(&kind)
}

/// The time that the annotation gives, if it can be read.
pub fn time(annotations: &Texts, key: &str) -> Option<Timestamp> {
    annotations.get(key)?.parse().ok()
}

/// What `run-state` asks for, if it can be read.
pub fn run_state(annotations: &Texts) -> Option<RunState> {
    state(annotations.get(RUN_STATE)?)
}

/// Whether one of the `…-requested-at` annotations asks for something that was not done yet: its value is not the one
/// that was handled last.
pub fn is_requested(annotations: &Texts, key: &str, handled: Option<&String>) -> bool {
    let asked = annotations.get(key);
    asked.is_some() && asked != handled
}

/// Annotations of an object of that kind whose values nobody understands. `uid`: the object's own, if it has one yet.
pub fn misread(kind: &str, annotations: &Texts, uid: Option<&str>) -> Vec<Misread> {
    // A fleet is judged child by child, which carries few.
    let said = ours(annotations).filter_map(|(key, value)| Some((known(key)?, value)));
    let said = said.filter(|((_, kinds, _), _)| kinds.contains(&kind));
    said.filter_map(|((key, _, values), value)| judge(key, *values, value, uid))
        .collect()
}

/// Whether a child may be about to leave its parent: `detach` says what nobody understands.
pub fn unclear_detach(annotations: &Texts) -> Option<Misread> {
    judge(DETACH, Values::Flag, annotations.get(DETACH)?, None)
}

/// Annotations under our prefix that say nothing on an object of that kind.
pub fn idle(kind: &str, annotations: &Texts) -> Vec<Idle> {
    ours(annotations)
        .filter_map(|(key, _)| {
            let on = on(key);
            (!on.contains(&kind)).then(|| Idle {
                key: key.clone(),
                kind: kind.to_owned(),
                on,
            })
        })
        .collect()
}

/// All that is wrong, in one text of bounded length; `None`: nothing is.
pub fn told<T: fmt::Display>(wrong: &[T]) -> Option<String> {
    (!wrong.is_empty()).then(|| some(wrong, 3, "; ", "; ", ToString::to_string))
}

/// Annotations under our prefix.
fn ours(annotations: &Texts) -> impl Iterator<Item = (&String, &String)> {
    let from = (Bound::Included(GROUP), Bound::Unbounded);
    let all = annotations.range::<str, _>(from);
    let all = all.take_while(|(key, _)| key.starts_with(GROUP));
    all.filter(|(key, _)| key[GROUP.len()..].starts_with('/'))
}

fn known(key: &str) -> Option<&'static Key> {
    KEYS.iter().find(|(known, _, _)| *known == key)
}

/// The kinds on which the annotation says something; none: nobody knows it.
fn on(key: &str) -> &'static [&'static str] {
    known(key).map_or(&[], |(_, kinds, _)| kinds)
}

fn judge(key: &'static str, values: Values, value: &str, uid: Option<&str>) -> Option<Misread> {
    let allowed = |text: &str| Some(text.to_owned());
    let allowed = match values {
        Values::Flag if flag(value).is_none() => allowed("\"true\" or \"false\""),
        Values::RunState if state(value).is_none() => allowed("\"Running\" or \"Stopped\""),
        Values::Time if value.parse::<Timestamp>().is_err() => {
            allowed("a time like \"2026-01-31T12:00:00Z\"")
        }
        Values::Digest if !is_hex(value, 64) => {
            allowed("the digest of 64 hexadecimal digits that the object's status shows")
        }
        Values::Uid => match uid {
            Some(uid) if uid != value => Some(format!("the uid of this very object, {uid:?}")),
            None if !is_uid(value) => allowed("the object's own metadata.uid"),
            _ => None,
        },
        Values::Any
        | Values::Noted
        | Values::Flag
        | Values::RunState
        | Values::Time
        | Values::Digest => None,
    };
    allowed.map(|allowed| Misread {
        key,
        value: value.to_owned(),
        allowed,
    })
}

/// In whichever case people write it.
fn flag(text: &str) -> Option<bool> {
    match text {
        _ if text.eq_ignore_ascii_case("true") => Some(true),
        _ if text.eq_ignore_ascii_case("false") => Some(false),
        _ => None,
    }
}

fn state(text: &str) -> Option<RunState> {
    match text {
        "Running" => Some(RunState::Running),
        "Stopped" => Some(RunState::Stopped),
        _ => None,
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    text.len() == length && text.chars().all(|c| c.is_ascii_hexdigit())
}

/// As API servers make them.
fn is_uid(text: &str) -> bool {
    let parts: Vec<&str> = text.split('-').collect();
    let lengths = [8, 4, 4, 4, 12];
    parts.len() == lengths.len() && parts.iter().zip(lengths).all(|(part, n)| is_hex(part, n))
}

fn short(key: &str) -> &str {
    key.split_once('/').map_or(key, |(_, name)| name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const UID: &str = "0a1b2c3d-0000-4000-8000-0123456789ab";

    fn texts(all: &[(&str, &str)]) -> Texts {
        let all = all.iter();
        all.map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn is_misread(kind: &str, key: &str, value: &str) -> bool {
        !misread(kind, &texts(&[(key, value)]), Some(UID)).is_empty()
    }

    #[test]
    fn each_annotation_takes_its_values_and_no_others() {
        let digest = "0f".repeat(32);
        let cases: &[(&str, &str, &[&str], &[&str])] = &[
            (
                APP,
                PAUSED,
                &["true", "True", "false"],
                &["yes", "", "1", " true"],
            ),
            (FLEET, PAUSED, &["true"], &["on"]),
            (
                APP,
                RUN_STATE,
                &["Running", "Stopped"],
                &["stopped", "RUNNING", ""],
            ),
            (APP, DETACH, &["true", "false"], &["please"]),
            (
                FLEET,
                RESUME_ROLLOUT,
                &["2026-01-31T12:00:00Z", "2026-01-31T12:00:00+01:00"],
                &["now", "2026-01-31", "yesterday"],
            ),
            (
                FLEET,
                CONFIRM_PRUNE,
                &[&digest],
                &["true", "sha256:1", "yes"],
            ),
            (FLEET, ABORT_ROLLOUT, &[&digest], &["true", ""]),
            (WORKSPACE, FORCE_DELETE, &[UID], &["true", "0a1b2c3d"]),
            (APP, RECONCILE_REQUESTED_AT, &["now", "", "2026"], &[]),
            (APP, RESTART_REQUESTED_AT, &["once more"], &[]),
            (APP, REVISION_SET_AT, &["unreadable"], &[]),
        ];
        for (kind, key, good, bad) in cases {
            for value in *good {
                assert!(!is_misread(kind, key, value), "{kind} {key}: {value:?}");
            }
            for value in *bad {
                assert!(is_misread(kind, key, value), "{kind} {key}: {value:?}");
            }
        }
    }

    #[test]
    fn a_misread_one_is_told_with_key_value_and_what_is_allowed() {
        let said = misread(APP, &texts(&[(RUN_STATE, "stopped")]), None);
        assert_eq!(
            told(&said).unwrap(),
            "annotation appofapps.dev/run-state: \"stopped\" is not understood; allowed is \"Running\" or \"Stopped\"; correct it, or remove the annotation"
        );
        let said = misread(APP, &texts(&[(PAUSED, &"x".repeat(5000))]), None);
        assert!(told(&said).unwrap().len() < 300);
        assert_eq!(told::<Misread>(&[]), None);
    }

    #[test]
    fn a_uid_is_compared_where_there_is_one_and_else_judged_by_its_looks() {
        let other = UID.replace('a', "b");
        let said = texts(&[(FORCE_DELETE, &other)]);
        assert_eq!(misread(APP, &said, None), []);
        let found = misread(APP, &said, Some(UID));
        assert!(found[0].to_string().contains(UID), "{}", found[0]);
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        let said = texts(&[
            (PAUSED, "yes"),
            (RUN_STATE, "stop"),
            (RESUME_ROLLOUT, "now"),
        ]);
        assert!(!is_true(&said, PAUSED));
        assert_eq!(run_state(&said), None);
        assert_eq!(time(&said, RESUME_ROLLOUT), None);
    }

    #[test]
    fn keys_of_ours_that_say_nothing_on_the_kind_are_told_and_those_of_others_are_not() {
        let said = texts(&[
            ("appofapps.dev/pause", "true"),
            ("appofapps.dev/paused", "true"),
            ("appofapps.dev/git-revision", "main"),
            ("appofapps.dev/resume-rollout", "now"),
            ("example.com/paused", "true"),
            ("x.appofapps.dev/paused", "true"),
        ]);
        let found: Vec<String> = idle(APP, &said).iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "annotation appofapps.dev/pause is not known to this version and does nothing; known on a DatabricksApp: reconcile-requested-at, redeploy-requested-at, restart-requested-at, run-state, paused, detach, force-delete, delete-with-definition",
                "annotation appofapps.dev/resume-rollout does nothing on a DatabricksApp, but on AppOfApps",
            ]
        );
        let on_workspace = idle(WORKSPACE, &texts(&[(PAUSED, "true")]));
        assert!(on_workspace[0].to_string().contains("spec.freeze"));
    }
}
