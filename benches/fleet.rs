//! How long a parent of 5,000 children takes from its spec to the first writes, without any I/O: generate, survey, payloads.
//!
//! `cargo bench --bench fleet`; `make bench BENCH=--fleet` runs it, and goes on with the same fleet on a real API server.
use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::{Duration, Instant};

use databricks_app_operator::admission::Admission;
use databricks_app_operator::api::app_of_apps::AppOfAppsSpec;
use databricks_app_operator::api::row::{ChildView, Owner};
use databricks_app_operator::fleet::{
    self, Facts, GeneratorInputs, Moment, Parent, Renderer, Requests, Survey,
};
use databricks_app_operator::kinds;
use databricks_app_operator::telemetry::Clock;
use jiff::Timestamp;
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

const TEAMS: usize = 50;
const APPS: usize = 100;
/// Writes of one pass of the operator.
const AT_ONCE: usize = 250;
/// Measurements of each case; an odd number, so that one of them is the median.
const TIMES: usize = 15;
const COLD: Duration = Duration::from_millis(200);
const WARM: Duration = Duration::from_millis(50);
/// Service time in which every child passes its gate.
const SETTLED: Duration = Duration::from_secs(3_600);

fn main() -> Result<(), Failure> {
    println!(
        "{} children of a matrix of {TEAMS} × {APPS}; 12 templated strings, 3 grants and 5 variables each; judged by their definition",
        TEAMS * APPS
    );
    println!("median of {TIMES} on one thread, in ms\n");
    println!(
        "{:<12} {:<22} {:>9} {:>8} {:>9} {:>8} {:>6} {:>7}",
        "STRATEGY", "CASE", "GENERATE", "SURVEY", "PAYLOADS", "TOTAL", "GOAL", "WRITES"
    );
    let mut over = Vec::new();
    for strategy in ["AllAtOnce", "RollingSync"] {
        for row in measured(strategy)? {
            println!("{}", row.line(strategy));
            if row.is_over() {
                over.push(format!("{strategy}, {}", row.case));
            }
        }
    }
    if let Some(peak) = peak() {
        println!("\npeak resident memory, two parents and their children: {peak}");
    }
    match over.is_empty() {
        true => Ok(()),
        false => Err(format!("over the goal: {}", over.join("; ")).into()),
    }
}

/// The median of each part, and of all of it.
struct Row {
    case: &'static str,
    parts: [Duration; 3],
    total: Duration,
    goal: Duration,
    writes: usize,
}

impl Row {
    fn is_over(&self) -> bool {
        self.total > self.goal
    }

    fn line(&self, strategy: &str) -> String {
        let ms = |time: Duration| time.as_secs_f64() * 1e3;
        let [generate, survey, payloads] = self.parts.map(ms);
        format!(
            "{strategy:<12} {:<22} {generate:>9.1} {survey:>8.1} {payloads:>9.1} {:>8.1} {:>6.0} {:>7}  {}",
            self.case,
            ms(self.total),
            ms(self.goal),
            self.writes,
            if self.is_over() { "OVER" } else { "ok" },
        )
    }
}

fn measured(strategy: &str) -> Result<Vec<Row>, Failure> {
    let mut bench = Bench::new(strategy)?;
    let created = median("cold, none exists", COLD, || {
        let mut renderer = Renderer::default();
        Ok(bench.pass(&mut renderer, TEAMS * APPS))
    })?;
    bench.settle()?;
    let restarted = median("cold, all exist", COLD, || {
        let mut renderer = Renderer::default();
        Ok(bench.pass(&mut renderer, 0))
    })?;
    let mut renderer = Renderer::default();
    bench.pass(&mut renderer, 0);
    let same = median("nothing changed", WARM, || Ok(bench.pass(&mut renderer, 0)))?;
    let mut version = 0;
    let one = median("one element changed", WARM, || {
        version += 1;
        bench.change(version)?;
        Ok(bench.pass(&mut renderer, 1))
    })?;
    Ok(vec![created, restarted, same, one])
}

/// What one pass took, and how many writes followed.
struct Pass {
    parts: [Duration; 3],
    writes: usize,
    wanted: usize,
}

