#![allow(clippy::unwrap_used, clippy::panic)]
use bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::worlds::files::{SourceFiles, hash};

/// A folder as the service keeps it: each write moves a file's time; ids stay.
#[derive(Clone, Default)]
struct Folder {
    files: BTreeMap<String, (i64, i64, Vec<u8>)>,
    now: i64,
    reads: usize,
}

impl Folder {
    fn put(&mut self, path: &str, content: &[u8]) {
        self.now += 1;
        let id = self.files.get(path).map_or(self.now, |(id, ..)| *id);
        let file = (id, self.now, content.to_vec());
        self.files.insert(path.to_owned(), file);
    }

    fn listing(&self) -> Listing {
        let entry = |(path, (id, at, content)): (&String, &(i64, i64, Vec<u8>))| Entry {
            path: path.clone(),
            kind: Kind::File,
            object_id: *id,
            modified_at: *at,
            size: Some(content.len() as u64),
        };
        Listing::new(self.files.iter().map(entry).collect())
    }

    /// One look: a listing, and the hashes that it asks for.
    fn look(&mut self, content: &mut Content) -> View {
        let view = content.see(self.listing());
        if let View::Stable { to_hash } = &view {
            for path in to_hash {
                self.reads += 1;
                content.learn(path, hash(&self.files[path].2));
            }
        }
        view
    }

    fn digest(&self) -> String {
        let mut files = SourceFiles::default();
        for (path, (_, _, content)) in &self.files {
            files.add(path, Bytes::from(content.clone())).unwrap();
        }
        files.digest()
    }
}

fn known(content: &Content) -> Option<String> {
    content.settled().map(|s| s.content.clone())
}

fn stable(view: View) -> Vec<String> {
    match view {
        View::Stable { to_hash } => to_hash,
        other => panic!("{other:?}"),
    }
}

fn three() -> Folder {
    let mut folder = Folder::default();
    for path in ["app.py", "app.yaml", "lib/x.py"] {
        folder.put(path, path.as_bytes());
    }
    folder
}

fn settled(folder: &mut Folder) -> Content {
    let mut content = Content::default();
    assert_eq!(folder.look(&mut content), View::Moving);
    stable(folder.look(&mut content));
    content
}

#[test]
fn two_equal_listings_make_a_content_and_later_looks_read_nothing() {
    let mut folder = three();
    let mut content = Content::default();
    assert_eq!(folder.look(&mut content), View::Moving);
    assert_eq!((folder.reads, known(&content)), (0, None));
    assert_eq!(
        stable(folder.look(&mut content)),
        ["app.py", "app.yaml", "lib/x.py"]
    );
    assert_eq!(known(&content), Some(folder.digest()));
    for _ in 0..5 {
        assert!(stable(folder.look(&mut content)).is_empty());
    }
    assert_eq!(folder.reads, 3);
}

#[test]
fn only_what_moved_is_read_again() {
    let mut folder = three();
    let mut content = settled(&mut folder);
    let before = content.settled().cloned();
    folder.put("app.py", b"new");
    assert_eq!(folder.look(&mut content), View::Moving);
    assert_eq!(
        content.settled().cloned(),
        before,
        "forgotten while it moves"
    );
    assert_eq!(stable(folder.look(&mut content)), ["app.py"]);
    assert_eq!(known(&content), Some(folder.digest()));
    folder.files.remove("lib/x.py");
    folder.look(&mut content);
    assert!(stable(folder.look(&mut content)).is_empty());
    assert_eq!(known(&content), Some(folder.digest()));
}

#[test]
fn a_hash_that_fails_to_come_is_asked_for_again() {
    let mut folder = three();
    let mut content = Content::default();
    content.see(folder.listing());
    let missing = stable(content.see(folder.listing()));
    for path in &missing[..2] {
        content.learn(path, hash(&folder.files[path].2));
    }
    assert_eq!(known(&content), None);
    assert_eq!(stable(folder.look(&mut content)), missing[2..]);
    assert_eq!(known(&content), Some(folder.digest()));
}

#[test]
fn a_file_that_is_made_anew_with_equal_time_and_size_is_read() {
    let mut folder = three();
    let mut content = settled(&mut folder);
    folder.files.get_mut("app.py").unwrap().0 = 99;
    folder.files.get_mut("app.py").unwrap().2 = b"APP.PY".to_vec();
    folder.look(&mut content);
    assert_eq!(stable(folder.look(&mut content)), ["app.py"]);
    assert_eq!(known(&content), Some(folder.digest()));
}

#[test]
fn a_folder_without_files_has_no_content() {
    let mut folder = three();
    let mut content = settled(&mut folder);
    let before = content.settled().cloned();
    folder.files.clear();
    assert_eq!(folder.look(&mut content), View::Moving);
    assert_eq!(folder.look(&mut content), View::Empty);
    assert_eq!(content.settled().cloned(), before);
    let mut unknown = Content::default();
    assert_eq!(unknown.see(Listing::default()), View::Moving);
    assert_eq!(unknown.see(Listing::default()), View::Empty);
    assert_eq!(unknown.settled(), None);
}

