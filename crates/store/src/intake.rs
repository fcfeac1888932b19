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

/// What uploads have to be hashed and written, up to their last chunk: at most one chunk of each. As many threads work
/// on it as there are processors: with more, no two chunks would wait.
pub(crate) struct Intake {
    waiting: Mutex<Waiting>,
    workers_max: usize,
}

#[derive(Default)]
struct Waiting {
    chunks: VecDeque<Chunk>,
    workers: usize,
    /// Those of them that have not looked for a chunk yet: one is left for each.
    starting: usize,
}

/// The next bytes of one upload, as they came.
struct Chunk {
    sink: Sink,
    pieces: Vec<Bytes>,
    path: PathBuf,
    done: oneshot::Sender<Result<Sink, BlobError>>,
}

/// A thread that works, or will.
struct Worker {
    intake: Arc<Intake>,
    is_starting: bool,
    is_counted: bool,
}

impl Intake {
    pub(crate) fn new() -> Arc<Self> {
        Self::with_workers(thread::available_parallelism().map_or(1, usize::from))
    }

    fn with_workers(workers_max: usize) -> Arc<Self> {
        Arc::new(Self { waiting: Mutex::default(), workers_max })
    }

    /// Hashes `pieces` and writes them to the end of the sink's file, which is made at `path` when there is
    /// none. An upload has one chunk under way at a time. Whose caller goes away before its turn is not written.
    pub(crate) async fn append(
        self: &Arc<Self>,
        sink: Sink,
        pieces: Vec<Bytes>,
        path: PathBuf,
    ) -> Result<Sink, BlobError> {
        let (done, appended) = oneshot::channel();
        if let Some(worker) = self.push(Chunk { sink, pieces, path, done }) {
            tokio::task::spawn_blocking(move || worker.work());
        }
        appended.await.unwrap_or_else(|error| {
            Err(failed("finish", Path::new("blocking thread"), std::io::Error::other(error)))
        })
    }

    /// Gives a worker to be run where there may be one more.
    fn push(self: &Arc<Self>, chunk: Chunk) -> Option<Worker> {
        let mut waiting = self.lock();
        waiting.chunks.push_back(chunk);
        if waiting.workers >= self.workers_max {
            return None;
        }
        waiting.workers += 1;
        waiting.starting += 1;
        Some(Worker { intake: Arc::clone(self), is_starting: true, is_counted: true })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Waiting {
    fn pop(&mut self) -> Option<Chunk> {
        loop {
            let chunk = self.chunks.pop_front()?;
            if !chunk.done.is_closed() {
                return Some(chunk);
            }
        }
    }
}

impl Worker {
    fn work(mut self) {
        while let Some((first, second)) = self.take() {
            // Who waits for a chunk that panics hears of it by the sender's end.
            let _ = std::panic::catch_unwind(AssertUnwindSafe(|| match second {
                None => first.hash_and_write(),
                Some(second) => Chunk::hash_and_write_two(first, second),
            }));
        }
    }

    /// The chunk that waits longest, and the next, unless another worker is on its way to it; without any, this worker
    /// is none any more.
    fn take(&mut self) -> Option<(Chunk, Option<Chunk>)> {
        let mut waiting = self.intake.lock();
        if std::mem::take(&mut self.is_starting) {
            waiting.starting -= 1;
        }
        let Some(first) = waiting.pop() else {
            waiting.workers -= 1;
            self.is_counted = false;
            return None;
        };
        let second = if waiting.chunks.len() > waiting.starting { waiting.pop() } else { None };
        Some((first, second))
    }
}

impl Drop for Worker {
    /// One that never ran, because its runtime ended, is counted no longer. If there is no other, nobody works for
    /// those who wait: they are told.
    fn drop(&mut self) {
        if !self.is_counted {
            return;
        }
        let mut waiting = self.intake.lock();
        waiting.starting -= usize::from(self.is_starting);
        waiting.workers -= 1;
        if waiting.workers == 0 {
            waiting.chunks.clear();
        }
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
        Sink { hasher: Hasher::new(Algorithm::Sha256), file: None, lock: None }
    }

    type Appended = oneshot::Receiver<Result<Sink, BlobError>>;

    fn chunk(path: &Path, text: &'static str) -> (Chunk, Appended) {
        let (done, appended) = oneshot::channel();
        (Chunk { sink: sink(), pieces: vec![text.into()], path: path.to_owned(), done }, appended)
    }

    #[test]
    fn workers_take_two_and_none_is_left_waiting() {
        let directory = tempfile::tempdir().expect("directory");
        let path = |name: &str| directory.path().join(name);
        let intake = Intake::with_workers(2);
        let (chunks, answers): (Vec<_>, Vec<_>) =
            ["a", "b", "c", "d", "e"].iter().map(|text| chunk(&path(text), text)).unzip();
        let mut workers: Vec<Option<Worker>> = chunks.into_iter().map(|chunk| intake.push(chunk)).collect();
        assert_eq!(workers.iter().filter(|it| it.is_some()).count(), 2, "as far as there may be any");
        let (mut one, two) = (workers.swap_remove(0).expect("one"), workers.swap_remove(1).expect("two"));
        let (first, second) = one.take().expect("chunks");
        assert!(first.path == path("a") && second.is_some_and(|it| it.path == path("b")));
        two.work();
        for text in ["c", "d", "e"] {
            assert!(std::fs::read(path(text)).is_ok_and(|bytes| bytes == text.as_bytes()), "{text}");
        }
        assert!(one.take().is_none());
        drop(answers);
        assert!(intake.push(chunk(&path("f"), "f").0).is_some(), "both are gone");
    }

    #[test]
    fn a_worker_on_its_way_finds_a_chunk() {
        let intake = Intake::with_workers(2);
        let (chunks, _answers): (Vec<_>, Vec<_>) =
            ["a", "b"].iter().map(|text| chunk(Path::new(text), text)).unzip();
        let workers: Vec<Worker> = chunks.into_iter().filter_map(|chunk| intake.push(chunk)).collect();
        for mut worker in workers {
            assert!(worker.take().is_some_and(|(_, second)| second.is_none()), "each its own");
        }
    }

    #[test]
    fn who_went_away_is_not_written_for() {
        let directory = tempfile::tempdir().expect("directory");
        let intake = Intake::with_workers(1);
        let (gone, _) = chunk(&directory.path().join("gone"), "gone");
        let (here, _answer) = chunk(&directory.path().join("here"), "here");
        let worker = intake.push(gone).expect("a worker");
        assert!(intake.push(here).is_none());
        worker.work();
        assert!(!directory.path().join("gone").exists() && directory.path().join("here").exists());
    }

    /// What an ended runtime does with work: it is dropped.
    #[test]
    fn a_worker_that_never_runs_leaves_nobody_waiting() {
        let intake = Intake::with_workers(1);
        let (first, mut appended) = chunk(Path::new("a"), "a");
        let (second, mut also) = chunk(Path::new("b"), "b");
        let worker = intake.push(first).expect("a worker");
        assert!(intake.push(second).is_none());
        drop(worker);
        for appended in [&mut appended, &mut also] {
            assert!(matches!(appended.try_recv(), Err(oneshot::error::TryRecvError::Closed)));
        }
        let (third, _answer) = chunk(Path::new("c"), "c");
        assert!(intake.push(third).is_some_and(|mut worker| worker.take().is_some()), "the next has one");
    }

    #[tokio::test]
    async fn a_chunk_that_cannot_be_written_fails_alone() {
        let directory = tempfile::tempdir().expect("directory");
        let intake = Intake::with_workers(1);
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
