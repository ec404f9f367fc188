//! Go's gRPC before a server of Rust's, on a unix socket.
//!
//! Who dials a path with Go's gRPC and names no authority, as kubelet does when a plugin registers, sends the path as
//! `:authority`, with a `%2F` for each slash (grpc-go's `resolver.go`). The `h2` crate holds that to the grammar of
//! authorities, and resets the stream: `PROTOCOL_ERROR` (seen with kubelet 1.36). What a client sends therefore passes
//! through here, where that header becomes `localhost`, which is what Go sends for `unix:` targets.
//!
//! Left out: authorities that come in a `CONTINUATION`, or split from the rest of their block by a frame's end; Go sends a
//! request's headers in one frame.

use std::io;

use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, DuplexStream},
    net::UnixStream,
};

/// The preface of a connection (RFC 9113, section 3.4) and a frame's header (section 4.1), in bytes.
const PREFACE: usize = 24;
const FRAME_HEADER: usize = 9;
/// Type and flags of the frame that a request begins with (section 6.2).
const HEADERS: u8 = 1;
const END_HEADERS: u8 = 0x4;
const PADDED: u8 = 0x8;
const PRIORITY: u8 = 0x20;
/// Bytes of priority in such a frame.
const PRIORITY_FIELDS: usize = 5;
/// `:authority` in HPACK's static table (RFC 7541, appendix A).
const AUTHORITY: usize = 1;
const LOCALHOST: &[u8] = b"localhost";
/// Room between a client's socket and the server.
const ROOM: usize = 64 * 1024;

/// The connection of a client, as a server takes it.
pub(crate) fn accepted(client: UnixStream) -> DuplexStream {
    let (server, ours) = tokio::io::duplex(ROOM);
    tokio::spawn(async move {
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = tokio::io::split(ours);
        let there = async {
            let passed = pass(&mut from_client, &mut to_server).await;
            let _ = to_server.shutdown().await;
            passed
        };
        let back = async {
            let copied = tokio::io::copy(&mut from_server, &mut to_client).await;
            let _ = to_client.shutdown().await;
            copied.map(drop)
        };
        if let (Err(error), _) | (_, Err(error)) = tokio::join!(there, back) {
            tracing::debug!(%error, "a connection of Go's gRPC");
        }
    });
    server
}

/// Passes a client's frames on, with another authority.
async fn pass(from: &mut (impl AsyncRead + Unpin), to: &mut (impl AsyncWrite + Unpin)) -> io::Result<()> {
    let mut preface = [0; PREFACE];
    from.read_exact(&mut preface).await?;
    to.write_all(&preface).await?;
    loop {
        let mut header = [0; FRAME_HEADER];
        match from.read_exact(&mut header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            other => other.map(drop)?,
        }
        let length = usize::from(header[0]) << 16 | usize::from(header[1]) << 8 | usize::from(header[2]);
        let mut payload = vec![0; length];
        from.read_exact(&mut payload).await?;
        if header[3] == HEADERS
            && let Some(replaced) = with_localhost(header[4], &payload)
        {
            payload = replaced;
            let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_be_bytes();
            header[..3].copy_from_slice(&length[1..]);
        }
        to.write_all(&header).await?;
        to.write_all(&payload).await?;
        to.flush().await?;
    }
}

/// PURE. The payload of a request's first frame with `localhost` for its authority; nothing where it has none that is
/// written out, or is of a form that Go does not send.
fn with_localhost(flags: u8, payload: &[u8]) -> Option<Vec<u8>> {
    if flags & END_HEADERS == 0 || flags & PADDED != 0 {
        return None;
    }
    let start = if flags & PRIORITY == 0 { 0 } else { PRIORITY_FIELDS };
    let block = payload.get(start..)?;
    let (begins, ends) = authority(block)?;
    let mut replaced = payload[..start + begins].to_vec();
    // A text of HPACK's, not in Huffman's code: its length, which is below 127, and itself. Where the field goes into the
    // table of both sides, it goes there in this form: later requests refer to it.
    replaced.push(u8::try_from(LOCALHOST.len()).ok()?);
    replaced.extend_from_slice(LOCALHOST);
    replaced.extend_from_slice(&block[ends..]);
    Some(replaced)
}

