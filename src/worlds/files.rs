//! The files of an app's source, in memory: what an upload is made of. Pure.
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use bytes::Bytes;
use k8s_openapi::api::core::v1::ConfigMap;
use serde_json::Value;
use sha2::{Digest, Sha256};

use crate::api::digest;

/// The largest file that the platform copies into an app, in bytes.
pub const FILE_BYTES: u64 = 10_485_760;
/// Uploads are one request a file; more than this belongs into a Git repository that the platform reads itself.
pub const FILES: usize = 2_000;
/// All files together, in bytes; they are held in memory.
pub const TOTAL_BYTES: u64 = 104_857_600;
/// Of a path, in bytes: what Linux can open.
const PATH_BYTES: usize = 4_096;
/// Of a name between slashes, in bytes.
const NAME_BYTES: usize = 255;

/// Why something can't be a source.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    #[error("adding file {path:?}: {why}; rename it or leave it out")]
    Path { path: String, why: &'static str },
    #[error("adding file {path:?}: it appears twice; leave one out")]
    Duplicate { path: String },
    #[error("adding file {path:?}: {other:?} would be a file and a folder; rename one")]
    FileAndFolder { path: String, other: String },
    #[error(
        "adding file {path:?}: {size} bytes exceed the platform's limit of {limit} a file; make it smaller, or read it from a volume when the app starts"
    )]
    FileTooLarge { path: String, size: u64, limit: u64 },
    #[error(
        "adding file {path:?}: it is the {count}th, the limit is {limit}; leave files out, or deploy from Git"
    )]
    TooMany {
        path: String,
        count: usize,
        limit: usize,
    },
    #[error(
        "adding file {path:?}: all files would take {size} bytes, the limit is {limit}; leave files out, or deploy from Git"
    )]
    TooLarge { path: String, size: u64, limit: u64 },
    #[error("the source holds no file; add the app's files")]
    Empty,
}

/// Files by relative path, within the limits above. No path is absolute, leaves the folder, or is a folder of another.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct SourceFiles {
    files: BTreeMap<String, Bytes>,
    total: u64,
}

impl SourceFiles {
    /// The `data` and `binaryData` of a ConfigMap; each key is a file's name.
    pub fn from_config_map(map: &ConfigMap) -> Result<Self, Error> {
        let mut files = Self::default();
        for (name, text) in map.data.iter().flatten() {
            files.add(name, Bytes::from(text.clone()))?;
        }
        for (name, bytes) in map.binary_data.iter().flatten() {
            files.add(name, Bytes::from(bytes.0.clone()))?;
        }
        if files.is_empty() {
            return Err(Error::Empty);
        }
        Ok(files)
    }

    /// Adds a file; on an error nothing is added. `path` has `/` between its names.
    pub fn add(&mut self, path: &str, content: Bytes) -> Result<(), Error> {
        self.has_room(path, content.len() as u64)?;
        self.total += content.len() as u64;
        self.files.insert(path.to_owned(), content);
        Ok(())
    }

    /// Whether a file of that many bytes could be added, to be asked before its content is read.
    pub fn has_room(&self, path: &str, size: u64) -> Result<(), Error> {
        let shown = || shown(path);
        if let Err(why) = check(path) {
            return Err(Error::Path { path: shown(), why });
        }
        if self.files.contains_key(path) {
            return Err(Error::Duplicate { path: shown() });
        }
        let above = parents(path).find(|folder| self.files.contains_key(*folder));
        if let Some(other) = above.or_else(|| self.is_folder(path).then_some(path)) {
            return Err(Error::FileAndFolder {
                path: shown(),
                other: self::shown(other),
            });
        }
        if size > FILE_BYTES {
            return Err(Error::FileTooLarge {
                path: shown(),
                size,
                limit: FILE_BYTES,
            });
        }
        if self.files.len() >= FILES {
            return Err(Error::TooMany {
                path: shown(),
                count: self.files.len() + 1,
                limit: FILES,
            });
        }
        let total = self.total + size;
        if total > TOTAL_BYTES {
            return Err(Error::TooLarge {
                path: shown(),
                size: total,
                limit: TOTAL_BYTES,
            });
        }
        Ok(())
    }

    /// Whether `path` could be a folder of these files.
    pub fn may_be_folder(&self, path: &str) -> Result<(), Error> {
        let above = parents(path).chain([path]);
        match check(path) {
            Err(why) => Err(Error::Path {
                path: shown(path),
                why,
            }),
            Ok(()) => match above.into_iter().find(|p| self.files.contains_key(*p)) {
                None => Ok(()),
                Some(other) => Err(Error::FileAndFolder {
                    path: shown(path),
                    other: shown(other),
                }),
            },
        }
    }

