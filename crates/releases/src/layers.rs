//! PURE, but for the reader that it is given. Finds one file in an image's layers, as a container would see it.
//!
//! Layers are asked from the top, and one is read only when those above it leave the question open:
//! <https://github.com/opencontainers/image-spec/blob/main/layer.md> with its whiteouts. Links are followed inside of the
//! image, whose root is also its own parent: none leads out of it. Of a layer only names are kept.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, Read},
};

use tar::EntryType;

use crate::{image::ImageError, unpack};

/// Of a layer unpacked. The largest of an official image has about 150 MiB.
const LARGEST_LAYER_BYTES: u64 = 4 << 30;
/// Entries of a layer.
const MOST_ENTRIES: usize = 500_000;
/// Of a name, and of what extends a header.
const LARGEST_NAME_BYTES: u64 = 64 << 10;
/// As Linux does.
const MOST_LINKS: u32 = 40;

/// The names in one layer.
#[derive(Debug, Default)]
pub(crate) struct Layer {
    nodes: BTreeMap<String, Node>,
    /// What lower layers have under these names is gone.
    whiteouts: BTreeSet<String>,
    /// What lower layers have below these folders is gone.
    opaque: BTreeSet<String>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Node {
    Folder,
    /// The entry that holds it, counted from the start of the layer.
    File {
        entry: usize,
        bytes: u64,
    },
    Symlink(String),
    /// To a name in this layer or below.
    Hardlink(String),
    Other,
}

/// Where a search stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Search {
    /// The layer, from the top, and its entry.
    Found { layer: usize, entry: usize, bytes: u64 },
    /// Has to be read first.
    Unread(usize),
    /// This name, after links, is not there.
    Missing(String),
    /// There, but not a file.
    NotAFile(&'static str),
}

impl Layer {
    /// Reads all headers of a layer, packed or not.
    pub(crate) fn read(packed: impl Read) -> Result<Self, ImageError> {
        let mut layer = Self::default();
        let mut archive = tar::Archive::new(unpack::bounded(packed, LARGEST_LAYER_BYTES).map_err(broken)?);
        let mut extended = Extended::default();
        for (number, entry) in archive.entries().map_err(broken)?.raw(true).enumerate() {
            let mut entry = entry.map_err(broken)?;
            if number >= MOST_ENTRIES {
                return Err(too_large(format!("{MOST_ENTRIES} entries")));
            }
            if extended.take(&mut entry)? {
                continue;
            }
            let name = extended.name.take().unwrap_or_else(|| text(&entry.path_bytes()));
            let link = extended
                .link
                .take()
                .or_else(|| entry.link_name_bytes().map(|link| text(&link)));
            let kind = entry.header().entry_type();
            layer.add(&name, kind, link.unwrap_or_default(), number, entry.size())?;
        }
        Ok(layer)
    }

    fn add(
        &mut self,
        name: &str,
        kind: EntryType,
        link: String,
        entry: usize,
        bytes: u64,
    ) -> Result<(), ImageError> {
        let Some(path) = inside(name) else {
            let why = "which leads out of the image";
            return Err(ImageError::UnsafeEntry {
                entry: shorten(name),
                why,
            });
        };
        let (folder, last) = path.rsplit_once('/').unwrap_or(("", &path));
        if last == ".wh..wh..opq" {
            self.opaque.insert(folder.to_owned());
            return Ok(());
        }
        if let Some(gone) = last.strip_prefix(".wh.") {
            self.whiteouts.insert(join(folder, gone));
            return Ok(());
        }
        if path.is_empty() {
            return Ok(());
        }
        for parent in parents(&path) {
            self.nodes.entry(parent.to_owned()).or_insert(Node::Folder);
        }
        let node = match kind {
            EntryType::Regular | EntryType::Continuous => Node::File { entry, bytes },
            EntryType::Directory => Node::Folder,
            EntryType::Symlink => Node::Symlink(link),
            EntryType::Link => match inside(&link) {
                Some(target) => Node::Hardlink(target),
                None => {
                    return Err(ImageError::UnsafeEntry {
                        entry: shorten(name),
                        why: "a link out of the image",
                    });
                }
            },
            _ => Node::Other,
        };
        // Of two entries of one name the later counts, as when it is unpacked.
        self.nodes.insert(path, node);
        Ok(())
    }

