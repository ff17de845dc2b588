//! One installation a namespace: claims that keep two installations from looking after the same objects.
//!
//! A claim is a Lease `databricks-app-operator-claim`: one in each watched namespace, or, of an installation that watches
//! all, one in its own namespace. Its holder is the installation, so that replicas and restarts share it; it stays when a
//! Pod ends, and holds for a minute without renewal. Who begins looks at the claims of others first, and waits while one
//! overlaps. The claims of others are seen where they lie in watched namespaces, and elsewhere as far as the operator may
//! list Leases of the whole cluster; without that right an installation that watches all namespaces is not noticed by one
//! that watches some, but the other way round.
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{ListParams, ObjectMeta, PostParams};
use kube::{Api, Client, ResourceExt};
use tracing::{info, warn};

use super::said;

/// Name of the Lease that claims a namespace for an installation.
pub const CLAIM: &str = "databricks-app-operator-claim";
/// Marks the claim of an installation that watches all namespaces.
const ALL: &str = "appofapps.dev/watches-all";
/// How long a claim holds without renewal, in seconds of wire time.
const SECONDS: i32 = 60;
const RENEWAL: Duration = Duration::from_secs(20);
/// Wire time between two looks while another installation is in the way.
const AGAIN: Duration = Duration::from_secs(5);

/// Another installation has taken a namespace while this one looked after it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "the installation {holder} has claimed namespace {namespace}, which this one looks after; let the two watch different namespaces"
)]
pub struct Lost {
    holder: String,
    namespace: String,
}

/// A claim as it is seen.
#[derive(Clone, Debug, PartialEq)]
struct Claim {
    namespace: String,
    holder: String,
    /// Whether it is on all namespaces.
    all: bool,
    renewed: Option<MicroTime>,
}

impl Claim {
    fn of(lease: &Lease) -> Option<Self> {
        let spec = lease.spec.as_ref()?;
        Some(Self {
            namespace: lease.namespace().unwrap_or_default(),
            holder: spec.holder_identity.clone().filter(|h| !h.is_empty())?,
            all: lease.annotations().contains_key(ALL),
            renewed: spec.renew_time.clone(),
        })
    }
}

/// What others claim, as far as it concerns us. Pure but for what it remembers.
struct Others {
    installation: String,
    /// The watched namespaces; `None`: all.
    namespaces: Option<BTreeSet<String>>,
    /// Claims by namespace, and since when they have not changed.
    seen: BTreeMap<String, (Claim, Instant)>,
}

impl Others {
    /// Claims of other installations that overlap ours and are renewed: also those seen for the first time, as only time
    /// tells.
    fn take(&mut self, claims: Vec<Claim>, now: Instant) -> Vec<Claim> {
        let before = std::mem::take(&mut self.seen);
        for claim in claims {
            let known = before
                .get(&claim.namespace)
                .filter(|(known, _)| *known == claim);
            let since = known.map_or(now, |(_, since)| *since);
            self.seen.insert(claim.namespace.clone(), (claim, since));
        }
        let life = Duration::from_secs(SECONDS.unsigned_abs().into());
        let alive = self
            .seen
            .values()
            .filter(|(_, since)| now.duration_since(*since) < life)
            .map(|(claim, _)| claim);
        alive
            .filter(|claim| self.overlaps(claim))
            .cloned()
            .collect()
    }

    fn overlaps(&self, claim: &Claim) -> bool {
        let watched = self.namespaces.as_ref();
        claim.holder != self.installation
            && (claim.all || watched.is_none_or(|names| names.contains(&claim.namespace)))
    }
}

/// The claims of this installation.
pub struct Claims {
    client: Client,
    /// Where the claim on all namespaces lies.
    home: String,
    others: Others,
    /// Whether Leases of the whole cluster may not be listed, for the log.
    blind: bool,
}

