#![allow(clippy::unwrap_used)]
use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;
use tar::{Builder, Header};

use super::*;
use crate::worlds::files::{FILES, TOTAL_BYTES};

fn gz(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// A header whose name goes in unchecked: `Builder` itself refuses what an attacker writes.
fn header(name: &[u8], kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.as_old_mut().name[..name.len()].copy_from_slice(name);
    header.set_entry_type(kind);
    header.set_size(size);
    header.set_mode(0o644);
    header.set_cksum();
    header
}

/// Entries by name, type and content, as a tar.
fn tar(entries: &[(&[u8], EntryType, &[u8])]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for (name, kind, content) in entries {
        let header = header(name, *kind, content.len() as u64);
        builder.append(&header, *content).unwrap();
    }
    builder.into_inner().unwrap()
}

fn one(name: &[u8], kind: EntryType, content: &[u8]) -> Result<SourceFiles, Error> {
    unpack(
        &gz(&tar(&[
            (b"app.py", EntryType::Regular, b"1"),
            (name, kind, content),
        ]))[..],
    )
}

fn refused(name: &[u8], kind: EntryType, content: &[u8], words: &[&str]) {
    let error = one(name, kind, content).unwrap_err().to_string();
    for word in words {
        assert!(error.contains(word), "{word:?} is missing in {error:?}");
    }
}

#[test]
fn files_and_folders_are_unpacked_whoever_wrote_the_archive() {
    use EntryType::{Directory, Regular, XGlobalHeader};
    let archive = tar(&[
        (
            b"pax_global_header",
            XGlobalHeader,
            b"52 comment=0123456789012345678901234567890123456789\n",
        ),
        (b"./", Directory, b""),
        (b"./src/", Directory, b""),
        (b"./src/app.py", Regular, b"print(1)"),
        (b"src", Directory, b""),
        (b"old/", Regular, b""),
        (b"empty", Regular, b""),
    ]);
    let files = unpack(&gz(&archive)[..]).unwrap();
    let all: Vec<_> = files
        .iter()
        .map(|(path, bytes)| (path, &bytes[..]))
        .collect();
    assert_eq!(all, [("empty", &b""[..]), ("src/app.py", &b"print(1)"[..])]);
}

#[test]
fn names_beyond_a_hundred_bytes_are_read() {
    let name = format!("{}/app.py", "deep/".repeat(40).trim_end_matches('/'));
    let mut builder = Builder::new(Vec::new());
    let mut header = header(b"", EntryType::Regular, 1);
    builder.append_data(&mut header, &name, &b"1"[..]).unwrap();
    let files = unpack(&gz(&builder.into_inner().unwrap())[..]).unwrap();
    assert_eq!(files.iter().next().unwrap().0, name);
}

#[test]
fn what_reaches_outside_the_folder_is_refused_by_name() {
    use EntryType::{Block, Char, Directory, Fifo, GNUSparse, Link, Regular, Symlink};
    refused(b"/etc/passwd", Regular, b"x", &["/etc/passwd", "absolute"]);
    refused(b"./../up", Regular, b"x", &["../up", "`..`"]);
    refused(b"a/../../up", Regular, b"x", &["a/../../up"]);
    refused(b"../up/", Directory, b"", &["../up"]);
    refused(b"a\\..\\up", Regular, b"x", &["backslash"]);
    refused(b"link", Symlink, b"", &["\"link\"", "symbolic link"]);
    refused(b"link", Link, b"", &["hard link"]);
    refused(b"null", Char, b"", &["device"]);
    refused(b"disk", Block, b"", &["device"]);
    refused(b"pipe", Fifo, b"", &["pipe"]);
    let mut holes = header(b"holes", GNUSparse, 0);
    holes.as_gnu_mut().unwrap().realsize = *b"00000000000\0";
    holes.set_cksum();
    let error = unpack(&gz(holes.as_bytes())[..]).unwrap_err().to_string();
    assert!(error.contains("\"holes\": it is a sparse file"), "{error}");
    refused(b"odd", EntryType::new(b'Z'), b"", &["neither"]);
    refused(b"caf\xe9.py", Regular, b"x", &["caf", "UTF-8"]);
    refused(b"folder/", Regular, b"x", &["folder/"]);
}

#[test]
fn a_path_that_comes_twice_is_refused() {
    use EntryType::{Directory, Regular};
    refused(b"app.py", Regular, b"2", &["app.py", "twice"]);
    refused(b"./app.py", Regular, b"2", &["app.py", "twice"]);
    refused(
        b"app.py/x",
        Regular,
        b"2",
        &["app.py/x", "file and a folder"],
    );
    refused(b"app.py", Directory, b"", &["app.py", "file and a folder"]);
    let archive = tar(&[(b"a/", Directory, b""), (b"a", Regular, b"1")]);
    let error = unpack(&gz(&archive)[..]).unwrap_err().to_string();
    assert!(error.contains("file and a folder"), "{error}");
}

#[test]
fn an_announced_size_is_not_believed() {
    // Announces a file of nine exabytes: refused by its size, before anything is set aside.
    let huge = header(b"huge", EntryType::Regular, u64::MAX >> 1);
    let error = unpack(&gz(huge.as_bytes())[..]).unwrap_err();
    assert!(
        matches!(&error, Error::File(files::Error::FileTooLarge { path, .. }) if path == "huge"),
        "{error}"
    );
    // Announces ten bytes and has one.
    let mut short = header(b"short", EntryType::Regular, 10).as_bytes().to_vec();
    short.push(b'x');
    let error = unpack(&gz(&short)[..]).unwrap_err();
    assert!(
        matches!(
            error,
            Error::Truncated {
                size: 10,
                got: 1,
                ..
            }
        ),
        "{error}"
    );
}

#[test]
fn a_file_over_the_platforms_limit_is_refused() {
    let content = vec![0; FILE_BYTES as usize + 1];
    refused(
        b"big.bin",
        EntryType::Regular,
        &content,
        &["big.bin", "10485761", "10485760"],
    );
    assert!(one(b"big.bin", EntryType::Regular, &content[1..]).is_ok());
}

/// An endless gzip in constant memory; counts what was taken of it.
struct Endless {
    head: io::Cursor<Vec<u8>>,
    block: Vec<u8>,
    at: usize,
    taken: Rc<Cell<u64>>,
}

impl Endless {
    fn of(head: &[u8]) -> (Self, Rc<Cell<u64>>) {
        let taken = Rc::new(Cell::new(0));
        let endless = Self {
            head: io::Cursor::new(gz(head)),
            // One more member of the gzip: a thousandfold of zeros.
            block: gz(&vec![0; 1 << 20]),
            at: 0,
            taken: taken.clone(),
        };
        (endless, taken)
    }
}

impl Read for Endless {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let mut read = self.head.read(buf)?;
        if read == 0 {
            read = (&self.block[self.at..]).read(buf)?;
            self.at = (self.at + read) % self.block.len();
        }
        self.taken.set(self.taken.get() + read as u64);
        Ok(read)
    }
}

