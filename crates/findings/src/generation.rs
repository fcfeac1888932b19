//! The active index, loaded.

use std::sync::{Arc, PoisonError, RwLock};

use seaworthy_advisories::{Index, Segment};
use seaworthy_store::{BlobReader, BlobSource, Blobs, Db, map::FileMap};

use crate::{
    FindingsError, ROOM,
    db::{self, SegmentRow},
    limit,
};

/// One generation. Whoever holds it reads it to the end, whatever becomes active meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Generation {
    pub(crate) number: i64,
    pub(crate) index: Arc<Index>,
}

impl Generation {
    fn empty() -> Self {
        Self { number: 0, index: Arc::new(Index::new(Vec::new())) }
    }

    pub(crate) fn segment(&self, feed: &str) -> Option<&Arc<Segment>> {
        self.index.segments().iter().find(|segment| segment.feed() == feed)
    }
}

/// The generation that is active, as far as this process knows.
pub(crate) struct Active {
    slot: RwLock<Generation>,
    /// One load at a time: a generation's segments are opened once.
    loading: tokio::sync::Mutex<()>,
}

impl Active {
    pub(crate) fn new() -> Self {
        Self { slot: RwLock::new(Generation::empty()), loading: tokio::sync::Mutex::default() }
    }

    /// The newest generation: one primary-key read, and loading when it is another one than before.
    pub(crate) async fn newest(&self, db: &Db, blobs: &Blobs) -> Result<Generation, FindingsError> {
        let mut outcome = Ok(self.held());
        for _ in 0..limit::GENERATION_RACES {
            let wanted = db::state(db).await?.generation;
            if self.held().number == wanted {
                return Ok(self.held());
            }
            let _one = self.loading.lock().await;
            let held = self.held();
            if held.number == wanted {
                return Ok(held);
            }
            // Segments of a generation that was left meanwhile may be gone: then look again.
            outcome = load(db, blobs, wanted, &held).await;
            if let Ok(loaded) = &outcome {
                *self.slot.write().unwrap_or_else(PoisonError::into_inner) = loaded.clone();
            }
        }
        outcome
    }

    fn held(&self) -> Generation {
        self.slot.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// Opens a generation's segments; those that `other` has in equal form are shared with it.
pub(crate) async fn load(
    db: &Db,
    blobs: &Blobs,
    number: i64,
    other: &Generation,
) -> Result<Generation, FindingsError> {
    let mut segments = Vec::new();
    for row in db::segments(db, number).await? {
        let shared = other.segment(&row.feed).filter(|segment| segment.content_hash() == row.content_hash);
        segments.push(match shared {
            Some(segment) => Arc::clone(segment),
            None => Arc::new(open(blobs, &row).await?),
        });
    }
    Ok(Generation { number, index: Arc::new(Index::new(segments)) })
}

async fn open(blobs: &Blobs, row: &SegmentRow) -> Result<Segment, FindingsError> {
    let feed = row.feed.clone();
    let Some(reader) = blobs.open(ROOM, &row.digest, row.size).await? else {
        return Err(FindingsError::Segment { feed, source: None });
    };
    // Verifies the whole checksum, once per process: not on a worker thread.
    tokio::task::spawn_blocking(move || open_now(reader, feed))
        .await
        .map_err(|_| FindingsError::Interrupted { step: "opening a segment" })?
}

fn open_now(reader: BlobReader, feed: String) -> Result<Segment, FindingsError> {
    let opened = match reader.source {
        BlobSource::Bytes(bytes) => Segment::open(Arc::new(bytes)),
        BlobSource::File(file) => {
            let map = FileMap::open(&file)
                .map_err(|source| FindingsError::Path { path: format!("segment of `{feed}`"), source })?;
            Segment::open(Arc::new(map))
        }
    };
    opened.map_err(|source| FindingsError::Segment { feed, source: Some(source) })
}
