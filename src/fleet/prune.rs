//! Which children may be deleted because nobody asks for them any more, and the guard against deleting too many.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::json;

use super::generate::Generated;
use crate::api::app_of_apps::PruneStatus;
use crate::api::digest;
use crate::api::row::ChildView;

/// Most names of a list, and most bytes of all of them.
const SHOWN: usize = 100;
const SHOWN_BYTES: usize = 4 << 10;

/// Children that left the wish.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prune {
    /// Not being deleted yet; by name
    pub candidates: Vec<Candidate>,
    /// Of all that go, also those being deleted; by name
    pub names: Vec<String>,
    /// How many are being deleted
    pub going: usize,
    pub verdict: Verdict,
    /// What it is once nothing is withheld any more
    pub budget: Verdict,
}

/// A DELETE carries uid and resourceVersion, so that it can't hit a namesake or a child that changed hands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    pub name: String,
    pub uid: String,
    pub resource_version: String,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Verdict {
    /// The candidates may be deleted; there may be none
    #[default]
    Allowed,
    /// None is, until `confirm-prune` quotes the digest
    NeedsConfirmation { digest: String, why: String },
    /// None is, and a confirmation would not help
    Withheld { why: String },
}

impl Prune {
    /// What may be deleted now.
    pub fn allowed(&self) -> &[Candidate] {
        match self.verdict {
            Verdict::Allowed => &self.candidates,
            Verdict::NeedsConfirmation { .. } | Verdict::Withheld { .. } => &[],
        }
    }
}

/// What bounds deletions.
pub(super) struct Limits<'a> {
    /// A number or a share
    pub max_deletions: &'a str,
    /// The digest that somebody confirmed
    pub confirm: Option<&'a str>,
    /// Why nothing may be deleted now, whatever the number
    pub withheld: Option<String>,
    /// The only names that may be, if not all
    pub only: Option<BTreeSet<&'a str>>,
}

/// What may be deleted of `going`, the children that nobody asks for, by name.
pub(super) fn plan(generated: &Generated, going: &[&Arc<ChildView>], limits: &Limits<'_>) -> Prune {
    let Limits { withheld, only, .. } = limits;
    let may = |name: &str| withheld.is_some() || only.as_ref().is_none_or(|o| o.contains(name));
    let candidates: Vec<Candidate> = going
        .iter()
        .filter(|view| !view.deleting && may(&view.name))
        .map(|view| Candidate {
            name: view.name.clone(),
            uid: view.uid.clone(),
            resource_version: view.resource_version.clone(),
        })
        .collect();
    let kept = generated.kept.iter();
    let kept = kept.filter(|name| !generated.children.contains_key(*name));
    let base = generated.children.len() + kept.count() + going.len();
    let budget = budget(generated, going, base, limits);
    let verdict = if candidates.is_empty() {
        Verdict::Allowed
    } else if !generated.complete {
        Verdict::Withheld {
            why: "the name of an element is unknown or an input could not be read, and any of these children could be asked for there; mend it first"
                .to_owned(),
        }
    } else if let Some(why) = withheld {
        Verdict::Withheld { why: why.clone() }
    } else {
        budget.clone()
    };
    Prune {
        candidates,
        names: going.iter().map(|view| view.name.clone()).collect(),
        going: going.iter().filter(|view| view.deleting).count(),
        verdict,
        budget,
    }
}

/// What the number alone says of those that go, out of `base` children.
fn budget(
    generated: &Generated,
    going: &[&Arc<ChildView>],
    base: usize,
    limits: &Limits<'_>,
) -> Verdict {
    let limit = limit(limits.max_deletions, base);
    let empty = generated.children.is_empty() && generated.kept.is_empty();
    // Those on their way out are part of the digest, or a confirmation would lose its force with the first DELETE.
    let pairs: Vec<_> = going.iter().map(|view| (&view.name, &view.uid)).collect();
    let digest = digest::of(&json!(pairs));
    if limits.confirm == Some(digest.as_str()) || (!empty && going.len() <= limit) {
        return Verdict::Allowed;
    }
    let why = match empty {
        true => "the spec asks for no child at all".to_owned(),
        false => format!(
            "{} of {base} children would go, at most {limit} may at once (maxDeletions {})",
            going.len(),
            limits.max_deletions
        ),
    };
    Verdict::NeedsConfirmation { digest, why }
}

/// How many of `base` may go: `3`, or `20%` rounded down and at least 1. What can't be read allows none.
fn limit(text: &str, base: usize) -> usize {
    match text.strip_suffix('%') {
        None => text.parse().unwrap_or(0),
        Some(share) => match share.parse::<usize>() {
            Ok(0) | Err(_) => 0,
            Ok(share) => (base.saturating_mul(share.min(100)) / 100).max(1),
        },
    }
}

/// The first of the names: a status must not grow with a fleet, nor with the length of its names.
pub(super) fn shown(names: &[String]) -> Vec<String> {
    let mut left = SHOWN_BYTES;
    let fits = |name: &&String| {
        let fits = name.len() <= left;
        left = left.saturating_sub(name.len());
        fits
    };
    names.iter().take(SHOWN).take_while(fits).cloned().collect()
}

/// What the status shows while deletions wait.
pub fn status(prune: &Prune) -> Option<PruneStatus> {
    let digest = match &prune.verdict {
        Verdict::Allowed => return None,
        Verdict::NeedsConfirmation { digest, .. } => Some(digest.clone()),
        Verdict::Withheld { .. } => None,
    };
    Some(PruneStatus {
        count: i32::try_from(prune.names.len()).unwrap_or(i32::MAX),
        names: shown(&prune.names),
        digest,
    })
}