#[test]
fn after_a_restart_an_equal_listing_needs_no_read_and_another_one_is_looked_at_twice() {
    let mut folder = three();
    let record = settled(&mut folder).settled().cloned().unwrap();
    let mut content = Content::recall(record.clone());
    folder.reads = 0;
    assert!(stable(folder.look(&mut content)).is_empty());
    assert!(stable(folder.look(&mut content)).is_empty());
    assert_eq!((folder.reads, content.settled()), (0, Some(&record)));
    folder.put("app.py", b"new");
    let mut content = Content::recall(record.clone());
    assert_eq!(folder.look(&mut content), View::Moving);
    assert_eq!(content.settled(), Some(&record));
    // Single hashes are not recorded: all are taken anew.
    assert_eq!(stable(folder.look(&mut content)).len(), 3);
    assert_eq!(known(&content), Some(folder.digest()));
}

#[test]
fn a_change_that_is_taken_back_between_two_looks_keeps_what_was_settled() {
    let mut folder = three();
    let mut content = settled(&mut folder);
    let kept = folder.clone();
    folder.put("app.py", b"new");
    folder.look(&mut content);
    let mut folder = kept;
    assert_eq!(folder.look(&mut content), View::Moving);
    assert!(stable(folder.look(&mut content)).is_empty());
}

#[derive(Clone, Debug)]
enum Event {
    Put(u8, u8),
    PutAgain(u8),
    Remove(u8),
    Look,
    Restart,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..4_u8, 0..3_u8).prop_map(|(path, content)| Event::Put(path, content)),
        1 => (0..4_u8).prop_map(Event::PutAgain),
        1 => (0..4_u8).prop_map(Event::Remove),
        4 => Just(Event::Look),
        1 => Just(Event::Restart),
    ]
}

proptest! {
    #[test]
    fn equal_bytes_uploaded_again_are_the_same_content(order in Just(vec!["app.py", "app.yaml", "lib/x.py"]).prop_shuffle()) {
        let mut folder = three();
        let mut content = settled(&mut folder);
        let before = content.settled().cloned().unwrap();
        for path in order {
            let same = folder.files[path].2.clone();
            folder.put(path, &same);
            folder.look(&mut content);
        }
        prop_assert_eq!(stable(folder.look(&mut content)).len(), 3);
        let after = content.settled().cloned().unwrap();
        prop_assert_eq!(&after.content, &before.content);
        prop_assert_ne!(&after.listing, &before.listing);
    }

    #[test]
    fn thirty_uploads_one_by_one_are_one_new_content(looked in prop::collection::vec(any::<bool>(), 30)) {
        let mut folder = Folder::default();
        for n in 0..30 {
            folder.put(&format!("f{n}.py"), b"old");
        }
        let mut content = settled(&mut folder);
        let mut seen = vec![content.settled().cloned().unwrap().content];
        for (n, looked) in looked.into_iter().enumerate() {
            folder.put(&format!("f{n}.py"), b"new");
            if looked {
                prop_assert_eq!(folder.look(&mut content), View::Moving);
            }
            seen.push(content.settled().cloned().unwrap().content);
        }
        for _ in 0..4 {
            folder.look(&mut content);
            seen.push(content.settled().cloned().unwrap().content);
        }
        seen.dedup();
        prop_assert_eq!(seen.len(), 2);
        prop_assert_eq!(&seen[1], &folder.digest());
        prop_assert_eq!(folder.reads, 60);
    }

    #[test]
    fn whatever_happens_a_stable_folder_is_known_as_it_is(events in prop::collection::vec(event(), 0..40)) {
        let mut folder = Folder::default();
        let mut content = Content::default();
        for event in events {
            match event {
                Event::Put(path, bytes) => folder.put(&path.to_string(), &[bytes]),
                Event::PutAgain(path) => {
                    if let Some((_, _, same)) = folder.files.get(&path.to_string()).cloned() {
                        folder.put(&path.to_string(), &same);
                    }
                }
                Event::Remove(path) => {
                    folder.files.remove(&path.to_string());
                }
                Event::Restart => {
                    content = content.settled().cloned().map_or_else(Content::default, Content::recall);
                }
                Event::Look => {
                    if let View::Stable { .. } = folder.look(&mut content) {
                        prop_assert_eq!(known(&content), Some(folder.digest()));
                    }
                }
            }
        }
        let (first, second) = (folder.look(&mut content), folder.look(&mut content));
        match folder.files.is_empty() {
            true => prop_assert_eq!(second, View::Empty),
            false => {
                prop_assert!(matches!(second, View::Stable { .. }), "{:?} {:?}", first, second);
                prop_assert_eq!(known(&content), Some(folder.digest()));
            }
        }
    }
}
