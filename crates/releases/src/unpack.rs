//! PURE, but for the reader that it is given. Layers and archives are tar, as it is or packed with gzip or zstd; which,
//! their first bytes say. What comes out is bounded, however little went in.

use std::io::{self, BufRead, BufReader, Read};

use flate2::bufread::MultiGzDecoder;
use ruzstd::decoding::StreamingDecoder;

/// In the text of the error at the bound.
pub(crate) const TOO_LARGE: &str = "more than the bound unpacked";

/// Unpacks, at most so many bytes.
pub(crate) fn bounded<'a>(packed: impl Read + 'a, limit: u64) -> io::Result<Bounded<Box<dyn Read + 'a>>> {
    let mut packed = BufReader::with_capacity(64 * 1024, packed);
    let inner: Box<dyn Read + 'a> = match packed.fill_buf()? {
        [0x1f, 0x8b, ..] => Box::new(MultiGzDecoder::new(packed)),
        // A frame, or one that is skipped: https://www.rfc-editor.org/rfc/rfc8878#section-3.1
        [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => {
            Box::new(ZstdFrames::Between(packed))
        }
        _ => Box::new(packed),
    };
    Ok(Bounded { inner, left: limit })
}

/// Fails rather than ends at its bound.
pub(crate) struct Bounded<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.left = self
            .left
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other(TOO_LARGE))?;
        Ok(read)
    }
}

/// Frame after frame: the library's decoder ends with the first, and tools write one for every file.
enum ZstdFrames<R: BufRead> {
    Between(R),
    Within(Box<StreamingDecoder<R, ruzstd::decoding::FrameDecoder>>),
    Ended,
}

impl<R: BufRead> Read for ZstdFrames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            match std::mem::replace(self, Self::Ended) {
                Self::Ended => return Ok(0),
                Self::Between(mut source) => {
                    let start = source.fill_buf()?;
                    if start.is_empty() {
                        return Ok(0);
                    }
                    if (0x50..=0x5f).contains(&start[0]) {
                        skip_frame(&mut source)?;
                        *self = Self::Between(source);
                        continue;
                    }
                    let decoder = StreamingDecoder::new(source).map_err(io::Error::other)?;
                    *self = Self::Within(Box::new(decoder));
                }
                Self::Within(mut decoder) => {
                    let read = decoder.read(buffer)?;
                    if read > 0 {
                        *self = Self::Within(decoder);
                        return Ok(read);
                    }
                    *self = Self::Between(decoder.into_inner());
                }
            }
        }
    }
}

fn skip_frame(source: &mut impl BufRead) -> io::Result<()> {
    let mut head = [0; 8];
    source.read_exact(&mut head)?;
    let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]);
    let skipped = io::copy(&mut source.take(u64::from(length)), &mut io::sink())?;
    if skipped == u64::from(length) {
        Ok(())
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use flate2::{Compression, write::GzEncoder};
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_bytes_behind_a_magic_number_end_or_fail_but_never_panic(
            magic in 0_usize..3,
            bytes in prop::collection::vec(any::<u8>(), 0..300),
            noise in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        ) {
            let starts: [&[u8]; 3] = [&[0x1f, 0x8b, 8], &[0x28, 0xb5, 0x2f, 0xfd], &[0x50, 0x2a, 0x4d, 0x18]];
            let _ = unpacked(&[starts[magic], &bytes].concat(), 1 << 20);
            // And what was right but for a few bytes.
            let mut packed = if magic == 0 { gzip(&bytes) } else { zstd(&bytes) };
            for (index, byte) in noise {
                let at = index.index(packed.len());
                packed[at] = byte;
            }
            let _ = unpacked(&packed, 1 << 20);
        }
    }

    fn gzip(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).expect("memory takes everything");
        encoder.finish().expect("memory takes everything")
    }

    /// One frame with one raw block.
    fn zstd(bytes: &[u8]) -> Vec<u8> {
        ruzstd::encoding::compress_to_vec(bytes, ruzstd::encoding::CompressionLevel::Fastest)
    }

    fn unpacked(packed: &[u8], limit: u64) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        bounded(packed, limit)?.read_to_end(&mut out)?;
        Ok(out)
    }

    #[test]
    fn whatever_it_is_packed_with_comes_out_whole() {
        let skipped = [&[0x50, 0x2a, 0x4d, 0x18, 3, 0, 0, 0][..], b"xyz"].concat();
        let cases = [
            ("plain", b"some bytes".to_vec()),
            ("gzip", gzip(b"some bytes")),
            ("two members", [gzip(b"some "), gzip(b"bytes")].concat()),
            ("zstd", zstd(b"some bytes")),
            ("two frames", [zstd(b"some "), zstd(b"bytes")].concat()),
            (
                "skipped frames",
                [skipped.clone(), zstd(b"some bytes"), skipped].concat(),
            ),
        ];
        for (name, packed) in cases {
            assert_eq!(unpacked(&packed, 10).expect(name), b"some bytes", "{name}");
        }
    }

    #[test]
    fn a_bomb_is_an_error_at_its_bound() {
        let zeros = vec![0; 1 << 20];
        for packed in [gzip(&zeros), zstd(&zeros), zeros.clone()] {
            let error = unpacked(&packed, (1 << 20) - 1).expect_err("one byte too many");
            assert!(error.to_string().contains(TOO_LARGE), "{error}");
            assert_eq!(unpacked(&packed, 1 << 20).expect("just enough").len(), 1 << 20);
        }
    }

    #[test]
    fn what_was_cut_off_is_an_error() {
        for packed in [gzip(&[7; 5000]), zstd(&[7; 5000])] {
            assert!(unpacked(&packed[..packed.len() - 3], 10_000).is_err());
        }
    }
}
