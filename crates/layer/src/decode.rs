use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};

use flate2::bufread::GzDecoder;
use seaworthy_oci::{Algorithm, Digest, Hasher};

use crate::{LayerError, Limits, limit};

/// The uncompressed bytes of a layer, hashed while they stream by.
pub(crate) struct Decoder<R: Read> {
    source: Source<R>,
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
    hasher: Hasher,
    produced: u64,
    limits: Limits,
}

type Input<R> = BufReader<Chain<Cursor<Vec<u8>>, Counted<R>>>;

enum Source<R: Read> {
    Plain(Input<R>),
    Gzip(Box<GzDecoder<Input<R>>>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Input<R>>>),
    /// Between two gzip members, and after the end.
    Between,
    Ended(u64),
}

impl<R: Read> Decoder<R> {
    /// Tells the format by the first bytes.
    pub(crate) fn new(input: R, limits: Limits) -> Result<Self, LayerError> {
        let mut input = Counted { inner: input, bytes: 0 };
        let mut magic = Vec::with_capacity(4);
        input.by_ref().take(4).read_to_end(&mut magic).map_err(|source| LayerError::Input { source })?;
        let kind = magic.clone();
        let input = BufReader::with_capacity(limit::CHUNK_BYTES, Cursor::new(magic).chain(input));
        let source = match kind.as_slice() {
            [0x1f, 0x8b, ..] => Source::Gzip(Box::new(GzDecoder::new(input))),
            // A zstd frame (RFC 8878 §3.1.1) or a skippable frame in front of one (§3.1.2).
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(input)
                    .map_err(|source| LayerError::Corrupt { format: "zstd", source })?;
                decoder
                    .window_log_max(limit::ZSTD_WINDOW_LOG)
                    .map_err(|source| LayerError::Corrupt { format: "zstd", source })?;
                Source::Zstd(Box::new(decoder))
            }
            _ => Source::Plain(input),
        };
        Ok(Self {
            source,
            buffer: vec![0; limit::CHUNK_BYTES].into_boxed_slice(),
            start: 0,
            end: 0,
            hasher: Hasher::new(Algorithm::Sha256),
            produced: 0,
            limits,
        })
    }

    /// The bytes at hand, decoding more when there are none; empty at the end.
    pub(crate) fn fill(&mut self) -> Result<&[u8], LayerError> {
        if self.start == self.end {
            let read = self.refill()?;
            self.start = 0;
            self.end = read;
            self.produced += u64::try_from(read).unwrap_or(u64::MAX);
            self.hasher.update(self.buffer.get(..read).unwrap_or_default());
            self.check_size()?;
        }
        Ok(self.buffer.get(self.start..self.end).unwrap_or_default())
    }

    /// Marks `bytes` of what [`Decoder::fill`] gave as used.
    pub(crate) fn consume(&mut self, bytes: usize) {
        self.start = self.start.saturating_add(bytes).min(self.end);
    }

    /// The same slice as [`Decoder::fill`] gave, at most `wanted` bytes, marked as used.
    pub(crate) fn take(&mut self, wanted: u64) -> Result<&[u8], LayerError> {
        let available = self.fill()?.len();
        let length = usize::try_from(wanted).unwrap_or(usize::MAX).min(available);
        let start = self.start;
        self.consume(length);
        Ok(self.buffer.get(start..start + length).unwrap_or_default())
    }

    /// Fills `out` as far as the stream goes; returns how far.
    pub(crate) fn read_into(&mut self, out: &mut [u8]) -> Result<usize, LayerError> {
        let mut done = 0;
        while done < out.len() {
            let Some(rest) = out.get_mut(done..) else { break };
            let chunk = self.take(u64::try_from(rest.len()).unwrap_or(u64::MAX))?;
            if chunk.is_empty() {
                break;
            }
            rest.iter_mut().zip(chunk).for_each(|(slot, byte)| *slot = *byte);
            done += chunk.len();
        }
        Ok(done)
    }

    /// Skips `bytes`, or to the end of the stream; returns how many are missing.
    pub(crate) fn skip(&mut self, mut bytes: u64) -> Result<u64, LayerError> {
        while bytes > 0 {
            let skipped = self.take(bytes)?.len();
            if skipped == 0 {
                break;
            }
            bytes -= u64::try_from(skipped).unwrap_or(bytes);
        }
        Ok(bytes)
    }

    /// Reads to the end (whatever follows the archive counts in the `diff_id`) and gives the
    /// digest and length of all uncompressed bytes.
    pub(crate) fn finish(mut self) -> Result<(Digest, u64), LayerError> {
        self.skip(u64::MAX)?;
        Ok((self.hasher.finish(), self.produced))
    }

    fn refill(&mut self) -> Result<usize, LayerError> {
        loop {
            let read = match &mut self.source {
                Source::Plain(input) => {
                    return retry(|| input.read(&mut self.buffer))
                        .map_err(|source| LayerError::Input { source });
                }
                Source::Zstd(decoder) => {
                    return retry(|| decoder.read(&mut self.buffer))
                        .map_err(|source| decode_error("zstd", source));
                }
                Source::Gzip(decoder) => {
                    retry(|| decoder.read(&mut self.buffer)).map_err(|source| decode_error("gzip", source))?
                }
                Source::Between | Source::Ended(_) => return Ok(0),
            };
            if read > 0 {
                return Ok(read);
            }
            self.next_member()?;
        }
    }

    /// After a gzip member: another one (RFC 1952 §2.2), padding of zeros, or the end.
    fn next_member(&mut self) -> Result<(), LayerError> {
        let Source::Gzip(decoder) = std::mem::replace(&mut self.source, Source::Between) else {
            return Ok(());
        };
        let mut input = decoder.into_inner();
        let first = retry(|| input.fill_buf().map(|bytes| bytes.first().copied()))
            .map_err(|source| LayerError::Input { source })?;
        if first == Some(0x1f) {
            self.source = Source::Gzip(Box::new(GzDecoder::new(input)));
            return Ok(());
        }
        loop {
            let bytes = match input.fill_buf() {
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(source) => return Err(LayerError::Input { source }),
            };
            if bytes.is_empty() {
                break;
            }
            if bytes.iter().any(|byte| *byte != 0) {
                return Err(LayerError::TrailingGarbage);
            }
            let length = bytes.len();
            input.consume(length);
        }
        self.source = Source::Ended(compressed(&input));
        Ok(())
    }

    fn check_size(&self) -> Result<(), LayerError> {
        if self.produced > self.limits.uncompressed_bytes {
            return Err(LayerError::TooLarge {
                what: "uncompressed bytes",
                at_most: self.limits.uncompressed_bytes,
            });
        }
        if self.produced > self.limits.ratio_free_bytes {
            let read = match &self.source {
                Source::Plain(input) => compressed(input),
                Source::Gzip(decoder) => compressed(decoder.get_ref()),
                Source::Zstd(decoder) => compressed(decoder.get_ref()),
                Source::Ended(bytes) => *bytes,
                Source::Between => return Ok(()),
            };
            let earned = read.saturating_mul(self.limits.ratio);
            if self.produced - self.limits.ratio_free_bytes > earned {
                return Err(LayerError::TooLarge {
                    what: "uncompressed bytes per compressed byte",
                    at_most: self.limits.ratio,
                });
            }
        }
        Ok(())
    }
}

/// Counts the compressed bytes that were read.
struct Counted<R> {
    inner: R,
    bytes: u64,
}

/// An error of the underlying reader, told apart from one that the decoder makes.
#[derive(Debug)]
struct InputFailed(io::Error);

impl std::fmt::Display for InputFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for InputFailed {}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = retry(|| self.inner.read(buffer)).map_err(|error| io::Error::other(InputFailed(error)))?;
        self.bytes += u64::try_from(read).unwrap_or(u64::MAX);
        Ok(read)
    }
}

fn compressed<R: Read>(input: &Input<R>) -> u64 {
    input.get_ref().get_ref().1.bytes
}

fn decode_error(format: &'static str, error: io::Error) -> LayerError {
    if error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<InputFailed>) {
        return LayerError::Input { source: error };
    }
    if error.kind() == io::ErrorKind::UnexpectedEof {
        return LayerError::Truncated { what: "the compressed stream" };
    }
    LayerError::Corrupt { format, source: error }
}

fn retry<T>(mut action: impl FnMut() -> io::Result<T>) -> io::Result<T> {
    loop {
        match action() {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