#[test]
fn a_bomb_is_given_up_soon_wherever_it_hides() {
    let size = 1 << 40;
    for kind in [
        EntryType::GNULongName,
        EntryType::GNULongLink,
        EntryType::XHeader,
        EntryType::XGlobalHeader,
        EntryType::Directory,
        EntryType::Regular,
        EntryType::Symlink,
    ] {
        let (endless, taken) = Endless::of(header(b"bomb", kind, size).as_bytes());
        assert!(unpack(endless).is_err(), "{kind:?}");
        assert!(
            taken.get() < 256 << 10,
            "{kind:?} took {} bytes",
            taken.get()
        );
    }
}

#[test]
fn all_files_together_are_limited() {
    let big = vec![0; FILE_BYTES as usize];
    let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for n in 0..11 {
        let header = header(format!("f{n}").as_bytes(), EntryType::Regular, FILE_BYTES);
        builder.append(&header, &big[..]).unwrap();
    }
    let archive = builder.into_inner().unwrap().finish().unwrap();
    assert!(archive.len() < 2 << 20, "no bomb: {}", archive.len());
    let error = unpack(&archive[..]).unwrap_err();
    assert!(
        matches!(&error, Error::File(files::Error::TooLarge { path, limit, .. }) if path == "f10" && *limit == TOTAL_BYTES),
        "{error}"
    );
}

#[test]
fn files_and_entries_are_counted() {
    let many = |count: usize, kind: EntryType| {
        let mut builder = Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
        for n in 0..count {
            let header = header(format!("n{n}").as_bytes(), kind, 0);
            builder.append(&header, io::empty()).unwrap();
        }
        unpack(&builder.into_inner().unwrap().finish().unwrap()[..])
    };
    let error = many(FILES + 1, EntryType::Regular).unwrap_err();
    assert!(
        matches!(error, Error::File(files::Error::TooMany { .. })),
        "{error}"
    );
    let error = many(ENTRIES + 1, EntryType::Directory).unwrap_err();
    assert!(matches!(error, Error::TooManyEntries { .. }), "{error}");
    assert!(many(FILES, EntryType::Regular).is_ok());
}

#[test]
fn an_archive_without_files_or_no_archive_at_all_is_refused() {
    for bytes in [
        &b""[..],
        b"no gzip",
        &gz(b"no tar"),
        &gz(b""),
        &gz(&tar(&[])),
    ] {
        assert!(unpack(bytes).is_err());
    }
    let folder = tar(&[(b"a/", EntryType::Directory, b"")]);
    let error = unpack(&gz(&folder)[..]).unwrap_err();
    assert!(matches!(error, Error::File(files::Error::Empty)), "{error}");
}

/// A good archive with some bytes changed, and its headers' checksums made good again.
fn damaged() -> impl Strategy<Value = Vec<u8>> {
    let change = (0..3_584_usize, any::<u8>());
    prop::collection::vec(change, 1..8).prop_map(|changes| {
        let mut archive = tar(&[
            (b"src/", EntryType::Directory, b""),
            (b"src/app.py", EntryType::Regular, b"print(1)"),
            (b"long", EntryType::GNULongName, b"another name"),
            (b"b", EntryType::Regular, b""),
        ]);
        for (at, byte) in changes {
            if let Some(place) = archive.get_mut(at) {
                *place = byte;
            }
        }
        for block in [0, 512, 1_536, 2_560] {
            let Some(block) = archive.get_mut(block..block + 512) else {
                continue;
            };
            block[148..156].fill(b' ');
            let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
            block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        }
        archive
    })
}

proptest! {
    #[test]
    fn random_bytes_are_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..2_048)) {
        let _ = unpack(&bytes[..]);
        let _ = unpack(&gz(&bytes)[..]);
    }

    #[test]
    fn a_damaged_archive_gives_files_that_stay_inside_or_an_error(archive in damaged()) {
        if let Ok(files) = unpack(&gz(&archive)[..]) {
            for (path, _) in files.iter() {
                prop_assert!(!path.starts_with('/') && path.split('/').all(|name| !matches!(name, "" | "." | "..")), "{}", path);
            }
        }
    }
}
