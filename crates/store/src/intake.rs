//! Chunks of uploads on their way to disk: hashed, two at once where two wait, and written.

use std::{
    collections::VecDeque,
    panic::AssertUnwindSafe,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
};

use bytes::Bytes;
use seaworthy_oci::Hasher;
use tokio::sync::oneshot;

use crate::{
    error::BlobError,
    upload::{Sink, append, failed},
};

/// What all uploads have to be hashed and written. As many threads work on it as there are processors: with
/// more, no two chunks would wait.
pub(crate) struct Intake {
    waiting: Mutex<Waiting>,
    workers_max: usize,
}

#[derive(Default)]
struct Waiting {
    chunks: VecDeque<Chunk>,
    workers: usize,
}

/// The next bytes of one upload, as they came.
struct Chunk {
    sink: Sink,
    pieces: Vec<Bytes>,
    path: PathBuf,
    done: oneshot::Sender<Result<Sink, BlobError>>,
}

impl Intake {
    pub(crate) fn new() -> Arc<Self> {
        let workers_max = thread::available_parallelism().map_or(1, usize::from);
        Arc::new(Self { waiting: Mutex::default(), workers_max })
    }

    /// Hashes `pieces` and writes them to the end of the sink's file, which is made at `path` when there is
    /// none. An upload has one chunk under way at a time.
    pub(crate) async fn append(
        self: &Arc<Self>,
        sink: Sink,
        pieces: Vec<Bytes>,
        path: PathBuf,
    ) -> Result<Sink, BlobError> {
        let (done, appended) = oneshot::channel();
        if self.push(Chunk { sink, pieces, path, done }) {
            let intake = Arc::clone(self);
            tokio::task::spawn_blocking(move || intake.work());
        }
        appended.await.unwrap_or_else(|error| {
            Err(failed("finish", Path::new("blocking thread"), std::io::Error::other(error)))
        })
    }

    /// True when the caller must see to it that another thread works.
    fn push(&self, chunk: Chunk) -> bool {
        let mut waiting = self.lock();
        waiting.chunks.push_back(chunk);
        let is_short = waiting.workers < self.workers_max;
        waiting.workers += usize::from(is_short);
        is_short
    }

    /// The chunk that waits longest, and the next; without any, this worker is none any more.
    fn take(&self) -> Option<(Chunk, Option<Chunk>)> {
        let mut waiting = self.lock();
        let Some(first) = waiting.chunks.pop_front() else {
            waiting.workers -= 1;
            return None;
        };
        Some((first, waiting.chunks.pop_front()))
    }

    fn work(&self) {
        while let Some((first, second)) = self.take() {
            // Who waits for a chunk that panics hears of it by the sender's end.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| match second {
                None => first.hash_and_write(),
                Some(second) => Chunk::hash_and_write_two(first, second),
            }));
        }
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Chunk {
    fn hash_and_write(mut self) {
        self.pieces.iter().for_each(|piece| self.sink.hasher.update(piece));
        self.write();
    }

    fn hash_and_write_two(mut one: Self, mut two: Self) {
        Hasher::update_two(
            (&mut one.sink.hasher, one.pieces.iter().map(Bytes::as_ref)),
            (&mut two.sink.hasher, two.pieces.iter().map(Bytes::as_ref)),
        );
        one.write();
        two.write();
    }

    fn write(self) {
        let Self { mut sink, pieces, path, done } = self;
        let appended = append(&mut sink.file, &path, &pieces).map(|()| sink);
        // The pieces go before the next are taken in.
        drop(pieces);
        // Whose caller was cancelled is told nothing.
        let _ = done.send(appended);
    }
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use seaworthy_oci::{Algorithm, Digest};

    use super::*;

    fn sink() -> Sink {
        Sink { hasher: Hasher::new(Algorithm::Sha256), file: None }
    }

    fn chunk(path: &Path, text: &'static str) -> (Chunk, oneshot::Receiver<Result<Sink, BlobError>>) {
        let (done, appended) = oneshot::channel();
        (Chunk { sink: sink(), pieces: vec![text.into()], path: path.to_owned(), done }, appended)
    }

    #[test]
    fn workers_take_two_and_none_is_left_waiting() {
        let directory = tempfile::tempdir().expect("directory");
        let intake = Intake { waiting: Mutex::default(), workers_max: 2 };
        let (chunks, answers): (Vec<_>, Vec<_>) =
            ["a", "b", "c"].iter().map(|text| chunk(&directory.path().join(text), text)).unzip();
        let started: Vec<bool> = chunks.into_iter().map(|chunk| intake.push(chunk)).collect();
        assert_eq!(started, [true, true, false], "a worker each, as far as there may be any");
        assert!(intake.take().is_some_and(|(_, second)| second.is_some()));
        intake.work();
        drop(answers);
        assert!(std::fs::read(directory.path().join("c")).is_ok_and(|bytes| bytes == b"c"));
        // One of the two found nothing more and is gone: the next chunk has one again.
        assert!(intake.push(chunk(&directory.path().join("d"), "d").0));
    }

    #[tokio::test]
    async fn a_chunk_that_cannot_be_written_fails_alone() {
        let directory = tempfile::tempdir().expect("directory");
        let intake = Arc::new(Intake { waiting: Mutex::default(), workers_max: 1 });
        let appended = join_all((0..40_u8).map(|number| {
            // Of every other the file's name is that of a directory.
            let path = if number % 2 == 0 {
                directory.path().join(number.to_string())
            } else {
                directory.path().to_owned()
            };
            let pieces = vec![Bytes::from(vec![number; 100]), Bytes::from(vec![number; 1_000])];
            let intake = intake.clone();
            async move { intake.append(sink(), pieces, path).await }
        }));
        for (number, appended) in (0..40_u8).zip(appended.await) {
            if number % 2 == 1 {
                assert!(matches!(appended, Err(BlobError::File { operation: "create", .. })), "{number}");
                continue;
            }
            let whole = vec![number; 1_100];
            assert_eq!(appended.expect("appended").hasher.finish(), Digest::sha256(&whole));
            let written = std::fs::read(directory.path().join(number.to_string())).expect("written");
            assert!(written == whole, "{number}");
        }
    }
}
