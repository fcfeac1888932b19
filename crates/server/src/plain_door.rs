//! The plain HTTP door on loopback. Bytes of blob files are not read: the kernel copies them to the socket
//! (sendfile(2)), a megabyte at a time.
//!
//! A blob's body is made of slices of its file's map. HTTP writes them as any bytes; this door asks
//! which file is behind them before it would touch them. What it does not recognise it writes as it is, so a
//! body is right whichever way it goes.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use seaworthy_store::map::file_behind;
use tokio::{
    io::{AsyncRead, AsyncWrite, Interest, ReadBuf},
    net::TcpStream,
};

/// Bytes that one call lets the kernel copy: a disk that is slow holds up a thread for no longer.
const SENT_AT_ONCE: usize = 1 << 20;
/// Shorter pieces are written: a call for each would cost more than it saves.
const SENT_AT_LEAST: usize = 16 << 10;

/// One connection.
pub(crate) struct PlainStream(TcpStream);

/// True of bytes that may be a file's.
fn is_long(bytes: &[u8]) -> bool {
    bytes.len() >= SENT_AT_LEAST
}

impl PlainStream {
    /// A connection at the plain door.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self(stream)
    }

    /// Sends from the file behind `bytes`; `None` when there is none.
    fn poll_send(&self, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Option<io::Result<usize>>> {
        let Some((sent, mut offset)) = file_behind(bytes) else { return Poll::Ready(None) };
        let count = bytes.len().min(SENT_AT_ONCE);
        loop {
            if let Err(error) = ready!(self.0.poll_write_ready(context)) {
                return Poll::Ready(Some(Err(error)));
            }
            let copied = self.0.try_io(Interest::WRITABLE, || {
                Ok(rustix::fs::sendfile(&self.0, sent.file(), Some(&mut offset), count)?)
            });
            match copied {
                // The file is shorter than its map: the rest cannot be sent, and zeros are not it.
                Ok(0) => return Poll::Ready(Some(Err(io::ErrorKind::UnexpectedEof.into()))),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                done => return Poll::Ready(Some(done)),
            }
        }
    }
}

impl AsyncRead for PlainStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for PlainStream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        if is_long(bytes)
            && let Some(done) = ready!(self.poll_send(context, bytes))
        {
            return Poll::Ready(done);
        }
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = pieces.iter().position(|piece| is_long(piece)).unwrap_or(pieces.len());
        let (before, rest) = pieces.split_at(first);
        // What stands before a file goes first, and alone.
        if before.iter().any(|piece| !piece.is_empty()) {
            return Pin::new(&mut self.0).poll_write_vectored(context, before);
        }
        match rest.first() {
            Some(piece) => self.poll_write(context, piece),
            None => Poll::Ready(Ok(0)),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use std::{io::Write as _, sync::Arc};

    use seaworthy_store::map::SentFile;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    fn file(length: usize) -> (Arc<SentFile>, Vec<u8>) {
        let bytes: Vec<u8> = (0..length).map(|at| u8::try_from(at % 253).expect("a byte")).collect();
        let mut file = tempfile::tempfile().expect("a file");
        file.write_all(&bytes).expect("written");
        (SentFile::open(file).expect("map"), bytes)
    }

    /// What arrives when these pieces are written one behind the other.
    async fn written(pieces: Vec<Vec<u8>>, slices: Vec<bytes::Bytes>) -> Vec<u8> {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (reader, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (mut reader, mut stream) =
            (reader.expect("connected"), PlainStream(accepted.expect("accepted").0));
        let writing = async {
            for (piece, slice) in pieces.iter().zip(&slices) {
                let mut left = [&piece[..], &slice[..], &piece[..]];
                while let Some(first) = left.iter().position(|it| !it.is_empty()) {
                    let list: Vec<IoSlice<'_>> = left[first..].iter().map(|it| IoSlice::new(it)).collect();
                    let mut count = stream.write_vectored(&list).await.expect("written");
                    for it in &mut left {
                        let part = count.min(it.len());
                        *it = &it[part..];
                        count -= part;
                    }
                }
                stream.write_all(slice).await.expect("written");
            }
            drop(stream);
        };
        let mut all = Vec::new();
        let ((), read) = tokio::join!(writing, reader.read_to_end(&mut all));
        read.expect("read");
        all
    }

    #[tokio::test]
    async fn files_and_other_bytes_arrive_as_they_were_written() {
        let (sent, bytes) = file(3 * SENT_AT_ONCE + 7);
        let ranges =
            [0..bytes.len(), 1..SENT_AT_LEAST, 5..SENT_AT_LEAST + 5, SENT_AT_ONCE - 1..2 * SENT_AT_ONCE + 1];
        let pieces: Vec<Vec<u8>> =
            [0, 10, SENT_AT_LEAST - 1, 40_000].map(|length| vec![b'x'; length]).to_vec();
        let slices: Vec<_> =
            ranges.iter().map(|range| sent.slice(range.start as u64..range.end as u64)).collect();
        let mut expected = Vec::new();
        for (piece, range) in pieces.iter().zip(&ranges) {
            let part = &bytes[range.clone()];
            for it in [&piece[..], part, &piece[..], part] {
                expected.extend_from_slice(it);
            }
        }
        let arrived = written(pieces, slices).await;
        assert_eq!(arrived.len(), expected.len());
        assert!(arrived == expected);
    }

    #[tokio::test]
    async fn a_file_that_lost_its_end_ends_the_connection() {
        let (sent, bytes) = file(SENT_AT_ONCE);
        let slice = sent.slice(0..bytes.len() as u64);
        // The map is never touched behind the end.
        sent.file().set_len(4_096).expect("cut");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("its address");
        let (reader, accepted) = tokio::join!(TcpStream::connect(address), listener.accept());
        let (_reader, mut stream) = (reader.expect("connected"), PlainStream(accepted.expect("accepted").0));
        let error = stream.write_all(&slice).await.expect_err("the end is missing");
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
