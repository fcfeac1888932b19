//! `/acr/v1/`: the data plane of Azure's registry (`azure-containerregistry`, API 2021-07-01).

use axum::{Extension, extract::Request, extract::State, response::Response};
use http::{Method, StatusCode, header};
use seaworthy_access::{AccessError, Identity, Permission};
use seaworthy_model::{ErrorCode, Problem, Scope};
use seaworthy_oci::RepoName;
use serde_json::{Value, json};

use super::{Answer, Call, CredentialRejected, Query, check_once, finish, json_answer, list_answer, whole};
use crate::{
    Registry, RegistryError,
    attributes::AttributesPage,
    db::Order,
    limit,
    lock::LockChange,
    path::{self, AcrTarget, ManifestName, encode},
    quarantine::Finding,
    respond::{self, Host, empty, set},
};

pub(super) async fn handle(
    State(registry): State<Registry>,
    Extension(identity): Extension<Identity>,
    request: Request,
) -> Response {
    let (method, uri) = (request.method().clone(), request.uri().clone());
    let head = method == Method::HEAD;
    let parsed = check_once(request.headers()).and_then(|()| {
        let host = Host::of(request.headers(), &uri)?;
        let target = AcrTarget::parse(uri.path().strip_prefix("/acr/v1/").unwrap_or_default())?;
        Ok((host, target, Query::parse(uri.query().unwrap_or_default())?))
    });
    let (host, target, query) = match parsed {
        Ok(parsed) => parsed,
        Err(problem) => return finish(respond::problem(&problem, head)),
    };
    let call = Call {
        registry: &registry,
        identity: &identity,
        query: &query,
        asked: None,
        sends: None,
        hold: None,
    };
    let rejected = request.extensions().get::<CredentialRejected>().is_some();
    let token_error = respond::token_error(&request);
    let answer = if rejected {
        Err(Problem::from(AccessError::BadCredential).into())
    } else {
        call.acr(&target, &host, request).await
    };
    finish(answer.unwrap_or_else(|error| {
        // Azure's registry says 401 of all that is not permitted; its command line waits and tries again at a 403.
        let is_permitted = !matches!(error, RegistryError::NotPermitted(_));
        let mut problem = Problem::from(error);
        if !is_permitted {
            problem.code = ErrorCode::Unauthorized;
        }
        let mut response = respond::problem(&problem, head);
        if problem.code == ErrorCode::Unsupported {
            set(&mut response, header::ALLOW, methods(&target));
        }
        if problem.code == ErrorCode::Unauthorized {
            let scope = target.wanted_scope(&method);
            respond::challenge(
                &mut response,
                &host,
                registry.access().service(),
                (&scope, None),
                token_error,
            );
        }
        response
    }))
}

/// What may be asked of it.
const fn methods(target: &AcrTarget) -> &'static str {
    match target {
        AcrTarget::Catalog | AcrTarget::Tags(_) | AcrTarget::Manifests(_) => "GET, HEAD",
        AcrTarget::Repository(_) | AcrTarget::Named(_, ManifestName::Tag(_)) => "GET, HEAD, PATCH, DELETE",
        AcrTarget::Named(_, ManifestName::Digest(_)) => "GET, HEAD, PATCH",
    }
}

