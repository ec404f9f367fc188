//! What a program writes: kept in a file that cannot fill the disk, with its end at hand for errors.

use std::{
    fs::{self, File},
    io::{self, PipeReader, PipeWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use rustix::io::ioctl_fionread;
use tokio::net::unix::pipe;

use super::LastWords;

/// The most that is kept of a program's output, in bytes. What comes after it is read and thrown away, so that the
/// program never waits for us and the disk never fills.
pub const LOG_LIMIT: u64 = 64 * 1024 * 1024;

/// What stands in the file where output was thrown away.
const CUT: &str = "\n[mountproof: the rest of this output is left out, for it is too long]\n";

/// As much of the end as errors show.
const TAIL: usize = 4096;
const TAIL_LINES: usize = 8;

/// How long what was written may take to reach the file.
const SETTLING: Duration = Duration::from_secs(5);

/// A program's output on its way into a file.
#[derive(Debug)]
pub(super) struct Output {
    path: PathBuf,
    pipe: Arc<pipe::Receiver>,
    kept: Arc<Mutex<Kept>>,
}

#[derive(Debug)]
struct Kept {
    file: File,
    room: u64,
    cut: bool,
    tail: Vec<u8>,
}

impl Output {
    /// Appends to the file at `path` what is written to the answered ends.
    pub(super) fn to(path: &Path) -> io::Result<(Self, PipeWriter)> {
        Self::within(path, LOG_LIMIT)
    }

    fn within(path: &Path, limit: u64) -> io::Result<(Self, PipeWriter)> {
        // It may hold tokens: a driver's did once, at -v=5.
        let file = File::options().create(true).append(true).mode(0o600).open(path)?;
        let there = fs::metadata(path)?.len();
        let (reader, writer): (PipeReader, PipeWriter) = io::pipe()?;
        let pipe = Arc::new(pipe::Receiver::from_owned_fd(reader.into())?);
        let kept = Arc::new(Mutex::new(Kept {
            file,
            room: limit.saturating_sub(there),
            cut: false,
            tail: Vec::new(),
        }));
        tokio::spawn(drain(Arc::clone(&pipe), Arc::clone(&kept)));
        let path = path.to_owned();
        Ok((Self { path, pipe, kept }, writer))
    }

    /// The file.
    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Waits until everything written so far is in the file.
    pub(super) async fn settle(&self) {
        let until = Instant::now() + SETTLING;
        while Instant::now() < until {
            {
                // What is read is written under the same lock: an empty pipe is a written file.
                let _held = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
                if ioctl_fionread(&*self.pipe).unwrap_or(0) == 0 {
                    return;
                }
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Its last lines.
    pub(super) fn last_words(&self) -> LastWords {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let text = String::from_utf8_lossy(&kept.tail);
        let plain = |line: &str| -> String { line.chars().filter(|letter| !letter.is_control()).collect() };
        let lines: Vec<String> = text
            .lines()
            .map(plain)
            .filter(|line| !line.trim().is_empty())
            .collect();
        let last = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        LastWords(without_tokens(&last.join(" | ")))
    }
}

/// Reads until all who write have ended.
async fn drain(pipe: Arc<pipe::Receiver>, kept: Arc<Mutex<Kept>>) {
    let mut buffer = vec![0; 64 * 1024];
    while pipe.readable().await.is_ok() {
        let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
        match pipe.try_read(&mut buffer) {
            Ok(0) => return,
            Ok(count) => kept.take(&buffer[..count]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => return,
        }
    }
}

impl Kept {
    fn take(&mut self, bytes: &[u8]) {
        let fits = usize::try_from(self.room).map_or(bytes.len(), |room| room.min(bytes.len()));
        // A full disk costs the log, and nothing else.
        let _ = self.file.write_all(&bytes[..fits]);
        self.room -= fits as u64;
        if fits < bytes.len() && !self.cut {
            self.cut = true;
            let _ = self.file.write_all(CUT.as_bytes());
        }
        self.tail.extend(&bytes[bytes.len().saturating_sub(TAIL)..]);
        let over = self.tail.len().saturating_sub(TAIL);
        self.tail.drain(..over);
    }
}

/// `text` without what looks like a token or a key: signed tokens, what follows `Bearer`, and long runs that mix upper
/// case, lower case and digits. Paths and ids stay.
pub(super) fn without_tokens(text: &str) -> String {
    let in_token = |letter: char| letter.is_ascii_alphanumeric() || "+/_-=.".contains(letter);
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let mut bearer = false;
    while let Some(start) = rest.find(in_token) {
        let (before, from) = rest.split_at(start);
        let (run, after) = from.split_at(from.find(|letter| !in_token(letter)).unwrap_or(from.len()));
        out.push_str(before);
        if bearer || looks_secret(run) {
            out.push_str("<hidden>");
        } else {
            out.push_str(run);
        }
        bearer = run.eq_ignore_ascii_case("bearer") && after.starts_with([' ', ':']);
        rest = after;
    }
    out.push_str(rest);
    out
}

fn looks_secret(run: &str) -> bool {
    // The head of a signed token is JSON, `{"`.
    if run.match_indices("eyJ").any(|(at, _)| run.len() - at >= 20) {
        return true;
    }
    let mixed = |piece: &str| {
        piece.len() >= 32
            && piece.contains(|letter: char| letter.is_ascii_uppercase())
            && piece.contains(|letter: char| letter.is_ascii_lowercase())
            && piece.contains(|letter: char| letter.is_ascii_digit())
    };
    // A secret access key may have slashes; a path begins with one, or has words between them.
    let path = run.starts_with(['/', '.']);
    (!path && run.len() == 40 && mixed(run)) || run.split(['/', '.']).any(mixed)
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic is the failure")]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_token_is_hidden_and_paths_and_ids_stay() {
        let token = "eyJhbGciOiJSUzI1NiJ9.eyJzdWIiOiJ4In0.c2lnbmF0dXJl";
        let cases = [
            (format!("token {token} refused"), "token <hidden> refused"),
            (format!(r#"{{"token":"{token}"}}"#), r#"{"token":"<hidden>"}"#),
            (
                "Authorization: Bearer abc".to_owned(),
                "Authorization: Bearer <hidden>",
            ),
            (
                "key wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY end".to_owned(),
                "key <hidden> end",
            ),
            (
                "listen unix /tmp/mountproof-20261126-044500-Ab12/kubelet/csi.sock: bind: no".to_owned(),
                "listen unix /tmp/mountproof-20261126-044500-Ab12/kubelet/csi.sock: bind: no",
            ),
            (
                "pod 0e3a1f5c-6b1d-4b6e-9d4e-2f1a7c3b5d9f".to_owned(),
                "pod 0e3a1f5c-6b1d-4b6e-9d4e-2f1a7c3b5d9f",
            ),
            ("a bearer of news".to_owned(), "a bearer <hidden> news"),
            (String::new(), ""),
        ];
        for (text, expected) in cases {
            assert_eq!(without_tokens(&text), expected);
        }
    }

    #[tokio::test]
    async fn a_flood_ends_in_the_file_at_the_limit_and_its_last_words_are_known() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        fs::write(&path, "earlier\n").unwrap();
        let (output, mut writer) = Output::within(&path, 1000).unwrap();
        let flood = tokio::task::spawn_blocking(move || {
            for number in 0..20_000 {
                writeln!(writer, "line {number} of a program that says too much").unwrap();
            }
        });
        flood.await.unwrap();
        output.settle().await;
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.starts_with("earlier\nline 0 of"), "{text}");
        assert_eq!(text.len(), 1000 + CUT.len());
        assert!(text.ends_with(CUT));
        let last = output.last_words();
        assert!(
            last.text()
                .ends_with("| line 19999 of a program that says too much"),
            "{last}"
        );
        assert_eq!(last.text().matches(" | ").count(), TAIL_LINES - 1);
    }

    #[tokio::test]
    async fn what_was_written_before_settling_is_in_the_file_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let (output, mut writer) = Output::to(&path).unwrap();
        for number in 0..200 {
            writeln!(writer, "{number}").unwrap();
            output.settle().await;
            let text = fs::read_to_string(&path).unwrap();
            assert!(text.ends_with(&format!("{number}\n")), "{text}");
        }
        assert!(output.last_words().text().ends_with("199"));
    }
}
