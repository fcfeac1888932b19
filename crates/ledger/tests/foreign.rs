//! The ledger as code of other authors reads it: the Go project's transparency log and notes.

use std::{
    fs,
    path::{Path, PathBuf},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use seaworthy_ledger::prove;
use seaworthy_testkit::{Engine, TestDb, db_tests, ledger_verifier};
use serde_json::{Value, json};

use crate::{append, check, files_below, sequencer, signer};

db_tests!(&[seaworthy_ledger::SCHEMA]; it_holds_across_checkpoints, it_sees_every_changed_byte, it_believes_a_proof,
    it_holds_where_the_last_checkpoint_was_not_written);

/// A ledger of these many records at its checkpoints, the older of which are kept as files.
async fn grow(test: &TestDb, sizes: &[usize], kept: &Path) -> Vec<PathBuf> {
    let mut sequencer = sequencer(test, &test.db, "a").await.expect("opens");
    let mut older = Vec::new();
    let mut from = 0;
    for &size in sizes {
        append(&test.db, from, size).await;
        from = size;
        assert!(sequencer.step().await.expect("step"));
        older.push(kept.join(size.to_string()));
        fs::copy(test.path().join("checkpoint"), older.last().expect("one")).expect("copy");
    }
    older
}

async fn it_holds_across_checkpoints(test: TestDb) {
    let Some(verifier) = ledger_verifier("it_holds_across_checkpoints") else { return };
    let key = signer().verifier().vkey();
    let kept = tempfile::tempdir().expect("folder");
    let sizes = [1, 2, 255, 256, 257, 700, 768, 900];
    let older = grow(&test, &sizes, kept.path()).await;
    let checked = verifier.tree(test.path(), &key, &older);
    assert!(checked.holds, "{checked:?}");
    let line: Value = serde_json::from_str(&checked.line).expect("JSON");
    assert_eq!((&line["size"], &line["entries"]), (&900.into(), &900.into()), "{line}");
    // Four of level 0, one above.
    assert_eq!((&line["tiles"], &line["consistency"]), (&5.into(), &8.into()), "{line}");

    // Another tree of the same key is no beginning of this one, and another key signed nothing.
    let other = seaworthy_trust::Checkpoint {
        origin: "ledger.test".into(),
        size: 255,
        root: seaworthy_trust::leaf_hash(b"another"),
    };
    fs::write(kept.path().join("fork"), other.sign(&signer())).expect("write");
    let checked = verifier.tree(test.path(), &key, &[kept.path().join("fork")]);
    assert!(!checked.holds && checked.line.contains("not a beginning"), "{checked:?}");
    let stranger = seaworthy_trust::Signer::from_seed("ledger.test", &[2; 32]).expect("seed");
    let checked = verifier.tree(test.path(), &stranger.verifier().vkey(), &[]);
    assert!(!checked.holds && checked.line.contains("checkpoint"), "{checked:?}");
}

async fn it_sees_every_changed_byte(test: TestDb) {
    let Some(verifier) = ledger_verifier("it_sees_every_changed_byte") else { return };
    let key = signer().verifier().vkey();
    let kept = tempfile::tempdir().expect("folder");
    grow(&test, &[300, 557], kept.path()).await;
    let mut files = files_below(test.path());
    assert_eq!(files.len(), 9, "checkpoint, 3 bundles, 3 tiles of level 0, 2 of level 1: {files:?}");
    // Of the tree of 300 alone: whoever has the newest checkpoint never looks at it.
    files.retain(|file| !file.ends_with("tile/1/000.p/1"));
    for file in files {
        let whole = fs::read(&file).expect("read");
        // Files are the same on both engines; one of them tries more places.
        let step = if test.engine == Engine::Sqlite { whole.len() / 12 + 1 } else { whole.len() / 3 + 1 };
        let ends = [0, whole.len() - 1];
        for at in (1..whole.len()).step_by(step).chain(ends) {
            let mut changed = whole.clone();
            changed[at] ^= 4;
            fs::write(&file, &changed).expect("write");
            let checked = verifier.tree(test.path(), &key, &[]);
            assert!(!checked.holds, "{} byte {at}: {checked:?}", file.display());
            assert_ne!(check(&test, &test.db).await.broken, [], "{} byte {at}", file.display());
        }
        for wrong in [Some(&whole[..whole.len() - 1]), None] {
            match wrong {
                Some(short) => fs::write(&file, short).expect("write"),
                None => fs::remove_file(&file).expect("remove"),
            }
            let checked = verifier.tree(test.path(), &key, &[]);
            assert!(!checked.holds, "{}: {checked:?}", file.display());
            assert_ne!(check(&test, &test.db).await.broken, [], "{}", file.display());
        }
        fs::write(&file, &whole).expect("write");
    }
    assert!(verifier.tree(test.path(), &key, &[]).holds);
}

async fn it_believes_a_proof(test: TestDb) {
    let Some(verifier) = ledger_verifier("it_believes_a_proof") else { return };
    let key = signer().verifier();
    let kept = tempfile::tempdir().expect("folder");
    grow(&test, &[557], kept.path()).await;
    let file = kept.path().join("proof");
    let holds = |claim: &Value| {
        fs::write(&file, claim.to_string()).expect("write");
        verifier.proof(&file, &key.vkey())
    };
    for index in [0, 255, 256, 511, 512, 556] {
        let proof = prove(&test.db, test.path(), &key, index).await.expect("proof");
        let path: Vec<String> = proof.path.iter().map(|hash| STANDARD.encode(hash.0)).collect();
        let claim = json!({"index": index, "record": proof.record, "leaf": proof.leaf, "path": path,
            "checkpoint": proof.checkpoint});
        let checked = holds(&claim);
        assert!(checked.holds, "{index}: {checked:?}");
        for (field, wrong) in [
            ("index", json!((index + 1) % 557)),
            ("leaf", json!(proof.leaf.replace("policies/p", "policies/q"))),
            ("record", json!({"action": "policy.apply"})),
            ("path", json!(path[1..])),
            ("checkpoint", json!(proof.checkpoint.replace("557", "556"))),
        ] {
            let mut claim = claim.clone();
            claim[field] = wrong;
            assert!(!holds(&claim).holds, "{index}: another {field}");
        }
    }
}

async fn it_holds_where_the_last_checkpoint_was_not_written(test: TestDb) {
    let Some(verifier) = ledger_verifier("it_holds_where_the_last_checkpoint_was_not_written") else {
        return;
    };
    let key = signer().verifier().vkey();
    let mut sequencer = sequencer(&test, &test.db, "a").await.expect("opens");
    append(&test.db, 0, 300).await;
    assert!(sequencer.step().await.expect("step"));
    append(&test.db, 300, 600).await;
    // Where its new text is written first.
    let blocked = test.path().join(".checkpoint.new");
    fs::create_dir(&blocked).expect("directory");
    assert!(sequencer.step().await.is_err());
    let checked = verifier.tree(test.path(), &key, &[]);
    assert!(checked.holds && checked.line.contains(r#""size":300"#), "{checked:?}");
    fs::remove_dir(&blocked).expect("empty");
    assert!(sequencer.step().await.expect("step"));
    let checked = verifier.tree(test.path(), &key, &[]);
    assert!(checked.holds && checked.line.contains(r#""size":600"#), "{checked:?}");
    let report = check(&test, &test.db).await;
    assert_eq!((report.size, report.broken), (600, vec![]));
    let files = files_below(test.path());
    assert_eq!(files.len(), 9, "of the tree of 300 one tile that is not full yet is left: {files:?}");
}
