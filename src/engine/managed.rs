//! What a kind tells the loop: what to look at, what to decide, how to write, what to say.
use std::fmt::{Debug, Display};
use std::future::Future;

use jiff::Timestamp;
use k8s_openapi::NamespaceResourceScope;
use kube::Resource;
use kube::core::object::HasStatus;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::fold::Verdict;
use super::plan::{Fate, Plan, Wish};
use crate::api::names::ObjectName;
use crate::api::status::{Fact, Reason, Status};

/// Something that an object refers to; whatever happens to it wakes the object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ref {
    Workspace(ObjectName),
    /// An app by its name in the workspaces; of all claimants of one name one wins.
    RemoteApp(String),
}

/// A failure as the loop treats it, whatever its type was.
#[derive(Clone, Debug, PartialEq)]
pub struct Trouble {
    pub reason: Reason,
    /// Names the field, the value and the way out; never a secret.
    pub message: String,
    pub fate: Fate,
    /// The write may have been carried out although it failed.
    pub ambiguous: bool,
}

impl Trouble {
    pub fn new(reason: Reason, message: impl Into<String>, fate: Fate) -> Self {
        Self {
            reason,
            message: message.into(),
            fate,
            ambiguous: false,
        }
    }
}

/// Everything a plan is made of, besides the object itself.
#[derive(Debug)]
pub struct Inputs<'a, O, M> {
    pub seen: &'a O,
    pub memory: &'a M,
    /// Wall time of this pass.
    pub at: Timestamp,
    /// Service seconds that pass in one second of wall time.
    pub scale: u32,
    pub wish: Wish,
}

/// Everything a report is made of. The parts that a pass did not come to are `None` or empty.
#[derive(Debug)]
pub struct Outcome<'a, K: Managed> {
    /// What was remembered before the pass, with what was written ahead in it.
    pub memory: &'a K::Memory,
    pub details: &'a K::Details,
    pub seen: Option<&'a K::Observed>,
    pub plan: &'a Plan<K::Step>,
    /// The steps that were carried out, and what their answers proved.
    pub done: &'a [(K::Step, K::Effect)],
    pub trouble: Option<&'a Trouble>,
    pub at: Timestamp,
    pub wish: Wish,
    /// The object was never reported on before.
    pub first: bool,
}

/// What a pass found, as the kind sees it.
#[derive(Debug)]
pub struct Report<K: Managed> {
    pub verdict: Verdict,
    /// An aspect without a fact keeps its condition.
    pub aspects: Vec<Fact>,
    pub memory: K::Memory,
    pub details: K::Details,
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
    type Step: Display + Debug + Clone + Send + Sync;
    type Effect: Debug + Send + Sync;
    type Memory: Clone + Debug + Default + PartialEq + Serialize + Send + Sync;
    type Details: Clone + Debug + Default + PartialEq + Serialize + Send + Sync;

    /// The kind as a metric's label.
    const KIND_LABEL: &'static str;

    /// The step's name in logs and metrics: of a closed set, without names or values.
    fn verb(step: &Self::Step) -> &'static str;
    /// What the object refers to.
    fn refs(&self) -> Vec<Ref>;
    /// `spec.suspend`, for kinds that have it.
    fn suspended(&self) -> bool;
    /// From the reference in the spec to a connection that can be used.
    fn open(
        &self,
        hub: &Self::Hub,
        wish: Wish,
    ) -> impl Future<Output = Result<Self::World, Trouble>> + Send;
    fn observe(
        &self,
        memory: &Self::Memory,
        world: &Self::World,
        wish: Wish,
    ) -> impl Future<Output = Result<Self::Observed, Trouble>> + Send;
    fn plan(&self, inputs: &Inputs<'_, Self::Observed, Self::Memory>) -> Plan<Self::Step>;
    /// The memory to store before the step is carried out, for steps whose answer must not get lost.
    fn ahead(
        &self,
        step: &Self::Step,
        memory: &Self::Memory,
        at: Timestamp,
    ) -> Option<Self::Memory>;
    fn act(
        &self,
        step: &Self::Step,
        world: &Self::World,
    ) -> impl Future<Output = Result<Self::Effect, Trouble>> + Send;
    fn report(&self, outcome: &Outcome<'_, Self>) -> Report<Self>;
}
