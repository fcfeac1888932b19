use std::{
    collections::HashMap,
    sync::{Arc, Mutex},
};

use axum::{Extension, Router, body::Body};
use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use seaworthy_access::{Access, Identity, PrincipalKind};
use seaworthy_model::{Actor, ErrorCode, Problem};
use seaworthy_oci::{Algorithm, Digest, Hasher, RepoName};
use seaworthy_registry::{
    Door, Passage, PullGate, Refusal, Registry, RegistryConfig, SparseIndexes, UpstreamAccess,
};
use seaworthy_seal::Seal;
use seaworthy_store::{Blobs, args, schema::RoomSchema};
use seaworthy_testkit::TestDb;
use tower::ServiceExt as _;

pub(crate) const ROOMS: &[RoomSchema] =
    &[seaworthy_seal::SCHEMA, seaworthy_ledger::SCHEMA, seaworthy_access::SCHEMA, seaworthy_registry::SCHEMA];

/// A gate that refuses what it was told to.
#[derive(Default)]
pub(crate) struct ListGate(pub(crate) Mutex<HashMap<(String, Digest), &'static str>>);

impl PullGate for ListGate {
    fn check<'a>(
        &'a self,
        repository: &'a RepoName,
        digest: &'a Digest,
        door: Door,
    ) -> futures_util::future::BoxFuture<'a, Result<Passage, Problem>> {
        let verdict = self.0.lock().expect("lock").get(&(repository.to_string(), *digest)).copied();
        Box::pin(async move {
            let passage = |refusal| Ok(Passage { refusal, is_image: true });
            match verdict {
                None => passage(None),
                Some("artifact") => Ok(Passage { refusal: None, is_image: false }),
                // Judged while a patient reader waits.
                Some("soon") if door == Door::Manifest => passage(None),
                Some("error") => Err(Problem::new(ErrorCode::Unavailable, "cannot find out")),
                Some(verdict) => {
                    let is_image = verdict != "of what is blocked";
                    let verdict = match verdict {
                        "soon" => "pending",
                        "of what is blocked" => "blocked",
                        other => other,
                    };
                    let message = format!("{repository}@{digest} is {verdict}");
                    let refusal = Refusal { problem: Problem::new(ErrorCode::Denied, message), verdict };
                    Ok(Passage { refusal: Some(refusal), is_image })
                }
            }
        })
    }
}

pub(crate) struct World {
    config: RegistryConfig,
    pub(crate) test: TestDb,
    pub(crate) registry: Registry,
    pub(crate) access: Access,
    pub(crate) gate: Arc<ListGate>,
}

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("text"))
    }
    /// The path of the next page; empty after the last.
    pub(crate) fn next(&self) -> String {
        self.header("link").split(['<', '>']).nth(1).unwrap_or_default().to_owned()
    }
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
    pub(crate) fn code(&self) -> String {
        let json: serde_json::Value = serde_json::from_slice(&self.body).expect("error body is JSON");
        json["errors"][0]["code"].as_str().expect("code").to_owned()
    }
}

/// Somebody talking to the registry.
#[derive(Clone)]
pub(crate) struct Client {
    router: Router,
}

impl World {
    pub(crate) async fn new(test: TestDb) -> Self {
        Self::set_up(test, |_| {}).await
    }

    /// A registry that is set up as `change` says.
    pub(crate) async fn set_up(test: TestDb, change: impl FnOnce(&mut RegistryConfig)) -> Self {
        let seal = Arc::new(Seal::open(test.path()).expect("seal"));
        let access = Access::open(test.db.clone(), &seal, "registry.test").await.expect("access");
        let gate = Arc::new(ListGate::default());
        let mut config = RegistryConfig {
            db: test.db.clone(),
            blobs: Blobs::new(test.path().to_owned(), test.db.clone(), 0),
            access: access.clone(),
            gate: gate.clone(),
            sparse_indexes: SparseIndexes::Allow,
            blob_consumers: &["inspection"],
            manifest_consumers: &["inspection", "clearance"],
            collection: seaworthy_registry::Collection { soft_delete_days: 0, ..Default::default() },
            hosts: vec!["registry.test:5000".to_owned()],
            upstreams: UpstreamAccess::new(seal, rustls::RootCertStore::empty()).expect("TLS"),
        };
        config.blobs.claim().await.expect("claimed");
        change(&mut config);
        let registry = Registry::new(config.clone());
        Self { config, test, registry, access, gate }
    }

    pub(crate) fn as_identity(&self, identity: Identity) -> Client {
        Client { router: seaworthy_registry::router(self.registry.clone()).layer(Extension(identity)) }
    }

    /// The operator at another server over the same database and directory, set up as `change` says.
    pub(crate) fn replica(&self, change: impl FnOnce(&mut RegistryConfig)) -> Client {
        let mut config = self.config.clone();
        change(&mut config);
        let registry = Registry::new(config);
        Client { router: seaworthy_registry::router(registry).layer(Extension(Identity::operator(0))) }
    }

    /// Rows as no request makes them.
    pub(crate) async fn alter(&self, sql: String) {
        let sql: &'static str = sql.leak();
        let done =
            self.test.db.upkeep((), move |(), tx| Box::pin(async move { tx.execute(sql, args![]).await }));
        done.await.map_err(|error: seaworthy_store::DbError| error).expect("changed");
    }

    pub(crate) fn operator(&self) -> Client {
        self.as_identity(Identity::operator(0))
    }

    /// Somebody whose credential was refused at the door, whatever else they might be.
    pub(crate) fn rejected(&self) -> Client {
        let Client { router } = self.operator();
        Client { router: router.layer(Extension(seaworthy_registry::CredentialRejected)) }
    }

