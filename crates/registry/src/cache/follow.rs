//! A blob that is being fetched, as its readers see it.

use std::{io, sync::Arc};

use bytes::Bytes;
use futures_util::{Stream, stream};
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_store::{Growing, limit::READ_CHUNK_BYTES};
use tokio::sync::watch;

use super::flight::Part;
use crate::{RegistryError, limit, routes::SendsFiles};

/// How far a fetch is.
#[derive(Clone, Debug, Default)]
pub(crate) struct Progress {
    /// Bytes that can be read from `file`.
    pub(crate) written: u64,
    pub(crate) file: Option<Arc<Growing>>,
    /// Its first bytes, at most [`limit::HEAD_BYTES`]: many readers begin at once, and none waits for the disk.
    pub(crate) head: Bytes,
    /// How it ended: all of it is verified, durable and known; or why not.
    pub(crate) end: Option<Result<(), Problem>>,
}

impl Progress {
    /// Keeps the first of these bytes, with which the blob begins. Copied: a piece of a long buffer keeps all of it.
    pub(crate) fn begin(&mut self, bytes: &Bytes) {
        self.head = Bytes::copy_from_slice(bytes.get(..limit::HEAD_BYTES).unwrap_or(bytes));
    }

    /// Bytes of a blob of `size` that a reader may have: all but the last, until all are known to be right.
    fn given(&self, size: u64) -> u64 {
        match &self.end {
            Some(Ok(())) => size,
            Some(Err(_)) => 0,
            None => self.written.min(size.saturating_sub(limit::WITHHELD_BYTES)),
        }
    }
}

/// How a fetch stands when a reader can be answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Begun {
    /// It is under way, and there are bytes.
    Flowing,
    /// It is over: the blob is one like others.
    Stored,
}

/// One reader.
pub(crate) struct Follower {
    pub(crate) progress: watch::Receiver<Progress>,
    pub(crate) size: u64,
    pub(crate) part: Part,
}

impl Follower {
    /// Waits for the first bytes, or the end.
    pub(crate) async fn begun(&mut self) -> Result<Begun, RegistryError> {
        let size = self.size;
        let progress = self.progress.wait_for(|it| it.end.is_some() || it.given(size) > 0).await;
        match &progress.map_err(|_| ended())?.end {
            None => Ok(Begun::Flowing),
            Some(Ok(())) => Ok(Begun::Stored),
            Some(Err(problem)) => Err(problem.clone().into()),
        }
    }

    /// Waits for the end.
    pub(crate) async fn finished(mut self) -> Result<(), RegistryError> {
        let progress = self.progress.wait_for(|it| it.end.is_some()).await.map_err(|_| ended())?;
        match &progress.end {
            Some(Err(problem)) => Err(problem.clone().into()),
            _ => Ok(()),
        }
    }

    /// All bytes, as they come. When the fetch fails it ends with an error, before the last ones. A door that
    /// sends files gets slices of the file's map.
    pub(crate) fn stream(self, sends: Option<SendsFiles>) -> impl Stream<Item = io::Result<Bytes>> + Send {
        let Self { progress, size, .. } = self;
        stream::try_unfold((progress, 0), move |(mut progress, at)| async move {
            if at >= size {
                return Ok(None);
            }
            if at > 0 {
                // Everybody gets a piece before anybody gets the next.
                tokio::task::yield_now().await;
            }
            let now = {
                let ready = progress.wait_for(|it| it.end.is_some() || it.given(size) > at).await;
                ready.map_err(|_| io::Error::other("the fetch was given up"))?.clone()
            };
            if let Some(Err(problem)) = now.end {
                return Err(io::Error::other(problem.message));
            }
            let length = usize::try_from(now.given(size) - at).unwrap_or(usize::MAX).min(READ_CHUNK_BYTES);
            if let Some(head) = usize::try_from(at).ok().and_then(|at| now.head.get(at..))
                && !head.is_empty()
            {
                let bytes = now.head.slice_ref(head.get(..length).unwrap_or(head));
                let at = at + bytes.len() as u64;
                return Ok(Some((bytes, (progress, at))));
            }
            let Some(file) = now.file else { return Err(io::Error::other("the fetch left no file")) };
            let bytes = match sends {
                Some(SendsFiles) => file.slice(size, at..at + length as u64)?,
                None => file.read(at, length).await?,
            };
            let at = at + bytes.len() as u64;
            Ok(Some((bytes, (progress, at))))
        })
    }
}

pub(super) fn ended() -> RegistryError {
    Problem::new(ErrorCode::Unavailable, "the server is shutting down").retry_after(5).into()
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;

    #[test]
    fn the_head_is_short() {
        for length in [0, 1, limit::HEAD_BYTES, limit::HEAD_BYTES + 1] {
            let mut progress = Progress::default();
            progress.begin(&Bytes::from(vec![7; length]));
            assert_eq!(progress.head.len(), length.min(limit::HEAD_BYTES));
        }
    }

    #[tokio::test]
    async fn the_head_is_given_as_far_as_it_may_be() {
        let size = 10 + limit::WITHHELD_BYTES;
        let head = Bytes::from_static(b"0123456789abcdef");
        let (told, progress) = watch::channel(Progress { written: 4, file: None, end: None, head });
        let part = Part::Joined;
        let mut stream = std::pin::pin!(Follower { progress, size, part }.stream(None));
        assert_eq!(stream.next().await.expect("some").expect("bytes"), b"0123".as_slice());
        told.send_modify(|it| it.written = 12);
        assert_eq!(stream.next().await.expect("some").expect("bytes"), b"456789".as_slice(), "not the end");
        told.send_modify(|it| it.end = Some(Err(Problem::new(ErrorCode::Internal, "no"))));
        assert!(stream.next().await.expect("some").is_err(), "nothing more of what failed");
    }

    #[test]
    fn the_last_bytes_are_withheld() {
        let size = limit::WITHHELD_BYTES + 10;
        let given = |written: u64, end: Option<Result<(), Problem>>| {
            Progress { written, file: None, end, head: Bytes::new() }.given(size)
        };
        assert_eq!(given(5, None), 5);
        assert_eq!(given(10, None), 10);
        assert_eq!(given(11, None), 10);
        assert_eq!(given(size, None), 10, "not before it is verified");
        assert_eq!(given(size, Some(Ok(()))), size);
        assert_eq!(given(size, Some(Err(Problem::new(ErrorCode::Internal, "no")))), 0);
        let small = Progress { written: 100, ..Progress::default() };
        assert_eq!(small.given(limit::WITHHELD_BYTES), 0);
    }
}