    /// Whether a file lies below `path`.
    fn is_folder(&self, path: &str) -> bool {
        let below = format!("{path}/");
        let mut after = self.files.range(below.clone()..);
        after
            .next()
            .is_some_and(|(next, _)| next.starts_with(&below))
    }

    /// Paths and contents, in the order of paths.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Bytes)> {
        self.files
            .iter()
            .map(|(path, bytes)| (path.as_str(), bytes))
    }

    pub fn len(&self) -> usize {
        self.files.len()
    }

    pub fn is_empty(&self) -> bool {
        self.files.is_empty()
    }

    /// In bytes.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Every folder that files lie in, parents first, without the top one.
    pub fn folders(&self) -> Vec<&str> {
        // A parent is a prefix of its children, so it sorts before them.
        let folders: BTreeSet<&str> = self.files.keys().flat_map(|path| parents(path)).collect();
        folders.into_iter().collect()
    }

    /// `sha256:…` over paths and contents: equal for equal files, however they came.
    pub fn digest(&self) -> String {
        let hashes: Vec<_> = self.iter().map(|(path, b)| (path, hash(b))).collect();
        content_digest(hashes.iter().map(|(path, hash)| (*path, hash.as_str())))
    }
}

/// Shows no content.
impl fmt::Debug for SourceFiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sizes = self.iter().map(|(path, bytes)| (path, bytes.len()));
        f.debug_map().entries(sizes).finish()
    }
}

/// sha256 of a file's content, as lower-case hex.
pub fn hash(content: &[u8]) -> String {
    hex(&Sha256::digest(content))
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// `sha256:…` of files of which the [`hash`] is known, by path. The order doesn't matter.
pub fn content_digest<'a>(hashes: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let hashes = hashes.into_iter();
    let map = hashes.map(|(path, hash)| (path.to_owned(), Value::from(hash)));
    format!("sha256:{}", digest::of(&Value::Object(map.collect())))
}

/// Every folder above a relative path, the lowest last.
pub(crate) fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

/// Whether a relative path stays below its folder and can be a file's.
fn check(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("the path is empty");
    }
    if path.starts_with('/') {
        return Err("the path is absolute");
    }
    if path.len() > PATH_BYTES {
        return Err("the path is longer than 4096 bytes");
    }
    if path.contains(|c: char| c.is_control() || c == '\\') {
        return Err("the path holds a control character or a backslash");
    }
    for name in path.split('/') {
        match name {
            "" => return Err("the path holds an empty name"),
            "." | ".." => return Err("the path holds `.` or `..`"),
            name if name.len() > NAME_BYTES => {
                return Err("a name in the path is longer than 255 bytes");
            }
            _ => {}
        }
    }
    Ok(())
}

