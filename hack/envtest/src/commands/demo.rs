//! The story that `make demo` tells, and what it checks on the way.
//!
//! ```text
//!  story/rise     the fleet comes up, the canary first
//!  story/repair   three changes behind the operator's back are repaired
//!  story/rollout  a commit fails on the canary and is taken back, the operator is killed meanwhile, a revert, a fix
//!  story/leave    a team leaves; its apps wait for a word before they go
//!      │ each looks at        fleet: the manifest    kubernetes: what is seen there    workspaces: what was asked of them
//! ```

mod drift;
mod fleet;
mod kubernetes;
mod story;
mod table;
mod trouble;
mod workspaces;

use std::time::{Duration, Instant};

use envtest::{Environment, EnvironmentOptions, describe};
use tokio::sync::Mutex;

use super::Failure;
use fleet::Fleet;
use kubernetes::Kubernetes;
use table::Table;
use trouble::Trouble;
use workspaces::Workspaces;

/// The first one has the canary.
const WORKSPACES: [&str; 2] = ["eu", "us"];
/// Wire time in which the fleet comes up.
const UP: Duration = Duration::from_secs(180);
/// Wire time for anything less.
const SOON: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);

pub(super) async fn run(time_scale: u32) -> Result<(), Failure> {
    let start = Instant::now();
    let interrupted = || Failure::from("interrupted; nothing is left running");
    println!("starting (a minute of the platform's time takes a second here)");
    let mut options = EnvironmentOptions::new(time_scale);
    options.workspace = WORKSPACES[0].into();
    options.seed.push_str(&Fleet::read()?.folders());
    let began = async {
        let say = |line: &str| println!("  {:>4.1} s  {line}", start.elapsed().as_secs_f32());
        let environment = Environment::start(options, say).await?;
        let second = environment.connect(WORKSPACES[1]).await?;
        say(&format!("second fake workspace: {}", second.sim.url()));
        Ok::<_, Failure>((environment, second))
    };
    let (environment, second) = tokio::select! {
        began = began => began?,
        _ = tokio::signal::ctrl_c() => return Err(interrupted()),
    };
    let client = environment.cluster.client().await?;
    let demo = Demo {
        environment: &environment,
        kubernetes: Kubernetes::of(&client),
        workspaces: Workspaces::new([
            (WORKSPACES[0], &environment.sim, &environment.token),
            (WORKSPACES[1], &second.sim, &second.token),
        ]),
        table: Mutex::new(Table::new()),
    };
    let told = tokio::select! {
        told = demo.tell(start) => told,
        _ = tokio::signal::ctrl_c() => return Err(interrupted()),
    };
    let told = match told {
        Ok(()) => Ok(()),
        Err(trouble) => Err(demo.explain(trouble, &client, &second.sim).await.into()),
    };
    environment.stop().await;
    told
}

/// Where the story happens.
struct Demo<'a> {
    environment: &'a Environment,
    kubernetes: Kubernetes,
    workspaces: Workspaces<'a>,
    table: Mutex<Table>,
}

impl Demo<'_> {
    async fn tell(&self, start: Instant) -> Result<(), Trouble> {
        let mut fleet = Fleet::read()?;
        self.rise(&fleet).await?;
        self.repair(&fleet).await?;
        self.rollout(&mut fleet).await?;
        self.leave(&mut fleet).await?;
        let writes = self.workspaces.writes().await?;
        self.workspaces.all_counted(&writes).await?;
        let all: Vec<String> = self
            .workspaces
            .names()
            .map(|name| {
                let of = writes.iter().filter(|write| write.workspace == name);
                format!("{} to {name}", of.count())
            })
            .collect();
        println!(
            "\nevery check held. {} writes to the workspaces, {}; {:.0} s in all. Nothing is left running.",
            writes.len(),
            all.join(" and "),
            start.elapsed().as_secs_f32(),
        );
        Ok(())
    }

    /// As the platform would have needed, and as it took here.
    fn service_time(&self, wire: Duration) -> String {
        let service = wire.as_secs_f32() * self.environment.time_scale as f32;
        format!(
            "{service:.0} s of service time ({:.1} s here)",
            wire.as_secs_f32()
        )
    }

    async fn explain(
        &self,
        trouble: Trouble,
        client: &kube::Client,
        second: &envtest::Sim,
    ) -> String {
        let mut text = trouble.what;
        if let Some((kind, name)) = trouble.about {
            let object = describe(client, kind, kubernetes::NAMESPACE, &name).await;
            text.push_str(&format!("\n{object}"));
        }
        for failure in [
            self.environment.operator.failure(),
            self.environment.sim.failure(),
            second.failure(),
            self.environment.cluster.failure(),
        ]
        .into_iter()
        .flatten()
        {
            text.push_str(&format!("\n{failure}"));
        }
        text
    }
}
