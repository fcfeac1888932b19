//! From flags to a verb, from an outcome to an exit code.

use std::process::ExitCode;

use crate::{
    failure::{Failure, Outcome, unable, usage},
    flags::{
        AccessVerb, AdvisoriesVerb, Cli, ContainerVerb, CopyFlags, ExceptionVerb, FindingVerb, Global,
        HostVerb, ImageVerb, LayoutFlags, LedgerVerb, PolicyVerb, Verb,
    },
    layout::Source,
    render, verbs,
};

/// Runs the verb on a runtime of its own.
pub(crate) fn run(cli: Cli) -> ExitCode {
    if let Verb::Agent(flags) = &cli.verb
        && let Err(error) = seaworthy_sandbox::give_up_rights(flags.parent)
    {
        // Before the runtime has threads: rights belong to threads.
        return exit(Err(unable(format!("the agent cannot give up its rights: {error}"))));
    }
    let serving = matches!(cli.verb, Verb::Up(_) | Verb::Serve(_));
    let mut builder = if serving {
        tokio::runtime::Builder::new_multi_thread()
    } else {
        tokio::runtime::Builder::new_current_thread()
    };
    let outcome = match builder.enable_all().build() {
        Ok(runtime) => {
            let outcome = runtime.block_on(dispatch(cli));
            // What still blocks a thread was named by the shutdown; the process does not wait for it.
            runtime.shutdown_background();
            outcome
        }
        Err(error) => Err(unable(format!("no runtime: {error}"))),
    };
    exit(match render::lost() {
        Some(problem) => Err(Failure::Problem(problem)),
        None => outcome,
    })
}

fn exit(outcome: Outcome) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::No) => ExitCode::from(1),
        Err(Failure::Problem(problem)) => {
            render::problem(&problem);
            ExitCode::from(problem.code.exit_code())
        }
    }
}

async fn dispatch(cli: Cli) -> Outcome {
    let global = cli.global;
    match cli.verb {
        Verb::Up(flags) => verbs::serve::up(&global, flags).await,
        Verb::Serve(flags) => verbs::serve::serve(&global, flags).await,
        Verb::Agent(flags) => Box::pin(verbs::agent::agent(&global, flags)).await,
        Verb::Status => verbs::get(&global, "/api/v1/status").await,
        Verb::Whoami => verbs::access::whoami(&global).await,
        Verb::Console => verbs::access::console(&global).await,
        Verb::Login(flags) => verbs::access::login(&global, flags).await,
        Verb::Logout { url } => verbs::access::logout(&global, url.as_deref()),
        Verb::Principal(verb) => verbs::access::principal(&global, verb).await,
        Verb::Role(verb) => verbs::access::role(&global, verb).await,
        Verb::Token(verb) => verbs::scope_maps::token(&global, verb).await,
        Verb::ScopeMap(verb) => verbs::scope_maps::scope_map(&global, verb).await,
        Verb::Access(AccessVerb::Explain { principal, action, scope }) => {
            verbs::access::explain(&global, &principal, &action, &scope).await
        }
        Verb::Images(flags) => verbs::images::list(&global, &flags.repo).await,
        Verb::Image(verb) => image(&global, verb).await,
        Verb::Registry(verb) => verbs::registry::registry(&global, verb).await,
        Verb::Ps(flags) | Verb::Container(ContainerVerb::List(flags)) => {
            verbs::containers::list(&global, &flags).await
        }
        Verb::Container(ContainerVerb::Explain { name }) => {
            verbs::container_page::explain(&global, &name).await
        }
        Verb::Host(verb) => host(&global, verb).await,
        Verb::Check(flags) => verbs::images::check(&global, flags).await,
        Verb::Scan(flags) => verbs::images::scan(&global, flags).await,
        Verb::Finding(FindingVerb::List { cve }) => verbs::images::findings(&global, &cve).await,
        Verb::Advisories(verb) => advisories(&global, verb).await,
        Verb::Policy(verb) => policy(&global, verb).await,
        Verb::Exception(verb) => exception(&global, verb).await,
        Verb::Alert(verb) => verbs::alerts::alert(&global, verb).await,
        Verb::Ledger(verb) => ledger(&global, verb).await,
        Verb::Bench(verb) => verbs::bench::bench(&global, verb).await,
        Verb::Completion { shell } => {
            verbs::reference::completion(shell);
            Ok(())
        }
        Verb::Reference { page } => {
            verbs::reference::page(page);
            Ok(())
        }
    }
}

async fn host(global: &Global, verb: HostVerb) -> Outcome {
    match verb {
        HostVerb::List => verbs::containers::hosts(global).await,
        HostVerb::Invite { name, expires } => verbs::hosts::invite(global, name.as_deref(), &expires).await,
        HostVerb::Join { url, token_file, name } => {
            Box::pin(verbs::hosts::join(global, &url, (token_file.as_deref(), name))).await
        }
        HostVerb::Remove { name } => verbs::hosts::remove(global, &name).await,
    }
}

