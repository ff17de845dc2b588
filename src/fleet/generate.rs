//! From generators and a template, or from apps written out, to children by name.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value};

use super::blueprint::{self, Blueprint};
pub use super::child::Child;
use super::child::{Judge, Maker};
use super::fault::Fault;
pub use super::fault::{ElementError, ErrorReason};
use super::generators::{self, Origin, Texts};
use super::limits::{self, mib};
use super::template::{Delimiters, Pattern, Scope};
use super::{GeneratorInputs, Parent};
use crate::api::app_of_apps::{
    AppOfAppsSpec, Generator, IgnoredDifference, Template, Templating, WrittenApp,
};

/// Fewer elements are not worth a thread of their own.
const FOR_ONE_THREAD: usize = 64;
/// More threads than that would only take from others.
const THREADS: usize = 8;

/// What a spec asks for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    pub children: BTreeMap<String, Arc<Child>>,
    /// Where each child comes from, by its name: `apps[1]`
    pub sources: BTreeMap<String, String>,
    /// In the order of the spec
    pub errors: Vec<ElementError>,
    /// Names that elements in error ask for: what exists of them is kept as it is
    pub kept: BTreeSet<String>,
    /// False if some element's name is unknown: then nothing may be pruned, it could be that element's child
    pub complete: bool,
    /// Generators that give nothing because nothing matches: `generators[0].workspaces: no DatabricksWorkspace matches`
    pub idle: Vec<String>,
}

/// The children of `spec`. Who asks again and again keeps a [`Renderer`].
pub fn generate(
    spec: &AppOfAppsSpec,
    inputs: &GeneratorInputs,
    parent: &Parent,
    judge: &Judge,
) -> Generated {
    Arc::unwrap_or_clone(Renderer::default().generate(spec, inputs, parent, judge))
}

/// Generates the children of one parent again and again: what did not change is not made anew.
///
/// The judge's verdicts are kept with the children, so a judge that changes its mind needs a new renderer.
#[derive(Default)]
pub struct Renderer {
    texts: Texts,
    memory: Option<Memory>,
}

struct Memory {
    recipe: Recipe,
    generators: Option<Vec<Generator>>,
    apps: Option<Vec<WrittenApp>>,
    inputs: GeneratorInputs,
    blueprint: Option<Blueprint>,
    outcomes: HashMap<Task, Arc<Outcome>>,
    generated: Arc<Generated>,
}

/// What every child depends on.
#[derive(Clone, PartialEq)]
struct Recipe {
    parent: Parent,
    template: Option<Template>,
    defaults: Map<String, Value>,
    templating: Option<Templating>,
    ignored: Vec<IgnoredDifference>,
}

/// What becomes one child, or an error.
#[derive(PartialEq, Eq, Hash)]
struct Task {
    /// An app written out, and not an element
    written: bool,
    members: Map<String, Value>,
}

/// What became of a task. The name is kept also when the rest failed.
struct Outcome {
    name: Option<String>,
    result: Result<Arc<Child>, Fault>,
    /// Bytes
    size: usize,
}

/// Where a task comes from.
enum Place {
    Element(Origin),
    App(usize),
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Element(origin) => origin.fmt(f),
            Self::App(n) => write!(f, "apps[{n}]"),
        }
    }
}

impl Place {
    fn fault(&self, fault: &Fault) -> ElementError {
        let mut error = fault.clone().of(self.to_string());
        if let Self::Element(origin) = self {
            error.message.push_str(&origin.note());
        }
        error
    }
}

