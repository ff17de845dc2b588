//! One snapshot of one kind of rows, and the observer that keeps it: one list an interval serves every object.
use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::Value;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{Instrument, debug};

use super::connection::{Failed, Shared};
use super::hub::WORKSPACE;
use super::snapshot::{Look, Snapshot, next_list};
use super::thin::Thin;
use super::trouble;
use crate::api::names::ObjectName;
use crate::api::status::Reason;
use crate::databricks::{Error, Route};
use crate::engine::index::{Index, Key, Ref};
use crate::telemetry::metrics::LookResult;
use crate::telemetry::traces;

/// Lists that were asked for are at least so far apart, in service time.
const SPACING: Duration = Duration::from_secs(5);
/// While things are in transition lists are asked for again and again, and come further apart, up to this.
const SPACING_LAST: Duration = Duration::from_secs(30);
/// Rows a page.
const PAGE_SIZE: &str = "100";
/// No workspace has so many pages: a service that repeats itself must not hold the observer for ever.
const PAGES: usize = 1_000;

/// A kind of thing that a workspace lists.
pub trait Row: Clone + PartialEq + Debug + Send + Sync + 'static {
    /// In references, e.g. `app`.
    const WHAT: &'static str;
    /// Path of the list.
    const PATH: &'static str;
    /// The list's member that holds the rows.
    const ITEMS: &'static str;
    /// The list as a metric's label.
    const ROUTE: Route;

    /// Reads a row of any shape; what is missing stays empty.
    fn read(body: &Value) -> Self;
    /// Fields that lists are known to leave out.
    const THIN: &'static [&'static str];

    /// Unique in the workspace.
    fn name(&self) -> &str;
    /// The fields that hold something, of those that a list may leave out.
    fn present(&self) -> &BTreeSet<&'static str>;
    /// Whether a thing in this state has that field at all.
    fn should_show(&self, field: &'static str) -> bool;
    /// Takes over a field that a list left out, as `from` showed it.
    fn carry(&mut self, field: &'static str, from: &Self);
}

/// The rows of one kind in one workspace.
pub struct Board<R> {
    snapshot: Mutex<Snapshot<R>>,
    thin: Mutex<Thin<R>>,
    /// The service takes a size of pages.
    sized: AtomicBool,
    wish: Notify,
    shared: Arc<Shared>,
}

impl<R: Row> Board<R> {
    /// Starts the observer; it ends with `stop`.
    pub(super) fn start(shared: Arc<Shared>, stop: CancellationToken) -> Arc<Self> {
        let board = Arc::new(Self {
            snapshot: Mutex::default(),
            thin: Mutex::default(),
            sized: AtomicBool::new(true),
            wish: Notify::new(),
            shared,
        });
        let observer = board.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = stop.cancelled() => {}
                () = observer.observe() => {}
            }
        });
        board
    }

    pub fn look(&self, name: &str) -> Look<R> {
        self.lock().look(name)
    }

    /// What a GET found that was sent at `sent`.
    pub fn got(&self, name: &str, sent: Instant, row: Option<R>) {
        self.thin().got(name, sent, row.as_ref());
        self.lock().got(name, sent, row);
    }

    /// A write of ours was answered; `proof` is the row as the answer shows it.
    pub fn wrote(&self, name: &str, answered: Instant, proof: Option<R>) {
        if proof.is_some() {
            self.thin().got(name, answered, proof.as_ref());
        }
        self.lock().wrote(name, answered, proof);
    }

    /// A write of ours failed in a way that leaves open what happened.
    pub fn lost(&self, name: &str) {
        self.lock().lost(name, Instant::now());
    }

    /// Asks for a list that is sent no earlier than `service` from now; its arrival wakes who refers to `name`.
    pub fn want(&self, name: &str, service: Duration) {
        let by = Instant::now() + self.shared.clock.wire(service);
        self.lock().want(name, by);
        self.wish.notify_one();
    }

    /// What `read` makes of every row, in no order.
    pub fn rows<T>(&self, read: impl Fn(&R) -> T) -> Vec<T> {
        self.lock().rows().map(|(_, row)| read(row)).collect()
    }

    /// When the newest complete list was sent; `None` before the first.
    pub fn newest_list(&self) -> Option<Instant> {
        self.lock().newest_list()
    }

    /// What lists leave out, so that only a GET tells.
    pub fn lacking(&self) -> BTreeSet<&'static str> {
        self.thin().lacking().clone()
    }

    /// Whether lists are known to leave out that field.
    pub fn leaves_out(&self, field: &str) -> bool {
        self.thin().leaves_out(field)
    }

    /// When the name was last seen whole, by a GET or by the answer to a write.
    pub fn last_live(&self, name: &str) -> Option<Instant> {
        self.thin().last_live(name)
    }

    fn thin(&self) -> std::sync::MutexGuard<'_, Thin<R>> {
        self.thin.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Snapshot<R>> {
        self.snapshot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn observe(&self) {
        let clock = self.shared.clock;
        let mut last: Option<Instant> = None;
        let mut failures = 0_u32;
        let mut spacing = SPACING;
        self.shared.identified().await;
        loop {
            // Jitter only lengthens, by at most a tenth.
            let jitter = 1.0 + rand::random::<f64>() / 10.0;
            let interval = clock.wire(self.shared.interval).mul_f64(jitter);
            let regular = last.map(|last| last + interval);
            loop {
                // What fails is not asked more often than what works.
                let wanted = self.lock().wanted().filter(|_| failures == 0);
                let due = next_list(last, wanted, interval, clock.wire(spacing), Instant::now());
                tokio::select! {
                    () = tokio::time::sleep_until(due.into()) => break,
                    () = self.wish.notified() => {}
                }
            }
            let now = Instant::now();
            let asked_for = regular.is_some_and(|regular| now < regular);
            spacing = if asked_for {
                (spacing * 2).min(SPACING_LAST)
            } else {
                SPACING
            };
            last = Some(now);
            let span = traces::look("list", &self.shared.name);
            match self.list().instrument(span).await {
                Ok((sent, mut rows)) => {
                    failures = 0;
                    last = Some(sent);
                    self.thin().listed(sent, &mut rows);
                    let touched = self.lock().listed(sent, rows);
                    self.shared.metrics.list_look(LookResult::Complete);
                    self.shared.looked();
                    for name in touched {
                        self.shared
                            .index
                            .wake(&Self::reference(&self.shared.name, &name));
                    }
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    debug!(workspace = %self.shared.name, %error, "listing");
                    self.shared.metrics.list_look(LookResult::Failed);
                    let action = format!("listing {}s", R::WHAT);
                    let refused = Reason::UnexpectedAnswer;
                    let problem = trouble(&action, &error, refused, clock);
                    self.shared.failed(Failed::List, &error, problem);
                }
            }
        }
    }

    /// The reference that a row of that name wakes. `workspace`: the DatabricksWorkspace.
    pub fn reference(workspace: &ObjectName, name: &str) -> Ref {
        Ref::Remote {
            workspace: Key::new(WORKSPACE, workspace.clone()),
            what: R::WHAT,
            name: name.into(),
        }
    }

    /// Who refers to the row of that name by one of these DatabricksWorkspaces, each with that one.
    pub fn holders<'a>(
        index: &'a Index,
        workspaces: &'a BTreeSet<Key>,
        name: &'a str,
    ) -> impl Iterator<Item = (&'a ObjectName, Key)> {
        workspaces.iter().flat_map(move |workspace| {
            let holders = index.holders(&Self::reference(&workspace.name, name));
            holders.into_iter().map(|key| (&workspace.name, key))
        })
    }

    /// All pages; the time is that of the first page's request.
    async fn list(&self) -> Result<(Instant, Vec<(String, R)>), Error> {
        let mut rows = Vec::new();
        let mut token = String::new();
        let mut first = None;
        for _ in 0..PAGES {
            let sized = self.sized.load(Ordering::Relaxed);
            let mut query = Vec::new();
            if sized {
                query.push(("page_size", PAGE_SIZE));
            }
            if !token.is_empty() {
                query.push(("page_token", &token));
            }
            let page = match self.shared.client.get(R::ROUTE, R::PATH, &query).await {
                // Perhaps its pages are smaller: it may choose.
                Err(Error::InvalidRequest(_)) if sized => {
                    self.sized.store(false, Ordering::Relaxed);
                    continue;
                }
                page => page?,
            };
            let sent = *first.get_or_insert(page.sent);
            let items = page.body.get(R::ITEMS).and_then(Value::as_array);
            rows.extend(items.into_iter().flatten().map(R::read).filter_map(|row| {
                let name = row.name().to_owned();
                (!name.is_empty()).then_some((name, row))
            }));
            let next = page.body.get("next_page_token").and_then(Value::as_str);
            match next {
                // A list cut short would make the rest look gone.
                Some(next) if next == token && !next.is_empty() => break,
                Some(next) if !next.is_empty() => token = next.to_owned(),
                _ => return Ok((sent, rows)),
            }
        }
        Err(Error::Decode {
            what: R::ROUTE.class.into(),
            path: "next_page_token".into(),
            message: format!("the list repeats itself, or has more than {PAGES} pages"),
        })
    }
}