    /// Whether lower layers cannot answer for this path any more.
    fn hides(&self, path: &str) -> bool {
        self.whiteouts.contains(path)
            || self.opaque.contains("")
            || parents(path).any(|parent| {
                self.whiteouts.contains(parent)
                    || self.opaque.contains(parent)
                    || self.nodes.get(parent).is_some_and(|node| *node != Node::Folder)
            })
    }
}

/// Looks for a file in layers, the top one first; `None` is one that was not read yet.
pub(crate) fn find(layers: &[Option<Layer>], path: &str) -> Search {
    let mut pending: Vec<String> = path.split('/').rev().map(str::to_owned).collect();
    let mut at: Vec<String> = Vec::new();
    let mut links = 0;
    let mut folder = true;
    while let Some(name) = pending.pop() {
        match name.as_str() {
            "" | "." => continue,
            // The root's parent is the root.
            ".." => {
                at.pop();
                continue;
            }
            _ => at.push(name),
        }
        let here = at.join("/");
        let mut from = 0;
        let mut looked_for = here.clone();
        let node = loop {
            match look_up(layers, from, &looked_for) {
                Ok(Some((layer, Node::Hardlink(target)))) => {
                    links += 1;
                    if links > MOST_LINKS {
                        return Search::NotAFile("a loop of links");
                    }
                    (from, looked_for) = (layer, target.clone());
                }
                Ok(found) => break found,
                Err(unread) => return Search::Unread(unread),
            }
        };
        folder = matches!(node, Some((_, Node::Folder | Node::Symlink(_))));
        match node {
            None => return Search::Missing(format!("no /{looked_for}")),
            Some((_, Node::Folder)) => {}
            Some((layer, Node::File { entry, bytes })) if pending.iter().all(String::is_empty) => {
                return Search::Found {
                    layer,
                    entry: *entry,
                    bytes: *bytes,
                };
            }
            Some((_, Node::File { .. } | Node::Hardlink(_))) => {
                return Search::Missing(format!("/{here} is no folder"));
            }
            Some((_, Node::Symlink(target))) => {
                links += 1;
                if links > MOST_LINKS || target.len() as u64 > LARGEST_NAME_BYTES {
                    return Search::NotAFile("a loop of links");
                }
                if target.starts_with('/') {
                    at.clear();
                } else {
                    at.pop();
                }
                pending.extend(target.split('/').rev().map(str::to_owned));
            }
            Some((_, Node::Other)) => return Search::NotAFile("a device or pipe"),
        }
    }
    if folder {
        Search::NotAFile("a folder")
    } else {
        Search::Missing(format!("no /{}", at.join("/")))
    }
}

/// From layer `from` downwards. The error is a layer that has to be read.
fn look_up<'a>(
    layers: &'a [Option<Layer>],
    from: usize,
    path: &str,
) -> Result<Option<(usize, &'a Node)>, usize> {
    for (index, layer) in layers.iter().enumerate().skip(from) {
        let Some(layer) = layer else { return Err(index) };
        if let Some(node) = layer.nodes.get(path) {
            return Ok(Some((index, node)));
        }
        if layer.hides(path) {
            return Ok(None);
        }
    }
    Ok(None)
}

/// Copies the bytes of one entry out of a layer.
pub(crate) fn copy_entry(
    packed: impl Read,
    entry: usize,
    out: &mut impl io::Write,
) -> Result<u64, ImageError> {
    let mut archive = tar::Archive::new(unpack::bounded(packed, LARGEST_LAYER_BYTES).map_err(broken)?);
    let mut entries = archive.entries().map_err(broken)?.raw(true);
    let mut found = entries
        .nth(entry)
        .ok_or_else(|| broken("it ends before the program"))?
        .map_err(broken)?;
    let expected = found.size();
    let copied = io::copy(&mut found, out).map_err(broken)?;
    if copied == expected {
        Ok(copied)
    } else {
        Err(broken("it ends within the program"))
    }
}

/// What headers before an entry say of its names, where they are too long for its own. Read here and not by the
/// library, which would take any length.
#[derive(Default)]
pub(crate) struct Extended {
    pub(crate) name: Option<String>,
    pub(crate) link: Option<String>,
}

impl Extended {
    /// Whether the entry was such a header.
    pub(crate) fn take(&mut self, entry: &mut tar::Entry<'_, impl Read>) -> Result<bool, ImageError> {
        let kind = entry.header().entry_type();
        let is_extension = kind.is_gnu_longname()
            || kind.is_gnu_longlink()
            || kind.is_pax_local_extensions()
            || kind.is_pax_global_extensions();
        if !is_extension {
            return Ok(false);
        }
        if entry.size() > LARGEST_NAME_BYTES {
            return Err(too_large(format!("{LARGEST_NAME_BYTES} bytes in a name")));
        }
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes).map_err(broken)?;
        if kind.is_gnu_longname() {
            self.name = Some(text(&bytes));
        } else if kind.is_gnu_longlink() {
            self.link = Some(text(&bytes));
        } else if kind.is_pax_local_extensions() {
            for record in tar::PaxExtensions::new(&bytes) {
                let record = record.map_err(broken)?;
                match record.key_bytes() {
                    b"path" => self.name = Some(text(record.value_bytes())),
                    b"linkpath" => self.link = Some(text(record.value_bytes())),
                    // Only entries of 8 GiB and more need it, or sparse ones.
                    b"size" => return Err(too_large("8 GiB in one file".to_owned())),
                    _ => {}
                }
            }
        }
        Ok(true)
    }
}

/// The path from the root, without a leading `/` and without `.`; nothing where it leads out by `..`.
pub(crate) fn inside(name: &str) -> Option<String> {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => return None,
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// `a`, `a/b` of `a/b/c`.
fn parents(path: &str) -> impl Iterator<Item = &str> {
    path.match_indices('/').map(|(at, _)| &path[..at])
}

fn join(folder: &str, name: &str) -> String {
    if folder.is_empty() {
        name.to_owned()
    } else {
        format!("{folder}/{name}")
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).trim_end_matches('\0').to_owned()
}

fn shorten(name: &str) -> String {
    name.chars().take(120).collect()
}

fn too_large(limit: String) -> ImageError {
    ImageError::TooLarge {
        what: "layer".to_owned(),
        limit,
    }
}

fn broken(problem: impl std::fmt::Display) -> ImageError {
    let problem = problem.to_string();
    if problem.contains(unpack::TOO_LARGE) {
        return too_large(format!("{LARGEST_LAYER_BYTES} bytes unpacked"));
    }
    ImageError::malformed("layer", problem)
}

#[cfg(test)]
mod tests;
