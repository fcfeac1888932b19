//! Upload sessions: begun, continued, finished, cancelled; each by its own principal alone.

use axum::body::{Body, HttpBody as _};
use futures_util::StreamExt as _;
use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, Problem, Timestamp, UploadId};
use seaworthy_oci::{Algorithm, Digest, Hasher, RepoName};
use seaworthy_store::{
    BlobCopy, BlobError, Stored, Upload, UploadLock, UploadState, limit::SMALL_BLOB_BYTES,
};

use crate::{
    ROOM, Registry, RegistryError,
    db::{self, BlobRow, UploadRow},
    limit,
    pauses::Point,
    quota::Room,
    range,
    registry::Held,
};

/// Where a session stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) id: UploadId,
    pub(crate) offset: u64,
}

impl Registry {
    /// Takes a whole blob in one request, without a session.
    pub(crate) async fn upload_whole(
        &self,
        identity: &Identity,
        repository: &RepoName,
        digest: Digest,
        body: Body,
    ) -> Result<(), RegistryError> {
        self.require(identity, Permission::Push, repository).await?;
        let room = self.room(repository, Some(&digest)).await?;
        let id = UploadId::generate();
        let mut upload = self.blobs().begin(ROOM, id, digest.algorithm())?;
        if let Err(error) = receive(&mut upload, &room, body).await {
            self.blobs().discard(ROOM, id).await?;
            return Err(error.into());
        }
        match upload.finish_copy(digest).await {
            Ok(stored) => self.keep_blob(identity, repository, stored, None).await,
            Err(error) => {
                self.blobs().discard(ROOM, id).await?;
                Err(error.into())
            }
        }
    }

    /// Begins a session.
    pub(crate) async fn begin_upload(
        &self,
        identity: &Identity,
        repository: &RepoName,
        algorithm: Algorithm,
    ) -> Result<Progress, RegistryError> {
        self.require(identity, Permission::Push, repository).await?;
        self.room(repository, None).await?.check(1)?;
        self.blobs().check_floor()?;
        let id = UploadId::generate();
        let state = UploadState::fresh(id, algorithm);
        let expires = self.inner.clock.now().plus_seconds(limit::UPLOAD_SECONDS);
        let principal = db::bearer(identity.principal());
        let context = (repository.clone(), principal.clone(), state, expires);
        let mut begun = self.insert_upload(context.clone()).await;
        if matches!(begun, Ok(false)) {
            begun = match self.end_idle_upload(&principal).await {
                Ok(None) => self.insert_upload(context).await,
                Ok(Some(wait)) => Err(too_many(wait)),
                Err(error) => Err(error),
            };
        }
        match begun {
            Ok(true) => Ok(Progress { id, offset: 0 }),
            // Somebody else took the place that was made.
            Ok(false) => Err(too_many(1)),
            Err(error) => Err(error),
        }
    }

    /// False when the principal has as many uploads as it may.
    async fn insert_upload(
        &self,
        context: (RepoName, String, UploadState, Timestamp),
    ) -> Result<bool, RegistryError> {
        self.db()
            .upkeep(context, |(repository, principal, state, expires), tx| {
                Box::pin(async move {
                    crate::blob::check_writable(tx, repository).await?;
                    if db::count_uploads(tx, principal).await? >= limit::UPLOADS_PER_PRINCIPAL {
                        return Ok(false);
                    }
                    db::insert_upload(tx, repository, principal, state, *expires).await?;
                    Ok::<_, RegistryError>(true)
                })
            })
            .await
    }

    /// Ends the upload of a principal that was left alone longest, or says in how many seconds one may be ended: who
    /// abandons uploads is kept from no new one for longer.
    async fn end_idle_upload(&self, principal: &str) -> Result<Option<u32>, RegistryError> {
        let now = self.inner.clock.now();
        let mut wait = limit::UPLOAD_IDLE_SECONDS;
        for (id, expires) in db::oldest_uploads(self.db(), principal).await? {
            let idle_from = expires.plus_seconds(limit::UPLOAD_IDLE_SECONDS - limit::UPLOAD_SECONDS);
            if idle_from > now {
                wait = wait.min((idle_from.as_micros() - now.as_micros() + 999_999) / 1_000_000);
                break;
            }
            if self.end_left_alone(id, expires).await? {
                return Ok(None);
            }
        }
        Ok(Some(u32::try_from(wait).unwrap_or(u32::MAX)))
    }