fn median(
    case: &'static str,
    goal: Duration,
    mut pass: impl FnMut() -> Result<Pass, Failure>,
) -> Result<Row, Failure> {
    let mut passes = Vec::new();
    for _ in 0..TIMES {
        let pass = pass()?;
        if pass.writes != pass.wanted {
            let Pass { writes, wanted, .. } = pass;
            return Err(format!("{case}: {writes} writes, and {wanted} should follow").into());
        }
        passes.push(pass);
    }
    let middle = |time: &dyn Fn(&Pass) -> Duration| {
        let mut all: Vec<Duration> = passes.iter().map(time).collect();
        all.sort();
        all[TIMES / 2]
    };
    Ok(Row {
        case,
        parts: [0, 1, 2].map(|n| middle(&|pass| pass.parts[n])),
        total: middle(&|pass| pass.parts.iter().sum()),
        goal,
        writes: passes.last().map_or(0, |pass| pass.writes),
    })
}

/// A parent, its spec, and the children that exist.
struct Bench {
    spec: AppOfAppsSpec,
    parent: Parent,
    inputs: GeneratorInputs,
    admission: Admission,
    existing: Vec<Arc<ChildView>>,
    at: Timestamp,
}

impl Bench {
    fn new(strategy: &str) -> Result<Self, Failure> {
        Ok(Self {
            spec: serde_json::from_value(spec(strategy))?,
            parent: Parent {
                name: "fleet".into(),
                namespace: "apps".into(),
                uid: "4f8e3c1a-0000-4000-8000-000000000000".into(),
            },
            inputs: GeneratorInputs::default(),
            admission: Admission::new(kinds::crds())?,
            existing: Vec::new(),
            at: "2026-01-01T00:00:00Z".parse()?,
        })
    }

    /// Names one of the children in the element of its app, which takes part in a child of each team.
    fn change(&mut self, version: usize) -> Result<(), Failure> {
        let generators = self.spec.generators.as_mut();
        let matrix = generators.and_then(|g| g.first_mut()?.matrix.as_mut());
        let list = matrix.and_then(|matrix| matrix.generators.get_mut(1)?.list.as_mut());
        let element = list.and_then(|list| list.elements.get_mut(7));
        let element = element.ok_or("the spec has no such element")?;
        element["only"] = json!({"team3": format!("v{version}")});
        Ok(())
    }

    /// From the spec to the payloads of one pass of the operator. Cold, so many of `wanted` follow as the strategy lets.
    fn pass(&self, renderer: &mut Renderer, wanted: usize) -> Pass {
        let start = Instant::now();
        let judge = |object: &Value| self.admission.objections(object);
        let generated = renderer.generate(&self.spec, &self.inputs, &self.parent, &judge);
        let generated = Arc::unwrap_or_clone(generated);
        let made = start.elapsed();
        let survey = self.survey(generated);
        let surveyed = start.elapsed();
        let payloads: Vec<Value> = survey
            .writes
            .iter()
            .take(AT_ONCE)
            .map(|write| write.payload(&self.parent, &self.existing))
            .collect();
        let done = start.elapsed();
        Pass {
            parts: [made, surveyed - made, done - surveyed],
            writes: match payloads.len() {
                AT_ONCE => survey.writes.len(),
                few => few,
            },
            wanted: match survey.rollout.complete || survey.writes.len() == wanted {
                true => wanted,
                // The first step alone.
                false => wanted / 5,
            },
        }
    }

    fn survey(&self, generated: fleet::Generated) -> Survey {
        fleet::survey(
            generated,
            &Facts {
                spec: &self.spec,
                parent: &self.parent,
                inputs: &self.inputs,
                existing: &self.existing,
                refused: &BTreeMap::new(),
                confirm: None,
                requests: &Requests::default(),
                now: Moment {
                    at: self.at,
                    clock: Clock::real(),
                },
            },
        )
    }

    /// Carries out what may be written, step by step, until nothing is left; every child becomes Ready.
    fn settle(&mut self) -> Result<(), Failure> {
        let mut renderer = Renderer::default();
        let judge = |object: &Value| self.admission.objections(object);
        let generated = renderer.generate(&self.spec, &self.inputs, &self.parent, &judge);
        let generated = Arc::unwrap_or_clone(generated);
        if let Some(error) = generated.errors.first() {
            return Err(error.to_string().into());
        }
        for _ in 0..10 {
            let survey = self.survey(generated.clone());
            if survey.writes.is_empty() && survey.rollout.complete {
                return Ok(());
            }
            for write in &survey.writes {
                let view = view(&write.payload(&self.parent, &[]), self.at)?;
                self.existing.push(Arc::new(view));
            }
            self.at += SETTLED;
        }
        Err("the fleet does not settle".into())
    }
}

