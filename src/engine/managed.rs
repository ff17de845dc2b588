//! What a kind tells the loop: what to look at, what to decide, how to write, what to say.
use std::fmt::{Debug, Display};
use std::future::Future;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::Resource;
use kube::core::object::HasStatus;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::events::Note;
use super::fold::{Hold, Verdict};
use super::index::Ref;
use super::plan::{Fate, Plan, Wish};
use crate::api::management::Mode;
use crate::api::status::{Fact, Reason, Status};
use crate::telemetry::metrics::{DeploymentResult, Total};

/// A failure as the loop treats it, whatever its type was.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub reason: Reason,
    /// Names the field, the value and the way out; never a secret.
    pub message: String,
    pub fate: Fate,
    /// A write that may have been carried out although it failed.
    pub ambiguous: bool,
    /// The other side's id of the request.
    pub request_id: Option<String>,
}

impl Trouble {
    pub fn new(reason: Reason, message: impl Into<String>, fate: Fate) -> Self {
        Self {
            reason,
            message: message.into(),
            fate,
            ambiguous: false,
            request_id: None,
        }
    }
}

/// One remote write. `Display` says what is done and to which fields, never a value.
pub trait Step: Display + Debug + Clone + Send + Sync {
    /// The verb of logs, events and metrics: of a closed set, without names or values.
    fn verb(&self) -> &'static str;
    /// The fields that the write changes; empty when it makes or removes the whole.
    fn fields(&self) -> Vec<&'static str>;
    /// Whether the write only lets go of something, which stays as it is.
    fn lets_go(&self) -> bool {
        false
    }
}

/// Everything a plan is made of, besides the object itself.
#[derive(Debug)]
pub struct Inputs<'a, K: Managed> {
    pub seen: &'a K::Observed,
    pub memory: &'a K::Memory,
    /// Wall time of this pass.
    pub at: Timestamp,
    /// Service seconds that pass in one second of wall time.
    pub scale: u32,
    pub wish: Wish,
}

/// A write that was carried out.
#[derive(Debug)]
pub struct Acted<E> {
    /// What its answer proved.
    pub effect: E,
    /// The other side's id of the request.
    pub request_id: Option<String>,
}

impl<E> From<E> for Acted<E> {
    fn from(effect: E) -> Self {
        Self {
            effect,
            request_id: None,
        }
    }
}

/// Everything a report is made of. The parts that a pass did not come to are `None` or empty.
#[derive(Debug)]
pub struct Outcome<'a, K: Managed> {
    /// What was remembered before the pass, with what was written ahead in it.
    pub memory: &'a K::Memory,
    pub details: &'a K::Details,
    pub before: &'a [Condition],
    pub seen: Option<&'a K::Observed>,
    pub plan: &'a Plan<K::Step>,
    /// The steps that were carried out, and what their answers proved.
    pub done: &'a [(K::Step, K::Effect)],
    /// What failed: the opening, the look, or the last of the failed steps. Its fate has passed the grace.
    pub trouble: Option<&'a Trouble>,
    pub at: Timestamp,
    /// Service seconds that pass in one second of wall time.
    pub scale: u32,
    pub wish: Wish,
    /// The object was never reported on before.
    pub first: bool,
    /// The spec differs from the one last reported on.
    pub changed: bool,
    /// Nothing was acted on, however the plan looks.
    pub held: bool,
    /// Nothing is ever written for this object, as its mode asks.
    pub read_only: bool,
}

/// What a pass found, as the kind sees it.
#[derive(Debug)]
pub struct Report<K: Managed> {
    pub verdict: Verdict,
    /// An aspect without a fact keeps its condition.
    pub aspects: Vec<Fact>,
    pub memory: K::Memory,
    pub details: K::Details,
    /// Worth an event beside those of the conditions' own transitions.
    pub notes: Vec<Note>,
    /// Somebody's word overrides a part of the spec: shown as Suspended while the object is ready otherwise.
    pub overridden: Option<Hold>,
    /// Classes of the fields that somebody else changed and this pass put right.
    pub repaired: Vec<&'static str>,
    /// What came of deployments that ended since the last pass.
    pub deployed: Vec<DeploymentResult>,
}

