//! Images of other registries that are looked at and not kept.

use http::StatusCode;
use seaworthy_model::{ErrorCode, Problem, Secret};
use seaworthy_oci::{Digest, ImageManifest, Platform, Reference, media};
use seaworthy_registry::{Foreign, ForeignAccess, limit};
use serde_json::json;

use crate::upstream::{Fault, Upstream};

fn access(login: Option<(&str, &str)>) -> ForeignAccess {
    let login = login.map(|(user, secret)| (user.to_owned(), Secret::new(secret.to_owned())));
    ForeignAccess { roots: rustls::RootCertStore::empty(), login, is_plain: true }
}

fn named(upstream: &Upstream, name: &str) -> Reference {
    let host = upstream.url().replace("http://", "");
    format!("{host}/{name}").parse().expect("a reference")
}

async fn image(upstream: &Upstream, name: &str) -> Result<(Foreign, ImageManifest), Problem> {
    let reference = named(upstream, name);
    let there = Foreign::new(&reference, access(None))?;
    let image = there.image(&reference, &Platform::linux_amd64()).await?;
    Ok((there, image))
}

/// What is under way may be cut so often, and goes on where it was.
#[tokio::test]
async fn a_layer_is_brought_in_several_attempts() {
    let upstream = Upstream::new().await;
    let layer = vec![7_u8; 1_000];
    upstream.put_image("dev/web:1", &[&layer]);
    let (there, image) = image(&upstream, "dev/web:1").await.expect("read");
    let layer_of = &image.layers[0];
    let call = format!("GET /v2/dev/web/blobs/{}", layer_of.digest);
    for cuts in [limit::FOREIGN_ATTEMPTS - 1, limit::FOREIGN_ATTEMPTS] {
        for _ in 0..cuts {
            upstream.fault(&call, Fault::Cut(10));
        }
        let mut bytes = Vec::new();
        let told = std::sync::atomic::AtomicU64::new(0);
        let tell = |more| {
            told.fetch_add(more, std::sync::atomic::Ordering::Relaxed);
        };
        let brought = there.blob(layer_of, &mut bytes, &tell).await;
        assert_eq!(brought.is_ok(), cuts < limit::FOREIGN_ATTEMPTS, "{cuts}: {brought:?}");
        assert_eq!(bytes == layer, brought.is_ok());
        assert_eq!(told.into_inner(), bytes.len() as u64);
    }
    // Other bytes of the same length are none.
    upstream.put(
        &format!("/v2/dev/web/blobs/{}", layer_of.digest),
        "application/octet-stream",
        vec![8_u8; 1_000],
    );
    let error = there.bytes(layer_of, 1_000).await.expect_err("refused");
    assert_eq!(error.code, ErrorCode::DigestInvalid, "{error:?}");
    let longer = vec![7_u8; 1_001];
    upstream.put(&format!("/v2/dev/web/blobs/{}", layer_of.digest), "application/octet-stream", longer);
    let error = there.bytes(layer_of, 1_000).await.expect_err("refused");
    assert!(error.message.contains("more than the 1000 bytes"), "{error:?}");
    assert_eq!(there.bytes(layer_of, 999).await.expect_err("refused").code, ErrorCode::TooLarge);
}

#[tokio::test]
async fn indexes_lead_so_deep() {
    let upstream = Upstream::new().await;
    let digest = upstream.put_image("dev/web:1", &[b"layer"]).digest;
    let (_, inner) = image(&upstream, "dev/web:1").await.expect("read");
    let mut child = (media::OCI_MANIFEST, digest, 0);
    for depth in 1..=limit::FOREIGN_DEPTH {
        let (media_type, digest, size) = child;
        let other = Digest::sha256(b"other");
        let index = json!({"schemaVersion": 2, "mediaType": media::OCI_INDEX, "manifests": [
            {"mediaType": media::OCI_MANIFEST, "digest": other, "size": 5, "platform": {"os": "linux", "architecture": "s390x"}},
            {"mediaType": media_type, "digest": digest, "size": size, "platform": {"os": "linux", "architecture": "amd64"}},
        ]});
        let digest =
            upstream.put_manifest("dev/web", &format!("deep{depth}"), media::OCI_INDEX, &index.to_string());
        child = (media::OCI_INDEX, digest, index.to_string().len());
        let found = image(&upstream, &format!("dev/web:deep{depth}")).await;
        match found {
            Ok((_, found)) => {
                assert!(depth < limit::FOREIGN_DEPTH);
                assert_eq!(found, inner);
            }
            Err(error) => {
                assert_eq!(depth, limit::FOREIGN_DEPTH);
                assert!(error.message.contains("nested too deep"), "{error:?}");
            }
        }
    }
}

#[tokio::test]
async fn what_it_answers_is_not_believed_and_who_is_refused_is_told() {
    let upstream = Upstream::new().await;
    let digest = upstream.put_image("dev/web:1", &[b"layer"]).digest;
    upstream.put(&format!("/v2/dev/web/manifests/{digest}"), media::OCI_MANIFEST, "{}");
    let error = image(&upstream, &format!("dev/web@{digest}")).await.err().expect("refused");
    assert_eq!(error.code, ErrorCode::DigestInvalid, "{error:?}");
    let error = image(&upstream, "dev/web:none").await.err().expect("refused");
    assert_eq!(error.code, ErrorCode::NotFound, "{error:?}");
    // A token service elsewhere gets nothing of ours.
    let challenge = r#"Bearer realm="http://127.0.0.1:9/token",service="s",scope="repository:dev/web:pull""#;
    upstream.guard(challenge, "Bearer issued", "issued");
    let reference = named(&upstream, "dev/web:1");
    let there = Foreign::new(&reference, access(Some(("we", "ours")))).expect("made");
    let error = there.image(&reference, &Platform::linux_amd64()).await.expect_err("refused");
    assert!(error.message.contains("astray") && error.hint.is_some(), "{error:?}");
    upstream.unguard();
    upstream.fault("GET /v2/dev/web/manifests/1", Fault::Status(StatusCode::FORBIDDEN.as_u16(), Vec::new()));
    let error = there.image(&reference, &Platform::linux_amd64()).await.expect_err("refused");
    assert_eq!(error.code, ErrorCode::Denied, "{error:?}");
}
