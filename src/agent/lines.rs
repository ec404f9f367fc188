//! Lines of a conversation, each of a length that somebody has thought of: who is at the other end may be anybody.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};

/// See the module.
pub(super) struct Lines<R> {
    reader: BufReader<R>,
    /// What has come of the next one.
    begun: Vec<u8>,
    /// Most bytes of one.
    longest: usize,
}

impl<R: AsyncRead + Unpin> Lines<R> {
    pub(super) fn new(reader: R, longest: usize) -> Self {
        Self {
            reader: BufReader::new(reader),
            begun: Vec::new(),
            longest,
        }
    }

    /// From here on, no line may be longer.
    pub(super) fn at_most(&mut self, longest: usize) {
        self.longest = longest;
    }

    /// The next one, without its end; none when there are no more. Cancel safe: what has come is kept.
    pub(super) async fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let come = self.reader.fill_buf().await?;
            if come.is_empty() {
                // A line without an end is none: whoever said it was cut off.
                return Ok(None);
            }
            let end = come.iter().position(|byte| *byte == b'\n');
            let taken = end.unwrap_or(come.len());
            if self.begun.len() + taken > self.longest {
                let longest = self.longest;
                return Err(io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("a line is longer than {longest} bytes"),
                ));
            }
            self.begun.extend_from_slice(&come[..taken]);
            self.reader.consume(taken + usize::from(end.is_some()));
            if end.is_some() {
                return Ok(Some(std::mem::take(&mut self.begun)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use tokio::io::AsyncWriteExt as _;

    use super::*;

    #[tokio::test]
    async fn lines_come_whole_however_they_travel_and_end_with_their_writer() {
        let (near, mut far) = tokio::io::duplex(3);
        let writing = tokio::spawn(async move {
            far.write_all(b"first\n\nthird is long\ncut o").await.unwrap();
        });
        let mut lines = Lines::new(near, 64);
        let mut come = Vec::new();
        while let Some(line) = lines.next().await.unwrap() {
            come.push(String::from_utf8(line).unwrap());
        }
        assert_eq!(come, ["first", "", "third is long"]);
        writing.await.unwrap();
    }

    #[tokio::test]
    async fn a_line_that_is_too_long_is_refused_before_it_has_come_whole() {
        let (near, mut far) = tokio::io::duplex(1 << 16);
        far.write_all(&[b'x'; 65]).await.unwrap();
        let mut lines = Lines::new(near, 64);
        let refused = lines.next().await.unwrap_err();
        assert_eq!(refused.to_string(), "a line is longer than 64 bytes");
        let mut lines = Lines::new(&b"0123456789\n"[..], 10);
        assert_eq!(lines.next().await.unwrap().unwrap(), b"0123456789");
    }

    #[tokio::test]
    async fn what_has_come_of_a_line_is_kept_when_nobody_waits_for_it_any_more() {
        let (near, mut far) = tokio::io::duplex(64);
        let mut lines = Lines::new(near, 64);
        far.write_all(b"half ").await.unwrap();
        // Polled once, and dropped.
        assert!(futures::FutureExt::now_or_never(lines.next()).is_none());
        far.write_all(b"a line\n").await.unwrap();
        assert_eq!(lines.next().await.unwrap().unwrap(), b"half a line");
    }
}