/// As much of a path as an error shows.
pub(crate) fn shown(path: &str) -> String {
    match path.char_indices().nth(200) {
        Some((end, _)) => format!("{}…", &path[..end]),
        None => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;

    use k8s_openapi::ByteString;
    use proptest::prelude::*;

    use super::*;

    fn files(of: &[(&str, &str)]) -> SourceFiles {
        let mut files = SourceFiles::default();
        for (path, text) in of {
            files.add(path, Bytes::from((*text).to_owned())).unwrap();
        }
        files
    }

    fn refused(files: &SourceFiles, path: &str) -> Error {
        files.clone().add(path, Bytes::new()).unwrap_err()
    }

    #[test]
    fn paths_that_leave_the_folder_or_name_no_file_are_refused() {
        let none = SourceFiles::default();
        let (long, deep) = ("n".repeat(256), "d/".repeat(2_100) + "f");
        for bad in [
            "",
            "/etc/passwd",
            "..",
            "../a",
            "a/../b",
            "a/..",
            ".",
            "./a",
            "a/./b",
            "a//b",
            "a/",
            "a\\b",
            "a\0b",
            "a\nb",
            &long,
            &deep,
        ] {
            let error = refused(&none, bad);
            assert!(matches!(error, Error::Path { .. }), "{bad:?}: {error}");
        }
        for good in ["a", "..a", "a..", "...", ".env", "a b/ü%?#.py", "a/b/c/d"] {
            assert_eq!(none.has_room(good, 1), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn a_path_can_be_only_one_thing() {
        let some = files(&[("a/b", "1"), ("a.py", "2")]);
        assert!(matches!(refused(&some, "a/b"), Error::Duplicate { .. }));
        for both in ["a", "a/b/c", "a.py/x/y"] {
            let error = refused(&some, both);
            assert!(
                matches!(error, Error::FileAndFolder { .. }),
                "{both}: {error}"
            );
        }
        assert_eq!(some.has_room("a-b", 1), Ok(()));
    }

    #[test]
    fn limits_are_the_platforms_and_errors_name_path_size_and_limit() {
        let mut full = SourceFiles::default();
        let largest = Bytes::from(vec![0; FILE_BYTES as usize]);
        let mut larger = largest.to_vec();
        larger.push(0);
        let error = full.add("big.bin", larger.into()).unwrap_err().to_string();
        for part in ["big.bin", "10485761", "10485760"] {
            assert!(error.contains(part), "{part} is missing in {error}");
        }
        for n in 0..10 {
            full.add(&format!("f{n}"), largest.clone()).unwrap();
        }
        assert_eq!(full.total(), TOTAL_BYTES);
        full.add("empty", Bytes::new()).unwrap();
        let error = full.add("one", Bytes::from_static(b"1")).unwrap_err();
        assert!(matches!(error, Error::TooLarge { size, .. } if size == TOTAL_BYTES + 1));
        let mut many = SourceFiles::default();
        for n in 0..FILES {
            many.add(&format!("f{n}"), Bytes::new()).unwrap();
        }
        assert_eq!(
            refused(&many, "last"),
            Error::TooMany {
                path: "last".into(),
                count: 2_001,
                limit: 2_000
            }
        );
        assert_eq!(many.len(), FILES, "what was refused was added");
    }

    #[test]
    fn the_path_in_an_error_is_cut() {
        let error = refused(&SourceFiles::default(), &"ü/".repeat(3_000));
        assert!(error.to_string().len() < 700);
    }

    #[test]
    fn folders_come_parents_first() {
        let some = files(&[("z", ""), ("a/b/c", ""), ("a/d", ""), ("a-x/e/f/g", "")]);
        assert_eq!(some.folders(), ["a", "a-x", "a-x/e", "a-x/e/f", "a/b"]);
    }

    #[test]
    fn a_config_map_holds_text_and_bytes() {
        let map = ConfigMap {
            data: Some(BTreeMap::from([("app.py".into(), "print(1)".into())])),
            binary_data: Some(BTreeMap::from([(
                "logo.png".into(),
                ByteString(vec![0, 255]),
            )])),
            ..ConfigMap::default()
        };
        let read = SourceFiles::from_config_map(&map).unwrap();
        let all: Vec<_> = read.iter().map(|(path, b)| (path, b.to_vec())).collect();
        assert_eq!(
            all,
            [("app.py", b"print(1)".to_vec()), ("logo.png", vec![0, 255])]
        );
        let empty = SourceFiles::from_config_map(&ConfigMap::default());
        assert_eq!(empty, Err(Error::Empty));
    }

    #[test]
    fn debug_shows_no_content() {
        let shown = format!("{:?}", files(&[("app.py", "canary")]));
        assert!(
            shown.contains("app.py") && !shown.contains("canary"),
            "{shown}"
        );
    }

    #[test]
    fn the_digest_stays_the_same_over_versions_of_the_operator() {
        // A change of it would deploy every app anew.
        assert_eq!(
            files(&[("a.py", "1"), ("b/c.py", "2")]).digest(),
            "sha256:67cc2d4383b3701ccb8f8a84f87f673ba8cbdecb3b77e14464f0f0907f730814"
        );
    }

    fn tree() -> impl Strategy<Value = BTreeMap<String, Vec<u8>>> {
        prop::collection::btree_map(
            "[a-c]{1,2}\\.py",
            prop::collection::vec(any::<u8>(), 0..4),
            0..6,
        )
    }

    fn of(tree: impl IntoIterator<Item = (String, Vec<u8>)>) -> SourceFiles {
        let mut files = SourceFiles::default();
        for (path, bytes) in tree {
            files.add(&path, bytes.into()).unwrap();
        }
        files
    }

    proptest! {
        #[test]
        fn equal_digests_are_equal_files_in_any_order(one in tree(), other in tree()) {
            let files = of(one.clone());
            prop_assert_eq!(&files.digest(), &of(one.clone().into_iter().rev()).digest());
            prop_assert_eq!(files.digest() == of(other.clone()).digest(), one == other);
        }

        #[test]
        fn any_path_is_judged_and_what_passes_stays_inside(path in ".*") {
            if SourceFiles::default().has_room(&path, 0).is_ok() {
                prop_assert!(!path.starts_with('/') && path.split('/').all(|n| !matches!(n, "" | "." | "..")));
            }
        }
    }
}
