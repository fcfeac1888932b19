//! Questions to the fleet. Each has an index; a page costs what it holds.

use std::collections::HashMap;

use seaworthy_model::{ContentId, HostId};
use serde::{Deserialize, Serialize};

use crate::{
    ContainerView, Fleet, FleetError, HistoryRow, HostView, Mapping, Presence, alias,
    db::{self, containers},
    limit,
};

/// Which containers.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// On one of these hosts; `None` stands for all, an empty list for none.
    pub hosts: Option<Vec<HostId>>,
    /// Running this.
    pub content: Option<ContentId>,
    /// Whose names begin so, in their first [`limit::NAME_BYTES`] bytes.
    pub name_prefix: String,
    /// Of one of these; none stands for all that are there.
    pub presence: Vec<Presence>,
}

/// A place in the order of containers: by name, then host, runtime and id.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Cursor {
    pub(crate) name: String,
    pub(crate) host: Option<HostId>,
    pub(crate) runtime: String,
    pub(crate) id: String,
}

impl Cursor {
    pub(crate) fn host_bytes(&self) -> &[u8] {
        self.host.as_ref().map_or(&[], HostId::as_bytes)
    }

    fn before_names_with(prefix: &str) -> Self {
        Self { name: containers::sort_name(prefix), ..Self::default() }
    }
}

/// A page of containers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ContainerPage {
    /// In name order.
    pub containers: Vec<ContainerView>,
    /// Where the next page begins; `None` when this is the last.
    pub next: Option<Cursor>,
}

/// Numbers of the whole fleet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Stats {
    /// Containers that run.
    pub live: u64,
    /// Containers that run, and whose image is known exactly.
    pub live_exact: u64,
    /// Containers that are there and do not run.
    pub stopped: u64,
}

impl Fleet {
    /// The host of this name.
    pub async fn host_named(&self, name: &str) -> Result<Option<HostId>, FleetError> {
        if name.contains('\0') {
            return Ok(None);
        }
        Ok(db::host_named(self.db(), name).await?)
    }

    /// All hosts, in name order.
    pub async fn hosts(&self) -> Result<Vec<HostView>, FleetError> {
        let mut hosts = db::hosts(self.db()).await?;
        let mut counts: HashMap<(HostId, Presence), u64> = HashMap::new();
        for (host, presence, count) in containers::count_by_host(self.db()).await? {
            counts.insert((host, presence), count);
        }
        for host in &mut hosts {
            host.live = counts.get(&(host.id, Presence::Live)).copied().unwrap_or(0);
            host.stopped = counts.get(&(host.id, Presence::Stopped)).copied().unwrap_or(0);
        }
        Ok(hosts)
    }

    /// Containers in name order after `after`: at most `most`, and [`limit::PAGE`].
    pub async fn containers(
        &self,
        filter: &Filter,
        after: Option<&Cursor>,
        most: usize,
    ) -> Result<ContainerPage, FleetError> {
        let most = most.clamp(1, limit::PAGE);
        let begin = Cursor::before_names_with(&filter.name_prefix);
        let after = after.filter(|after| **after > begin).unwrap_or(&begin);
        let there = [Presence::Live, Presence::Stopped];
        let presences = if filter.presence.is_empty() { &there[..] } else { filter.presence.as_slice() };
        let mut found = Vec::new();
        for host in each(filter.hosts.as_deref()) {
            for presence in presences {
                let which = (host, filter.content.as_ref());
                let ask = i64::try_from(most + 1).unwrap_or(i64::MAX);
                found.extend(containers::page(self.db(), which, *presence, after, ask).await?);
            }
            found.sort_by(|(one, _), (other, _)| one.cmp(other));
            found.dedup_by(|(one, _), (other, _)| one == other);
            found.truncate(most + 1);
        }
        // All names with a prefix stand side by side.
        let named = found.iter().take_while(|(cursor, _)| cursor.name.starts_with(&begin.name)).count();
        found.truncate(named);
        let next = if named > most { found.get(most - 1).map(|(cursor, _)| cursor.clone()) } else { None };
        found.truncate(most);
        Ok(ContainerPage { containers: found.into_iter().map(|(_, view)| view).collect(), next })
    }

