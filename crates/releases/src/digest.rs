//! PURE. SHA-256 as registries write it.

use std::io::{self, Read};

use aws_lc_rs::digest::{Context, SHA256, digest};

/// `sha256:` and 64 digits.
pub(crate) fn of(bytes: &[u8]) -> String {
    write(digest(&SHA256, bytes).as_ref())
}

/// Of all that is read until the end.
pub(crate) fn of_reader(reader: &mut impl Read) -> io::Result<String> {
    let mut running = Running::new();
    let mut buffer = vec![0; 64 * 1024];
    loop {
        match reader.read(&mut buffer)? {
            0 => return Ok(running.finish()),
            read => running.update(&buffer[..read]),
        }
    }
}

/// Grows as bytes come.
pub(crate) struct Running(Context);

impl Running {
    pub(crate) fn new() -> Self {
        Self(Context::new(&SHA256))
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> String {
        write(self.0.finish().as_ref())
    }
}

/// The digits behind `sha256:`, for names of files.
pub(crate) fn hex(digest: &str) -> &str {
    digest.strip_prefix("sha256:").unwrap_or(digest)
}

fn write(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold("sha256:".to_owned(), |mut text, byte| {
        write!(text, "{byte:02x}").expect("a string takes everything");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_digest_is_written_as_in_fips_180_4() {
        let expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(of(b"abc"), expected);
        assert_eq!(of_reader(&mut &b"abc"[..]).expect("bytes can be read"), expected);
        assert_eq!(hex(expected).len(), 64);
    }
}
