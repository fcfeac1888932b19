//! docs/reference/openapi.json is true: a real server's answers are what it says, field by field.

use std::collections::BTreeSet;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_oci::Digest;
use serde_json::{Value, json};

use crate::{
    agent::until,
    http::{Answer, Door},
    image::Image,
    openapi_alerts, openapi_registry,
    receiver::Receiver,
    server::{Place, free_port},
};

/// The description, made strict: an answer may have no field that is not described.
pub(crate) struct Description {
    document: Value,
    exercised: BTreeSet<String>,
}

fn close(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.contains_key("properties") && !map.contains_key("additionalProperties") {
                map.insert("additionalProperties".into(), json!(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(all) => all.iter_mut().for_each(close),
        _ => {}
    }
}

impl Description {
    fn of(server: &Door) -> Self {
        let answer = server.get("GET", "/api/v1/openapi.json");
        assert_eq!(answer.status, 200, "{}", answer.head);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let mut document = answer.json();
        // An inventory is sent, never answered; it stays open.
        close(document.pointer_mut("/components").expect("components"));
        close(document.pointer_mut("/paths").expect("paths"));
        Self { document, exercised: BTreeSet::new() }
    }

    /// `template` is the described path. The status has to be described, and the body to be so.
    fn holds(&mut self, method: &str, template: &str, answer: &Answer) {
        let name = format!("{method} {template}");
        let operation = &self.document["paths"][template][method.to_lowercase()];
        assert!(operation.is_object(), "{name} is not described");
        let responses = &operation["responses"];
        let status = answer.status.to_string();
        let mut response = match (responses.get(&status), answer.status) {
            (Some(response), _) => response,
            (None, 500..) => &responses["default"],
            (None, _) => panic!("{name}: {status} is not described: {}", answer.text()),
        };
        if let Some(reference) = response["$ref"].as_str() {
            response = self.document.pointer(reference.trim_start_matches('#')).expect("a response");
        }
        let content = response["content"].as_object().expect("content");
        let kind = answer.header("content-type").unwrap_or_default().split(';').next().unwrap_or_default();
        let described = content.get(kind).unwrap_or_else(|| panic!("{name}: `{kind}` is not described"));
        let body = if kind == "application/json" { answer.json() } else { json!(answer.text()) };
        let schema = json!({"allOf": [described["schema"]], "components": self.document["components"]});
        let validator = jsonschema::options().build(&schema).expect("a schema");
        let wrong: Vec<String> =
            validator.iter_errors(&body).map(|it| format!("{}: {it}", it.instance_path())).collect();
        assert!(wrong.is_empty(), "{name} {status}: {wrong:#?}\n{body:#}");
        self.exercised.insert(format!("{name} {}", if answer.status < 300 { "ok" } else { "refused" }));
    }

    pub(crate) fn ask(
        &mut self,
        door: &Door,
        (method, template): (&str, &str),
        path: &str,
        body: &Value,
    ) -> Answer {
        let bytes = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        let answer = door.ask(method, path, "application/json", &bytes).expect("the server answers");
        self.holds(method, template, &answer);
        answer
    }

    pub(crate) fn get(&mut self, door: &Door, template: &str, path: &str) -> Answer {
        self.ask(door, ("GET", template), path, &Value::Null)
    }
}

#[test]
fn answers_are_as_described() {
    let place = Place::new();
    let tls = format!("localhost:{}", free_port());
    let server = place.try_up_with(free_port(), &["--tls-listen", &tls]).expect("a server");
    let socket = place.socket();
    let rejected = Door::Tcp { port: server.port, basic: "bm9ib2R5Om5vdGhpbmc=".to_owned() };
    let mut it = Description::of(&socket);
    examples_fit(&it.document);
    Image::debian("expat", "2.5.0-1", "").push(&place.login(server.port), "prod/web", "1");

    server_and_health(&mut it, &socket, &rejected);
    access(&mut it, &socket, server.port);
    images(&mut it, &socket);
    policies(&mut it, &socket, server.port);
    advisories_and_ledger(&mut it, &socket, &place);
    found(&mut it, &socket);
    fleet(&mut it, &socket, server.port);
    let receiver = Receiver::answering("410 Gone");
    openapi_alerts::targets(&mut it, &socket, server.port, &receiver);
    containers(&mut it, &place, &socket, server.port);
    joined(&mut it, &socket, server.port);
    openapi_alerts::raised(&mut it, &socket);
    refusals(&mut it, &socket, &rejected);
    openapi_registry::kept(&mut it, &socket);
    openapi_registry::replicated(&mut it, &socket);
    openapi_registry::looked_through(&mut it, &socket);
    it.ask(&socket, ("DELETE", "/api/v1/images"), "/api/v1/images?image=prod/web:1", &Value::Null);
    openapi_registry::back(&mut it, &socket);
    openapi_registry::imported(&mut it, &socket, &place.login(server.port));

    let all = it.document["paths"].as_object().expect("paths");
    for (path, item) in all {
        for method in ["get", "post", "delete"].iter().filter(|method| item.get(**method).is_some()) {
            let name = format!("{} {path} ok", method.to_uppercase());
            assert!(it.exercised.contains(&name), "never answered: {name}");
        }
    }
}

/// Examples are answers and requests as described.
fn examples_fit(document: &Value) {
    fn walk(value: &Value, components: &Value, seen: &mut usize) {
        if let (Some(example), Some(schema)) = (value.get("example"), value.get("schema")) {
            let schema = json!({"allOf": [schema], "components": components});
            let validator = jsonschema::options().build(&schema).expect("a schema");
            let wrong: Vec<String> = validator.iter_errors(example).map(|it| it.to_string()).collect();
            assert!(wrong.is_empty(), "{example:#}: {wrong:?}");
            *seen += 1;
        }
        match value {
            Value::Object(map) => map.values().for_each(|it| walk(it, components, seen)),
            Value::Array(all) => all.iter().for_each(|it| walk(it, components, seen)),
            _ => {}
        }
    }
    let mut seen = 0;
    walk(document, &document["components"], &mut seen);
    assert!(seen > 20, "{seen}");
}

fn server_and_health(it: &mut Description, socket: &Door, rejected: &Door) {
    for path in ["/livez", "/readyz", "/metrics", "/api/v1/openapi.json", "/api/v1/status", "/api/v1/whoami"]
    {
        assert_eq!(it.get(socket, path, path).status, 200, "{path}");
    }
    let answer = it.get(rejected, "/oauth2/token", "/oauth2/token");
    assert_eq!((answer.status, answer.header("www-authenticate")), (401, Some("Basic realm=\"seaworthy\"")));
    let form = "application/x-www-form-urlencoded";
    for (body, status) in
        [("grant_type=password&username=a&password=b", 401), ("", 400), ("grant_type=x", 400)]
    {
        let answer = socket.ask("POST", "/oauth2/token", form, body.as_bytes()).expect("answered");
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        it.holds("POST", "/oauth2/token", &answer);
        let said = answer.json();
        assert!(said["error"].is_string() && said["error_description"].is_string(), "RFC 6749 §5.2: {said}");
        assert_eq!(said["errors"][0]["code"] == "UNAUTHORIZED", status == 401, "{said}");
    }
    for (body, status) in [
        ("grant_type=access_token&service=seaworthy&access_token=a.b.c", 401),
        ("grant_type=access_token&service=other&access_token=a.b.c", 400),
        ("grant_type=access_token", 400),
    ] {
        let answer = socket.ask("POST", "/oauth2/exchange", form, body.as_bytes()).expect("answered");
        assert_eq!(answer.status, status, "{body}: {}", answer.text());
        it.holds("POST", "/oauth2/exchange", &answer);
    }
}

fn access(it: &mut Description, socket: &Door, port: u16) {
    let new = json!({"name": "ci", "role": "AcrPush", "scope": "/repositories/dev"});
    let made = it.ask(socket, ("POST", "/api/v1/principals"), "/api/v1/principals", &new).json();
    let again = it.ask(socket, ("POST", "/api/v1/principals"), "/api/v1/principals", &new);
    assert_eq!(again.status, 409, "{}", again.text());
    let (name, secret) = (made["name"].as_str().unwrap(), made["client_secret"].as_str().unwrap());
    let form = format!("grant_type=password&username={name}&password={secret}");
    let kind = "application/x-www-form-urlencoded";
    let token = socket.ask("POST", "/oauth2/token", kind, form.as_bytes()).expect("answered");
    assert_eq!(token.status, 200, "{}", token.text());
    it.holds("POST", "/oauth2/token", &token);
    let form = format!("grant_type=client_credentials&client_id={name}&client_secret={secret}");
    let token = socket.ask("POST", "/oauth2/token", kind, form.as_bytes()).expect("answered");
    it.holds("POST", "/oauth2/token", &token);
    let token = token.json()["access_token"].as_str().expect("a token").to_owned();
    let form = format!("grant_type=access_token&service=seaworthy&access_token={token}");
    let refresh = socket.ask("POST", "/oauth2/exchange", kind, form.as_bytes()).expect("answered");
    assert_eq!(refresh.status, 200, "{}", refresh.text());
    it.holds("POST", "/oauth2/exchange", &refresh);
    let refresh = refresh.json()["refresh_token"].as_str().expect("a token").to_owned();
    for (service, status) in [("seaworthy", 200), ("localhost", 200), ("other.example.com", 400)] {
        let form = format!(
            "grant_type=refresh_token&service={service}&scope=repository:dev/a:pull&refresh_token={refresh}"
        );
        let token = socket.ask("POST", "/oauth2/token", kind, form.as_bytes()).expect("answered");
        assert_eq!(token.status, status, "{service}: {}", token.text());
        it.holds("POST", "/oauth2/token", &token);
    }

    // A caller who is known and may not.
    let basic = STANDARD.encode(format!("{name}:{secret}"));
    let ci = Door::Tcp { port, basic };
    assert_eq!(it.get(&ci, "/api/v1/principals", "/api/v1/principals").status, 403);
    let query = "service=seaworthy&scope=repository:dev/a:pull,push,delete&scope=repository:prod/a:pull";
    let token = it.get(&ci, "/oauth2/token", &format!("/oauth2/token?{query}")).json();
    assert_eq!(
        (&token["token_type"], &token["scope"]),
        (&json!("Bearer"), &json!("repository:dev/a:pull,push")),
        "{token:#}"
    );

    it.get(socket, "/api/v1/principals", "/api/v1/principals");
    it.get(socket, "/api/v1/principals/{name}", "/api/v1/principals/ci");
    assert_eq!(it.get(socket, "/api/v1/principals/{name}", "/api/v1/principals/nobody").status, 404);
    let credentials = "/api/v1/principals/{name}/credentials";
    let path = "/api/v1/principals/ci/credentials";
    let added = it.ask(socket, ("POST", credentials), path, &json!({"label": "second"})).json();
    it.get(socket, credentials, path);
    let one = format!("{path}/{}", added["id"].as_str().unwrap());
    it.ask(socket, ("DELETE", "/api/v1/principals/{name}/credentials/{id}"), &one, &Value::Null);
    it.get(socket, "/api/v1/roles", "/api/v1/roles");
    it.get(socket, "/api/v1/roles/{name}", "/api/v1/roles/AcrPull");
    let maps = "/api/v1/scope-maps";
    it.get(socket, maps, maps);
    let map = json!({"name": "guests", "actions": ["repositories/prod/*/content/read"]});
    it.ask(socket, ("POST", maps), maps, &map);
    assert_eq!(it.ask(socket, ("POST", maps), maps, &json!({"name": "x", "actions": ["pull"]})).status, 400);
    it.get(socket, "/api/v1/scope-maps/{name}", "/api/v1/scope-maps/guests");
    let token = json!({"name": "guest", "kind": "token", "scope_map": "guests", "days": 7});
    let made = it.ask(socket, ("POST", "/api/v1/principals"), "/api/v1/principals", &token).json();
    assert!(made["expires_at"].is_string(), "{made:#}");
    let gone = ("DELETE", "/api/v1/scope-maps/{name}");
    assert_eq!(it.ask(socket, gone, "/api/v1/scope-maps/guests", &Value::Null).status, 409);
    let give = ("POST", "/api/v1/principals/{name}/scope-map");
    let other = json!({"scope_map": "_repositories_pull"});
    it.ask(socket, give, "/api/v1/principals/guest/scope-map", &other);
    assert_eq!(it.ask(socket, give, "/api/v1/principals/ci/scope-map", &other).status, 409);
    assert_eq!(it.ask(socket, gone, "/api/v1/scope-maps/guests", &Value::Null).status, 200);
    let enable = ("POST", "/api/v1/principals/{name}/enable");
    it.ask(socket, enable, "/api/v1/principals/guest/enable", &Value::Null);
    let role = json!({"name": "puller", "permissions": ["pull"]});
    it.ask(socket, ("POST", "/api/v1/roles"), "/api/v1/roles", &role);
    let wanted = json!({"principal": "ci", "role": "puller", "scope": "/repositories/prod"});
    it.ask(socket, ("POST", "/api/v1/assignments"), "/api/v1/assignments", &wanted);
    let explain = "/api/v1/access/explain?principal=ci&action=pull&scope=/repositories/prod/web";
    let explained = it.get(socket, "/api/v1/access/explain", explain).json();
    assert_eq!(explained["allowed"], true, "{explained}");
    let gone = "/api/v1/assignments?principal=ci&role=puller&scope=/repositories/prod";
    it.ask(socket, ("DELETE", "/api/v1/assignments"), gone, &Value::Null);
    it.ask(socket, ("POST", "/api/v1/login"), "/api/v1/login", &Value::Null);
    people(it, socket, port);
    let disable = "/api/v1/principals/{name}/disable";
    it.ask(socket, ("POST", disable), "/api/v1/principals/ci/disable", &Value::Null);
    it.ask(socket, ("DELETE", "/api/v1/principals/{name}"), "/api/v1/principals/ci", &Value::Null);
}

fn people(it: &mut Description, socket: &Door, port: u16) {
    let session = ("POST", "/api/v1/session");
    let page = |cookie: &str| Door::Page {
        port,
        headers: vec![
            ("sec-fetch-site", "same-origin".to_owned()),
            ("origin", format!("http://localhost:{port}")),
            ("cookie", cookie.to_owned()),
        ],
    };
    let sign_in = |it: &mut Description, body: Value| it.ask(&page(""), session, "/api/v1/session", &body);
    let fragment = |link: &Value| link["url"].as_str().unwrap().split_once('#').unwrap().1.to_owned();
    let ann = json!({"name": "ann", "kind": "user", "role": "Reader", "scope": "/"});
    let made = it.ask(socket, ("POST", "/api/v1/principals"), "/api/v1/principals", &ann).json();
    let link = fragment(&made["link"]);
    assert_eq!(sign_in(it, json!({"link": link})).status, 409);
    assert_eq!(sign_in(it, json!({"link": link, "password": "short"})).status, 400);
    assert_eq!(sign_in(it, json!({"link": link, "password": "correct horse battery"})).status, 200);
    let by_name = |password: &str| json!({"name": "ann", "password": password});
    assert_eq!(sign_in(it, by_name("wrong horse battery")).status, 401);
    assert_eq!(sign_in(it, by_name(&"x".repeat(10_000))).status, 413);
    let signed = sign_in(it, by_name("correct horse battery"));
    let cookie = signed.header("set-cookie").unwrap().split(';').next().unwrap().to_owned();
    assert_eq!(it.get(&page(&cookie), "/api/v1/whoami", "/api/v1/whoami").json()["method"], "session");
    it.get(socket, "/api/v1/principals/{name}", "/api/v1/principals/ann");
    let again = ("POST", "/api/v1/principals/{name}/link");
    it.ask(socket, again, "/api/v1/principals/ann/link", &Value::Null);
    assert_eq!(it.ask(socket, again, "/api/v1/principals/ci/link", &Value::Null).status, 409);
    let console = ("POST", "/api/v1/console");
    assert_eq!(it.ask(&page(&cookie), console, "/api/v1/console", &Value::Null).status, 403);
    it.ask(socket, console, "/api/v1/console", &Value::Null);

    // The stream goes on: what it begins with is its answer.
    let opened = crate::people::Stream::open(&page(&cookie)).until("\n\n");
    it.holds("GET", "/api/v1/live", &opened);
    assert_eq!(it.get(&page(""), "/api/v1/live", "/api/v1/live").status, 401);

    let end = ("DELETE", "/api/v1/session");
    assert_eq!(it.ask(&page(&cookie), end, "/api/v1/session", &Value::Null).json()["ended"], true);
    assert_eq!(it.ask(&page(&cookie), end, "/api/v1/session", &Value::Null).json()["ended"], false);
}

fn images(it: &mut Description, socket: &Door) {
    let check = it.get(socket, "/api/v1/check", "/api/v1/check?image=prod/web:1&wait=60").json();
    assert_eq!(check["verdict"], "blocked", "no feed is loaded: {check:#}");
    let scan = it.get(socket, "/api/v1/scan", "/api/v1/scan?image=prod/web:1&wait=60&fail_on=high").json();
    assert_eq!(scan["packages"], 1, "{scan:#}");
    assert_eq!(it.get(socket, "/api/v1/scan", "/api/v1/scan?image=prod/web:9").status, 404);
    assert_eq!(it.get(socket, "/api/v1/check", "/api/v1/check?image=UPPER").status, 400);
    let page = it.get(socket, "/api/v1/images/show", "/api/v1/images/show?image=prod/web:1").json();
    assert_eq!(page["layers"].as_array().map(Vec::len), Some(1), "{page:#}");
    assert_eq!((&page["content_id"], &page["tags"][0]["tag"]), (&check["content_id"], &json!("1")));
    assert_eq!(page["verdicts"][0]["verdict"], "blocked", "{page:#}");
    assert_eq!(it.get(socket, "/api/v1/images/show", "/api/v1/images/show?image=prod/web:9").status, 404);
    let listed = it.get(socket, "/api/v1/images", "/api/v1/images?repository=prod").json();
    assert_eq!(listed.as_array().map(Vec::len), Some(1), "{listed:#}");
    it.get(socket, "/api/v1/findings", "/api/v1/findings?cve=CVE-2026-1111");
    openapi_registry::promoted(it, socket);
    openapi_registry::cached(it, socket);
    let sent = json!({"reference": "prod/web:1", "ready": Image::debian("expat", "2.5.0-1", "").inspected()});
    let local = it.ask(socket, ("POST", "/api/v1/check"), "/api/v1/check", &sent).json();
    assert_eq!((&local["recorded"], &local["content_id"]), (&json!(false), &check["content_id"]));
    assert_eq!(it.ask(socket, ("POST", "/api/v1/scan"), "/api/v1/scan", &sent).status, 200);
    let route = ("POST", "/api/v1/check");
    let deploy = json!({"reference": "prod/web:1", "purpose": "deploy", "settings": "privileged: true\nuser: unknown", "wait": 60});
    let told = it.ask(socket, route, "/api/v1/check", &deploy).json();
    assert_eq!((&told["purpose"], &told["settings"]["privileged"]), (&json!("deploy"), &json!(true)));
    assert_eq!(
        (&told["digest"], &told["unknown_settings"]),
        (&check["digest"], &json!(["user"])),
        "{told:#}"
    );
    let pull = json!({"reference": "prod/web:1", "wait": 60});
    assert_eq!(it.ask(socket, route, "/api/v1/check", &pull).json()["recorded"], true);
    for (reference, purpose, settings, status) in [
        ("prod/web:1", "deploy", "priviledged: true", 400),
        ("prod/web:1", "pull", "{}", 400),
        ("prod/web:9", "deploy", "{}", 404),
    ] {
        let wrong = json!({"reference": reference, "purpose": purpose, "settings": settings});
        assert_eq!(it.ask(socket, route, "/api/v1/check", &wrong).status, status, "{wrong}");
    }
    let bad = json!({"reference": "prod/web:1", "ready": {}});
    assert_eq!(it.ask(socket, ("POST", "/api/v1/check"), "/api/v1/check", &bad).status, 400);
    assert_eq!(it.ask(socket, ("POST", "/api/v1/scan"), "/api/v1/scan", &bad).status, 400);
}

fn policies(it: &mut Description, socket: &Door, port: u16) {
    it.get(socket, "/api/v1/policies", "/api/v1/policies");
    it.get(socket, "/api/v1/policies/{name}", "/api/v1/policies/prod");
    let source = json!({"source": "policy: dev\nselects: [\"dev/**\"]\nrules:\n  - inspected: {}\n"});
    it.ask(socket, ("POST", "/api/v1/policies"), "/api/v1/policies", &source);
    it.get(socket, "/api/v1/policies/{name}/versions/{version}", "/api/v1/policies/dev/versions/1");
    let version = "/api/v1/policies/{name}/versions/{version}";
    assert_eq!(it.get(socket, version, "/api/v1/policies/dev/versions/9").status, 404);
    let preview = "/api/v1/policies/preview";
    let open = json!({"source": "policy: prod\nselects: [\"prod/**\"]\nrules:\n  - secrets: { max: 9 }\n"});
    let judged = it.ask(socket, ("POST", preview), preview, &open).json();
    assert_eq!(judged["changed"][0]["after"], "allowed", "{judged:#}");
    let bad = json!({"source": "policy: dev\nselects: []\nrulez: []\n"});
    assert_eq!(it.ask(socket, ("POST", "/api/v1/policies"), "/api/v1/policies", &bad).status, 400);
    let tomorrow = seaworthy_model::Clock::now(&seaworthy_model::SystemClock).plus_seconds(86_400);
    let wanted = json!({
        "scope": {"repositories": "prod/web", "rule": "prod/vulns"},
        "owner": "team-web", "reason": "parser not reachable", "expires_at": tomorrow,
    });
    let asked = it.ask(socket, ("POST", "/api/v1/exceptions"), "/api/v1/exceptions", &wanted).json();
    it.get(socket, "/api/v1/exceptions", "/api/v1/exceptions");
    let path = format!("/api/v1/exceptions/{}", asked["exception"]["id"].as_str().unwrap());
    it.get(socket, "/api/v1/exceptions/{id}", &path);
    assert_eq!(it.get(socket, "/api/v1/exceptions/{id}", "/api/v1/exceptions/x").status, 400);
    let approve = ("POST", "/api/v1/exceptions/{id}/approve");
    let second = json!({"name": "second", "role": "Owner", "scope": "/"});
    let second = socket.ask("POST", "/api/v1/principals", "application/json", second.to_string().as_bytes());
    let second = second.expect("answered").json();
    let pair = format!("second:{}", second["client_secret"].as_str().unwrap());
    let second = Door::Tcp { port, basic: STANDARD.encode(pair) };
    let approved = it.ask(&second, approve, &format!("{path}/approve"), &Value::Null);
    assert_eq!(approved.status, 200, "{}", approved.text());
    it.ask(socket, ("POST", "/api/v1/exceptions/{id}/revoke"), &format!("{path}/revoke"), &Value::Null);
}

fn advisories_and_ledger(it: &mut Description, socket: &Door, place: &Place) {
    let (file, other) = (place.path("CVE-2026-1111.json"), place.path("not-a-feed.txt"));
    let osv = json!({
        "schema_version": "1.6.0", "id": "CVE-2026-1111", "modified": "2026-01-01T00:00:00Z",
        "affected": [{
            "package": {"ecosystem": "Debian:12", "name": "expat"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.5.0-2"}]}],
        }],
    });
    std::fs::write(&file, osv.to_string()).expect("write");
    std::fs::write(&other, "nothing").expect("write");
    let import = json!({"paths": [file, other]});
    let path = "/api/v1/advisories/import";
    let report = it.ask(socket, ("POST", path), path, &import).json();
    assert_eq!(report["skipped"].as_array().map(Vec::len), Some(1), "{report:#}");
    assert_eq!(it.ask(socket, ("POST", path), path, &json!({"paths": ["relative"]})).status, 400);
    let feeds = it.get(socket, "/api/v1/advisories", "/api/v1/advisories").json();
    assert_eq!(feeds["feeds"].as_array().map(Vec::len), Some(1), "{feeds:#}");
    it.get(socket, "/api/v1/advisories/history", "/api/v1/advisories/history");
    let records = it.get(socket, "/api/v1/ledger", "/api/v1/ledger?n=100").json();
    assert!(records.as_array().is_some_and(|all| all.len() > 5), "{records:#}");
    it.ask(socket, ("POST", "/api/v1/ledger/verify"), "/api/v1/ledger/verify", &Value::Null);
    let proof = it.get(socket, "/api/v1/ledger/{index}/proof", "/api/v1/ledger/0/proof");
    assert_eq!(proof.status, 200, "{}", proof.text());
}

/// What the console asks about findings, once the advisory of `advisories_and_ledger` is there.
fn found(it: &mut Description, socket: &Door) {
    until("the image's finding", || {
        let found = socket.get("GET", "/api/v1/images/findings?image=prod/web:1");
        (found.status == 200 && found.json()["total"] == 1).then_some(())
    });
    let images = "/api/v1/images";
    let blocked = it.get(socket, images, "/api/v1/images?verdict=blocked&n=1");
    assert_eq!(blocked.json()[0]["tag"], "1", "{}", blocked.text());
    assert_eq!(it.get(socket, images, "/api/v1/images?verdict=allowed").json(), json!([]));
    let findings = "/api/v1/images/findings";
    let page =
        it.get(socket, findings, "/api/v1/images/findings?image=prod/web:1&text=EXP&fixable=true").json();
    assert_eq!(
        (&page["total"], &page["findings"][0]["fixed_version"]),
        (&json!(1), &json!("2.5.0-2")),
        "{page:#}"
    );
    let none = it.get(socket, findings, "/api/v1/images/findings?image=prod/web:1&exploited=true").json();
    assert_eq!(none["findings"], json!([]), "{none:#}");
    assert_eq!(it.get(socket, findings, "/api/v1/images/findings?image=prod/web:9").status, 404);
    let remedies =
        it.get(socket, "/api/v1/images/remedies", "/api/v1/images/remedies?image=prod/web:1").json();
    assert_eq!(
        (&remedies["groups"][0]["findings"], &remedies["layers"][0]["findings"]),
        (&json!(1), &json!(1))
    );
    let overview = it.get(socket, "/api/v1/overview", "/api/v1/overview").json();
    assert_eq!(
        (&overview["images"]["total"], &overview["images"]["blocked"]),
        (&json!(1), &json!(1)),
        "{overview:#}"
    );
    let all = "/api/v1/vulnerabilities";
    for (by, name) in [("remedy", "source"), ("vulnerability", "id")] {
        let rows = it.get(socket, all, &format!("{all}?by={by}&source=expat")).json();
        assert_eq!((&rows["total"], &rows["rows"][0]["images"]), (&json!(1), &json!(1)), "{rows:#}");
        assert!(rows["rows"][0][name].is_string(), "{rows:#}");
    }
    assert_eq!(it.get(socket, all, &format!("{all}?by=moon")).status, 400);
}

fn joined(it: &mut Description, socket: &Door, port: u16) {
    let (unread, invitations) = ("/api/v1/agent/unread", "/api/v1/host-invitations");
    assert_eq!(it.get(socket, unread, unread).json()["images"].as_array().map(Vec::len), Some(1));
    let nobody = Door::Tcp { port, basic: String::new() };
    assert_eq!(it.get(&nobody, unread, unread).status, 401);
    assert_eq!(it.ask(&nobody, ("POST", invitations), invitations, &json!({})).status, 401);
    assert_eq!(it.ask(socket, ("POST", invitations), invitations, &json!({"seconds": 0})).status, 400);
    let made = it.ask(socket, ("POST", invitations), invitations, &json!({"name": "far"})).json();
    let join = "/api/v1/agent/join";
    let key = rcgen::KeyPair::generate().expect("a key");
    let request = rcgen::CertificateParams::default().serialize_request(&key).expect("a request");
    let request = request.pem().expect("PEM");
    let mut body = json!({"token": made["token"], "name": "x", "request": "not PEM"});
    assert_eq!(it.ask(socket, ("POST", join), join, &body).status, 400);
    body["request"] = json!(request);
    body["token"] = json!("swj_x");
    assert_eq!(it.ask(socket, ("POST", join), join, &body).status, 400);
    body["token"] = json!(format!("swj_{}", "A".repeat(86)));
    assert_eq!(it.ask(socket, ("POST", join), join, &body).status, 401);
    body["token"] = made["token"].clone();
    assert_eq!(it.ask(socket, ("POST", join), join, &body).json()["name"], "far");
    body["request"] = json!("x".repeat(17_000));
    assert_eq!(it.ask(socket, ("POST", join), join, &body).status, 413);
    let host = ("DELETE", "/api/v1/hosts/{name}");
    assert_eq!(it.ask(&nobody, host, "/api/v1/hosts/far", &Value::Null).status, 401);
    assert_eq!(it.ask(socket, host, "/api/v1/hosts/far", &Value::Null).status, 200);
    assert_eq!(it.ask(socket, host, "/api/v1/hosts/far", &Value::Null).status, 404);
}

fn fleet(it: &mut Description, socket: &Door, port: u16) {
    let path = "/api/v1/agent/batches";
    let mut batch = json!({
        "version": 1, "spool": "5b0c7a52-6d0d-4f3c-9d0e-0d5a54b0f6a1", "number": 1,
        "made_at": "2026-11-23T10:00:00Z", "items": [],
    });
    let send = |it: &mut Description, door: &Door, batch: &Value| it.ask(door, ("POST", path), path, batch);
    // A principal is no host, whatever its rights; nobody has to read its batch.
    let owner = json!({"name": "agent", "role": "Owner", "scope": "/"}).to_string();
    let made =
        socket.ask("POST", "/api/v1/principals", "application/json", owner.as_bytes()).expect("answered");
    let pair = format!("agent:{}", made.json()["client_secret"].as_str().unwrap());
    for (basic, status) in [(STANDARD.encode(pair), 403), ("bm9ib2R5Om5vdGhpbmc=".to_owned(), 401)] {
        let refused = send(it, &Door::Tcp { port, basic }, &batch);
        assert_eq!(refused.status, status, "{}", refused.text());
        assert!(status == 401 || refused.text().contains("operator socket"), "{}", refused.text());
    }
    for number in [1, 1, 2] {
        batch["number"] = json!(number);
        let ack = send(it, socket, &batch);
        assert_eq!((ack.status, &ack.json()["number"]), (200, &json!(number)), "{}", ack.text());
    }
    for (change, value, status) in [
        ("number", json!(9), 409),
        ("number", json!(0), 400),
        ("version", json!(2), 400),
        ("items", json!([{"item": "rumour"}]), 400),
        (
            "items",
            json!([{"item": "listed", "runtime": "docker", "ids": vec!["x"; 50_001], "at": "2026-11-23T10:00:00Z"}]),
            413,
        ),
        ("padding", json!("x".repeat(4 * 1024 * 1024)), 413),
    ] {
        let mut bad = batch.clone();
        bad[change] = value;
        let refused = send(it, socket, &bad);
        assert_eq!(refused.status, status, "{change}: {}", refused.text());
    }
}

/// A container of the image that was pushed, with names made to hurt; what may be seen of it, and by whom.
fn containers(it: &mut Description, place: &Place, socket: &Door, port: u16) {
    let image = Image::debian("expat", "2.5.0-1", "");
    let (hostile, id) = ("\u{1b}[2J\u{202e}web", "ab".repeat(32));
    let container = |id: &str, name: &str, image: &str| {
        json!({
            "item": "container", "runtime": "docker", "id": id, "name": name,
            "image": "127.0.0.1:5000/prod/web:1", "image_id": image, "manifest": null, "state": "running",
            "created_at": null, "started_at": "2026-11-23T10:00:00Z", "finished_at": null, "exit_code": null,
            "settings": {
                "privileged": true, "user": "", "host_network": true, "host_pid": false, "host_ipc": false,
                "added_capabilities": ["NET_ADMIN"], "dropped_capabilities": [], "devices": [],
                "mounts": [{"kind": "bind", "source": "/run/docker.sock", "target": "/s", "writable": false}],
                "read_only_root": false, "no_new_privileges": false, "seccomp_unconfined": false,
                "apparmor_unconfined": false, "environment": ["TOKEN"],
            },
            "labels": {"com.docker.compose.project": "shop", "com.docker.compose.service": "web"},
            "seen_at": "2026-11-23T10:00:01Z", "cut": false,
        })
    };
    let none = Digest::sha256(b"never pushed").to_string();
    let gap = json!({"item": "gap", "from": "2026-11-23T09:00:00Z", "until": "2026-11-23T10:00:00Z", "reason": "away"});
    let items = json!([
        gap,
        container(&id, "web", &image.digest().to_string()),
        container(&"cd".repeat(32), hostile, &none),
        container(&format!("abcd{}", "0".repeat(60)), "web2", &none),
    ]);
    let batch = json!({
        "version": 1, "spool": "5b0c7a52-6d0d-4f3c-9d0e-0d5a54b0f6a1", "number": 3,
        "made_at": "2026-11-23T10:00:01Z", "items": items,
    });
    let path = "/api/v1/agent/batches";
    assert_eq!(it.ask(socket, ("POST", path), path, &batch).status, 200);

    let usage = "/api/v1/agent/usage";
    let told = json!({
        "version": 1, "made_at": "2026-11-23T10:00:01Z",
        "containers": [{"runtime": "docker", "id": id, "cpu_millis": 250, "memory_bytes": 5_242_880}],
    });
    assert_eq!(it.ask(socket, ("POST", usage), usage, &told).json()["kept"], 1);
    let newer = json!({"version": 99, "made_at": "2026-11-23T10:00:01Z", "containers": []});
    assert_eq!(it.ask(socket, ("POST", usage), usage, &newer).status, 400);
    let nobody = Door::Tcp { port, basic: String::new() };
    assert_eq!(it.ask(&nobody, ("POST", usage), usage, &told).status, 401);

    let hosts = it.get(socket, "/api/v1/hosts", "/api/v1/hosts").json();
    let host = hosts[0]["name"].as_str().expect("a host").to_owned();
    let list = "/api/v1/containers";
    // The agent's word becomes verdicts a moment later.
    let all = until("the containers are judged", || {
        let all = it.get(socket, list, list).json();
        let rows = all["containers"].as_array()?;
        let judged = rows.iter().all(|row| row["verdict"] != "pending");
        judged.then_some(all)
    });
    assert_eq!(all["containers"].as_array().map(Vec::len), Some(3), "{all:#}");
    let (mut paged, mut path) = (Vec::new(), format!("{list}?limit=1"));
    loop {
        let page = it.get(socket, list, &path).json();
        paged.extend(page["containers"].as_array().expect("rows").clone());
        let Some(next) = page["next"].as_str() else { break };
        path = format!("{list}?limit=1&after={next}");
    }
    assert_eq!(json!(paged), all["containers"]);
    filters_leave_out_what_does_not_fit(it, socket, &all);
    for (query, status) in [("host=nowhere", 404), ("after=x", 400), ("limit=x", 400), ("colour=red", 400)] {
        assert_eq!(it.get(socket, list, &format!("{list}?{query}")).status, status, "{query}");
    }
    let web = it.get(socket, list, &format!("{list}?name=web&host={host}")).json()["containers"][0].clone();
    assert_eq!((&web["image"]["mapping"], &web["verdict"]), (&json!("exact"), &json!("blocked")), "{web:#}");
    assert_eq!(web["image"]["digest"], json!(image.digest().to_string()));
    let vulnerable = it.get(socket, list, &format!("{list}?vulnerable=true")).json();
    assert_eq!((&vulnerable["containers"][0]["name"], &vulnerable["unknown"]), (&json!("web"), &json!(2)));

    let explain = "/api/v1/containers/{host}/{id}";
    let page = it.get(socket, explain, &format!("{list}/{host}/{id}")).json();
    assert_eq!((&page["usage"]["cpu_millis"], &page["usage"]["oom_kills"]), (&json!(250), &Value::Null));
    assert_eq!(page["usage_series"]["memory_bytes"], json!([5_242_880]), "{page:#}");
    assert_eq!(web["usage"]["memory_bytes"], 5_242_880, "{web:#}");
    let weak: Vec<&str> =
        page["weaknesses"].as_array().unwrap().iter().map(|it| it["setting"].as_str().unwrap()).collect();
    assert_eq!(weak, ["privileged", "root", "host-network", "capability", "engine-socket"]);
    assert_eq!(
        (&page["started_by"]["name"], &page["worst"][0]["id"]),
        (&json!("shop/web"), &json!("CVE-2026-1111"))
    );
    assert_eq!(page["clearance"]["verdict"], "blocked", "{page:#}");
    let happened: Vec<_> =
        page["history"].as_array().unwrap().iter().map(|it| &it["what"]["happening"]).collect();
    assert_eq!(happened, ["started", "gap"], "{page:#}");
    for wrong in [format!("{list}/nowhere/{id}"), format!("{list}/{host}/ab")] {
        assert_eq!(it.get(socket, explain, &wrong).status, 404, "{wrong}");
    }
    seen_by_whom(it, socket, port, &host);
    as_typed(place, hostile, &id);
}

/// A filter, and what it is to give.
type Pick<'p> = (&'p str, Box<dyn Fn(&Value) -> bool + 'p>);

/// Each filter gives what picking from the whole list gives, in pages of any size.
fn filters_leave_out_what_does_not_fit(it: &mut Description, socket: &Door, all: &Value) {
    let (list, rows) = ("/api/v1/containers", all["containers"].as_array().expect("rows"));
    let content = rows.iter().find_map(|row| row["image"]["content_id"].as_str()).expect("a content");
    let by_content = format!("content_id={content}");
    let picks: [Pick<'_>; 7] = [
        ("verdict=blocked", Box::new(|row| row["verdict"] == "blocked")),
        ("verdict=allowed", Box::new(|row| row["verdict"] == "allowed")),
        ("presence=live", Box::new(|row| row["presence"] == "live")),
        ("presence=gone", Box::new(|row| row["presence"] == "gone")),
        ("weak=true", Box::new(|row| row["weak"].as_u64().is_some_and(|count| count > 0))),
        ("text=web", Box::new(|row| row["name"].as_str().is_some_and(|name| name.starts_with("web")))),
        (&by_content, Box::new(|row| row["image"]["content_id"] == content)),
    ];
    for (query, is_wanted) in picks {
        let wanted: Vec<&Value> = rows.iter().filter(|row| is_wanted(row)).collect();
        for limit in [1, 2, 100] {
            let (mut got, mut after) = (Vec::new(), String::new());
            loop {
                let page = it.get(socket, list, &format!("{list}?limit={limit}&{query}{after}")).json();
                let here = page["containers"].as_array().expect("rows").clone();
                assert!(here.len() <= limit, "{page:#}");
                got.extend(here);
                let Some(next) = page["next"].as_str() else { break };
                after = format!("&after={next}");
            }
            assert_eq!(got.iter().collect::<Vec<_>>(), wanted, "{query}");
        }
    }
}

/// Rights on the host show its containers, rights on the repository what is known of their images.
fn seen_by_whom(it: &mut Description, socket: &Door, port: u16, host: &str) {
    let list = "/api/v1/containers";
    for (name, scopes, count, verdict) in [
        ("nobodys", vec!["/repositories/dev".to_owned()], 0, json!(null)),
        ("hosts", vec![format!("/hosts/{host}")], 3, json!(null)),
        ("both", vec!["/hosts".to_owned(), "/repositories/prod".to_owned()], 3, json!("blocked")),
    ] {
        let role = json!({"name": format!("r-{name}"), "permissions": ["clearance/read"]});
        it.ask(socket, ("POST", "/api/v1/roles"), "/api/v1/roles", &role);
        let principal = json!({"name": name, "role": format!("r-{name}"), "scope": scopes[0]});
        let made = it.ask(socket, ("POST", "/api/v1/principals"), "/api/v1/principals", &principal).json();
        for scope in &scopes[1..] {
            let more = json!({"principal": name, "role": format!("r-{name}"), "scope": scope});
            it.ask(socket, ("POST", "/api/v1/assignments"), "/api/v1/assignments", &more);
        }
        let pair = format!("{name}:{}", made["client_secret"].as_str().unwrap());
        let door = Door::Tcp { port, basic: STANDARD.encode(pair) };
        let rows = it.get(&door, list, list).json()["containers"].clone();
        let rows = rows.as_array().unwrap();
        assert_eq!(rows.len(), count, "{name}: {rows:#?}");
        let web = rows.iter().find(|row| row["name"] == "web");
        assert_eq!(web.map_or(json!(null), |row| row["verdict"].clone()), verdict, "{name}");
        let hosts = it.get(&door, "/api/v1/hosts", "/api/v1/hosts").json();
        assert_eq!(hosts.as_array().map(Vec::len), Some(count.min(1)), "{name}");
        let one = format!("{list}/{host}/{}", "ab".repeat(32));
        let status = it.get(&door, "/api/v1/containers/{host}/{id}", &one).status;
        assert_eq!(status, if count == 0 { 404 } else { 200 }, "{name}");
    }
}

/// The same on the command line.
fn as_typed(place: &Place, hostile: &str, id: &str) {
    let ids = place.cli(&["ps", "-q"]);
    assert_eq!((ids.code, ids.out.lines().count()), (0, 3), "{ids:?}");
    let rows = place.cli(&["container", "list", "-o", "json"]).json();
    assert!(rows.as_array().is_some_and(|rows| rows.iter().any(|row| row["name"] == hostile)), "{rows:#}");
    for format in ["table", "json"] {
        let said = place.cli(&["ps", "-o", format]);
        assert!(!said.out.contains(['\u{1b}', '\u{202e}']) && said.out.contains("web"), "{said:?}");
    }
    let vulnerable = place.cli(&["ps", "--vulnerable", "-o", "table"]);
    assert!(
        vulnerable.out.lines().count() == 2 && vulnerable.err.contains("known of their images: 2"),
        "{vulnerable:?}"
    );
    for name in ["web", "abab", &format!("{}/web", rows[0]["host"].as_str().unwrap())] {
        let page = place.cli(&["container", "explain", name, "-o", "table"]);
        assert_eq!(page.code, 0, "{page:?}");
        for part in [
            id,
            "blocked",
            "prod/vulns",
            "CVE-2026-1111",
            "privileged",
            "runs as root",
            "docker.sock",
            "compose shop/web",
        ] {
            assert!(page.out.contains(part), "{part}: {}", page.out);
        }
        assert!(page.out.lines().count() <= 24, "one screen: {}", page.out);
    }
    for (name, word) in
        [("ab", "is 2 containers"), ("nothing", "is not known"), ("nowhere/web", "is not known")]
    {
        let said = place.cli(&["container", "explain", name]);
        assert!(said.code == 2 && said.err.contains(word), "{said:?}");
    }
    assert!(place.cli(&["container", "explain", "ab"]).err.contains(id));
    assert_eq!(place.cli(&["host", "list", "-o", "json"]).json()[0]["running"], 3);
}

/// One refusal of each class that callers meet on any route.
fn refusals(it: &mut Description, socket: &Door, rejected: &Door) {
    assert_eq!(it.get(rejected, "/api/v1/whoami", "/api/v1/whoami").status, 401);
    assert_eq!(it.get(socket, "/api/v1/findings", "/api/v1/findings").status, 400, "no `cve`");
    assert_eq!(it.get(socket, "/api/v1/ledger", "/api/v1/ledger?n=x").status, 400);
    assert_eq!(it.get(socket, "/api/v1/images", "/api/v1/images?unknown=1").status, 400);
    let lost = socket.get("GET", "/api/v1/nowhere");
    assert_eq!((lost.status, lost.json()["error"]["code"].as_str()), (404, Some("NOT_FOUND")));
    let wrong = socket.get("DELETE", "/api/v1/status");
    assert_eq!((wrong.status, wrong.json()["error"]["code"].as_str()), (405, Some("UNSUPPORTED")));
}
