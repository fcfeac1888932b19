use std::io::Write as _;

use seaworthy_inspection::{LayerReader, limit};
use seaworthy_model::{Event, LayerRef};
use seaworthy_oci::Digest;
use seaworthy_sandbox::{Limits, Sandbox};
use seaworthy_testkit::{TestDb, db_tests};

use crate::{
    archive::{config, curl, debian, gzip, header},
    world::{World, layer, lines, pushed, stored},
};

db_tests! { crate::world::ROOMS; what_is_wrong_is_told, a_reader_that_dies, what_was_missing_may_come }

/// Name, second layer, config, and the lines expected.
type Case = (&'static str, Vec<u8>, Vec<u8>, Vec<&'static str>);

/// One entry of zeros, 20,000 times as long as the layer itself, beyond what is free of any ratio.
fn bomb() -> Vec<u8> {
    let size = 300 * 1024 * 1024;
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).expect("encoder");
    encoder.write_all(&header("zeros", size)).expect("written");
    let zeros = vec![0; 1024 * 1024];
    for _ in 0..size / zeros.len() {
        encoder.write_all(&zeros).expect("written");
    }
    encoder.finish().expect("finished")
}

async fn what_is_wrong_is_told(test: TestDb) {
    let world = World::new(test);
    let (base, top) = (gzip(&debian()), gzip(&curl()));
    let good = config(&[&debian(), &curl()]);
    let base_lines = ["bash 5.2-1 0", "zlib1g 1.2.13 0"];
    let with = |problem: &'static str| [&base_lines[..], &[problem]].concat();
    let long = [good.as_slice(), &vec![b' '; seaworthy_oci::limit::CONFIG_BYTES]].concat();
    let all = ["bash 5.2-1 0", "curl 7.88.1 1", "zlib1g 1.2.13 0"];
    let all_but = |problem: &'static str| [&all[..], &[problem]].concat();
    let cases: Vec<Case> = vec![
        ("truncated", top[..top.len() / 2].to_vec(), good.clone(), with("layer-unreadable@1")),
        ("not a layer", b"hello".to_vec(), good.clone(), with("layer-unreadable@1")),
        ("bomb", bomb(), good.clone(), with("layer-too-large@1")),
        ("wrong claim", top.clone(), config(&[&debian(), &debian()]), all_but("diff-id-mismatch@1")),
        ("short claim", top.clone(), config(&[&debian()]), all_but("diff-id-mismatch@-")),
        ("not JSON", top.clone(), b"{".to_vec(), all_but("config-unreadable@-")),
        ("long config", top.clone(), long, all_but("config-unreadable@-")),
    ];
    for (name, second, config, expected) in cases {
        let layers = [world.blob(&base), world.blob(&second)];
        let push = pushed(&name.replace(' ', "-").to_lowercase(), world.blob(&config), &layers);
        // The blob itself is a result too, and its event is never tried again.
        world.send(vec![stored(layers[1]), Event::ManifestPushed(push.clone())]).await;
        world.drain().await;
        let ready = world.inspection.of_manifest(&push.digest).await.expect("read").expect(name);
        assert_eq!(lines(&ready.inventory), expected, "{name}");
        assert_eq!(world.opens(&layers[1]), 1, "{name}");
        // Complete or not, the next push of it is answered too.
        let before = world.outputs().await.len();
        world.send(vec![Event::ManifestPushed(push)]).await;
        world.drain().await;
        assert_eq!(world.outputs().await.len(), before + 1, "{name}");
    }
}

async fn a_reader_that_dies(test: TestDb) {
    let limits = Limits { output_bytes: 4, ..Limits::default() };
    let sandbox = Sandbox::new(limits).through_test("sandbox_child");
    let world = World::with_reader(test, LayerReader::Sandboxed(sandbox.into()));
    let base = world.blob(&gzip(&debian()));
    let config = world.blob(&config(&[&debian()]));
    world.send(vec![stored(base)]).await;
    world.drain().await;
    let attempts = usize::try_from(limit::READER_ATTEMPTS).expect("small");
    assert_eq!(world.opens(&base), attempts, "tried so often before it is a result");
    world.send(vec![Event::ManifestPushed(pushed("team/app", config, &[base]))]).await;
    world.drain().await;
    assert_eq!(world.opens(&base), attempts);
    assert_eq!(lines(&world.outputs().await[0].inventory), ["reader-failed@0"]);
}

async fn what_was_missing_may_come(test: TestDb) {
    let world = World::new(test);
    let base = gzip(&debian());
    let digest = Digest::sha256(&base);
    let config = world.blob(&config(&[&debian()]));
    let push = pushed("team/app", config, &[digest]);
    world.send(vec![stored(digest), Event::ManifestPushed(push.clone())]).await;
    world.drain().await;
    world.blob(&base);
    world.send(vec![Event::ManifestPushed(push.clone())]).await;
    world.drain().await;
    // The registry has it now, but this manifest says that it need not.
    let mut foreign = push;
    foreign.layers = vec![LayerRef { foreign: true, ..layer(digest) }];
    world.send(vec![Event::ManifestPushed(foreign)]).await;
    world.drain().await;
    let outputs = world.outputs().await;
    assert_eq!(lines(&outputs[0].inventory), ["layer-missing@0"]);
    assert_eq!(lines(&outputs[1].inventory), ["bash 5.2-1 0", "zlib1g 1.2.13 0"]);
    assert_eq!(lines(&outputs[2].inventory), ["layer-missing@0"]);
    assert_ne!(outputs[0].content_id(), outputs[1].content_id());
}