    /// Ends an upload that nobody writes to or has written to since it was to expire at `expires`; false when somebody
    /// does or has.
    pub(crate) async fn end_left_alone(
        &self,
        id: UploadId,
        expires: Timestamp,
    ) -> Result<bool, RegistryError> {
        let Some(_held) = self.try_hold(id).await? else { return Ok(false) };
        let ended = self.in_upkeep((id, expires), |(id, expires), tx| {
            Box::pin(async move { db::delete_upload_unchanged(tx, *id, *expires).await })
        });
        if !ended.await? {
            return Ok(false);
        }
        self.blobs().discard(ROOM, id).await?;
        Ok(true)
    }

    /// Where a session stands: behind all that came, also with a request that was cut or whose server was killed.
    /// Who asks goes on from there; who does not, from what was acknowledged.
    pub(crate) async fn upload_progress(
        &self,
        identity: &Identity,
        repository: &RepoName,
        id: UploadId,
    ) -> Result<Progress, RegistryError> {
        let row = self.session(identity, repository, id).await?;
        let acknowledged = Progress { id, offset: row.state.offset };
        if !self.has_more(&row).await? {
            return Ok(acknowledged);
        }
        let Some(held) = self.hold_soon(id).await? else { return Ok(acknowledged) };
        let row = self.session(identity, repository, id).await?;
        let row = self.recovered(row, held.lock()).await?;
        Ok(Progress { id, offset: row.state.offset })
    }

    /// True when a request that was cut left something. One byte is nothing: `0-0` says both, and who reads nothing sends
    /// that byte again.
    async fn has_more(&self, row: &UploadRow) -> Result<bool, RegistryError> {
        Ok(self.blobs().upload_length(ROOM, row.state.id).await? > row.state.offset.max(1))
    }

    /// The session with what a request that was cut left. As many are hashed at once as there are processors: others
    /// need the threads too.
    async fn recovered(&self, row: UploadRow, lock: Option<UploadLock>) -> Result<UploadRow, RegistryError> {
        let Some(lock) = lock else { return Ok(row) };
        if !self.has_more(&row).await? {
            return Ok(row);
        }
        let id = row.state.id;
        let state = self.unless_lost(id, self.blobs().recover(row.state, lock).await).await?;
        self.store_progress(state.clone(), row.version).await?;
        Ok(UploadRow { state, version: row.version + 1 })
    }

    /// The session as a chunk finds it: one that does not begin behind what was acknowledged may begin behind what came.
    async fn found(
        &self,
        row: UploadRow,
        held: &Held<'_>,
        content_range: Option<&str>,
    ) -> Result<UploadRow, RegistryError> {
        match content_range.and_then(range::parse_chunk) {
            Some(range) if range.start != row.state.offset => self.recovered(row, held.lock()).await,
            _ => Ok(row),
        }
    }

    /// The session with its file, which the first bytes that do not stay in memory make.
    async fn with_file(
        &self,
        (identity, repository): (&Identity, &RepoName),
        held: &mut Held<'_>,
        row: UploadRow,
    ) -> Result<UploadRow, RegistryError> {
        if held.has_file() {
            return Ok(row);
        }
        let id = row.state.id;
        if row.state.offset > 0 {
            // Its disk may be away.
            return Err(BlobError::UploadLost { found: 0, expected: row.state.offset }.into());
        }
        held.make_file().await?;
        // Another server may have ended it since, or gone on.
        let found = self.session(identity, repository, id).await;
        if matches!(&found, Err(error) if is_unknown(error)) {
            self.blobs().discard(ROOM, id).await?;
        }
        found
    }