impl Call<'_> {
    async fn acr(&self, target: &AcrTarget, host: &Host, request: Request) -> Answer {
        // What `HEAD` is answered goes without its body.
        let method = if request.method() == Method::HEAD { Method::GET } else { request.method().clone() };
        let read = method == Method::GET;
        if let (true, Some(repository)) = (read, target.repository()) {
            self.registry.require(self.identity, Permission::MetadataRead, repository).await?;
        }
        match (target, method) {
            (AcrTarget::Catalog, Method::GET) => self.catalog("/acr/v1/_catalog").await,
            (AcrTarget::Tags(name), Method::GET) => {
                let (most, order) = self.order(limit::PAGE)?;
                let digest = self.query.get("digest").map(path::digest).transpose()?;
                let page = self.registry.tags_attributes(name, digest.as_ref(), &order, most).await?;
                Ok(self.page_of(target, host, ("tags", "_tags"), (page, most)))
            }
            (AcrTarget::Manifests(name), Method::GET) => {
                let (most, order) = self.order(limit::MANIFESTS_PAGE)?;
                let page = self.registry.manifests_attributes(name, &order, most).await?;
                Ok(self.page_of(target, host, ("manifests", "_manifests"), (page, most)))
            }
            (AcrTarget::Repository(_) | AcrTarget::Named(..), Method::GET) => {
                self.described(target, host).await
            }
            (AcrTarget::Repository(_) | AcrTarget::Named(..), Method::PATCH) => {
                self.patch(target, request).await?;
                self.described(target, host).await
            }
            (AcrTarget::Repository(name), Method::DELETE) => {
                let gone = self.registry.delete_repository(self.identity, name).await?;
                let body = json!({"manifestsDeleted": gone.manifests, "tagsDeleted": gone.tags});
                let mut response = json_answer(body.to_string());
                *response.status_mut() = StatusCode::ACCEPTED;
                Ok(response)
            }
            (AcrTarget::Named(name, ManifestName::Tag(tag)), Method::DELETE) => {
                self.registry.delete_manifest(self.identity, name, Ok(tag.clone())).await?;
                Ok(empty(StatusCode::ACCEPTED))
            }
            _ => Err(Problem::new(ErrorCode::Unsupported, "method is not supported here").into()),
        }
    }

    /// Rights before the body.
    async fn patch(&self, target: &AcrTarget, request: Request) -> Result<(), RegistryError> {
        let (name, of) = match target {
            AcrTarget::Named(name, of) => (name, Some(of)),
            AcrTarget::Repository(name) => (name, None),
            _ => return Ok(()),
        };
        // Both rights are asked for again where they are used.
        let scope = Scope::repository(name);
        let judges = matches!(of, Some(ManifestName::Digest(_)))
            && self.registry.access().allows(self.identity, Permission::QuarantineWrite, &scope).await?;
        if !judges {
            self.registry.require(self.identity, Permission::MetadataWrite, name).await?;
        }
        let body = whole(request.into_body(), limit::ATTRIBUTES_BYTES, || {
            let message = format!("the attributes are longer than {} bytes", limit::ATTRIBUTES_BYTES);
            Problem::new(ErrorCode::TooLarge, message)
        })
        .await?;
        let change = LockChange::parse(&body)?;
        if let Some(ManifestName::Digest(digest)) = of
            && let Some(finding) = Finding::parse(&body)?
        {
            if !change.is_nothing() {
                self.registry.require(self.identity, Permission::MetadataWrite, name).await?;
            }
            self.registry.judge_quarantined(self.identity, name, digest, finding).await?;
            if change.is_nothing() {
                return Ok(());
            }
        }
        self.registry.change_locks(self.identity, name, of, change).await
    }

    async fn described(&self, target: &AcrTarget, host: &Host) -> Answer {
        let body = match target {
            AcrTarget::Repository(name) => {
                let mut body = self.registry.repository_attributes(name).await?;
                if let Some(fields) = body.as_object_mut() {
                    fields.insert("registry".to_owned(), host.name().into());
                }
                body
            }
            AcrTarget::Named(name, of) => {
                let (kind, found) = match of {
                    ManifestName::Tag(tag) => ("tag", self.registry.tag_attributes(name, tag).await?),
                    ManifestName::Digest(digest) => {
                        ("manifest", self.registry.manifest_attributes(name, digest).await?)
                    }
                };
                let found = found.ok_or_else(|| {
                    Problem::new(ErrorCode::ManifestUnknown, format!("`{name}` has no manifest `{of}`"))
                })?;
                json!({"registry": host.name(), "imageName": name, kind: found})
            }
            AcrTarget::Catalog | AcrTarget::Tags(_) | AcrTarget::Manifests(_) => Value::Null,
        };
        Ok(json_answer(body.to_string()))
    }

    /// How many, and in which order after which.
    fn order(&self, most: u32) -> Result<(u32, Order), RegistryError> {
        let (asked, last) = self.page()?;
        let newest_first = match self.query.get("orderby").unwrap_or_default() {
            "" | "none" => return Ok((asked.min(most), Order::Name { after: last.to_owned() })),
            "timeasc" => false,
            "timedesc" => true,
            _ => {
                return Err(Problem::new(
                    ErrorCode::Invalid,
                    "`orderby` is neither `timeasc` nor `timedesc`",
                )
                .into());
            }
        };
        let after = match last.split_once('.') {
            _ if last.is_empty() => Some((if newest_first { i64::MAX } else { i64::MIN }, String::new())),
            Some((micros, name)) => micros.parse().ok().map(|micros| (micros, name.to_owned())),
            None => None,
        };
        let after = after.ok_or_else(|| {
            Problem::new(ErrorCode::Invalid, "`last` does not go with `orderby`")
                .hint("go on with the link of the page before")
        })?;
        let order = if newest_first { Order::Newest { after } } else { Order::Oldest { after } };
        Ok((asked.min(most), order))
    }

    fn page_of(
        &self,
        target: &AcrTarget,
        host: &Host,
        (field, segment): (&str, &str),
        (page, most): (AttributesPage, u32),
    ) -> Response {
        let name = target.repository().map(RepoName::as_str).unwrap_or_default();
        let kept = ["orderby", "digest"]
            .into_iter()
            .filter_map(|key| self.query.get(key).map(|value| format!("&{key}={}", encode(value))));
        let kept: String = kept.collect();
        let link = page.next.map(|last| {
            format!("</acr/v1/{name}/{segment}?n={most}&last={}{kept}>; rel=\"next\"", encode(&last))
        });
        let body = json!({"registry": host.name(), "imageName": name, field: page.items});
        list_answer(body.to_string(), link)
    }
}
