//! Files that others may change while the process runs, such as a mounted Secret or ConfigMap: looked at, not notified of,
//! as a mount is changed by swapping links.
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// Wire time between two looks.
pub const EVERY: Duration = Duration::from_secs(5);

/// Some files, and what they held when they were last looked at, as a digest.
#[derive(Debug)]
pub struct Watched {
    paths: Vec<PathBuf>,
    seen: Option<u64>,
}

/// What each file holds; the error of the one that cannot be read.
pub type Contents = Vec<io::Result<Vec<u8>>>;

impl Watched {
    /// Nothing was looked at yet.
    pub fn new(paths: Vec<PathBuf>) -> Self {
        Self { paths, seen: None }
    }

    /// What the files hold now, in the order of their paths, if it is not what the last look found.
    pub async fn look(&mut self) -> Option<Contents> {
        let mut contents = Vec::with_capacity(self.paths.len());
        for path in &self.paths {
            contents.push(tokio::fs::read(path).await);
        }
        let mut hash = DefaultHasher::new();
        for content in &contents {
            content.as_ref().map_err(io::Error::kind).hash(&mut hash);
        }
        let now = hash.finish();
        let changed = self.seen != Some(now);
        self.seen = Some(now);
        changed.then_some(contents)
    }

    /// Looks again and again until something has changed.
    pub async fn changed(&mut self) -> Contents {
        loop {
            tokio::time::sleep(EVERY).await;
            if let Some(contents) = self.look().await {
                return contents;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[tokio::test]
    async fn a_look_shows_what_is_new_once_also_that_a_file_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a");
        let mut watched = Watched::new(vec![path.clone()]);
        assert!(watched.look().await.unwrap()[0].is_err());
        assert!(watched.look().await.is_none());
        std::fs::write(&path, "one").unwrap();
        assert_eq!(watched.look().await.unwrap()[0].as_ref().unwrap(), b"one");
        assert!(watched.look().await.is_none());
        std::fs::remove_file(&path).unwrap();
        assert!(watched.look().await.unwrap()[0].is_err());
    }
}
