//! Signing in, principals, roles.

use seaworthy_model::{ErrorCode, Problem};
use serde_json::{Value, json};

use crate::{
    address::Address,
    client::{Server, encode},
    docker_login,
    failure::{Failure, Outcome, usage},
    flags::{AssignmentFlags, CredentialVerb, Global, LoginFlags, Output, PrincipalVerb, RoleVerb},
    login,
    render::{self, note},
    text::{Text, language},
};

/// The names under which this machine's docker knows the registry.
fn hosts(global: &Global) -> Vec<String> {
    let port = crate::client::data_dir(global)
        .ok()
        .and_then(|data| seaworthy_server::Config::load(&data, &seaworthy_server::Overrides::default()).ok())
        .and_then(|config| config.addresses().ok()?.first().map(std::net::SocketAddr::port))
        .unwrap_or(5000);
    vec![format!("localhost:{port}"), format!("127.0.0.1:{port}")]
}

pub(crate) async fn login(global: &Global, flags: LoginFlags) -> Outcome {
    match &flags.url {
        Some(url) => remote(url, &flags).await,
        None => docker(global).await,
    }
}

/// Keeps a login that the server believes.
async fn remote(url: &str, flags: &LoginFlags) -> Outcome {
    let address = Address::parse(url)?;
    let login = login::asked(flags)?;
    let server = Server::with(address.clone(), login.clone());
    // The token service says whether the credential is valid; the token itself is not kept.
    server.get("/oauth2/token?service=seaworthy").await?;
    let actor = server.get("/api/v1/whoami").await?;
    let path = login::keep(&address, &login)?;
    note(&format!(
        "{} {address}: {} ({})",
        Text::SignedIn.say(language()),
        render::cell(actor.get("name")),
        path.display()
    ));
    Ok(())
}

/// Who the server takes the caller for, and which login said so.
pub(crate) async fn whoami(global: &Global) -> Outcome {
    let server = Server::of(global)?;
    let mut actor = server.get("/api/v1/whoami").await?;
    if let (Server::Http { address, login: Some(login) }, Value::Object(map)) = (&server, &mut actor) {
        map.insert("server".into(), json!(address.to_string()));
        map.insert("login".into(), json!(login.username));
    }
    render::record(global, &actor);
    Ok(())
}

/// A link into the console, for the operator of this machine.
pub(crate) async fn console(global: &Global) -> Outcome {
    link(global, &Server::of(global)?.post("/api/v1/console", &json!({})).await?);
    Ok(())
}

/// A one-time link alone on stdout, as a browser's argument; JSON only when it is asked for.
fn link(global: &Global, answer: &Value) {
    if global.output == Some(Output::Json) {
        render::json(answer);
    } else {
        render::out(&format!("{}\n", render::cell(answer.get("url"))));
    }
    note(&format!("{} {}", Text::LinkHolds.say(language()), render::cell(answer.get("expires_at"))));
}

async fn docker(global: &Global) -> Outcome {
    let answer = Server::of(global)?.post("/api/v1/login", &json!({})).await?;
    let text = |key: &str| answer.get(key).and_then(Value::as_str).unwrap_or_default().to_owned();
    let mut hosts = hosts(global);
    // The server says where it listens when a flag moved it.
    if let Some(registry) = answer.get("registry").and_then(Value::as_str) {
        let port = registry.rsplit_once(':').map_or("5000", |(_, port)| port);
        hosts = vec![format!("localhost:{port}"), format!("127.0.0.1:{port}")];
    }
    let path = docker_login::store(&hosts, Some((&text("username"), &text("password"))))?;
    note(&format!(
        "{} {} ({}, {})",
        Text::LoggedIn.say(language()),
        text("expires_at"),
        hosts.join(", "),
        path.display()
    ));
    Ok(())
}

pub(crate) fn logout(global: &Global, url: Option<&str>) -> Outcome {
    if let Some(url) = url {
        let address = Address::parse(url)?;
        if login::forget(&address)? {
            return Ok(());
        }
        let message = format!("there is no login at `{address}`");
        return Err(Problem::new(ErrorCode::NotFound, message).into());
    }
    docker_login::store(&hosts(global), None)?;
    Ok(())
}

