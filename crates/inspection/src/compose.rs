//! From facts to the event: pure.

use std::io::{self, Read as _, Write};

use seaworthy_inventory::{LayerResult, image_facts, inspect, os_support_dates};
use seaworthy_model::{ContentId, ImageFacts, InventoryProblem, InventoryReady, ProblemCode};
use seaworthy_oci::{Digest, ImageConfig};
use serde::Serialize;

use crate::{InspectionError, answer::problem, limit};

/// The result for an image, without the names of its manifests. Without a readable config the
/// platform is unknown and the facts are the defaults: root, among others.
pub(crate) fn compose(
    digest: Digest,
    config: Result<&ImageConfig, &InventoryProblem>,
    layers: &[LayerResult],
) -> InventoryReady {
    let platform = config.map_or_else(|_| ImageConfig::default().platform(), ImageConfig::platform);
    let inventory = inspect(config.map_err(InventoryProblem::clone), &platform, layers);
    let mut ready = InventoryReady {
        manifests: Vec::new(),
        config: digest,
        image: config.map_or_else(|_| ImageFacts::default(), image_facts),
        support: inventory.os.as_ref().and_then(os_support_dates),
        inventory,
    };
    fit(&mut ready, limit::INVENTORY_BYTES);
    set_apart(&mut ready);
    ready
}

/// An image with problems gets an id that no other image has: what is wrong is wrong with this
/// config and these blobs, and must neither stain nor be washed off by an image of equal content.
fn set_apart(ready: &mut InventoryReady) {
    let inventory = &mut ready.inventory;
    if inventory.problems.is_empty() && inventory.coverage.unreadable.is_empty() {
        return;
    }
    let difference = (&ready.config, &inventory.problems, &inventory.coverage.unreadable);
    // Texts and numbers always serialise.
    let difference = serde_json::to_vec(&difference).unwrap_or_default();
    inventory.content_id = inventory.content_id.apart(&difference);
}

/// The stored form: JSON, compressed.
pub(crate) fn pack(ready: &InventoryReady) -> Vec<u8> {
    let json = serde_json::to_vec(ready).unwrap_or_default();
    zstd::bulk::compress(&json, 3).unwrap_or_default()
}

/// Reads what [`pack`] made. Support dates are those known today.
pub(crate) fn unpack(stored: &[u8], content_id: &ContentId) -> Result<InventoryReady, InspectionError> {
    let read = || -> io::Result<InventoryReady> {
        let mut json = Vec::new();
        zstd::stream::read::Decoder::with_buffer(stored)?
            .take(seaworthy_store::limit::EVENT_BYTES as u64)
            .read_to_end(&mut json)?;
        Ok(serde_json::from_slice(&json)?)
    };
    let mut ready = read().map_err(|_| InspectionError::InventoryDamaged { content_id: *content_id })?;
    ready.support = ready.inventory.os.as_ref().and_then(os_support_dates);
    Ok(ready)
}

/// Cuts what is too long for one event. Whatever is cut is told in a problem, so that the
/// image is never taken for completely judged.
fn fit(ready: &mut InventoryReady, most_bytes: usize) {
    let inventory = &mut ready.inventory;
    let found = [
        ("packages", inventory.packages.len()),
        ("secrets", inventory.secrets.len()),
        ("unreadable files", inventory.coverage.unreadable.len()),
        ("problems", inventory.problems.len()),
    ];
    inventory.packages.truncate(limit::PACKAGES);
    inventory.secrets.truncate(limit::SECRETS);
    inventory.coverage.unreadable.truncate(limit::UNREADABLE);
    inventory.problems.truncate(limit::PROBLEMS);
    while json_bytes(ready) > most_bytes && halve_longest(ready) {}
    let inventory = &mut ready.inventory;
    let kept = [
        inventory.packages.len(),
        inventory.secrets.len(),
        inventory.coverage.unreadable.len(),
        inventory.problems.len(),
    ];
    for ((what, found), kept) in found.into_iter().zip(kept) {
        if kept < found {
            let message = format!("the inventory is too large: {kept} of {found} {what} are kept");
            inventory.problems.push(problem(ProblemCode::LayerTooLarge, &message));
        }
    }
}

/// False when there is nothing left to cut: all else is part of the config, whose own limit
/// is far smaller.
fn halve_longest(ready: &mut InventoryReady) -> bool {
    let inventory = &mut ready.inventory;
    let lengths = [
        json_bytes(&inventory.packages),
        json_bytes(&inventory.secrets),
        json_bytes(&inventory.coverage.unreadable),
        json_bytes(&inventory.problems),
    ];
    let longest = (0..lengths.len()).max_by_key(|at| lengths.get(*at));
    let halve = |length: usize| length / 2;
    let before = json_bytes(inventory);
    match longest {
        Some(0) => inventory.packages.truncate(halve(inventory.packages.len())),
        Some(1) => inventory.secrets.truncate(halve(inventory.secrets.len())),
        Some(2) => inventory.coverage.unreadable.truncate(halve(inventory.coverage.unreadable.len())),
        _ => inventory.problems.truncate(halve(inventory.problems.len())),
    }
    json_bytes(inventory) < before
}

