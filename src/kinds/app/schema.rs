//! What the table of fields adds to the definition: what a change of each field does, and the rules that keep the
//! immutable ones.
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, JSONSchemaProps, ValidationRule,
};

use super::fields::{self, Class};

/// Adds it to the definition as derived.
pub fn decorate(crd: &mut CustomResourceDefinition) {
    let classes = fields::SETTINGS
        .iter()
        .map(|field| (field.path, field.class));
    let classes: Vec<(&str, Class)> = classes.chain(fields::OTHERS.iter().copied()).collect();
    for version in &mut crd.spec.versions {
        let schema = version
            .schema
            .as_mut()
            .and_then(|s| s.open_api_v3_schema.as_mut());
        let Some(schema) = schema else { continue };
        for (path, class) in &classes {
            describe(schema, &format!("spec.{path}"), *class);
        }
        for path in fields::OUTPUT {
            describe(schema, &format!("status.{path}"), Class::OutputOnly);
        }
    }
}

fn describe(schema: &mut JSONSchemaProps, path: &str, class: Class) {
    let (parents, name) = path.rsplit_once('.').unwrap_or(("", path));
    let Some(parent) = at(schema, parents) else {
        return;
    };
    let optional = !parent
        .required
        .iter()
        .flatten()
        .any(|required| required == name);
    let field = parent.properties.as_mut().and_then(|p| p.get_mut(name));
    let Some(field) = field else { return };
    let said = field.description.get_or_insert_default();
    said.push(' ');
    said.push_str(class.effect());
    if class != Class::Immutable {
        return;
    }
    let message = format!("{name} is immutable: create another object and delete this one");
    let rules = field.x_kubernetes_validations.get_or_insert_default();
    rules.push(rule("self == oldSelf".into(), &message));
    if optional {
        // A field that comes or goes is no transition of its own.
        let rules = parent.x_kubernetes_validations.get_or_insert_default();
        rules.push(rule(
            format!("has(self.{name}) == has(oldSelf.{name})"),
            &message,
        ));
    }
}

fn rule(rule: String, message: &str) -> ValidationRule {
    ValidationRule {
        rule,
        message: Some(message.into()),
        ..ValidationRule::default()
    }
}

fn at<'a>(schema: &'a mut JSONSchemaProps, path: &str) -> Option<&'a mut JSONSchemaProps> {
    path.split('.').try_fold(schema, |schema, name| {
        schema.properties.as_mut()?.get_mut(name)
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use kube::CustomResourceExt;

    use super::super::spec::DatabricksApp;
    use super::*;

    #[test]
    fn every_field_of_the_table_is_a_field_of_the_definition() {
        let crd = DatabricksApp::crd();
        let mut schema = crd.spec.versions[0]
            .schema
            .clone()
            .unwrap()
            .open_api_v3_schema
            .unwrap();
        let spec = fields::SETTINGS
            .iter()
            .map(|f| f.path)
            .chain(fields::OTHERS.iter().map(|(path, _)| *path));
        let spec = spec.map(|path| format!("spec.{path}"));
        for path in spec.chain(fields::OUTPUT.iter().map(|path| format!("status.{path}"))) {
            assert!(at(&mut schema, &path).is_some(), "{path} is no field");
        }
    }
}