/// Where the value of `:authority` begins and ends in a block of headers, its length included (RFC 7541, section 6).
fn authority(block: &[u8]) -> Option<(usize, usize)> {
    let mut at = 0;
    while let Some(&first) = block.get(at) {
        let bits = match first {
            // An entry of a table: name and value.
            0x80.. => {
                at = integer(block, at, 7)?.1;
                continue;
            }
            // A change of the table's size.
            0x20..0x40 => {
                at = integer(block, at, 5)?.1;
                continue;
            }
            // A field that goes into the table, and one that does not.
            0x40..0x80 => 6,
            0..0x20 => 4,
        };
        let (name, mut value) = integer(block, at, bits)?;
        if name == 0 {
            value = text(block, value)?;
        }
        let end = text(block, value)?;
        if name == AUTHORITY {
            return Some((value, end));
        }
        at = end;
    }
    None
}

/// Where a text ends (section 5.2).
fn text(block: &[u8], at: usize) -> Option<usize> {
    let (length, begins) = integer(block, at, 7)?;
    let end = begins.checked_add(length)?;
    (end <= block.len()).then_some(end)
}

/// A number in the low `bits` of the byte there and in those after it, and where it ends (section 5.1).
fn integer(block: &[u8], at: usize, bits: u32) -> Option<(usize, usize)> {
    let mask = (1_usize << bits) - 1;
    let mut number = usize::from(*block.get(at)?) & mask;
    if number < mask {
        return Some((number, at + 1));
    }
    let mut end = at + 1;
    for shift in [0, 7, 14, 21] {
        let byte = *block.get(end)?;
        end += 1;
        number = number.checked_add(usize::from(byte & 0x7f) << shift)?;
        if byte & 0x80 == 0 {
            return Some((number, end));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    #![expect(clippy::unwrap_used, reason = "a panic is the failure")]

    use super::*;

    /// What Go sends: method, scheme, a path that goes into the table, and the authority.
    fn block(authority: &[u8]) -> Vec<u8> {
        let mut block = vec![0x83, 0x86, 0x44, 2, b'/', b'x', 0x41];
        assert!(authority.len() < 127);
        block.push(u8::try_from(authority.len()).unwrap());
        block.extend_from_slice(authority);
        block.extend_from_slice(&[0x40, 1, b'a', 1, b'b', 0xbe]);
        block
    }

    #[test]
    fn the_path_that_go_sends_becomes_localhost_and_all_else_stays() {
        let sent = block(b"%2Fvar%2Flib%2Fkubelet%2Fx.sock");
        let replaced = with_localhost(END_HEADERS, &sent).unwrap();
        assert_eq!(replaced, block(b"localhost"));
        let mut with_priority = vec![0, 0, 0, 0, 16];
        with_priority.extend_from_slice(&sent);
        let replaced = with_localhost(END_HEADERS | PRIORITY, &with_priority).unwrap();
        assert_eq!(replaced[..5], [0, 0, 0, 0, 16]);
        assert_eq!(replaced[5..], block(b"localhost"));
    }

    #[test]
    fn what_has_no_authority_of_its_own_passes_as_it_is() {
        // The second request of a connection refers to the table.
        assert_eq!(with_localhost(END_HEADERS, &[0x83, 0x86, 0xc0, 0xbf]), None);
        assert_eq!(with_localhost(0, &block(b"a")), None, "it is not whole");
        assert_eq!(with_localhost(END_HEADERS | PADDED, &block(b"a")), None);
        for cut in 0..block(b"abc").len() {
            // Never beyond its end.
            let _ = with_localhost(END_HEADERS, &block(b"abc")[..cut]);
        }
        assert_eq!(
            with_localhost(END_HEADERS, &[0x41, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            None
        );
    }

    #[test]
    fn long_values_before_it_are_passed_over() {
        let mut long = vec![0x44, 0x7f, 0xc8, 1];
        long.extend(std::iter::repeat_n(b'p', 327));
        long.extend_from_slice(&[0x41, 1, b'a']);
        let replaced = with_localhost(END_HEADERS, &long).unwrap();
        assert!(replaced.ends_with(b"\x41\x09localhost"));
        assert_eq!(replaced.len(), long.len() + 8);
    }
}