impl Renderer {
    /// The children of `spec`. A parent has its own renderer; asked for another one it starts anew.
    pub fn generate(
        &mut self,
        spec: &AppOfAppsSpec,
        inputs: &GeneratorInputs,
        parent: &Parent,
        judge: &Judge,
    ) -> Arc<Generated> {
        let recipe = Recipe {
            parent: parent.clone(),
            template: spec.template.clone(),
            defaults: spec.defaults.clone().unwrap_or_default(),
            templating: spec.templating.clone(),
            ignored: spec.ignore_child_differences.clone().unwrap_or_default(),
        };
        let memory = self.memory.take().filter(|memory| memory.recipe == recipe);
        let (blueprint, known) = match memory {
            Some(memory)
                if memory.generators == spec.generators
                    && memory.apps == spec.apps
                    && memory.inputs == *inputs =>
            {
                let generated = memory.generated.clone();
                self.memory = Some(memory);
                return generated;
            }
            Some(memory) => (memory.blueprint, memory.outcomes),
            None => (None, HashMap::new()),
        };
        let made = Run {
            spec,
            inputs,
            recipe: &recipe,
            judge,
            texts: &mut self.texts,
        }
        .run(blueprint, &known);
        let generated = Arc::new(made.generated);
        self.memory = Some(Memory {
            recipe,
            generators: spec.generators.clone(),
            apps: spec.apps.clone(),
            inputs: inputs.clone(),
            blueprint: made.blueprint,
            outcomes: made.outcomes,
            generated: generated.clone(),
        });
        generated
    }
}

struct Run<'a> {
    spec: &'a AppOfAppsSpec,
    inputs: &'a GeneratorInputs,
    recipe: &'a Recipe,
    judge: &'a Judge<'a>,
    texts: &'a mut Texts,
}

#[derive(Default)]
struct Made {
    generated: Generated,
    blueprint: Option<Blueprint>,
    outcomes: HashMap<Task, Arc<Outcome>>,
}

impl Run<'_> {
    fn run(self, blueprint: Option<Blueprint>, known: &HashMap<Task, Arc<Outcome>>) -> Made {
        let delimiters = match Delimiters::new(self.spec.templating.as_ref()) {
            Ok(delimiters) => delimiters,
            Err((field, message)) => {
                let fault = Fault::new(field, ErrorReason::Template, message);
                return failed(fault.of("templating"));
            }
        };
        let generators = self.spec.generators.as_deref().unwrap_or_default();
        let namespace = &self.recipe.parent.namespace;
        let elements =
            generators::read(generators, self.inputs, namespace, &delimiters, self.texts);
        let mut places = Vec::with_capacity(elements.found.len());
        let mut tasks = Vec::with_capacity(elements.found.len());
        for element in elements.found {
            places.push(Place::Element(element.origin));
            tasks.push(Task {
                written: false,
                members: element.members,
            });
        }
        let mut blueprint = blueprint;
        let mut refusal = None;
        if let Some(template) = &self.spec.template {
            if blueprint.is_none() {
                match Blueprint::read(template, &self.recipe.defaults, &delimiters) {
                    Ok(read) => blueprint = Some(read),
                    Err(fault) => refusal = Some(fault),
                }
            }
            let cost = blueprint.as_ref().map_or(0, |blueprint| blueprint.cost);
            if cost.saturating_mul(tasks.len()) > limits::EXPRESSION_BYTES {
                refusal = Some(Fault::new(
                    "spec",
                    ErrorReason::TooLarge,
                    format!(
                        "{} elements, each with expressions of {cost} bytes, are more than the {} that one AppOfApps may fill; use several",
                        tasks.len(),
                        mib(limits::EXPRESSION_BYTES)
                    ),
                ));
            }
        } else if !tasks.is_empty() {
            refusal = Some(Fault::new(
                "template",
                ErrorReason::Template,
                "is missing; generators need one",
            ));
        }
        let written = self.spec.apps.iter().flatten().enumerate();
        for (n, app) in written {
            places.push(Place::App(n));
            tasks.push(Task {
                written: true,
                members: members(app),
            });
        }
        let maker = Maker {
            namespace,
            ignored: &self.recipe.ignored,
            judge: self.judge,
        };
        let defaults = &self.recipe.defaults;
        let outcomes = if refusal.is_some() {
            None
        } else {
            let make = |task: &Task| make(task, blueprint.as_ref(), defaults, &maker);
            let outcomes = make_all(&tasks, known, &make);
            if outcomes.is_none() {
                refusal = Some(Fault::new(
                    "spec",
                    ErrorReason::TooLarge,
                    format!(
                        "the children take more than {} together; use several AppOfApps",
                        mib(limits::CHILDREN_BYTES)
                    ),
                ));
            }
            outcomes
        };
        let mut generated = match (&outcomes, refusal) {
            (Some(outcomes), _) => collect(&places, outcomes, &self.recipe.parent),
            (None, refusal) => {
                let template = self.spec.template.as_ref();
                let name = template.map(|template| blueprint::read_name(template, &delimiters));
                refused(refusal, &places, &tasks, name.and_then(Result::ok))
            }
        };
        generated.complete &= !elements.missing;
        generated.idle = elements.idle;
        // What could not be read comes before what could not be filled.
        generated.errors.splice(0..0, elements.errors);
        let outcomes = outcomes.into_iter().flatten();
        Made {
            generated,
            blueprint,
            outcomes: tasks.into_iter().zip(outcomes).collect(),
        }
    }
}

