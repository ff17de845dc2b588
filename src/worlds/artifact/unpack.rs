//! From the bytes of a `.tar.gz` to files in memory. Whoever can push to a source decides what an archive holds, so nothing
//! that it announces is believed, and what could reach outside the app's folder is refused, not skipped. Pure.
use std::cell::Cell;
use std::collections::BTreeSet;
use std::io::{self, Read};
use std::rc::Rc;

use bytes::Bytes;
use flate2::read::MultiGzDecoder;
use tar::{Archive, Entry, EntryType};

use crate::worlds::files::{self, FILE_BYTES, SourceFiles, shown};

/// Files, folders and whatever else has a header.
const ENTRIES: usize = 10_000;
/// What may stand before an entry's content: its headers, with a long name and attributes.
const HEADER_BYTES: u64 = 64 << 10;
/// What is set aside for a file before any of it was read.
const FIRST_BYTES: u64 = 64 << 10;

/// Why an archive is refused.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    #[error(
        "unpacking the archive after {entries} entries (last {last:?}): {}; it must be a tar.gz",
        shown(&source.to_string())
    )]
    Read {
        entries: usize,
        last: String,
        #[source]
        source: io::Error,
    },
    #[error("unpacking entry {path:?}: {why}; leave it out of the source")]
    Entry { path: String, why: &'static str },
    #[error("unpacking entry {path:?}: it ends after {got} of {size} bytes")]
    Truncated { path: String, size: u64, got: u64 },
    #[error(
        "unpacking entry {path:?}: the archive has more than {ENTRIES} entries; leave some out with the source's `ignore`"
    )]
    TooManyEntries { path: String },
    #[error("unpacking the archive: {0}")]
    File(#[from] files::Error),
}

/// The regular files of a `.tar.gz`; empty folders are dropped. Memory stays within the limits of [`SourceFiles`] plus one
/// file, however little the archive is compressed from.
pub fn unpack(archive: impl Read) -> Result<SourceFiles, Error> {
    let budget = Rc::new(Cell::new(HEADER_BYTES));
    let metered = Metered {
        inner: MultiGzDecoder::new(archive),
        budget: budget.clone(),
    };
    let mut archive = Archive::new(metered);
    let mut files = SourceFiles::default();
    let mut folders = BTreeSet::new();
    let (mut count, mut last) = (0, String::new());
    let unreadable = |entries, last: &str, source| Error::Read {
        entries,
        last: last.to_owned(),
        source,
    };
    let mut entries = archive.entries().map_err(|e| unreadable(0, "", e))?;
    loop {
        budget.set(HEADER_BYTES);
        let mut entry = match entries.next() {
            None => break,
            Some(entry) => entry.map_err(|e| unreadable(count, &last, e))?,
        };
        let raw = entry.path_bytes().into_owned();
        last = shown(&String::from_utf8_lossy(&raw));
        count += 1;
        if count > ENTRIES {
            return Err(Error::TooManyEntries { path: last });
        }
        let refuse = |why| Error::Entry {
            path: last.clone(),
            why,
        };
        let name = String::from_utf8(raw).map_err(|_| refuse("its name is not UTF-8"))?;
        // `tar -C folder .` writes every name so.
        let name = name.strip_prefix("./").unwrap_or(&name);
        match kind(&entry, name).map_err(refuse)? {
            Kind::Comment => {}
            Kind::Folder => {
                let name = name.strip_suffix('/').unwrap_or(name);
                if matches!(name, "" | ".") {
                    continue;
                }
                files.may_be_folder(name)?;
                folders.insert(name.to_owned());
            }
            Kind::File => {
                if folders.contains(name) {
                    return Err(refuse("it is a file and a folder"));
                }
                let size = entry.size();
                files.has_room(name, size)?;
                budget.set(FILE_BYTES + HEADER_BYTES);
                let content = content(&mut entry, size).map_err(|e| unreadable(count, &last, e))?;
                if (content.len() as u64) < size {
                    return Err(Error::Truncated {
                        path: last,
                        size,
                        got: content.len() as u64,
                    });
                }
                files.add(name, content)?;
            }
        }
    }
    if files.is_empty() {
        return Err(files::Error::Empty.into());
    }
    Ok(files)
}

enum Kind {
    File,
    Folder,
    /// Attributes of the archive itself, as `git archive` writes them
    Comment,
}

fn kind<R: Read>(entry: &Entry<'_, R>, name: &str) -> Result<Kind, &'static str> {
    match entry.header().entry_type() {
        // Archives older than POSIX know no type for folders.
        EntryType::Regular if name.ends_with('/') && entry.size() == 0 => Ok(Kind::Folder),
        EntryType::Regular | EntryType::Continuous => Ok(Kind::File),
        EntryType::Directory => Ok(Kind::Folder),
        EntryType::XGlobalHeader => Ok(Kind::Comment),
        EntryType::Symlink => Err("it is a symbolic link"),
        EntryType::Link => Err("it is a hard link"),
        EntryType::Char | EntryType::Block => Err("it is a device"),
        EntryType::Fifo => Err("it is a named pipe"),
        EntryType::GNUSparse => Err("it is a sparse file"),
        _ => Err("it is neither a file nor a folder"),
    }
}

/// At most `size` bytes.
fn content(entry: &mut impl Read, size: u64) -> io::Result<Bytes> {
    let mut content = Vec::with_capacity(size.min(FIRST_BYTES) as usize);
    entry.take(size).read_to_end(&mut content)?;
    content.shrink_to_fit();
    Ok(content.into())
}

/// Gives no more than the budget, which is set anew for each part of the archive: a few bytes can unpack into gigabytes of
/// what the tar library reads by itself.
struct Metered<R> {
    inner: R,
    budget: Rc<Cell<u64>>,
}

impl<R: Read> Read for Metered<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let budget = self.budget.get();
        if budget == 0 && !buf.is_empty() {
            return Err(io::Error::other("the headers of an entry are too large"));
        }
        let most = usize::try_from(budget).unwrap_or(usize::MAX).min(buf.len());
        let read = self.inner.read(&mut buf[..most])?;
        self.budget.set(budget - read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests;
