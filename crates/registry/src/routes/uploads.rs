//! Bringing blobs in.

use axum::{extract::Request, response::Response};
use http::{StatusCode, header};
use seaworthy_access::{Identity, Permission};
use seaworthy_model::{ErrorCode, Problem, UploadId};
use seaworthy_oci::{Algorithm, Digest, RepoName};

use super::{Answer, Call, set_digest, text_header};
use crate::{
    Registry, RegistryError, path,
    respond::{self, empty, set},
    upload::Progress,
};

impl Call<'_> {
    pub(super) async fn post_upload(&self, name: &RepoName, request: Request) -> Answer {
        self.registry.require(self.identity, Permission::Push, name).await?;
        self.registry.check_open(name).await?;
        let mounted = self.query.get("mount").map(path::digest).transpose()?;
        if let Some(digest) = &mounted {
            if self.mount(name, digest).await? {
                return Ok(created(name, digest));
            }
        } else if let Some(digest) = self.query.get("digest") {
            let digest = path::digest(digest)?;
            let body = request.into_body();
            self.to_its_end(name, |registry, identity, name| async move {
                registry.upload_whole(&identity, &name, digest, body).await
            })
            .await?;
            return Ok(created(name, &digest));
        }
        let algorithm = match self.query.get("digest-algorithm") {
            // What could not be mounted is uploaded next.
            None => mounted.map_or(Algorithm::Sha256, |digest| digest.algorithm()),
            Some(name) => name.parse().map_err(|error: seaworthy_oci::DigestError| {
                Problem::new(ErrorCode::DigestInvalid, error.to_string())
            })?,
        };
        let progress = self.registry.begin_upload(self.identity, name, algorithm).await?;
        Ok(upload_answer(name, progress, StatusCode::ACCEPTED))
    }

    async fn mount(&self, name: &RepoName, digest: &Digest) -> Result<bool, RegistryError> {
        match self.query.get("from") {
            None => self.registry.mount_from_anywhere(self.identity, name, digest).await,
            Some(from) => match from.parse::<RepoName>() {
                Ok(from) => self.registry.mount(self.identity, name, digest, &from).await,
                Err(_) => Ok(false),
            },
        }
    }

    pub(super) async fn get_upload(&self, name: &RepoName, id: UploadId) -> Answer {
        Ok(upload_answer(name, self.progress(name, id).await?, StatusCode::NO_CONTENT))
    }

    async fn progress(&self, name: &RepoName, id: UploadId) -> Result<Progress, RegistryError> {
        self.to_its_end(name, |registry, identity, name| async move {
            registry.upload_progress(&identity, &name, id).await
        })
        .await
    }

    pub(super) async fn patch_upload(&self, name: &RepoName, id: UploadId, request: Request) -> Answer {
        let content_range = text_header(request.headers(), &header::CONTENT_RANGE);
        let body = request.into_body();
        let continued = self.to_its_end(name, |registry, identity, name| async move {
            registry.continue_upload(&identity, &name, id, (content_range.as_deref(), body)).await
        });
        match continued.await {
            Ok(progress) => Ok(upload_answer(name, progress, StatusCode::ACCEPTED)),
            Err(error) => self.out_of_order(name, id, error).await,
        }
    }

    pub(super) async fn put_upload(&self, name: &RepoName, id: UploadId, request: Request) -> Answer {
        let digest = self
            .query
            .get("digest")
            .ok_or_else(|| Problem::new(ErrorCode::DigestInvalid, "the closing PUT needs `?digest=`"))?;
        let digest = path::digest(digest)?;
        let content_range = text_header(request.headers(), &header::CONTENT_RANGE);
        let body = request.into_body();
        let finished = self.to_its_end(name, |registry, identity, name| async move {
            registry.finish_upload(&identity, &name, (id, digest), (content_range.as_deref(), body)).await
        });
        match finished.await {
            Ok(()) => Ok(created(name, &digest)),
            Err(error) => self.out_of_order(name, id, error).await,
        }
    }

    pub(super) async fn cancel_upload(&self, name: &RepoName, id: UploadId) -> Answer {
        let cancelled = self.to_its_end(name, |registry, identity, name| async move {
            registry.cancel_upload(&identity, &name, id).await
        });
        match cancelled.await {
            Ok(()) => Ok(empty(StatusCode::NO_CONTENT)),
            Err(error) => self.out_of_order(name, id, error).await,
        }
    }

    /// Runs `work` to its end also when its client goes away. Who holds an upload lets go when its bytes and its
    /// row are written, or will not be: dropped before, it would let the next request write between them. Until then
    /// the connection counts.
    async fn to_its_end<T, W>(
        &self,
        name: &RepoName,
        work: impl FnOnce(Registry, Identity, RepoName) -> W,
    ) -> Result<T, RegistryError>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, RegistryError>> + Send + 'static,
    {
        let work = work(self.registry.clone(), self.identity.clone(), name.clone());
        let hold = self.hold.clone();
        let held = async move {
            let _hold = hold;
            work.await
        };
        match tokio::spawn(held).await {
            Ok(outcome) => outcome,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // Cancelled by the runtime's end, which ends this too.
                Err(_) => std::future::pending().await,
            },
        }
    }

    /// A chunk out of order is told where the upload stands, so that the client can go on.
    async fn out_of_order(&self, name: &RepoName, id: UploadId, error: RegistryError) -> Answer {
        let problem = Problem::from(error);
        if problem.code != ErrorCode::RangeInvalid {
            return Err(problem.into());
        }
        let mut response = respond::problem(&problem, false);
        if let Ok(progress) = self.progress(name, id).await {
            progress_headers(&mut response, name, progress);
        }
        Ok(response)
    }
}

fn created(name: &RepoName, digest: &Digest) -> Response {
    let mut response = empty(StatusCode::CREATED);
    set(&mut response, header::LOCATION, &format!("/v2/{name}/blobs/{digest}"));
    set_digest(&mut response, digest);
    response
}

fn upload_answer(name: &RepoName, progress: Progress, status: StatusCode) -> Response {
    let mut response = empty(status);
    progress_headers(&mut response, name, progress);
    response
}

fn progress_headers(response: &mut Response, name: &RepoName, progress: Progress) {
    let Progress { id, offset } = progress;
    set(response, header::LOCATION, &format!("/v2/{name}/blobs/uploads/{id}"));
    // The end is inclusive; an empty upload says `0-0`, as every registry does.
    set(response, header::RANGE, &format!("0-{}", offset.saturating_sub(1)));
    set(response, header::HeaderName::from_static("docker-upload-uuid"), &id.to_string());
}