fn failed(error: ElementError) -> Made {
    Made {
        generated: Generated {
            errors: vec![error],
            ..Generated::default()
        },
        ..Made::default()
    }
}

fn members(app: &WrittenApp) -> Map<String, Value> {
    match serde_json::to_value(app) {
        Ok(Value::Object(members)) => members,
        // A struct with a map of JSON in it is an object.
        _ => Map::new(),
    }
}

/// The error of all tasks, said once; the names of what exists protect it.
fn refused(
    fault: Option<Fault>,
    places: &[Place],
    tasks: &[Task],
    name: Option<Pattern>,
) -> Generated {
    let mut generated = Generated {
        complete: true,
        ..Generated::default()
    };
    generated
        .errors
        .extend(fault.map(|fault| fault.of("template")));
    for (place, task) in places.iter().zip(tasks) {
        let found = match &name {
            _ if task.written => task
                .members
                .get("name")
                .and_then(Value::as_str)
                .map(str::to_owned),
            Some(pattern) => blueprint::name(pattern, &Scope::new(&task.members)).ok(),
            None => None,
        };
        match found {
            Some(name) => drop(generated.kept.insert(name)),
            None if generated.complete => {
                generated.complete = false;
                let message =
                    "the names of this element and maybe of others can't be filled either";
                generated.errors.push(place.fault(&Fault::new(
                    "metadata.name",
                    ErrorReason::InvalidName,
                    message,
                )));
            }
            None => {}
        }
    }
    generated
}

