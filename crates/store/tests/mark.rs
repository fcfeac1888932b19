//! A directory and a database that know each other.

use seaworthy_model::UploadId;
use seaworthy_oci::Algorithm;
use seaworthy_store::{BlobError, Blobs, ClaimError, DbError, args};
use seaworthy_testkit::{TestDb, db_tests};

db_tests!(&[]; the_first_start_marks_and_a_cut_one_goes_on, many_begin_at_once, what_is_away_is_not_taken_for_it);

fn blobs(test: &TestDb) -> Blobs {
    Blobs::new(test.path().to_owned(), test.db.clone(), 0)
}

async fn alter(test: &TestDb, sql: &'static str) {
    let done =
        test.db.upkeep((), move |(), tx| Box::pin(async move { tx.execute(sql, args![]).await })).await;
    done.map_err(|error: DbError| error).expect("changed");
}

async fn the_first_start_marks_and_a_cut_one_goes_on(test: TestDb) {
    let mark = test.path().join("blobs/installation");
    // As an installation from before: there are files, and nobody knows whose.
    std::fs::create_dir_all(test.path().join("blobs/registry")).expect("made");
    blobs(&test).claim().await.expect("it gets one");
    let first = std::fs::read(&mark).expect("a mark");
    blobs(&test).claim().await.expect("and keeps it");
    assert_eq!(std::fs::read(&mark).expect("a mark"), first);
    // Cut off between the row and the file.
    std::fs::remove_file(&mark).expect("removed");
    assert!(matches!(blobs(&test).claim().await, Err(ClaimError::Away { .. })));
    alter(&test, "UPDATE store_installation SET marked = 0").await;
    blobs(&test).claim().await.expect("it goes on");
    assert_eq!(std::fs::read(&mark).expect("a mark"), first);
    for folder in ["blobs", "uploads"] {
        let left = std::fs::read_dir(test.path().join(folder)).expect("a folder");
        let left: Vec<_> = left.map(|it| it.expect("an entry").file_name()).collect();
        assert!(left.iter().all(|name| name == "installation" || name == "registry"), "{left:?}");
    }
    // A database of before it had an id, and one that is new.
    alter(&test, "DELETE FROM store_installation").await;
    assert!(matches!(blobs(&test).claim().await, Err(ClaimError::Foreign { .. })));
    let small = seaworthy_store::SmallBlob { digest: seaworthy_oci::Digest::sha256(b"x"), bytes: "x".into() };
    let done =
        test.db.upkeep(small, |small, tx| Box::pin(async move { tx.put_small_blob("t", small).await })).await;
    done.map_err(|error: DbError| error).expect("stored");
    let older = blobs(&test).claim().await.expect_err("it does not know them");
    assert!(
        matches!(older, ClaimError::Older { .. }) && older.to_string().contains("/blobs/installation`"),
        "{older}"
    );
    std::fs::remove_file(&mark).expect("removed");
    blobs(&test).claim().await.expect("as the refusal says");
    // What the refusal says helps.
    std::fs::remove_file(&mark).expect("removed");
    let Err(ClaimError::Away { path, id }) = blobs(&test).claim().await else { panic!("it is away") };
    std::fs::write(path, id).expect("written");
    blobs(&test).claim().await.expect("found again");
}

async fn many_begin_at_once(test: TestDb) {
    let begun = futures_util::future::join_all((0..8).map(|_| async { blobs(&test).claim().await })).await;
    assert!(begun.iter().all(Result::is_ok), "{begun:?}");
    assert!(!blobs(&test).is_away());
}

async fn what_is_away_is_not_taken_for_it(test: TestDb) {
    let ours = blobs(&test);
    let begins = || ours.begin("t", UploadId::generate(), Algorithm::Sha256).map(drop);
    assert!(begins().is_ok() && !ours.is_away(), "who claims nothing looks for nothing");
    ours.claim().await.expect("claimed");
    let (root, away) = (test.path().join("blobs"), test.path().join("away"));
    let mark = std::fs::read(root.join("installation")).expect("a mark");
    std::fs::rename(&root, &away).expect("moved");
    for other in [None, Some(&b"another\\n"[..])] {
        if let Some(other) = other {
            std::fs::create_dir_all(&root).expect("made");
            std::fs::write(root.join("installation"), other).expect("written");
        }
        assert!(ours.is_away() && matches!(begins(), Err(BlobError::Away)));
    }
    // The same directory, mounted from elsewhere.
    std::fs::write(root.join("installation"), mark).expect("written");
    assert!(!ours.is_away() && begins().is_ok());
}