pub(crate) async fn principal(global: &Global, verb: PrincipalVerb) -> Outcome {
    let server = Server::of(global)?;
    let base = |name: &str| format!("/api/v1/principals/{}", encode(name));
    match verb {
        PrincipalVerb::Create { name, user, role, scope } => {
            let kind = if user { "user" } else { "service_principal" };
            let body = json!({"name": name, "kind": kind, "role": role, "scope": scope});
            let made = server.post("/api/v1/principals", &body).await?;
            render::record(global, &made);
            // Everybody has none.
            if ["client_secret", "link"].iter().any(|it| made.get(it).is_some_and(Value::is_string)) {
                note(Text::ShownOnce.say(language()));
            }
        }
        PrincipalVerb::List => {
            let columns = [
                ("NAME", "/name"),
                ("KIND", "/kind"),
                ("DISABLED", "/disabled"),
                ("ID", "/id"),
                ("CREATED", "/created_at"),
            ];
            render::list(global, &server.get("/api/v1/principals").await?, "/id", &columns);
        }
        PrincipalVerb::Show { name } => render::record(global, &server.get(&base(&name)).await?),
        PrincipalVerb::Link { name } => {
            link(global, &server.post(&format!("{}/link", base(&name)), &json!({})).await?);
        }
        PrincipalVerb::Disable { name } => {
            let answer = server.post(&format!("{}/disable", base(&name)), &json!({})).await?;
            render::record(global, &answer);
        }
        PrincipalVerb::Enable { name } => {
            let answer = server.post(&format!("{}/enable", base(&name)), &json!({})).await?;
            render::record(global, &answer);
        }
        PrincipalVerb::Delete { name } => render::record(global, &server.delete(&base(&name)).await?),
        PrincipalVerb::Credential(verb) => return credential(global, &server, verb).await,
    }
    Ok(())
}

async fn credential(global: &Global, server: &Server, verb: CredentialVerb) -> Outcome {
    let base = |name: &str| format!("/api/v1/principals/{}/credentials", encode(name));
    match verb {
        CredentialVerb::Add { name, label, days } => {
            let made = server.post(&base(&name), &json!({"label": label, "days": days})).await?;
            render::record(global, &made);
            note(Text::ShownOnce.say(language()));
        }
        CredentialVerb::List { name } => {
            let columns = [
                ("ID", "/id"),
                ("KIND", "/kind"),
                ("LABEL", "/label"),
                ("CREATED", "/created_at"),
                ("EXPIRES", "/expires_at"),
            ];
            render::list(global, &server.get(&base(&name)).await?, "/id", &columns);
        }
        CredentialVerb::Remove { name, id } => {
            render::record(global, &server.delete(&format!("{}/{}", base(&name), encode(&id))).await?);
        }
    }
    Ok(())
}

pub(crate) async fn role(global: &Global, verb: RoleVerb) -> Outcome {
    let server = Server::of(global)?;
    match verb {
        RoleVerb::List => {
            let columns = [("NAME", "/name"), ("DESCRIPTION", "/description"), ("ID", "/id")];
            render::list(global, &server.get("/api/v1/roles").await?, "/name", &columns);
        }
        RoleVerb::Show { name } => {
            render::record(global, &server.get(&format!("/api/v1/roles/{}", encode(&name))).await?);
        }
        RoleVerb::Define { name, permissions, description } => {
            let body = json!({"name": name, "permissions": permissions, "description": description});
            render::record(global, &server.post("/api/v1/roles", &body).await?);
        }
        RoleVerb::Assign(flags) => {
            render::record(global, &server.post("/api/v1/assignments", &assignment(&flags)).await?);
        }
        RoleVerb::Unassign(flags) => {
            let query = format!(
                "/api/v1/assignments?principal={}&role={}&scope={}",
                encode(&flags.principal),
                encode(&flags.role),
                encode(&flags.scope)
            );
            render::record(global, &server.delete(&query).await?);
        }
    }
    Ok(())
}

fn assignment(flags: &AssignmentFlags) -> Value {
    json!({"principal": flags.principal, "role": flags.role, "scope": flags.scope})
}

pub(crate) async fn explain(global: &Global, principal: &str, action: &str, scope: &str) -> Outcome {
    if !scope.starts_with('/') {
        return Err(usage(format!("scope `{scope}` does not begin with `/`")));
    }
    let query = format!(
        "/api/v1/access/explain?principal={}&action={}&scope={}",
        encode(principal),
        encode(action),
        encode(scope)
    );
    let answer = Server::of(global)?.get(&query).await?;
    render::record(global, &answer);
    if answer.get("allowed") == Some(&Value::Bool(true)) { Ok(()) } else { Err(Failure::No) }
}
