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
    Facts, Generated, GeneratorInputs, Moment, Parent, Renderer, Requests, Survey, Surveyor,
};
use databricks_app_operator::kinds;
use databricks_app_operator::telemetry::Clock;
use envtest::large::{self, APPS, TEAMS};
use jiff::Timestamp;
use serde_json::{Value, json};

type Failure = Box<dyn Error>;

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
    println!("medians of {TIMES} passes, in ms\n");
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
    // Goals, not limits: times are those of the machine, and of what else it does.
    if !over.is_empty() {
        println!("over the goal: {}", over.join("; "));
    }
    Ok(())
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
    let first = match strategy {
        // One of five rings.
        "RollingSync" => TEAMS * APPS / 5,
        _ => TEAMS * APPS,
    };
    let created = median("cold, none exists", COLD, || {
        let mut memory = Memory::default();
        Ok(bench.pass(&mut memory, first))
    })?;
    bench.settle()?;
    let restarted = median("cold, all exist", COLD, || {
        let mut memory = Memory::default();
        Ok(bench.pass(&mut memory, 0))
    })?;
    let mut memory = Memory::default();
    bench.pass(&mut memory, 0);
    let same = median("nothing changed", WARM, || Ok(bench.pass(&mut memory, 0)))?;
    let mut version = 0;
    let one = median("one element changed", WARM, || {
        version += 1;
        bench.change(version)?;
        Ok(bench.pass(&mut memory, 1))
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
    /// `spec`, as it is written
    manifest: Value,
    spec: AppOfAppsSpec,
    parent: Parent,
    inputs: GeneratorInputs,
    admission: Admission,
    existing: Vec<Arc<ChildView>>,
    at: Timestamp,
}

/// What the operator keeps between passes.
#[derive(Default)]
struct Memory {
    renderer: Renderer,
    surveyor: Surveyor,
}

impl Bench {
    fn new(strategy: &str) -> Result<Self, Failure> {
        let manifest = large::spec(strategy, "Running");
        Ok(Self {
            spec: serde_json::from_value(manifest.clone())?,
            manifest,
            parent: Parent {
                name: "fleet".into(),
                namespace: "apps".into(),
                uid: "4f8e3c1a-0000-4000-8000-000000000000".into(),
                namespace_uid: None,
            },
            inputs: GeneratorInputs::default(),
            admission: Admission::new(kinds::crds())?,
            existing: Vec::new(),
            at: "2026-01-01T00:00:00Z".parse()?,
        })
    }

    fn change(&mut self, version: usize) -> Result<(), Failure> {
        large::change(&mut self.manifest, version);
        self.spec = serde_json::from_value(self.manifest.clone())?;
        Ok(())
    }

    /// From the spec to the payloads of one pass of the operator; `wanted`: how many writes should follow.
    fn pass(&self, memory: &mut Memory, wanted: usize) -> Pass {
        let start = Instant::now();
        let judge = |object: &Value| self.admission.objections(object);
        let generated = memory
            .renderer
            .generate(&self.spec, &self.inputs, &self.parent, &judge);
        let generated = Arc::unwrap_or_clone(generated);
        let made = start.elapsed();
        let survey = self.survey(generated, &mut memory.surveyor);
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
            wanted,
        }
    }

    fn survey(&self, generated: Generated, surveyor: &mut Surveyor) -> Survey {
        surveyor.survey(
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
                    looking_since: None,
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
            let survey = self.survey(generated.clone(), &mut Surveyor::default());
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

/// As Linux tells it.
fn peak() -> Option<String> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(format!("{:.0} MiB", kib / 1024.0))
}