    /// Appends a chunk. Without `Content-Range` it is appended wherever the session stands.
    pub(crate) async fn continue_upload(
        &self,
        identity: &Identity,
        repository: &RepoName,
        id: UploadId,
        chunk: (Option<&str>, Body),
    ) -> Result<Progress, RegistryError> {
        let (mut held, row) = self.held_session(identity, repository, id).await?;
        let row = self.with_file((identity, repository), &mut held, row).await?;
        let (content_range, body) = chunk;
        let row = self.found(row, &held, content_range).await?;
        let expected = check_position(content_range, &row)?;
        check_length(expected, row.state.offset, &body)?;
        let upload = self.resumed(row.state, &held).await?;
        let room = self.room(repository, None).await?;
        let state = take(upload, &room, (expected, body)).await?.suspend().await?;
        self.pause(Point::Received).await;
        let progress = Progress { id, offset: state.offset };
        self.store_progress(state, row.version).await?;
        Ok(progress)
    }

    /// Appends the rest, if any, and makes the session a blob named `digest`.
    pub(crate) async fn finish_upload(
        &self,
        identity: &Identity,
        repository: &RepoName,
        session: (UploadId, Digest),
        chunk: (Option<&str>, Body),
    ) -> Result<(), RegistryError> {
        let (id, digest) = session;
        let (content_range, body) = chunk;
        let (mut held, row) = match self.held_session(identity, repository, id).await {
            Err(error) if is_unknown(&error) => {
                // The answer to the one that ended it may have been lost, and is given again, behind what is sent again.
                return match self.brought(identity, repository, &digest).await? {
                    Some(row) if self.see(&row).await? && self.ends_with(&row, body).await? => Ok(()),
                    _ => Err(error),
                };
            }
            found => found?,
        };
        let stays_in_memory = row.state.offset == 0
            && body.size_hint().exact().is_some_and(|length| length <= SMALL_BLOB_BYTES as u64);
        let row = if stays_in_memory {
            row
        } else {
            self.with_file((identity, repository), &mut held, row).await?
        };
        let row = self.found(row, &held, content_range).await?;
        let expected = check_position(content_range, &row)?;
        check_length(expected, row.state.offset, &body)?;
        let row_version = row.version;
        // Without a file no other server is kept from writing under its name: this goes under another.
        let place = if held.has_file() { id } else { UploadId::generate() };
        let upload = match row.state.offset {
            // Nothing is hashed yet, so the digest's own algorithm can still be chosen.
            0 => self.blobs().begin(ROOM, place, digest.algorithm())?.holding(held.lock()),
            _ => self.resumed(row.state, &held).await?,
        };
        let room = self.room(repository, Some(&digest)).await?;
        let taken = take(upload, &room, (expected, body)).await;
        if taken.is_err() && place != id {
            self.blobs().discard(ROOM, place).await?;
        }
        match taken?.finish_copy(digest).await {
            Ok(stored) => {
                let placed = match &stored {
                    Stored::File { copy, .. } => Some(*copy),
                    Stored::Small(_) => None,
                };
                let kept = self.keep_blob(identity, repository, stored, Some((id, row_version))).await;
                match &kept {
                    // What another server has taken in of it meanwhile.
                    Ok(()) => self.blobs().discard(ROOM, id).await?,
                    // Another went on with it, or ended it.
                    Err(error) if is_unknown(error) || has_moved(error) => {}
                    // A quota or a lock: sent again it is refused again, and the session stands in nobody's way.
                    Err(RegistryError::Refused(_)) => self.forget(id).await?,
                    Err(error) => {
                        let is_told = matches!(error, RegistryError::Db(error) if error.is_rolled_back());
                        self.put_back(id, placed.filter(|_| is_told && place == id)).await;
                    }
                }
                kept
            }
            // Its bytes are good, and can be sent on when there is room again.
            Err(error @ (BlobError::DiskFloor { .. } | BlobError::Away)) => Err(error.into()),
            Err(error) => {
                // The bytes are wrong or gone: the session ends, the client starts over.
                self.forget(id).await?;
                Err(error.into())
            }
        }
    }

    /// Whether a body, read to its end, is the end of a stored blob.
    async fn ends_with(&self, row: &BlobRow, body: Body) -> Result<bool, RegistryError> {
        let algorithm = row.copy.digest.algorithm();
        let (mut rest, mut length, mut sent) = (body.into_data_stream(), 0, Hasher::new(algorithm));
        while let Some(chunk) = rest.next().await {
            let Ok(chunk) = chunk else { return Ok(false) };
            length += chunk.len() as u64;
            if length > row.size {
                return Ok(false);
            }
            sent.update(&chunk);
        }
        if length == 0 {
            return Ok(true);
        }
        let Some(reader) = self.blobs().open(ROOM, row.copy, row.size).await? else { return Ok(false) };
        let mut stored = Hasher::new(algorithm);
        let mut bytes = std::pin::pin!(reader.body().stream(row.size - length..row.size));
        while let Some(chunk) = bytes.next().await {
            let Ok(chunk) = chunk else { return Ok(false) };
            stored.update(&chunk);
        }
        Ok(stored.finish() == sent.finish())
    }