    /// The container with this name, or else the one whose id begins so. One that is there comes
    /// before those that are gone.
    pub async fn container(
        &self,
        host: Option<HostId>,
        name: &str,
    ) -> Result<Option<ContainerView>, FleetError> {
        let hosts = host.map(|host| vec![host]);
        let mut found = self.find(hosts.as_deref(), name).await?;
        if found.len() > 1 {
            let candidates = found.iter().map(|it| format!("{}/{}", it.host_name, it.container.id));
            return Err(FleetError::Ambiguous { name: name.to_owned(), candidates: candidates.collect() });
        }
        Ok(found.pop())
    }

    /// The containers with this name on these hosts (`None`: on any), or else those whose ids begin
    /// so: at most [`limit::CANDIDATES`]. Those that are there come before those that are gone.
    pub async fn find(&self, hosts: Option<&[HostId]>, name: &str) -> Result<Vec<ContainerView>, FleetError> {
        let there = [Presence::Live, Presence::Stopped];
        let mut found = self.named(hosts, name, &there).await?;
        if found.is_empty() && !name.is_empty() {
            for host in each(hosts) {
                found.extend(containers::from_id(self.db(), host, name).await?);
            }
            found.retain(|(cursor, _)| cursor.id.starts_with(name));
            if found.iter().any(|(_, view)| view.presence != Presence::Gone) {
                found.retain(|(_, view)| view.presence != Presence::Gone);
            }
        }
        if found.is_empty() {
            found = self.named(hosts, name, &[Presence::Gone]).await?;
        }
        found.truncate(limit::CANDIDATES);
        Ok(found.into_iter().map(|(_, view)| view).collect())
    }

    async fn named(
        &self,
        hosts: Option<&[HostId]>,
        name: &str,
        presences: &[Presence],
    ) -> Result<Vec<containers::Placed>, FleetError> {
        let mut found = Vec::new();
        for host in each(hosts) {
            for presence in presences {
                found.extend(containers::by_name(self.db(), host, *presence, name).await?);
            }
        }
        // Long names are found by their beginning.
        found.retain(|(_, view)| view.container.name == name);
        Ok(found)
    }

    /// The container of a host with exactly this id, also when it is gone.
    pub async fn container_of(&self, host: HostId, id: &str) -> Result<Option<ContainerView>, FleetError> {
        let found = containers::from_id(self.db(), Some(host), &alias::key(id)).await?;
        Ok(found.into_iter().map(|(_, view)| view).find(|view| view.container.id == id))
    }

    /// What happened to a container and the gaps of its host, newest first, before entry `before`:
    /// at most [`limit::HISTORY_PAGE`].
    pub async fn history(
        &self,
        container: &ContainerView,
        before: Option<u64>,
    ) -> Result<Vec<HistoryRow>, FleetError> {
        let before = before.and_then(|before| i64::try_from(before).ok()).unwrap_or(i64::MAX);
        let key = alias::key(&container.container.id);
        let whose = (container.container.runtime.word(), key.as_str());
        Ok(db::history(self.db(), container.host, whose, before).await?)
    }

    /// How many containers run each of these contents, of the first [`limit::CONTENT_IDS`].
    pub async fn running(&self, contents: &[ContentId]) -> Result<HashMap<ContentId, u64>, FleetError> {
        let mut counts = HashMap::new();
        for content in contents.iter().take(limit::CONTENT_IDS) {
            counts.insert(*content, containers::count_content(self.db(), content).await?);
        }
        Ok(counts)
    }

    /// Grows with every entry of a host's history: containers that began, ended or went, gaps.
    pub async fn revision(&self) -> Result<i64, FleetError> {
        Ok(db::newest_history(self.db()).await?)
    }

    /// Numbers of the whole fleet.
    pub async fn stats(&self) -> Result<Stats, FleetError> {
        let mut stats = Stats::default();
        for (presence, mapping, count) in containers::count_by_mapping(self.db()).await? {
            match presence {
                Presence::Live => {
                    stats.live += count;
                    stats.live_exact += if mapping == Mapping::Exact { count } else { 0 };
                }
                Presence::Stopped => stats.stopped += count,
                Presence::Gone => {}
            }
        }
        Ok(stats)
    }
}

/// Each host to ask for, or once for all.
fn each(hosts: Option<&[HostId]>) -> Vec<Option<HostId>> {
    hosts.map_or_else(|| vec![None], |hosts| hosts.iter().copied().map(Some).collect())
}
