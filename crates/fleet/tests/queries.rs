//! Pages, names, prefixes and counts.

use seaworthy_fleet::{Filter, FleetError, Invitation, Newcomer, Presence, limit};
use seaworthy_link::ContainerState;
use seaworthy_model::{Actor, HostId};
use seaworthy_testkit::{TestDb, db_tests};

use crate::world::{World, batch, container, content, digest, item, measured};

db_tests!(crate::world::ROOMS; pages_follow_on, names_and_prefixes_find_one, joining_and_leaving, an_invitation_is_used_once, only_unknown_images_are_unread);

async fn pages_follow_on(test: TestDb) {
    let world = World::new(test).await;
    world.tell(measured("prod/web", "m", "c", "k")).await;
    let items = (0..40).map(|n| {
        let image = if n % 4 == 0 { "c" } else { "unknown" };
        let mut it = container(&format!("{n:03}"), &digest(image).to_string(), 1);
        it.name = format!("{}{:03}", if n % 2 == 0 { "a" } else { "b" }, 99 - n / 3);
        it.state = if n % 5 == 0 { ContainerState::Exited } else { ContainerState::Running };
        item(it)
    });
    world.receive(batch(1, 1, items.collect())).await.unwrap();
    let a = |prefix: &str| Filter { name_prefix: prefix.into(), ..Filter::default() };
    let live = Filter { presence: vec![Presence::Live], hosts: Some(vec![world.host]), ..Filter::default() };
    let runs = Filter { content: Some(content("k")), ..Filter::default() };
    let both = Filter { hosts: Some(vec![world.host]), ..runs.clone() };
    let none = Filter { hosts: Some(vec![]), ..Filter::default() };
    let more = Filter { hosts: Some(vec![HostId::generate(), world.host]), ..a("a") };
    for (filter, count) in [
        (none, 0),
        (more, 20),
        (a(""), 40),
        (a("a"), 20),
        (a("b09"), 15),
        (a("c"), 0),
        (live, 32),
        (runs, 10),
        (both, 10),
    ] {
        let whole = world.fleet.containers(&filter, None, 1_000).await.unwrap();
        assert_eq!((whole.containers.len(), &whole.next), (count, &None), "{filter:?}");
        // A page may be ended at any row.
        for (at, row) in whole.containers.iter().enumerate() {
            let rest = world.fleet.containers(&filter, Some(&row.cursor()), 1_000).await.unwrap();
            assert_eq!(rest.containers, whole.containers[at + 1..], "{filter:?}");
        }
        assert!(whole.containers.is_sorted_by_key(|it| (it.container.name.clone(), it.container.id.clone())));
        let (mut pages, mut after) = (Vec::new(), None);
        loop {
            let page = world.fleet.containers(&filter, after.as_ref(), 3).await.unwrap();
            assert!(page.containers.len() <= 3);
            pages.extend(page.containers);
            after = page.next;
            if after.is_none() {
                break;
            }
        }
        assert_eq!(pages, whole.containers, "{filter:?}");
    }
    assert_eq!(world.fleet.running(&[content("k"), content("x")]).await.unwrap()[&content("k")], 8);
    let stats = world.fleet.stats().await.unwrap();
    assert_eq!((stats.live, stats.live_exact, stats.stopped), (32, 8, 8));
}

async fn names_and_prefixes_find_one(test: TestDb) {
    let world = World::new(test).await;
    let beta = world.fleet.join(&Actor::system(), "beta").await.unwrap();
    let web = |id: &str| {
        let mut it = container(id, "", 1);
        it.name = "web".into();
        item(it)
    };
    world.receive(batch(1, 1, vec![web("abc1"), item(container("abd2", "", 1))])).await.unwrap();
    world.fleet.receive(beta, batch(2, 1, vec![web("xyz")])).await.unwrap();
    for (name, count) in [("web", 2), ("ab", 2)] {
        let error = world.fleet.container(None, name).await.unwrap_err();
        assert!(
            matches!(&error, FleetError::Ambiguous { candidates, .. } if candidates.len() == count),
            "{error}"
        );
    }
    let found = async |host, name| world.fleet.container(host, name).await.unwrap().map(|it| it.container.id);
    assert_eq!(found(Some(beta), "web").await.as_deref(), Some("xyz"));
    assert_eq!(found(None, "abd").await.as_deref(), Some("abd2"));
    assert_eq!(found(None, "name of abd2").await.as_deref(), Some("abd2"));
    assert_eq!(found(Some(beta), "abd").await, None);
    assert_eq!(found(None, "").await, None);
    let among = async |hosts: &[_], name| world.fleet.find(Some(hosts), name).await.unwrap().len();
    for (hosts, name, count) in [
        (&[world.host, beta][..], "web", 2),
        (&[beta], "web", 1),
        (&[], "web", 0),
        (&[world.host, beta], "ab", 2),
        (&[beta], "ab", 0),
    ] {
        assert_eq!(among(hosts, name).await, count, "{name} on {hosts:?}");
    }
    let exact = async |host, id| world.fleet.container_of(host, id).await.unwrap().map(|it| it.container.id);
    assert_eq!(exact(world.host, "abd2").await.as_deref(), Some("abd2"));
    for (host, id) in [(world.host, "abd"), (world.host, "web"), (beta, "abd2"), (beta, "")] {
        assert_eq!(exact(host, id).await, None, "{id}");
    }
}