/// The child that an apply made, once it is Ready.
fn view(applied: &Value, at: Timestamp) -> Result<ChildView, Failure> {
    let metadata = &applied["metadata"];
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let owner = &metadata["ownerReferences"][0];
    let condition = |kind: &str, status: &str| {
        json!({
            "type": kind, "status": status, "reason": "Running", "message": "it runs",
            "lastTransitionTime": at, "observedGeneration": 1,
        })
    };
    let conditions = json!([
        condition("Ready", "True"),
        condition("Reconciling", "False"),
        condition("Stalled", "False"),
        condition("Suspended", "False"),
        condition("AppSynced", "True"),
        condition("Deployed", "True"),
        condition("PermissionsSynced", "True"),
    ]);
    Ok(ChildView {
        name: text(&metadata["name"]),
        namespace: text(&metadata["namespace"]),
        uid: format!("uid-{}", text(&metadata["name"])),
        resource_version: "1".into(),
        generation: 1,
        observed_generation: 1,
        deleting: false,
        owner: Some(Owner {
            kind: text(&owner["kind"]),
            name: text(&owner["name"]),
            uid: text(&owner["uid"]),
            controller: true,
        }),
        labels: serde_json::from_value(metadata["labels"].clone())?,
        annotations: serde_json::from_value(metadata["annotations"].clone())?,
        spec: applied["spec"].clone(),
        conditions: serde_json::from_value(conditions)?,
        desired_digest: Some("d".repeat(64)),
        digest: Some("d".repeat(64)),
        compute_state: Some("ACTIVE".into()),
    })
}

fn spec(strategy: &str) -> Value {
    let teams = (0..TEAMS).map(|n| {
        json!({
            "team": format!("team{n}"),
            "size": if n % 2 == 0 { "Medium" } else { "Large" },
            "cost": n,
        })
    });
    let apps = (0..APPS).map(|n| {
        json!({
            "app": format!("a{n}"),
            "ring": n % 5,
            "tag": format!("v1.{n}.0"),
            "owner": format!("owner{n}@example.com"),
            "only": {},
        })
    });
    let generators = [
        json!({"list": {"elements": teams.collect::<Value>()}}),
        json!({"list": {"elements": apps.collect::<Value>()}}),
    ];
    let step = |rings: &[&str]| json!({"matchExpressions": [{"key": "ring", "operator": "In", "values": rings}]});
    let strategy = match strategy {
        "RollingSync" => json!({"type": strategy, "rollingSync": {
            "steps": [step(&["r0"]), step(&["r1", "r2"]), step(&["r3", "r4"])],
            "soak": "5m",
        }}),
        _ => json!({"type": strategy}),
    };
    json!({
        "generators": [{"matrix": {"generators": generators}}],
        "strategy": strategy,
        "template": {
            "metadata": {
                "name": "{{ team }}-{{ app }}",
                "labels": {"team": "{{ team }}", "ring": "r{{ ring }}"},
                "annotations": {"example.com/owner": "{{ owner }}"},
            },
            "spec": {
                "workspaceRef": {"name": "prod"},
                "description": "The {{ app }} of {{ team | upper }}",
                "compute": {"size": "{{ size }}"},
                "source": {"git": {
                    "url": "https://github.com/acme/apps",
                    "provider": "GitHub",
                    "ref": {"tag": "{{ tag }}"},
                    "path": "apps/{{ app }}",
                }},
                "permissions": {"grants": [
                    {"principal": {"group": "{{ team }}-users"}, "level": "CanUse"},
                    {"principal": {"group": "platform"}, "level": "CanManage"},
                    {"principal": {"user": "ci@example.com"}, "level": "CanManage"},
                ]},
                "deployment": {"env": [
                    {"name": "TEAM", "value": "{{ team }}"},
                    {"name": "COST", "value": "{{ 'c' ~ cost }}"},
                    {"name": "MODE", "value": "{{ only[team] | default('plain') }}"},
                    {"name": "STAGE", "value": "prod"},
                    {"name": "LOG", "value": "info"},
                ]},
            },
        },
        "defaults": {
            "userAuthorization": {"scopes": ["sql", "files.files"]},
            "lifecycle": {"state": "Running"},
        },
    })
}

/// As Linux tells it.
fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(format!("{:.0} MiB", kib / 1024.0))
}
