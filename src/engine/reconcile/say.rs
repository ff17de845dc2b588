//! What a pass tells the world: audit records, the one status patch, events, totals.
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kube::ResourceExt;

use super::{Known, Pass, Reconciler, name_of};
use crate::api::management::Mode;
use crate::api::status::Status;
use crate::api::{FINALIZER, annotation};
use crate::engine::events::{Note, transitions};
use crate::engine::fold::{self, Verdict};
use crate::engine::managed::{Acted, Managed, Outcome, Report, Step, Trouble};
use crate::engine::plan::Wish;
use crate::engine::store::newer;
use crate::telemetry::audit::{self, AuditResult};
use crate::telemetry::metrics::Total;

impl<K: Managed> Reconciler<K> {
    /// One record for every remote write, whatever came of it.
    pub(super) fn audit(
        &self,
        object: &K,
        step: &K::Step,
        identity: &str,
        answer: &Result<Acted<K::Effect>, Trouble>,
    ) {
        let (result, reason, request_id) = match answer {
            Ok(acted) => (AuditResult::Accepted, None, acted.request_id.as_deref()),
            Err(trouble) => {
                let result = match trouble.ambiguous {
                    true => AuditResult::Unknown,
                    false => AuditResult::Refused,
                };
                (
                    result,
                    Some(trouble.reason.name()),
                    trouble.request_id.as_deref(),
                )
            }
        };
        let record = audit::Record {
            kind: K::KIND,
            object: name_of(object).to_string(),
            uid: object.meta().uid.as_deref().unwrap_or_default(),
            generation: object.meta().generation.unwrap_or_default(),
            git_revision: annotation::GIT_REVISION
                .iter()
                .find_map(|key| object.annotations().get(*key).or(object.labels().get(*key)))
                .map(String::as_str),
            verb: step.verb(),
            fields: &step.fields(),
            identity,
            request_id,
            result,
            reason,
        };
        audit::record(&self.metrics, &record);
    }

    pub(super) fn report(
        &self,
        object: &K,
        known: &Known<K>,
        pass: &Pass<K>,
        wish: Wish,
        at: Timestamp,
    ) -> Report<K> {
        object.report(&Outcome {
            memory: &known.status.memory,
            details: &known.status.details,
            before: &known.status.conditions,
            seen: pass.seen.as_ref(),
            plan: &pass.plan,
            done: &pass.done,
            trouble: pass.trouble.as_ref(),
            at,
            scale: self.clock.scale(),
            wish,
            first: known.status.observed_generation < 0,
            changed: object.meta().generation != Some(known.status.observed_generation),
            held: pass.hold.is_some(),
            read_only: object.mode() != Mode::Manage,
        })
    }

    /// Report, fold, and the one status patch if anything changed. Returns the wire time after which a status that was not
    /// written yet is due.
    pub(super) async fn say(
        &self,
        object: &K,
        known: &mut Known<K>,
        pass: &Pass<K>,
        wish: Wish,
        at: Timestamp,
    ) -> Result<Option<Duration>, Trouble> {
        let generation = object.meta().generation.unwrap_or_default();
        let report = self.report(object, known, pass, wish, at);
        for field in &report.repaired {
            self.metrics.drift_repaired(K::KIND, field);
        }
        let ready = matches!(report.verdict, Verdict::Ready { .. });
        let overridden = report.overridden.as_ref().filter(|_| ready);
        let hold = pass.hold.as_ref().or(overridden);
        let conditions = fold::conditions(
            &known.status.conditions,
            &report.verdict,
            hold,
            &report.aspects,
            generation,
            at,
        );
        let status = Status {
            observed_generation: generation,
            conditions,
            memory: report.memory,
            details: report.details,
        };
        let mut notes = report.notes;
        let idle = annotation::idle(K::KIND, object.annotations());
        if idle != known.idle {
            let keys: Vec<&str> = idle.iter().map(|idle| idle.key.as_str()).collect();
            let told = annotation::told(&idle);
            notes.extend(told.map(|told| Note::warning("AnnotationIgnored", keys.join(" "), told)));
            known.idle = idle;
        }
        let passed = known.said.map(|said| said.elapsed());
        let left = passed.and_then(|passed| K::STATUS_EVERY.checked_sub(passed));
        // What is new to a generation is never held back: others wait for it.
        let held_back = left.filter(|_| {
            status != known.status && status.observed_generation == known.status.observed_generation
        });
        if (status != known.status || lost(object, known)) && held_back.is_none() {
            notes.extend(transitions(&known.status.conditions, &status.conditions));
            known.status = status;
            self.write(object, known).await?;
            known.said = Some(Instant::now());
        }
        for result in report.deployed {
            self.metrics.deployed(result);
        }
        let mut totals = match object.mode() {
            Mode::Manage => object.totals(&known.status),
            // What is only planned is no part of what is.
            Mode::Plan | Mode::Observe => Vec::new(),
        };
        let state = fold::state(&known.status.conditions);
        totals.push((Total::Objects(K::KIND, state), 1));
        self.count(&object.uid().unwrap_or_default(), totals);
        self.events.publish(object, &notes).await;
        Ok(held_back)
    }

    /// The one status writer; also what is written ahead goes through it.
    pub(super) async fn write(&self, object: &K, known: &mut Known<K>) -> Result<(), Trouble> {
        let version = match object.resource_version() {
            Some(seen) if !newer(known.version.as_deref(), Some(&seen)) => Some(seen),
            _ => known.version.clone(),
        };
        let written = self
            .store
            .write_status(object, version.as_deref(), &known.status)
            .await?;
        self.metrics.status_patch(K::KIND);
        known.version = written.resource_version();
        known.finalizer = written.finalizers().iter().any(|f| f == FINALIZER);
        Ok(())
    }

    /// Replaces what the object adds to the totals.
    pub(super) fn count(&self, uid: &str, totals: Vec<(Total, i64)>) {
        let mut all = self.totals.lock().unwrap_or_else(PoisonError::into_inner);
        let before = match totals.is_empty() {
            true => all.remove(uid),
            false => all.insert(uid.to_owned(), totals.clone()),
        };
        for (total, n) in before.unwrap_or_default() {
            self.metrics.total(&total, -n);
        }
        for (total, n) in totals {
            self.metrics.total(&total, n);
        }
    }
}

/// Whether somebody took away the status that we know.
fn lost<K: Managed>(object: &K, known: &Known<K>) -> bool {
    let there = object
        .status()
        .is_some_and(|status| status.observed_generation >= 0);
    let version = object.resource_version();
    !there
        && known.status.observed_generation >= 0
        && !newer(known.version.as_deref(), version.as_deref())
}
