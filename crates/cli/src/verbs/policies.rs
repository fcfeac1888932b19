//! Policies and exceptions.

use std::path::{Path, PathBuf};

use seaworthy_model::{ErrorCode, Problem, Timestamp};
use seaworthy_policy::{Policy, PolicyError, run_cases};
use serde_json::{Value, json};

use crate::{
    client::{Server, encode},
    failure::{Failure, Outcome, unable, usage},
    flags::Global,
    render::{self, out},
    text::{Text, language},
};

/// A policy error as a problem, with its place and hint.
pub(crate) fn refused(error: PolicyError) -> Problem {
    let problem = Problem::new(ErrorCode::Invalid, format!("policy is refused at {error}"));
    match error.hint {
        Some(hint) => problem.hint(hint),
        None => problem,
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| unable(format!("failed to read `{}`: {error}", path.display())))
}

pub(crate) async fn apply(global: &Global, file: &Path) -> Outcome {
    let source = read(file)?;
    // Refused here with the file's name, before a server is asked.
    Policy::parse(&source).map_err(|error| in_file(file, error))?;
    render::record(global, &Server::of(global)?.post("/api/v1/policies", &json!({"source": source})).await?);
    Ok(())
}

fn in_file(file: &Path, error: PolicyError) -> Problem {
    let mut problem = refused(error);
    problem.message = format!("{}: {}", file.display(), problem.message);
    problem
}

pub(crate) async fn list(global: &Global) -> Outcome {
    let columns = [
        ("NAME", "/name"),
        ("VERSION", "/version"),
        ("APPLIED", "/applied_at"),
        ("BY", "/applied_by"),
        ("HASH", "/hash"),
    ];
    render::list(global, &Server::of(global)?.get("/api/v1/policies").await?, "/name", &columns);
    Ok(())
}

pub(crate) async fn show(global: &Global, name: &str) -> Outcome {
    let answer = Server::of(global)?.get(&format!("/api/v1/policies/{}", encode(name))).await?;
    match answer.get("source").and_then(Value::as_str) {
        Some(source) if render::is_table(global) => out(source),
        _ => render::json(&answer),
    }
    Ok(())
}

/// YAML files of one folder, in name order.
fn yaml_files(dir: &Path) -> Result<Vec<PathBuf>, Failure> {
    let entries = std::fs::read_dir(dir)
        .map_err(|error| unable(format!("failed to list `{}`: {error}", dir.display())))?;
    let mut files: Vec<PathBuf> = entries
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .filter(|path| path.is_file() && path.extension().is_some_and(|it| it == "yaml" || it == "yml"))
        .collect();
    files.sort();
    Ok(files)
}

pub(crate) fn test(global: &Global, dir: &Path, now: Option<&str>) -> Outcome {
    let now = now.map(str::parse::<Timestamp>).transpose().map_err(|error| usage(error.to_string()))?;
    let mut policies = Vec::new();
    for file in yaml_files(dir)? {
        policies.push(Policy::parse(&read(&file)?).map_err(|error| in_file(&file, error))?);
    }
    let policies: Vec<&Policy> = policies.iter().collect();
    let (mut passed, mut failures) = (0, Vec::new());
    for file in yaml_files(&dir.join("tests"))? {
        let outcomes = run_cases(&read(&file)?, &policies, now).map_err(|error| in_file(&file, error))?;
        for outcome in outcomes {
            if outcome.differs.is_empty() {
                passed += 1;
            } else {
                failures.push((file.clone(), outcome));
            }
        }
    }
    if render::is_table(global) {
        for (file, outcome) in &failures {
            out(&format!(
                "{}:{}: {}: {}\n",
                file.display(),
                outcome.line,
                render::clean(&outcome.name),
                outcome.differs.join("; ")
            ));
        }
        let language = language();
        out(&format!(
            "{passed} {}, {} {}\n",
            Text::CasesPassed.say(language),
            failures.len(),
            Text::CasesFailed.say(language)
        ));
    } else {
        let failed: Vec<Value> = failures
            .iter()
            .map(|(file, it)| json!({"file": file, "line": it.line, "name": it.name, "differs": it.differs}))
            .collect();
        render::json(&json!({"passed": passed, "failed": failed}));
    }
    if passed == 0 && failures.is_empty() {
        return Err(usage(format!("`{}` has no cases", dir.join("tests").display())));
    }
    if failures.is_empty() { Ok(()) } else { Err(Failure::No) }
}

pub(crate) async fn request_exception(global: &Global, body: Value) -> Outcome {
    render::record(global, &Server::of(global)?.post("/api/v1/exceptions", &body).await?);
    Ok(())
}

pub(crate) async fn decide_exception(global: &Global, id: &str, verb: &str) -> Outcome {
    let path = format!("/api/v1/exceptions/{}/{verb}", encode(id));
    render::record(global, &Server::of(global)?.post(&path, &json!({})).await?);
    Ok(())
}

pub(crate) async fn exceptions(global: &Global) -> Outcome {
    let columns = [
        ("ID", "/exception/id"),
        ("STATE", "/state"),
        ("REPOSITORIES", "/exception/scope/repositories"),
        ("RULE", "/exception/scope/rule"),
        ("ADVISORY", "/exception/scope/advisory"),
        ("OWNER", "/exception/owner"),
        ("EXPIRES", "/exception/expires_at"),
        ("USES", "/uses"),
    ];
    render::list(global, &Server::of(global)?.get("/api/v1/exceptions").await?, "/exception/id", &columns);
    Ok(())
}