    /// Has the session go on that could not be ended: its bytes are where the blob's would be, and no row will name them.
    /// Where that is not certain they stay for a sweep.
    async fn put_back(&self, id: UploadId, placed: Option<BlobCopy>) {
        let Some(copy) = placed else { return };
        if let Err(error) = self.blobs().put_back(ROOM, &copy, id).await {
            let error = seaworthy_store::chain(&error);
            tracing::warn!(%id, error, "the file of an upload that could not be ended was not put back");
        }
    }

    async fn resumed(&self, state: UploadState, held: &Held<'_>) -> Result<Upload, RegistryError> {
        let id = state.id;
        self.unless_lost(id, self.blobs().resume(ROOM, state, held.lock()).await).await
    }

    /// Ends an upload whose bytes are not what was acknowledged.
    async fn unless_lost<T>(&self, id: UploadId, outcome: Result<T, BlobError>) -> Result<T, RegistryError> {
        if let Err(BlobError::UploadLost { .. }) = &outcome {
            self.forget(id).await?;
        }
        Ok(outcome?)
    }

    /// Ends a session and forgets its bytes.
    pub(crate) async fn cancel_upload(
        &self,
        identity: &Identity,
        repository: &RepoName,
        id: UploadId,
    ) -> Result<(), RegistryError> {
        let (_held, _) = self.held_session(identity, repository, id).await?;
        self.forget(id).await
    }

    async fn forget(&self, id: UploadId) -> Result<(), RegistryError> {
        self.in_upkeep(id, |id, tx| Box::pin(async move { db::delete_upload(tx, *id).await })).await?;
        Ok(self.blobs().discard(ROOM, id).await?)
    }

    /// A session, held. Whose it is comes first: nobody else learns that it is, or keeps its own principal from it.
    async fn held_session(
        &self,
        identity: &Identity,
        repository: &RepoName,
        id: UploadId,
    ) -> Result<(Held<'_>, UploadRow), RegistryError> {
        self.session(identity, repository, id).await?;
        let held = self.hold(id).await?;
        // Another request may have gone on with it, or ended it, before it was held.
        Ok((held, self.session(identity, repository, id).await?))
    }

    async fn session(
        &self,
        identity: &Identity,
        repository: &RepoName,
        id: UploadId,
    ) -> Result<UploadRow, RegistryError> {
        self.require(identity, Permission::Push, repository).await?;
        let principal = db::bearer(identity.principal());
        let row = db::upload(self.db(), repository, &principal, id).await?;
        Ok(row.ok_or_else(|| unknown(id))?)
    }

    async fn store_progress(&self, state: UploadState, version: i64) -> Result<(), RegistryError> {
        let id = state.id;
        let expires = self.inner.clock.now().plus_seconds(limit::UPLOAD_SECONDS);
        let advanced = self
            .in_upkeep((state, version, expires), |(state, version, expires), tx| {
                Box::pin(async move { db::advance_upload(tx, state, *version, *expires).await })
            })
            .await?;
        if advanced {
            return Ok(());
        }
        if !db::upload_exists(self.db(), id).await? {
            // Another server ended it, without the file that this one made.
            self.blobs().discard(ROOM, id).await?;
            return Err(unknown(id).into());
        }
        Err(moved().into())
    }
}

fn too_many(wait: u32) -> RegistryError {
    Problem::new(ErrorCode::TooManyRequests, "too many uploads are under way").retry_after(wait).into()
}

fn is_unknown(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Refused(problem) if problem.code == ErrorCode::BlobUploadUnknown)
}

fn has_moved(error: &RegistryError) -> bool {
    matches!(error, RegistryError::Refused(problem) if problem.code == ErrorCode::RangeInvalid)
}

