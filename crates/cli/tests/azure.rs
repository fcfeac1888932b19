//! The unmodified `azure-containerregistry` against the real server, behind its HTTPS door: as a
//! service principal and as nobody, sync and async (`azure_client.py`); and a refresh token as the
//! password of a registry's client.

use std::{path::Path, process::Command};

use seaworthy_testkit::{azure_sdk, missing, program, slow};

use crate::{
    http::Door,
    server::{Place, done, free_port, run},
};

#[test]
fn the_client_of_azure_s_registry_is_served() {
    let test = "the_client_of_azure_s_registry_is_served";
    if !slow(test) {
        return;
    }
    let Some(packages) = azure_sdk(test) else { return };
    let place = Place::new();
    let (server, port) = (0..5)
        .find_map(|_| {
            let port = free_port();
            let listen = format!("localhost:{port}");
            Some((place.try_up_with(free_port(), &["--tls-listen", &listen]).ok()?, port))
        })
        .expect("a server");
    let create = |name: &str, role: &str, scope: &str| {
        let words = ["principal", "create", name, "--role", role, "--scope", scope, "-o", "json"];
        place.cli(&words).json()
    };
    let ci = create("ci", "Contributor", "/repositories");
    let everybody = create("anonymous", "Reader", "/repositories/public");
    assert!(everybody["client_secret"].is_null(), "{everybody}");
    // What a verdict says is another test's: this one reads whatever the gate thinks.
    let words = ["--role", "AcrQuarantineReader", "--scope", "/repositories"];
    assert_eq!(place.cli(&[&["role", "assign", "--principal", "ci"][..], &words].concat()).code, 0);
    let (id, secret) = (ci["id"].as_str().unwrap(), ci["client_secret"].as_str().unwrap());
    let mut python = Command::new("python3");
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/azure_client.py");
    python.arg(script).args([&format!("https://localhost:{port}"), id]);
    python.env("PYTHONPATH", packages).env("CLIENT_SECRET", secret).env("PYTHONDONTWRITEBYTECODE", "1");
    for name in ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"] {
        python.env(name, place.data().join("ca.pem"));
    }
    assert!(done(&mut python).contains("the client is content"), "{}", place.log());

    let refresh = refresh_token(&place, id, secret);
    if program("skopeo").is_none() {
        missing(test, "skopeo");
    } else {
        let image = format!("docker://localhost:{}/public/app:1", server.port);
        let inspect = |password: &str| {
            let user = format!("00000000-0000-0000-0000-000000000000:{password}");
            let mut skopeo = Command::new("skopeo");
            skopeo.args(["inspect", "--tls-verify=false", "--raw", "--creds", &user, &image]);
            skopeo
        };
        assert!(done(&mut inspect(&refresh)).contains("public"));
        assert_ne!(run(&mut inspect(secret)).code, 0, "a secret is no refresh token");
        assert_eq!(place.cli(&["principal", "disable", "ci"]).code, 0);
        assert_ne!(run(&mut inspect(&refresh)).code, 0, "it ended with its principal");
    }
    drop(server);
}

/// As `az acr login` gets it.
fn refresh_token(place: &Place, id: &str, secret: &str) -> String {
    let socket: Door = place.socket();
    let form = "application/x-www-form-urlencoded";
    let ask = |path: &str, body: String, field: &str| {
        let answer = socket.ask("POST", path, form, body.as_bytes()).expect("answered");
        assert_eq!(answer.status, 200, "{}", answer.text());
        answer.json()[field].as_str().expect("a token").to_owned()
    };
    let login = format!("grant_type=client_credentials&client_id={id}&client_secret={secret}");
    let token = ask("/oauth2/token", login, "access_token");
    let exchange = format!("grant_type=access_token&service=localhost&access_token={token}");
    ask("/oauth2/exchange", exchange, "refresh_token")
}