async fn image(global: &Global, verb: ImageVerb) -> Outcome {
    match verb {
        ImageVerb::List(flags) => verbs::images::list(global, &flags.repo).await,
        ImageVerb::Show { reference } => verbs::image_page::show(global, &reference).await,
        ImageVerb::Release { reference, details } => {
            verbs::rules::judge(global, (&reference, "Passed"), &details).await
        }
        ImageVerb::Reject { reference, details } => {
            verbs::rules::judge(global, (&reference, "Failed"), &details).await
        }
        ImageVerb::Promote { source, destination, copy } => {
            verbs::rules::copy(global, "promote", (&source, &destination), &copy).await
        }
        ImageVerb::Export(flags) => Box::pin(verbs::transfer::export(global, &flags)).await,
        ImageVerb::Import { source, destination, copy, layout } => {
            Box::pin(import(global, (&source, destination.as_deref()), &copy, &layout)).await
        }
        ImageVerb::Lock(flags) => verbs::locks::turn(global, verbs::locks::Turn::Lock, &flags).await,
        ImageVerb::Unlock(flags) => verbs::locks::turn(global, verbs::locks::Turn::Unlock, &flags).await,
        ImageVerb::Delete { reference } => verbs::images::delete(global, &reference).await,
        ImageVerb::Deleted(flags) => verbs::registry::deleted(global, &flags.repo).await,
        ImageVerb::Restore { reference } => verbs::registry::restore(global, &reference).await,
        ImageVerb::Explain { digest } => verbs::image_explain::explain(global, &digest).await,
    }
}

async fn import(
    global: &Global,
    (source, destination): (&str, Option<&str>),
    copy: &CopyFlags,
    flags: &LayoutFlags,
) -> Outcome {
    if let Some(layout) = Source::parse(source) {
        if copy.no_referrers {
            return Err(usage(
                "`--no-referrers` is for images of other registries: leave them out of the layout",
            ));
        }
        return verbs::transfer::import(global, layout, destination, flags).await;
    }
    if flags.below.is_some() || flags.dry_run {
        return Err(usage(format!(
            "`--below` and `--dry-run` are for layouts, and `{source}` is none that is there"
        )));
    }
    let Some(destination) = destination else {
        return Err(usage(format!("`{source}` is no file: an image of a registry needs a destination")));
    };
    verbs::rules::copy(global, "import", (source, destination), copy).await
}

async fn advisories(global: &Global, verb: AdvisoriesVerb) -> Outcome {
    match verb {
        AdvisoriesVerb::Import { paths } => verbs::advisories::import(global, &paths).await,
        AdvisoriesVerb::Status => verbs::advisories::status(global).await,
        AdvisoriesVerb::History => verbs::advisories::history(global).await,
        AdvisoriesVerb::Compare { ecosystem, first, second } => {
            verbs::advisories::compare(&ecosystem, &first, second.as_deref())
        }
    }
}

async fn policy(global: &Global, verb: PolicyVerb) -> Outcome {
    match verb {
        PolicyVerb::Apply { file } => verbs::policies::apply(global, &file).await,
        PolicyVerb::List => verbs::policies::list(global).await,
        PolicyVerb::Show { name } => verbs::policies::show(global, &name).await,
        PolicyVerb::Diff { old, new, images } => {
            let images =
                if images { verbs::policy_diff::Images::Judged } else { verbs::policy_diff::Images::Left };
            verbs::policy_diff::diff(global, (&old, &new), images).await
        }
        PolicyVerb::Test { dir, now } => verbs::policies::test(global, &dir, now.as_deref()),
    }
}

async fn exception(global: &Global, verb: ExceptionVerb) -> Outcome {
    match verb {
        ExceptionVerb::Request { repo, rule, advisory, package, owner, reason, expires } => {
            let body = serde_json::json!({
                "scope": {"repositories": repo, "rule": rule, "advisory": advisory, "package": package},
                "owner": owner,
                "reason": reason,
                "expires_at": expires,
            });
            verbs::policies::request_exception(global, body).await
        }
        ExceptionVerb::Approve { id } => verbs::policies::decide_exception(global, &id, "approve").await,
        ExceptionVerb::Revoke { id } => verbs::policies::decide_exception(global, &id, "revoke").await,
        ExceptionVerb::List => verbs::policies::exceptions(global).await,
    }
}

async fn ledger(global: &Global, verb: LedgerVerb) -> Outcome {
    match verb {
        LedgerVerb::List { actor, action, object, since, n } => {
            let pairs = [("actor", actor), ("action", action), ("object", object), ("since", since)];
            verbs::ledger::list(global, &pairs, n).await
        }
        LedgerVerb::Verify { deep: _ } => verbs::ledger::verify(global).await,
        LedgerVerb::Proof { index } => verbs::ledger::proof(global, index).await,
    }
}
