//! One folder a run. The owner holds a lock on a file in it for as long as it lives; a folder whose lock is free has
//! lost its owner, and the next run removes it.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tempfile::TempDir;

const PREFIX: &str = "dao-envtest-";
const LOCK: &str = "owner.lock";
/// A folder without a lock file is either being made right now or the rest of a removal that was cut short.
const UNLOCKED_GRACE: Duration = Duration::from_secs(600);

/// A folder readable by this user alone, removed when dropped.
#[derive(Debug)]
pub(crate) struct RunFolder {
    folder: TempDir,
    _lock: File,
}

impl RunFolder {
    /// Makes a folder in the system's temp folder, after removing those that dead runs left there.
    pub(crate) fn create() -> io::Result<Self> {
        Self::create_in(&std::env::temp_dir())
    }

    fn create_in(parent: &Path) -> io::Result<Self> {
        sweep(parent);
        loop {
            let folder = tempfile::Builder::new().prefix(PREFIX).tempdir_in(parent)?;
            let lock = File::create(folder.path().join(LOCK))?;
            // Another run's sweep may have been faster; then this folder is already on its way out.
            if lock.try_lock().is_ok() && folder.path().join(LOCK).exists() {
                return Ok(Self {
                    folder,
                    _lock: lock,
                });
            }
        }
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// Removes the folders of dead owners; what cannot be removed (another user's) stays.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        if entry.file_name().to_string_lossy().starts_with(PREFIX) && abandoned(&entry.path()) {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

fn abandoned(folder: &Path) -> bool {
    match File::open(folder.join(LOCK)) {
        Ok(lock) => lock.try_lock().is_ok(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => fs::metadata(folder)
            .and_then(|about| about.modified())
            .ok()
            .and_then(|modified| modified.elapsed().ok())
            .is_some_and(|age| age > UNLOCKED_GRACE),
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_folder_of_a_dead_run_goes_and_that_of_a_living_one_stays() {
        let parent = tempfile::tempdir().unwrap();
        let dead = parent.path().join(format!("{PREFIX}dead"));
        fs::create_dir(&dead).unwrap();
        File::create(dead.join(LOCK)).unwrap();
        let fresh = parent.path().join(format!("{PREFIX}fresh"));
        fs::create_dir(&fresh).unwrap();
        let foreign = parent.path().join("something-else");
        fs::create_dir(&foreign).unwrap();

        let first = RunFolder::create_in(parent.path()).unwrap();
        assert!(!dead.exists());
        let second = RunFolder::create_in(parent.path()).unwrap();
        assert!(first.path().exists() && fresh.exists() && foreign.exists());

        let path = second.path().to_owned();
        drop(second);
        assert!(!path.exists());
    }
}
