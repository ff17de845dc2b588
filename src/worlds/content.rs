//! Which content a watched folder has, cheaply: a look is one listing, and a file's bytes are only asked for when its row
//! moved. Pure.
//!
//! ```text
//! listing ≠ the one before ─► Moving: look again soon         (CI uploads thirty files one by one)
//! listing = the one before ─► Stable: hash what moved ─► all hashes known ─► Settled {listing, content}
//! ```
use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::databricks::folder::{Entry, Kind, Listing};
use super::files::content_digest;

/// A listing and what it stands for; kept over a restart, it saves hashing every file again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Settled {
    /// Digest of the folder's listing: paths, ids, times and sizes.
    pub listing: String,
    /// Digest of the folder's content: paths and bytes.
    pub content: String,
}

/// What a listing says, compared with the one before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum View {
    /// Somebody may be writing: nothing is known until two listings are equal.
    Moving,
    /// Nobody wrote between two looks, and there is no file.
    Empty,
    /// Nobody wrote between two looks. [`Content::settled`] is of this listing once the hashes of these paths are learnt;
    /// of none if it is already.
    Stable { to_hash: Vec<String> },
}

/// When a hash was taken: as long as this stays, so does the hash.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Stamp {
    kind: Kind,
    object_id: i64,
    modified_at: i64,
    size: Option<u64>,
}

impl Stamp {
    fn of(entry: &Entry) -> Self {
        Self {
            kind: entry.kind,
            object_id: entry.object_id,
            modified_at: entry.modified_at,
            size: entry.size,
        }
    }
}

/// What is known of one folder.
#[derive(Clone, Debug, Default)]
pub struct Content {
    last: Option<Listing>,
    /// Whether `last` was seen twice
    stable: bool,
    hashes: BTreeMap<String, (Stamp, String)>,
    settled: Option<Settled>,
}

impl Content {
    /// As it was recorded before a restart.
    pub fn recall(settled: Settled) -> Self {
        Self {
            settled: Some(settled),
            ..Self::default()
        }
    }

    /// Takes a new listing in.
    pub fn see(&mut self, listing: Listing) -> View {
        let recalled = self.last.is_none() && self.is_settled(&listing);
        self.stable = recalled || self.last.as_ref() == Some(&listing);
        self.last = Some(listing);
        self.view()
    }

    /// Takes in the hash of a file that [`View::Stable`] asked for, as it is at the last listing. What nobody asked for,
    /// or what has moved since, is left out.
    pub fn learn(&mut self, path: &str, hash: String) {
        let entry = self.last.iter().flat_map(Listing::entries);
        let Some(entry) = entry.into_iter().find(|entry| entry.path == path) else {
            return;
        };
        self.hashes
            .insert(path.to_owned(), (Stamp::of(entry), hash));
        if self.stable {
            self.view();
        }
    }

    /// The last content that was known whole. While the folder moves, this is what it was before.
    pub fn settled(&self) -> Option<&Settled> {
        self.settled.as_ref()
    }

    fn is_settled(&self, listing: &Listing) -> bool {
        self.settled
            .as_ref()
            .is_some_and(|s| s.listing == listing.digest())
    }

    fn view(&mut self) -> View {
        let Some(listing) = self.last.as_ref().filter(|_| self.stable) else {
            return View::Moving;
        };
        if listing.entries().is_empty() {
            return View::Empty;
        }
        if self.is_settled(listing) {
            return View::Stable {
                to_hash: Vec::new(),
            };
        }
        let stamps: BTreeMap<&str, Stamp> = listing
            .entries()
            .iter()
            .map(|entry| (entry.path.as_str(), Stamp::of(entry)))
            .collect();
        self.hashes
            .retain(|path, (stamp, _)| stamps.get(path.as_str()) == Some(&*stamp));
        let to_hash: Vec<String> = stamps
            .keys()
            .filter(|path| !self.hashes.contains_key(**path))
            .map(|path| (*path).to_owned())
            .collect();
        if to_hash.is_empty() {
            let hashes = self.hashes.iter();
            self.settled = Some(Settled {
                listing: listing.digest(),
                content: content_digest(
                    hashes.map(|(path, (_, hash))| (path.as_str(), hash.as_str())),
                ),
            });
        }
        View::Stable { to_hash }
    }
}

#[cfg(test)]
mod tests;
