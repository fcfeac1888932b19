//! Caches of other registries: `registry cache`.

use serde_json::json;

use crate::{
    client::{Server, encode},
    failure::Outcome,
    flags::{CacheFlags, CacheVerb, Global},
    render,
    verbs::remote,
};

const PATH: &str = "/api/v1/registry/caches";

pub(crate) async fn cache(global: &Global, verb: CacheVerb) -> Outcome {
    let server = Server::of(global)?;
    match verb {
        CacheVerb::Create(flags) => {
            let wanted = wanted(&flags)?;
            let taken = format!("`{}` is a cache already", flags.prefix);
            remote::free(&server, &one(&flags.prefix), &flags.remote, taken).await?;
            render::record(global, &server.post(PATH, &wanted).await?);
        }
        CacheVerb::List => {
            let columns = [
                ("PREFIX", "/prefix"),
                ("UPSTREAM", "/upstream"),
                ("REMOTE PREFIX", "/remote_prefix"),
                ("NS", "/ns"),
                ("USERNAME", "/username"),
                ("CHECK SECONDS", "/check_seconds"),
            ];
            render::list(global, &server.get(PATH).await?, "/prefix", &columns);
        }
        CacheVerb::Show { prefix } => {
            let found = server.get(&one(&prefix)).await?;
            render::record(global, found.get(0).unwrap_or(&found));
        }
        CacheVerb::Delete { prefix } => {
            render::record(global, &server.delete(&one(&prefix)).await?);
        }
    }
    Ok(())
}

fn one(prefix: &str) -> String {
    format!("{PATH}?prefix={}", encode(prefix))
}

fn wanted(flags: &CacheFlags) -> Result<serde_json::Value, seaworthy_model::Problem> {
    let mut wanted = json!({
        "prefix": flags.prefix,
        "upstream": flags.upstream,
        "remote_prefix": flags.remote_prefix,
        "ns": flags.ns,
        "check_seconds": flags.check_seconds,
        "mirrors": flags.mirror,
        "mirror_seconds": flags.mirror_seconds,
    });
    remote::add(&mut wanted, &flags.remote)?;
    Ok(wanted)
}