    /// A service principal with one role at one scope.
    pub(crate) async fn service(&self, name: &str, role: &str, scope: &str) -> Client {
        self.as_identity(self.identity(name, role, scope).await)
    }

    pub(crate) async fn identity(&self, name: &str, role: &str, scope: &str) -> Identity {
        let actor = Actor::system();
        if self.access.principal(name).await.is_err() {
            self.access
                .create_principal(&actor, name.parse().expect("name"), PrincipalKind::ServicePrincipal)
                .await
                .expect("created");
        }
        self.access.assign(&actor, name, role, scope.parse().expect("scope")).await.expect("assigned");
        let principal = self.access.principal(name).await.expect("principal");
        let new = match self.access.add_secret(&actor, &principal, "test").await {
            Ok(new) => new,
            Err(error) => panic!("{error}"),
        };
        self.access.authenticate_secret(name, new.secret.expose(), None).await.expect("authenticated")
    }
}

pub(crate) const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const IMAGE: &str = "application/vnd.oci.image.manifest.v1+json";

/// SHA-512 of `bytes`.
pub(crate) fn sha512(bytes: &[u8]) -> Digest {
    let mut hasher = Hasher::new(Algorithm::Sha512);
    hasher.update(bytes);
    hasher.finish()
}

/// Names and values that an artifact without layers is made of; `annotations` is a JSON object.
pub(crate) fn artifact(subject: &Digest, artifact_type: &str, annotations: &str) -> String {
    format!(
        r#"{{"schemaVersion":2,"mediaType":"{IMAGE}","artifactType":"{artifact_type}",
            "config":{{"mediaType":"application/vnd.oci.empty.v1+json","digest":"{}","size":2}},"layers":[],
            "subject":{{"mediaType":"{IMAGE}","digest":"{subject}","size":1}},"annotations":{annotations}}}"#,
        Digest::sha256(b"{}")
    )
}

impl Client {
    pub(crate) async fn send(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Body>,
    ) -> Answer {
        let mut request = Request::builder().method(method).uri(path);
        if headers.iter().all(|(name, _)| *name != "host") {
            request = request.header("host", "localhost:5000");
        }
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(body.into()).expect("request");
        let (parts, body) = self.open(request).await.into_parts();
        let body = body.collect().await.expect("body").to_bytes();
        Answer { status: parts.status, headers: parts.headers, body }
    }

    /// The answer whose body is still to be read.
    pub(crate) async fn open(&self, request: Request<Body>) -> Response<Body> {
        self.router.clone().oneshot(request).await.expect("infallible")
    }

    /// Answers whoever connects to the address, for as long as the runtime lives.
    pub(crate) async fn listen(&self) -> std::net::SocketAddr {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("bound");
        let address = listener.local_addr().expect("an address");
        let router = self.router.clone();
        tokio::spawn(async move { axum::serve(listener, router).await });
        address
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, &[], Body::empty()).await
    }

    pub(crate) async fn put_blob(&self, repository: &str, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256(bytes);
        let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
        let answer = self.send("POST", &path, &[], bytes.to_vec()).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        digest
    }

    /// Begins an upload; returns its location.
    pub(crate) async fn begin(&self, repository: &str) -> String {
        let answer = self.send("POST", &format!("/v2/{repository}/blobs/uploads/"), &[], "").await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.text());
        answer.header("location").to_owned()
    }

    /// Ends an upload.
    pub(crate) async fn close(
        &self,
        location: &str,
        digest: impl std::fmt::Display,
        rest: Vec<u8>,
    ) -> Answer {
        self.send("PUT", &format!("{location}?digest={digest}"), &[], rest).await
    }

    /// Pushes an index or artifact under its media type.
    pub(crate) async fn put_as(&self, path: &str, media_type: &str, manifest: &str) -> Answer {
        self.send("PUT", path, &[("content-type", media_type)], manifest.to_owned()).await
    }

    /// Pushes an image of one config and `layers`; returns its digest and manifest.
    pub(crate) async fn put_image(&self, reference: &str, layers: &[&[u8]]) -> (Digest, String) {
        let (repository, tag) = reference.split_once(':').expect("tag");
        let config = br#"{"os":"linux","architecture":"amd64"}"#;
        let mut descriptors = Vec::new();
        self.put_blob(repository, config).await;
        for layer in layers {
            self.put_blob(repository, layer).await;
            descriptors.push(format!(
                r#"{{"mediaType":"application/vnd.oci.image.layer.v1.tar","digest":"{}","size":{}}}"#,
                Digest::sha256(layer),
                layer.len()
            ));
        }
        let manifest = format!(
            r#"{{ "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
                "config": {{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":{}}},
                "layers": [{}] }}"#,
            Digest::sha256(config),
            config.len(),
            descriptors.join(",")
        );
        let answer = self.put_manifest(repository, tag, &manifest).await;
        assert_eq!(answer.status, StatusCode::CREATED, "{}", answer.text());
        (Digest::sha256(manifest.as_bytes()), manifest)
    }

    pub(crate) async fn put_manifest(&self, repository: &str, reference: &str, manifest: &str) -> Answer {
        let headers = [("content-type", "application/vnd.oci.image.manifest.v1+json")];
        self.send("PUT", &format!("/v2/{repository}/manifests/{reference}"), &headers, manifest.to_owned())
            .await
    }
}

/// Lets what runs behind requests go on until it is so.
pub(crate) async fn until(mut is_so: impl AsyncFnMut() -> bool) {
    let mut turns = tokio::time::interval(std::time::Duration::from_millis(5));
    for _ in 0..6_000 {
        if is_so().await {
            return;
        }
        turns.tick().await;
    }
    panic!("it never is");
}
