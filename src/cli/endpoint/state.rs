//! The file that the endpoint goes on from and leaves its state in.

use std::{
    fs::{self, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use serde_json::Value;

/// What an earlier endpoint left; nothing where there is no file yet.
///
/// # Errors
/// In words for the user, when the file cannot be read or is no JSON.
pub(super) fn read(file: &Path) -> Result<Option<Value>, String> {
    let text = match fs::read_to_string(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("cannot read {}: {error}", file.display())),
    };
    let saved = serde_json::from_str(&text);
    saved.map(Some).map_err(|error| {
        format!(
            "{}:{}: not a state that an endpoint left: {error}; move it away to begin anew",
            file.display(),
            error.line()
        )
    })
}

/// Leaves `state` in `file`, whole or not at all; only its owner reads it, as there are secrets in it.
///
/// # Errors
/// As the system says.
pub(super) fn write(file: &Path, state: &Value) -> io::Result<()> {
    let mut beside = file.as_os_str().to_owned();
    beside.push(format!(".{}.new", std::process::id()));
    let written = (|| {
        let mut new = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&beside)?;
        new.write_all(state.to_string().as_bytes())?;
        new.sync_all()?;
        fs::rename(&beside, file)
    })();
    if written.is_err() {
        // Half a file is of no use to anyone.
        let _ = fs::remove_file(&beside);
    }
    written
}