/// The outcome of each task, in their order; `None` if the children together are too large, whatever that order is.
fn make_all(
    tasks: &[Task],
    known: &HashMap<Task, Arc<Outcome>>,
    make: &(dyn Fn(&Task) -> Outcome + Sync),
) -> Option<Vec<Arc<Outcome>>> {
    let mut outcomes: Vec<Option<Arc<Outcome>>> =
        tasks.iter().map(|task| known.get(task).cloned()).collect();
    let total = AtomicUsize::new(outcomes.iter().flatten().map(|outcome| outcome.size).sum());
    let new: Vec<usize> = (0..tasks.len())
        .filter(|n| outcomes[*n].is_none())
        .collect();
    let work = |numbers: &[usize]| -> Vec<(usize, Arc<Outcome>)> {
        let fits = || total.load(Ordering::Relaxed) <= limits::CHILDREN_BYTES;
        let numbers = numbers.iter().take_while(|_| fits());
        numbers
            .map(|n| {
                let outcome = make(&tasks[*n]);
                total.fetch_add(outcome.size, Ordering::Relaxed);
                (*n, Arc::new(outcome))
            })
            .collect()
    };
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = cores.min(THREADS).min(new.len() / FOR_ONE_THREAD).max(1);
    let shares = new.chunks(new.len().div_ceil(threads).max(1));
    let made: Vec<(usize, Arc<Outcome>)> = if threads == 1 {
        work(&new)
    } else {
        std::thread::scope(|scope| {
            let work = &work;
            let running: Vec<_> = shares
                .map(|share| scope.spawn(move || work(share)))
                .collect();
            let results = running.into_iter().map(|thread| match thread.join() {
                Ok(made) => made,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            results.flatten().collect()
        })
    };
    for (n, outcome) in made {
        outcomes[n] = Some(outcome);
    }
    if total.into_inner() > limits::CHILDREN_BYTES {
        return None;
    }
    outcomes.into_iter().collect()
}

fn make(
    task: &Task,
    blueprint: Option<&Blueprint>,
    defaults: &Map<String, Value>,
    maker: &Maker,
) -> Outcome {
    let (name, made) = match blueprint {
        _ if task.written => {
            let name = task
                .members
                .get("name")
                .and_then(Value::as_str)
                .unwrap_or_default();
            match blueprint::valid_name("name", name) {
                Ok(()) => {
                    let draft = blueprint::written(&task.members, defaults);
                    let made = draft.and_then(|draft| maker.make("", name, draft));
                    (Some(name.to_owned()), made)
                }
                Err(fault) => (None, Err(fault)),
            }
        }
        Some(blueprint) => {
            let scope = Scope::new(&task.members);
            match blueprint.name(&scope) {
                Ok(name) => {
                    let draft = blueprint.fill(&scope);
                    let made = draft.and_then(|draft| maker.make("metadata.", &name, draft));
                    (Some(name), made)
                }
                Err(fault) => (None, Err(fault)),
            }
        }
        None => {
            let fault = Fault::new("template", ErrorReason::Template, "is missing");
            (None, Err(fault))
        }
    };
    let size = made.as_ref().map_or(0, |(_, size)| *size);
    Outcome {
        name,
        result: made.map(|(child, _)| Arc::new(child)),
        size,
    }
}

/// Sorts the outcomes by name; of several elements with one name none wins.
fn collect(places: &[Place], outcomes: &[Arc<Outcome>], parent: &Parent) -> Generated {
    let names = outcomes.iter().enumerate();
    let mut named: Vec<(&str, usize)> = names
        .filter_map(|(n, outcome)| Some((outcome.name.as_deref()?, n)))
        .collect();
    named.sort_unstable();
    let mut rivals: HashMap<usize, &[(&str, usize)]> = HashMap::new();
    let mut generated = Generated {
        complete: true,
        ..Generated::default()
    };
    for group in named.chunk_by(|(a, _), (b, _)| a == b) {
        if let [(name, n)] = group {
            match &outcomes[*n].result {
                Ok(child) => {
                    let source = places[*n].to_string();
                    generated.sources.insert(child.name.clone(), source);
                    generated.children.insert(child.name.clone(), child.clone());
                }
                Err(_) => drop(generated.kept.insert((*name).to_owned())),
            }
        } else if let Some((name, _)) = group.first() {
            generated.kept.insert((*name).to_owned());
            rivals.extend(group.iter().map(|(_, n)| (*n, group)));
        }
    }
    for (n, (place, outcome)) in places.iter().zip(outcomes).enumerate() {
        generated.complete &= outcome.name.is_some();
        if let Some(group) = rivals.get(&n) {
            let fault = duplicate(group, n, places, parent);
            generated.errors.push(place.fault(&fault));
        } else if let Err(fault) = &outcome.result {
            generated.errors.push(place.fault(fault));
        }
    }
    generated
}

fn duplicate(group: &[(&str, usize)], n: usize, places: &[Place], parent: &Parent) -> Fault {
    let name = group.first().map_or("", |(name, _)| name);
    let others: Vec<String> = group
        .iter()
        .filter(|(_, other)| *other != n)
        .take(3)
        .map(|(_, other)| places[*other].to_string())
        .collect();
    let and = match group.len() - 1 - others.len() {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let message = format!(
        "{name:?} is also the name of {}{and}; {}/{} keeps what exists until the names differ",
        others.join(", "),
        parent.namespace,
        parent.name
    );
    Fault::new("metadata.name", ErrorReason::DuplicateName, message)
}

#[cfg(test)]
#[path = "generate_tests.rs"]
mod generate_tests;