impl Claims {
    /// `installation` is the same for all replicas; `client` must not ask for a term before it writes. `namespaces`: the
    /// watched ones, `None`: all.
    pub fn new(
        client: Client,
        home: &str,
        installation: String,
        namespaces: Option<&[String]>,
    ) -> Self {
        Self {
            client,
            home: home.into(),
            others: Others {
                installation,
                namespaces: namespaces.map(|names| names.iter().cloned().collect()),
                seen: BTreeMap::new(),
            },
            blind: false,
        }
    }

    /// Claims what is watched and keeps the claims for ever; returns once another installation took over. `held` is told when
    /// they are ours, and `waits` why they are not yet.
    pub async fn run(mut self, held: impl FnOnce(), waits: impl Fn(String)) -> Lost {
        let (mut held, mut ours, mut warned) = (Some(held), false, BTreeSet::new());
        loop {
            let pause = match self.look().await {
                Err(problem) => {
                    if held.is_some() {
                        waits(format!("claiming namespaces: {problem}"));
                    }
                    AGAIN
                }
                Ok(others) if held.is_some() => {
                    // Of two that begin at the same time one gives way.
                    let in_the_way = others
                        .iter()
                        .find(|other| !ours || other.holder < self.others.installation);
                    if let Some(other) = in_the_way {
                        let message = refusal(other);
                        if warned.insert(message.clone()) {
                            warn!("{message}");
                        }
                        waits(message);
                        if std::mem::take(&mut ours) {
                            self.release().await;
                        }
                        AGAIN
                    } else if ours {
                        if let Some(held) = held.take() {
                            info!(installation = %self.others.installation, "no other installation is in the way");
                            held();
                        }
                        RENEWAL
                    } else {
                        match self.claim().await {
                            Ok(()) => ours = true,
                            Err(problem) => waits(format!("claiming namespaces: {problem}")),
                        }
                        match ours {
                            true => Duration::ZERO,
                            false => AGAIN,
                        }
                    }
                }
                Ok(others) => {
                    for other in others {
                        let own = self.places().contains(&other.namespace) && !other.all;
                        if own {
                            return Lost {
                                holder: other.holder,
                                namespace: other.namespace,
                            };
                        }
                        if warned.insert(other.holder.clone()) {
                            warn!("{}", refusal(&other));
                        }
                    }
                    if let Err(problem) = self.claim().await {
                        warn!("renewing the claims on namespaces: {problem}");
                    }
                    RENEWAL
                }
            };
            tokio::time::sleep(pause).await;
        }
    }

    /// Namespaces in which our claims lie.
    fn places(&self) -> Vec<String> {
        match &self.others.namespaces {
            Some(names) => names.iter().cloned().collect(),
            None => vec![self.home.clone()],
        }
    }

    fn api(&self, namespace: &str) -> Api<Lease> {
        Api::namespaced(self.client.clone(), namespace)
    }

    /// Claims of others that are in the way.
    async fn look(&mut self) -> Result<Vec<Claim>, String> {
        let everywhere: Api<Lease> = Api::all(self.client.clone());
        let named = ListParams::default().fields(&format!("metadata.name={CLAIM}"));
        let mut leases = match everywhere.list(&named).await {
            Ok(list) => list.items,
            Err(kube::Error::Api(status)) if status.code == 403 => {
                if !std::mem::replace(&mut self.blind, true) {
                    info!(
                        "installations that watch other namespaces, or all, are not noticed: {}",
                        status.message
                    );
                }
                Vec::new()
            }
            Err(error) => return Err(said(&error)),
        };
        if self.blind {
            for place in self.places() {
                let lease = self.api(&place).get_opt(CLAIM).await;
                leases.extend(lease.map_err(|error| said(&error))?);
            }
        }
        let claims = leases.iter().filter_map(Claim::of).collect();
        Ok(self.others.take(claims, Instant::now()))
    }

    /// Makes, takes or renews all our claims.
    async fn claim(&self) -> Result<(), String> {
        for place in self.places() {
            self.write(&place, Some(&self.others.installation))
                .await
                .map_err(|error| format!("namespace {place}: {}", said(&error)))?;
        }
        Ok(())
    }

