//! What is asked of access: once for a page, and the same for who is known and who is not.

use http::StatusCode;
use seaworthy_access::{DockerScope, Identity, ResourceAccess};
use seaworthy_model::Actor;
use seaworthy_testkit::{Engine, TestDb, db_tests};
use serde_json::json;

use crate::{
    client::{ROOMS, World},
    queries,
};

db_tests!(super::ROOMS; a_page_looks_at_the_roles_once, a_name_that_nobody_has_costs_as_much, quarantine_is_judged_with_a_token);

/// With PostgreSQL each look is a query: another server may have changed them.
async fn a_page_looks_at_the_roles_once(test: TestDb) {
    let world = World::set_up(test, |config| config.collection.soft_delete_days = 7).await;
    let operator = world.operator();
    let fill = async |number: usize| {
        let repository = format!("team/{number}");
        for tag in ["1", "2"] {
            operator.put_image(&format!("{repository}:{tag}"), &[tag.as_bytes()]).await;
        }
        let deleted = operator.send("DELETE", &format!("/v2/{repository}/manifests/2"), &[], "").await;
        assert_eq!(deleted.status, StatusCode::ACCEPTED, "{}", deleted.text());
    };
    let who = world.identity("ci", "Reader", "/repositories/team").await;
    let client = world.as_identity(who.clone());
    let looks = async |list: &str, count: usize| {
        let made = queries::of(async {
            let found = match list {
                "catalog" => client.get("/v2/_catalog").await.text().matches("team/").count(),
                "images" => world.registry.images(&who, "", ("", ""), 100).await.expect("images").len(),
                "deleted" => world.registry.deleted(&who, "", ("", "", ""), 100).await.expect("gone").len(),
                _ => {
                    world.registry.repositories_shown(&who, "", "", 1).await.expect("a page").0.len() * count
                }
            };
            assert_eq!(found, count, "{list}");
        })
        .await;
        made.iter().filter(|sql| sql.contains("FROM access_revision")).count()
    };
    let lists = ["catalog", "images", "deleted", "repositories"];
    fill(0).await;
    let mut of_one = Vec::new();
    for list in lists {
        of_one.push(looks(list, 1).await);
    }
    assert_eq!(of_one.iter().any(|looks| *looks > 0), world.test.engine == Engine::Postgres);
    for number in 1..6 {
        fill(number).await;
    }
    for (list, of_one) in lists.into_iter().zip(of_one) {
        assert_eq!(looks(list, 6).await, of_one, "{list}");
    }
}

async fn a_name_that_nobody_has_costs_as_much(test: TestDb) {
    let world = World::new(test).await;
    world.identity("known", "AcrPull", "/").await;
    world.identity("disabled", "AcrPull", "/").await;
    let disabled = world.access.principal("disabled").await.expect("a principal");
    world.access.disable(&Actor::system(), &disabled).await.expect("disabled");
    let asked = async |name: &'static str| {
        queries::of(async {
            assert!(world.access.authenticate_secret(name, "sws_wrong", None).await.is_err());
        })
        .await
    };
    let known = asked("known").await;
    assert!(known.iter().any(|sql| sql.contains("FROM access_credentials")), "{known:?}");
    for name in ["nobody", "disabled", ""] {
        assert_eq!(asked(name).await, known, "{name}");
    }
}

/// The flow of Azure's clients, with the scope that they are told to ask for.
async fn quarantine_is_judged_with_a_token(test: TestDb) {
    let world = World::new(test).await;
    let rules = json!({"prefix": "team", "quarantine": true});
    let rules = serde_json::from_value(rules).expect("rules");
    world.registry.set_rules(&Identity::operator(0), rules).await.expect("set");
    let (digest, _) = world.operator().put_image("team/web:1", &[b"layer"]).await;
    let path = format!("/acr/v1/team%2Fweb/_manifests/{digest}");
    for (name, role, locks_too) in [("judge", "AcrQuarantineWriter", false), ("owner", "Owner", true)] {
        let who = world.identity(name, role, "/repositories/team").await;
        let exchange = [DockerScope { access: ResourceAccess::exchange() }];
        let proof = world.access.issue_token(&who, &exchange).await.expect("token").token;
        let proved = world.access.authenticate_exchange(proof.expose(), None).await.expect("proved");
        let refresh = world.access.issue_refresh_token(&proved).await.expect("a refresh token");
        let refreshed = world.access.authenticate_refresh(refresh.expose(), None).await.expect("valid");
        let buy = async |scope: &str| {
            let asked = DockerScope::parse_all(std::iter::once(scope));
            let token = world.access.issue_token(&refreshed, &asked).await.expect("token").token;
            world.as_identity(world.access.authenticate_token(token.expose(), None).await.expect("valid"))
        };
        let passed = json!({"quarantineState": "Passed", "quarantineDetails": name}).to_string();
        let refused = buy("").await.send("PATCH", &path, &[], passed.clone()).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{name}");
        let challenge = refused.header("www-authenticate").to_owned();
        let scope = challenge.split("scope=\"").nth(1).and_then(|it| it.split('"').next()).expect("a scope");
        let bearer = buy(scope).await;
        let judged = bearer.send("PATCH", &path, &[], passed).await;
        assert_eq!(judged.status, StatusCode::OK, "{name}: {}", judged.text());
        assert!(judged.text().contains(r#""quarantineState":"Passed""#), "{}", judged.text());
        // The word is that of locks: it gives nobody a right that they have not.
        let locked = bearer.send("PATCH", &path, &[], r#"{"writeEnabled":false}"#).await;
        assert_eq!(locked.status == StatusCode::OK, locks_too, "{name}: {}", locked.text());
    }
}