async fn joining_and_leaving(test: TestDb) {
    let world = World::new(test).await;
    let taken = world.fleet.join(&Actor::system(), "alpha").await;
    assert!(matches!(taken, Err(FleetError::HostTaken { .. })));
    for bad in ["", "a\nb", &"x".repeat(256)] {
        assert!(matches!(world.fleet.join(&Actor::system(), bad).await, Err(FleetError::HostName)));
    }
    let long = world.fleet.join(&Actor::system(), &"x".repeat(255)).await.unwrap();
    for (name, host) in
        [("alpha", Some(world.host)), (&"x".repeat(255), Some(long)), ("Alpha", None), ("\0", None)]
    {
        assert_eq!(world.fleet.host_named(name).await.unwrap(), host, "{name}");
    }
    world.receive(batch(1, 1, vec![item(container("a", "", 1))])).await.unwrap();
    world.fleet.remove(&Actor::system(), world.host).await.unwrap();
    assert!(world.all().await.is_empty());
    let late = world.receive(batch(1, 2, vec![])).await;
    assert!(matches!(late, Err(FleetError::UnknownHost { .. })));
    let leaves = world.db.fetch_all("SELECT action FROM ledger_leaves ORDER BY id", &[]).await.unwrap();
    let actions: Vec<&str> = leaves.iter().map(|row| row.text(0).unwrap()).collect();
    assert_eq!(actions, ["host.join", "host.join", "host.remove"]);
}

async fn an_invitation_is_used_once(test: TestDb) {
    let world = World::new(test).await;
    let fleet = &world.fleet;
    let actor = Actor::system();
    let invitation = |secret: u8, name: Option<&str>, seconds| Invitation {
        secret: [secret; 32],
        name: name.map(str::to_owned),
        seconds,
    };
    let newcomer = |secret: u8, name: &str, key: u8| Newcomer {
        secret: [secret; 32],
        name: name.to_owned(),
        key: [key; 32],
        reserved: "here".to_owned(),
    };
    for seconds in [0, -1, limit::INVITATION_SECONDS + 1] {
        let refused = fleet.invite(&actor, invitation(0, None, seconds)).await;
        assert!(matches!(refused, Err(FleetError::InvitationSeconds)), "{refused:?}");
    }
    fleet.invite(&actor, invitation(1, None, limit::INVITATION_SECONDS)).await.unwrap();
    fleet.invite(&actor, invitation(2, Some("named"), 60)).await.unwrap();
    assert!(matches!(fleet.is_invited([9; 32]).await, Err(FleetError::Invitation)));
    fleet.is_invited([1; 32]).await.unwrap();

    let taken = fleet.admit(&actor, newcomer(1, "here", 1)).await;
    assert!(matches!(taken, Err(FleetError::HostTaken { .. })), "{taken:?}");
    let (one, name) = fleet.admit(&actor, newcomer(1, "one", 1)).await.unwrap();
    assert_eq!(name, "one");
    // The answer was lost: the same key asks again. Another key is another host.
    assert_eq!(fleet.admit(&actor, newcomer(1, "other", 1)).await.unwrap(), (one, "one".to_owned()));
    let stolen = fleet.admit(&actor, newcomer(1, "two", 2)).await;
    assert!(matches!(stolen, Err(FleetError::Invitation)), "{stolen:?}");
    // A name that came with the invitation counts.
    let (two, name) = fleet.admit(&actor, newcomer(2, "here", 2)).await.unwrap();
    assert_eq!(name, "named");

    fleet.certify(one, [1; 32]).await.unwrap();
    fleet.certify(two, [2; 32]).await.unwrap();
    fleet.certify(one, [3; 32]).await.unwrap();
    let stands_for = async |certificate: u8| fleet.certified(&[certificate; 32]).await.unwrap();
    assert_eq!([stands_for(1).await, stands_for(2).await, stands_for(3).await], [None, Some(two), Some(one)]);
    fleet.remove(&actor, two).await.unwrap();
    assert_eq!(stands_for(2).await, None);
    // An answer that comes after the host was removed opens nothing.
    fleet.certify(two, [4; 32]).await.unwrap();
    assert_eq!(stands_for(4).await, None);
    let gone = fleet.admit(&actor, newcomer(2, "two", 2)).await;
    assert!(matches!(gone, Err(FleetError::Invitation)), "{gone:?}");

    for n in 0..limit::INVITATIONS {
        let mut more = invitation(0, None, 60);
        more.secret[..8].copy_from_slice(&n.to_be_bytes());
        fleet.invite(&actor, more).await.unwrap();
    }
    let many = fleet.invite(&actor, invitation(7, None, 60)).await;
    assert!(matches!(many, Err(FleetError::TooMany { .. })), "{many:?}");
}

/// What a host may read itself: only what is there and was never pushed, and no endless list.
async fn only_unknown_images_are_unread(test: TestDb) {
    let world = World::new(test).await;
    world.tell(measured("prod/web", "m", "c", "k")).await;
    let most = seaworthy_link::limit::UNREAD;
    let mut items = vec![item(container("known", &digest("c").to_string(), 1))];
    items.extend(
        (0..=most)
            .map(|n| item(container(&format!("{n:04}"), &digest(&format!("unknown {n}")).to_string(), 1))),
    );
    world.receive(batch(1, 1, items)).await.unwrap();
    let unread = world.fleet.unread(world.host).await.unwrap();
    assert_eq!(unread.len(), most);
    assert!(!unread.contains(&digest("c").to_string()));
    assert_eq!(world.fleet.unread(HostId::generate()).await.unwrap(), Vec::<String>::new());
}