/// Another request has gone on with an upload.
pub(crate) fn moved() -> Problem {
    Problem::new(ErrorCode::RangeInvalid, "another request moved this upload on")
}

pub(crate) fn unknown(id: UploadId) -> Problem {
    Problem::new(ErrorCode::BlobUploadUnknown, format!("upload `{id}` is not known"))
}

/// Checks that a chunk begins where the session stands; returns where it should end.
fn check_position(content_range: Option<&str>, row: &UploadRow) -> Result<Option<u64>, RegistryError> {
    let Some(header) = content_range else { return Ok(None) };
    let Some(range) = range::parse_chunk(header) else {
        return Err(Problem::new(ErrorCode::RangeInvalid, "`Content-Range` is not like `0-1023`").into());
    };
    if range.start != row.state.offset {
        let message = format!("chunk begins at {}, the upload stands at {}", range.start, row.state.offset);
        return Err(Problem::new(ErrorCode::RangeInvalid, message).into());
    }
    Ok(Some(range.end))
}

/// The same before the chunk comes, where it says how long it is.
fn check_length(expected: Option<u64>, begin: u64, body: &Body) -> Result<(), Problem> {
    body.size_hint().exact().map_or(Ok(()), |length| check_end(expected, begin.saturating_add(length)))
}

fn check_end(expected: Option<u64>, end: u64) -> Result<(), Problem> {
    if expected.is_some_and(|expected| expected != end) {
        let message = "chunk has not the length its `Content-Range` says";
        return Err(Problem::new(ErrorCode::SizeInvalid, message));
    }
    Ok(())
}

/// Why a body was not taken in.
enum Untaken {
    /// It ended early: what came of it is good.
    Cut(Problem),
    Refused(RegistryError),
}

impl From<Problem> for Untaken {
    fn from(problem: Problem) -> Self {
        Self::Refused(problem.into())
    }
}

impl From<BlobError> for Untaken {
    fn from(error: BlobError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Untaken> for RegistryError {
    fn from(untaken: Untaken) -> Self {
        match untaken {
            Untaken::Cut(problem) => problem.into(),
            Untaken::Refused(error) => error,
        }
    }
}

/// Takes a session's next chunk in. Of one that is cut, what came stays for [`Registry::upload_progress`]; of one that
/// is refused, nothing does.
async fn take(
    mut upload: Upload,
    room: &Room,
    (expected, body): (Option<u64>, Body),
) -> Result<Upload, RegistryError> {
    let begin = upload.offset();
    let received = receive(&mut upload, room, body).await;
    match received.and_then(|()| Ok(check_end(expected, upload.offset())?)) {
        Ok(()) => Ok(upload),
        Err(Untaken::Cut(problem)) => {
            upload.leave().await?;
            Err(problem.into())
        }
        Err(Untaken::Refused(error)) => {
            upload.take_back(begin).await?;
            Err(error)
        }
    }
}

fn check_size(length: u64) -> Result<(), Problem> {
    if length > limit::BLOB_BYTES {
        return Err(Problem::new(ErrorCode::TooLarge, "blob is larger than this registry takes"));
    }
    Ok(())
}

/// Takes a body in, as far as it fits. What says how long it is and does not fit is not begun.
async fn receive(upload: &mut Upload, room: &Room, body: Body) -> Result<(), Untaken> {
    let announced = body.size_hint().exact();
    // Whether what is here already fits is decided when it is kept.
    if let Some(length) = announced.filter(|length| *length > 0) {
        check_size(upload.offset().saturating_add(length))?;
        room.check(upload.offset().saturating_add(length))?;
    }
    let end = announced.map(|length| upload.offset().saturating_add(length));
    let mut body = body.into_data_stream();
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|error| {
            let message = format!("the request body ended early: {error}");
            Untaken::Cut(Problem::new(ErrorCode::BlobUploadInvalid, message))
        })?;
        let length = upload.offset() + chunk.len() as u64;
        check_size(length)?;
        room.check(length)?;
        upload.write(chunk).await?;
    }
    if end.is_some_and(|end| end != upload.offset()) {
        let message = "the request body ended early";
        return Err(Untaken::Cut(Problem::new(ErrorCode::BlobUploadInvalid, message)));
    }
    Ok(())
}
