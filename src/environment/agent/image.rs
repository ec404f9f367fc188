//! An image of this very program, for nodes to run the agent of: the program, without what only a debugger reads, and the
//! libraries that it is linked with. An archive as `docker save` writes one, so that no Docker has it afterwards.

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use serde_json::json;

use crate::secret::digest_of;

/// What the program is called in the image.
const PROGRAM: &str = "mountproof";

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::environment) struct AgentImage {
    /// Its name, by which nodes know it.
    pub(in crate::environment) name: String,
    /// Where the archive lies.
    pub(in crate::environment) archive: PathBuf,
}

impl AgentImage {
    /// Of this program, in `folder`. Blocks for some seconds.
    ///
    /// # Errors
    ///
    /// When it cannot be read or written.
    pub(in crate::environment) fn of_this_program(folder: &Path) -> io::Result<Self> {
        let program = stripped(folder)?;
        let maps = fs::read_to_string("/proc/self/maps")?;
        let mut files = vec![(PathBuf::from(PROGRAM), fs::read(&program)?)];
        fs::remove_file(program)?;
        for library in libraries(&maps) {
            let bytes = fs::read(&library)?;
            for path in places(&library) {
                files.push((path, bytes.clone()));
            }
        }
        Self::of(&files, folder)
    }

    fn of(files: &[(PathBuf, Vec<u8>)], folder: &Path) -> io::Result<Self> {
        let layer = layer(files)?;
        let digest = digest_of(&layer);
        let name = format!("localhost/mountproof-agent:{}", &digest[..12]);
        let config = json!({
            "architecture": architecture(),
            "os": "linux",
            "config": { "Entrypoint": [format!("/{PROGRAM}"), "agent"] },
            "rootfs": { "type": "layers", "diff_ids": [format!("sha256:{digest}")] },
            "history": [],
        });
        let config = config.to_string();
        let config_name = format!("{}.json", digest_of(config.as_bytes()));
        let manifest = json!([{ "Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"] }]);
        let archive = folder.join("agent.tar");
        let mut tar = tar::Builder::new(io::BufWriter::new(fs::File::create(&archive)?));
        append(&mut tar, Path::new("layer.tar"), 0o644, &layer)?;
        append(&mut tar, Path::new(&config_name), 0o644, config.as_bytes())?;
        append(
            &mut tar,
            Path::new("manifest.json"),
            0o644,
            manifest.to_string().as_bytes(),
        )?;
        tar.into_inner()?.flush()?;
        Ok(Self { name, archive })
    }
}

/// A copy of this program without symbols where `strip` is there, as it is.
fn stripped(folder: &Path) -> io::Result<PathBuf> {
    let (own, copy) = (Path::new("/proc/self/exe"), folder.join("agent-program"));
    let mut strip = Command::new("strip");
    strip.arg("-o").arg(&copy).arg(fs::read_link(own)?);
    let done = strip
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if !done.is_ok_and(|status| status.success()) {
        fs::copy(own, &copy)?;
    }
    Ok(copy)
}

/// The libraries, the loader among them, that a process has mapped, by its `/proc/self/maps`.
fn libraries(maps: &str) -> BTreeSet<PathBuf> {
    let paths = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let is_library = |path: &&str| {
        let name = path.rsplit('/').next().unwrap_or_default();
        path.starts_with('/') && name.split('.').any(|part| part == "so")
    };
    paths.filter(is_library).map(PathBuf::from).collect()
}

/// Where a library belongs in the image: where it is here, and the loader also where programs look for it.
fn places(library: &Path) -> Vec<PathBuf> {
    let inside = library.strip_prefix("/").unwrap_or(library).to_owned();
    let name = library.file_name().unwrap_or_default();
    let is_loader = name.to_string_lossy().starts_with("ld-");
    let mut places = BTreeSet::from([inside]);
    if is_loader {
        places.extend(["lib", "lib64"].map(|folder| Path::new(folder).join(name)));
    }
    places.into_iter().collect()
}

fn layer(files: &[(PathBuf, Vec<u8>)]) -> io::Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for (path, bytes) in files {
        append(&mut tar, path, 0o755, bytes)?;
    }
    tar.into_inner()
}

fn append<W: io::Write>(tar: &mut tar::Builder<W>, path: &Path, mode: u32, bytes: &[u8]) -> io::Result<()> {
    let mut header = tar::Header::new_gnu();
    header.set_size(bytes.len() as u64);
    header.set_mode(mode);
    header.set_mtime(0);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, path, bytes)
}

/// As images name this machine's.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use std::io::Read as _;

    use super::*;

    #[test]
    fn the_libraries_are_what_is_mapped() {
        let maps = "55d0-55d1 r-xp 00000000 08:01 1 /usr/bin/mountproof\n\
                    7f00-7f01 r--p 00000000 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f02-7f03 r-xp 00001000 08:01 2 /usr/lib/x86_64-linux-gnu/libc.so.6\n\
                    7f04-7f05 r--p 00000000 08:01 3 /usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2\n\
                    7f06-7f07 rw-p 00000000 00:00 0 \n\
                    7ffd-7ffe rw-p 00000000 00:00 0 [stack]\n";
        let found: Vec<PathBuf> = libraries(maps).into_iter().collect();
        let lib = Path::new("/usr/lib/x86_64-linux-gnu");
        assert_eq!(found, [lib.join("ld-linux-x86-64.so.2"), lib.join("libc.so.6")]);
        assert_eq!(
            places(&found[1]),
            [Path::new("usr/lib/x86_64-linux-gnu/libc.so.6")]
        );
        assert!(places(&found[0]).contains(&PathBuf::from("lib64/ld-linux-x86-64.so.2")));
    }

    #[test]
    fn an_archive_is_one_of_docker_save_and_named_by_what_is_in_it() {
        let folder = tempfile::tempdir().unwrap();
        let files = |content: &str| vec![(PathBuf::from("mountproof"), content.as_bytes().to_vec())];
        let image = AgentImage::of(&files("program"), folder.path()).unwrap();
        let mut texts = std::collections::BTreeMap::new();
        for entry in tar::Archive::new(fs::File::open(&image.archive).unwrap())
            .entries()
            .unwrap()
        {
            let mut entry = entry.unwrap();
            let mut bytes = Vec::new();
            entry.read_to_end(&mut bytes).unwrap();
            texts.insert(entry.path().unwrap().display().to_string(), bytes);
        }
        let manifest: serde_json::Value = serde_json::from_slice(&texts["manifest.json"]).unwrap();
        assert_eq!(manifest[0]["RepoTags"][0], image.name.as_str());
        let config = manifest[0]["Config"].as_str().unwrap();
        assert_eq!(config, format!("{}.json", digest_of(&texts[config])));
        let config: serde_json::Value = serde_json::from_slice(&texts[config]).unwrap();
        let layer = &texts[manifest[0]["Layers"][0].as_str().unwrap()];
        assert_eq!(
            config["rootfs"]["diff_ids"][0],
            format!("sha256:{}", digest_of(layer))
        );
        assert_eq!(config["config"]["Entrypoint"][1], "agent");
        let again = AgentImage::of(&files("program"), folder.path()).unwrap();
        let other = AgentImage::of(&files("another"), folder.path()).unwrap();
        assert!(again.name == image.name && other.name != image.name);
    }
}
