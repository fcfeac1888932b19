//! The verbs.

pub(crate) mod access;
pub(crate) mod advisories;
pub(crate) mod agent;
mod agent_child;
mod agent_scan;
pub(crate) mod alerts;
pub(crate) mod bench;
pub(crate) mod cache;
pub(crate) mod container_page;
pub(crate) mod containers;
pub(crate) mod hosts;
pub(crate) mod image_explain;
pub(crate) mod image_page;
pub(crate) mod images;
pub(crate) mod ledger;
pub(crate) mod locks;
pub(crate) mod policies;
pub(crate) mod policy_diff;
pub(crate) mod reference;
pub(crate) mod registry;
mod remote;
pub(crate) mod replication;
pub(crate) mod rules;
pub(crate) mod scope_maps;
pub(crate) mod serve;
pub(crate) mod transfer;

use crate::{client::Server, failure::Outcome, flags::Global, render};

/// Shows what one route answers.
pub(crate) async fn get(global: &Global, path: &str) -> Outcome {
    render::record(global, &Server::of(global)?.get(path).await?);
    Ok(())
}
