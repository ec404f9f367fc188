//! Where a call asks for memory, read from a profile of DHAT.

use std::{collections::BTreeMap, fmt};

use serde::Deserialize;

/// Crates that ask for memory because whoever calls them wants it.
const LENT: [&str; 13] = [
    "alloc",
    "core",
    "std",
    "bytes",
    "http",
    "http_body_util",
    "serde",
    "serde_core",
    "serde_json",
    "smallvec",
    "hashbrown",
    "form_urlencoded",
    "base64",
];

/// A place in the program that asks for memory in each call, or in some.
pub(crate) struct Site {
    times: f64,
    bytes: u64,
    /// The crate that wants it.
    owner: String,
    /// What asks, and the function of the owner where that is another.
    place: String,
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            times,
            bytes,
            owner,
            place,
        } = self;
        write!(f, "{times:>6.2} times {bytes:>5} bytes  {owner:<24} {place}")
    }
}

/// DHAT's file, version 2, as far as it is read.
#[derive(Deserialize)]
struct Profile {
    pps: Vec<Point>,
    ftbl: Vec<String>,
}

#[derive(Deserialize)]
struct Point {
    #[serde(rename = "tb")]
    bytes: u64,
    #[serde(rename = "tbk")]
    blocks: u64,
    /// From the allocator outwards.
    #[serde(rename = "fs")]
    frames: Vec<usize>,
}

/// The sites of a profile of `calls` calls that are not there once and for all, the busiest first.
#[expect(clippy::cast_precision_loss, reason = "far below 2^52 blocks")]
pub(crate) fn of(profile: &str, calls: usize) -> Vec<Site> {
    let profile: Profile = serde_json::from_str(profile).unwrap();
    let mut sites: BTreeMap<(String, String), (u64, u64)> = BTreeMap::new();
    for point in &profile.pps {
        let frames: Vec<&str> = point.frames.iter().map(|at| named(&profile.ftbl[*at])).collect();
        let (blocks, bytes) = sites.entry(site(&frames)).or_default();
        *blocks += point.blocks;
        *bytes += point.bytes;
    }
    let mut sites: Vec<Site> = sites
        .into_iter()
        .map(|((owner, place), (blocks, bytes))| Site {
            times: blocks as f64 / calls as f64,
            bytes: bytes / blocks.max(1),
            owner,
            place,
        })
        .filter(|site| site.times >= 0.1)
        .collect();
    sites.sort_by(|one, other| other.times.total_cmp(&one.times));
    sites
}

/// Who wants what a stack asks for, and the innermost function that is worth naming.
fn site(frames: &[&str]) -> (String, String) {
    let own = |frame: &&&str| krate(frame).is_some_and(|krate| !LENT.contains(&krate));
    let owner = frames.iter().find(own).copied().unwrap_or_default();
    let plain = |frame: &&&str| {
        let from_std =
            frame.contains("(library/") || frame.contains("vgpreload") || frame.contains("alloc.rs:");
        !from_std && frame.contains(".rs:") && !frame.contains("UnknownInlinedFun")
    };
    let inner = frames.iter().find(plain).copied().unwrap_or(owner);
    let place = if inner == owner {
        owner.to_owned()
    } else {
        format!("{inner} < {owner}")
    };
    (krate(owner).unwrap_or("?").to_owned(), place)
}

/// A frame without its address.
fn named(frame: &str) -> &str {
    frame.split_once(": ").map_or(frame, |(_, name)| name)
}

/// The crate of a function, which inlined ones do not tell.
fn krate(frame: &str) -> Option<&str> {
    let path = frame.trim_start_matches(['<', '&', '[', '(']);
    let (krate, _) = path.split_once("::")?;
    let is_name = |char: char| char.is_ascii_alphanumeric() || char == '_';
    (!krate.is_empty() && krate.chars().all(is_name)).then_some(krate)
}