/// Length of a value as JSON, without making it.
fn json_bytes(value: &impl Serialize) -> usize {
    struct Counter(usize);
    impl Write for Counter {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut counter = Counter(0);
    match serde_json::to_writer(&mut counter, value) {
        Ok(()) => counter.0,
        Err(_) => usize::MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use seaworthy_model::{PackageRow, SecretRow};
    use seaworthy_package::{Ecosystem, InstalledPackage, SourcePackage};

    fn ready(secrets: usize) -> InventoryReady {
        let mut ready = compose(Digest::sha256(b"config"), Ok(&ImageConfig::default()), &[]);
        let secret = |at: usize| SecretRow {
            rule: "private-key-pem".into(),
            path: format!("key/{at:06}"),
            layer: 0,
            removed_in_layer: None,
            value_sha256: "0".repeat(64),
        };
        ready.inventory.secrets = (0..secrets).map(secret).collect();
        ready
    }

    #[test]
    fn what_is_cut_is_told() {
        let check = |secrets: usize, most_bytes: usize, kept: usize, problems: usize| {
            let mut ready = ready(secrets);
            fit(&mut ready, most_bytes);
            assert_eq!(ready.inventory.secrets.len(), kept, "{secrets} {most_bytes}");
            assert_eq!(ready.inventory.problems.len(), problems, "{secrets} {most_bytes}");
        };
        let whole = json_bytes(&ready(1_000));
        check(1_000, whole, 1_000, 0);
        check(1_000, whole - 1, 500, 1);
        check(limit::SECRETS, usize::MAX, limit::SECRETS, 0);
        check(limit::SECRETS + 1, usize::MAX, limit::SECRETS, 1);
        check(10, 0, 0, 1);
    }

    /// What is kept of so many packages, unreadable files and problems, and what is said of the rest.
    fn kept(packages: usize, unreadable: usize, problems: usize) -> ([usize; 3], Vec<String>) {
        let mut ready = ready(0);
        let row = PackageRow {
            package: InstalledPackage {
                ecosystem: Ecosystem::Deb,
                distribution: String::new(),
                name: "a".to_owned(),
                version: "1".to_owned(),
                architecture: String::new(),
                source: SourcePackage { name: "a".to_owned(), version: "1".to_owned() },
            },
            layer: 0,
            paths: Vec::new(),
        };
        ready.inventory.packages = vec![row; packages];
        ready.inventory.coverage.unreadable = vec!["x".to_owned(); unreadable];
        ready.inventory.problems = vec![problem(ProblemCode::PackageDbRewritten, "known"); problems];
        fit(&mut ready, limit::INVENTORY_BYTES);
        let inventory = ready.inventory;
        let told =
            inventory.problems.iter().map(|it| it.message.clone()).filter(|it| it != "known").collect();
        let known = inventory.problems.iter().filter(|it| it.message == "known").count();
        ([inventory.packages.len(), inventory.coverage.unreadable.len(), known], told)
    }

    #[test]
    fn each_list_ends_at_its_limit() {
        let most = [limit::PACKAGES, limit::UNREADABLE, limit::PROBLEMS];
        let [packages, unreadable, problems] = most;
        assert_eq!(kept(packages, unreadable, problems), (most, vec![]));
        let told = |what: &str, most: usize| {
            vec![format!("the inventory is too large: {most} of {} {what} are kept", most + 1)]
        };
        assert_eq!(kept(packages + 1, unreadable, problems), (most, told("packages", packages)));
        assert_eq!(kept(packages, unreadable + 1, problems), (most, told("unreadable files", unreadable)));
        assert_eq!(kept(packages, unreadable, problems + 1), (most, told("problems", problems)));
    }

    /// As shipped: one path that fills the event to its last byte, and one byte more.
    #[test]
    fn an_inventory_ends_at_its_bytes() {
        let with_path = |bytes: usize| {
            let mut ready = ready(1);
            ready.inventory.secrets[0].path = "p".repeat(bytes);
            ready
        };
        let longest = limit::INVENTORY_BYTES - json_bytes(&with_path(0));
        let composed = |bytes: usize| {
            let mut ready = with_path(bytes);
            fit(&mut ready, limit::INVENTORY_BYTES);
            (ready.inventory.secrets.len(), ready.inventory.problems.len())
        };
        assert_eq!(composed(longest), (1, 0));
        assert_eq!(composed(longest + 1), (0, 1), "what does not fit is told");
        let whole = with_path(longest);
        assert_eq!(unpack(&pack(&whole), whole.content_id()).expect("read"), whole);
    }

    #[test]
    fn messages_are_cut() {
        let said = |characters: usize| {
            problem(ProblemCode::ReaderFailed, &"\u{e9}".repeat(characters)).message.chars().count()
        };
        assert_eq!(said(limit::MESSAGE_CHARACTERS), limit::MESSAGE_CHARACTERS);
        assert_eq!(said(limit::MESSAGE_CHARACTERS + 1), limit::MESSAGE_CHARACTERS);
    }

    #[test]
    fn packing_round_trips_and_damage_is_told() {
        let before = ready(100);
        let packed = pack(&before);
        let id = *before.content_id();
        assert_eq!(unpack(&packed, &id).expect("unpacked"), before);
        for cut in 0..packed.len() {
            assert!(unpack(&packed[..cut], &id).is_err(), "{cut}");
        }
    }
}