    /// Gives up what is ours; a claim that cannot be given up runs out.
    async fn release(&self) {
        for place in self.places() {
            let _ = self.write(&place, None).await;
        }
    }

    async fn write(&self, place: &str, holder: Option<&str>) -> Result<(), kube::Error> {
        let api = self.api(place);
        let spec = LeaseSpec {
            holder_identity: holder.map(str::to_owned),
            lease_duration_seconds: Some(SECONDS),
            renew_time: Some(MicroTime(Timestamp::now())),
            ..LeaseSpec::default()
        };
        let all = self.others.namespaces.is_none();
        let marks = all.then(|| BTreeMap::from([(ALL.to_owned(), "true".to_owned())]));
        let written = match api.get_opt(CLAIM).await? {
            Some(mut lease) => {
                lease.metadata.managed_fields = None;
                lease.metadata.annotations = marks;
                lease.spec = Some(spec);
                api.replace(CLAIM, &PostParams::default(), &lease).await
            }
            None => {
                let metadata = ObjectMeta {
                    name: Some(CLAIM.into()),
                    annotations: marks,
                    ..ObjectMeta::default()
                };
                let lease = Lease {
                    metadata,
                    spec: Some(spec),
                };
                api.create(&PostParams::default(), &lease).await
            }
        };
        match written {
            // Another replica, or another installation: the next look tells.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(()),
            written => written.map(drop),
        }
    }
}

fn refusal(other: &Claim) -> String {
    let what = match other.all {
        true => "watches all namespaces".to_owned(),
        false => format!("looks after namespace {}", other.namespace),
    };
    format!(
        "another installation, {}, {what} (Lease {}/{CLAIM}): uninstall it, or let the two watch different namespaces with --watch-namespaces",
        other.holder, other.namespace
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn others(namespaces: Option<&[&str]>) -> Others {
        Others {
            installation: "ours/operator".into(),
            namespaces: namespaces.map(|names| names.iter().map(|&n| n.to_owned()).collect()),
            seen: BTreeMap::new(),
        }
    }

    fn claim(namespace: &str, holder: &str, all: bool) -> Claim {
        Claim {
            namespace: namespace.into(),
            holder: holder.into(),
            all,
            renewed: None,
        }
    }

    #[test]
    fn only_what_overlaps_is_in_the_way() {
        let theirs = claim("team", "theirs/operator", false);
        let everything = claim("theirs", "theirs/operator", true);
        let ours = claim("team", "ours/operator", false);
        let cases: [(Option<&[&str]>, _, _); 6] = [
            (Some(&["team"]), &theirs, true),
            (Some(&["other"]), &theirs, false),
            (None, &theirs, true),
            (Some(&["team"]), &everything, true),
            (None, &everything, true),
            (None, &ours, false),
        ];
        for (namespaces, claim, expected) in cases {
            let found = others(namespaces).take(vec![claim.clone()], Instant::now());
            assert_eq!(!found.is_empty(), expected, "{namespaces:?} {claim:?}");
        }
    }

    #[test]
    fn a_claim_that_is_not_renewed_for_its_duration_is_in_nobodys_way() {
        let (mut others, start) = (others(None), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        let theirs = claim("team", "theirs/operator", false);
        assert_eq!(others.take(vec![theirs.clone()], start).len(), 1);
        assert_eq!(others.take(vec![theirs.clone()], after(59)).len(), 1);
        assert!(others.take(vec![theirs.clone()], after(60)).is_empty());
        let mut renewed = theirs;
        renewed.renewed = Some(MicroTime(Timestamp::UNIX_EPOCH));
        assert_eq!(others.take(vec![renewed], after(61)).len(), 1);
    }

    #[test]
    fn the_other_installation_is_named_with_the_way_out() {
        let said = refusal(&claim("team", "theirs/operator", false));
        assert!(said.contains("theirs/operator") && said.contains("namespace team"));
        assert!(said.contains("--watch-namespaces"));
    }
}