/// One kind. `observe` only reads, `act` makes one write, everything else is pure.
pub trait Managed:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + HasStatus<Status = Status<Self::Memory, Self::Details>>
    + Clone
    + Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// What all objects of the kind share.
    type Hub: Send + Sync + 'static;
    /// What this object acts on.
    type World: Send + Sync;
    type Observed: Debug + Send + Sync;
    type Step: Step;
    type Effect: Debug + Send + Sync;
    type Memory: Clone + Debug + Default + PartialEq + Serialize + Send + Sync;
    type Details: Clone + Debug + Default + PartialEq + Serialize + Send + Sync;

    /// The kind's name, as a metric's label and in the index.
    const KIND: &'static str;

    /// Steps carried out at a time, in the order of the plan. More than one only where none is written ahead.
    const AT_ONCE: usize = 1;
    /// Wire time between two writes of the status; what happens meanwhile is written together.
    const STATUS_EVERY: Duration = Duration::ZERO;

    /// Whether what the object made goes with it by itself, so that a deletion has to be carried out also where nothing else
    /// is written.
    const OWNS: bool = false;
    /// The setting of the spec with which a deletion leaves everything as it is; empty: nothing is ever deleted with an object.
    const ORPHANS: &'static str = "";

    /// What the object refers to; whatever happens to it wakes the object.
    fn refs(&self) -> Vec<Ref>;
    /// `spec.suspend`, for kinds that have it.
    fn suspended(&self) -> bool;
    /// Whether anything may be written for this object.
    fn mode(&self) -> Mode {
        Mode::Manage
    }
    /// Why nothing may be written to this world now, not even for a deletion.
    fn frozen(_: &Self::World) -> Option<Hold> {
        None
    }
    /// Who the operator is at the other side.
    fn identity(_: &Self::World) -> String {
        String::new()
    }
    /// Whether what was seen has already all that the step would bring about: a planner's mistake, counted.
    fn needless(&self, _: &Self::Step, _: &Self::Observed) -> bool {
        false
    }
    /// What the object adds to the totals over all objects of its kind.
    fn totals(&self, _: &Status<Self::Memory, Self::Details>) -> Vec<(Total, i64)> {
        Vec::new()
    }
    /// True if the object may go without a look: nothing outside can be its own, or all of it is to be left as it is.
    fn lets_go(&self, memory: &Self::Memory) -> bool;
    /// From the references in the spec to what the object acts on.
    fn open(
        &self,
        hub: &Self::Hub,
        wish: Wish,
    ) -> impl Future<Output = Result<Self::World, Trouble>> + Send;
    /// Reads only. `changed`: the spec differs from the one last reported on.
    fn observe(
        &self,
        memory: &Self::Memory,
        world: &Self::World,
        wish: Wish,
        changed: bool,
    ) -> impl Future<Output = Result<Self::Observed, Trouble>> + Send;
    /// Pure: lists only steps that are legal now.
    fn plan(&self, inputs: &Inputs<'_, Self>) -> Plan<Self::Step>;
    /// The memory to store before the step is carried out, for steps whose answer must not get lost.
    fn ahead(
        &self,
        step: &Self::Step,
        memory: &Self::Memory,
        at: Timestamp,
    ) -> Option<Self::Memory>;
    /// One remote write, and what its answer proved.
    fn act(
        &self,
        step: &Self::Step,
        world: &Self::World,
    ) -> impl Future<Output = Result<Acted<Self::Effect>, Trouble>> + Send;
    /// Pure: from what a pass found to what is said of it.
    fn report(&self, outcome: &Outcome<'_, Self>) -> Report<Self>;
}
