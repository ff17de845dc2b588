//! From generators and a template, or from apps written out, to children by name.

mod blueprint;
mod child;
mod combine;
mod config_map;
mod draft;
mod fault;
mod filters;
mod generators;
mod limits;
mod members;
mod outcomes;
mod template;
mod values;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

use self::blueprint::Blueprint;
use self::child::Maker;
use self::fault::{Fault, TEMPLATE};
use self::generators::Texts;
use self::limits::mib;
use self::outcomes::{Known, Place, Task, collect, make, make_all, refused, written};
use self::template::Delimiters;
use super::{GeneratorInputs, Parent};
use crate::api::app_of_apps::{
    AppOfAppsSpec, Generator, IgnoredDifference, Template, Templating, WrittenApp,
};

pub use self::child::{Child, Judge};
pub use self::fault::{ElementError, ErrorReason};
pub use self::filters::{FILTERS, Filter, TESTS};

/// What a spec asks for. Cheap to clone: every pass gets its own, and only few take something away from it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Generated {
    pub children: Arc<BTreeMap<String, Arc<Child>>>,
    /// Where each child comes from, by its name: `apps[1]`
    pub sources: Arc<BTreeMap<String, String>>,
    /// In the order of the spec
    pub errors: Vec<ElementError>,
    /// Names that elements in error ask for: what exists of them is kept as it is
    pub kept: BTreeSet<String>,
    /// False if some element's name is unknown: then nothing may be pruned, it could be that element's child
    pub complete: bool,
    /// Generators that give nothing because nothing matches: `generators[0].workspaces: no DatabricksWorkspace matches`
    pub idle: Vec<String>,
}

impl Generated {
    /// How many elements and inputs are in error. A template that can't be read is so as a whole, whatever the number of its
    /// fields that are wrong.
    pub fn in_error(&self) -> usize {
        let of_template = self.errors.iter().filter(|e| e.element == TEMPLATE).count();
        self.errors.len() - of_template.saturating_sub(1)
    }
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
    outcomes: Known,
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
            None => (None, Known::new()),
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
    outcomes: Known,
}

impl Run<'_> {
    fn run(self, blueprint: Option<Blueprint>, known: &Known) -> Made {
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
        let mut refusals = Vec::new();
        if let Some(template) = &self.spec.template {
            if blueprint.is_none() {
                match Blueprint::read(template, &self.recipe.defaults, &delimiters) {
                    Ok(read) => blueprint = Some(read),
                    Err(faults) => refusals = faults,
                }
            }
            let cost = blueprint.as_ref().map_or(0, |blueprint| blueprint.cost);
            if cost.saturating_mul(tasks.len()) > limits::EXPRESSION_BYTES {
                refusals.push(Fault::new(
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
            refusals.push(Fault::new(
                "template",
                ErrorReason::Template,
                "is missing; generators need one",
            ));
        }
        let apps = self.spec.apps.iter().flatten().enumerate();
        for (n, app) in apps {
            places.push(Place::App(n));
            tasks.push(Task {
                written: true,
                members: written(app).into(),
            });
        }
        let maker = Maker {
            namespace,
            ignored: &self.recipe.ignored,
            judge: self.judge,
        };
        let defaults = &self.recipe.defaults;
        let outcomes = if !refusals.is_empty() {
            None
        } else {
            let make = |task: &Task| make(task, blueprint.as_ref(), defaults, &maker);
            let outcomes = make_all(&tasks, known, &make);
            if outcomes.is_none() {
                refusals.push(Fault::new(
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
        let mut generated = match &outcomes {
            Some(outcomes) => collect(&places, outcomes, &self.recipe.parent),
            None => {
                let template = self.spec.template.as_ref();
                let name = template.map(|template| blueprint::read_name(template, &delimiters));
                refused(refusals, &places, &tasks, name.and_then(Result::ok))
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

#[cfg(test)]
mod tests;
