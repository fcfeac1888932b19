use std::sync::Arc;

use seaworthy_inspection::{LayerReader, LocalConfig, inspect_local};
use seaworthy_model::{InventoryProblem, ProblemCode};
use seaworthy_oci::{Digest, Platform};
use seaworthy_sandbox::{Input, Limits, Sandbox};

use crate::{
    archive::{config, curl, debian, gzip},
    world::lines,
};

#[test]
fn an_image_outside_the_registry() {
    let sandbox = Sandbox::new(Limits::default()).through_test("sandbox_child");
    let layers = || [Ok(Input::Bytes(gzip(&debian()))), Ok(Input::Bytes(curl()))];
    let config = config(&[&debian(), &curl()]);
    let reader = LayerReader::Sandboxed(Arc::new(sandbox));
    let image = inspect_local(LocalConfig::Bytes(&config), layers(), &reader);
    let expected = ["bash 5.2-1 0", "curl 7.88.1 1", "zlib1g 1.2.13 0"];
    assert_eq!(lines(&image.inventory), expected, "{:?}", image.inventory.problems);
    assert_eq!((image.config, image.manifests.len()), (Digest::sha256(&config), 0));

    let linux = Platform::linux_amd64();
    let root = inspect_local(LocalConfig::Absent(&linux), layers(), &LayerReader::InProcess);
    assert_eq!(lines(&root.inventory), expected);
    assert_eq!(root.content_id(), image.content_id());
}

#[test]
fn order_is_kept_and_failures_are_told() {
    let linux = Platform::linux_amd64();
    let missing =
        || InventoryProblem { code: ProblemCode::LayerMissing, layer: None, message: "gone".into() };
    let layers = (0..20).map(|at| match at {
        0 => Ok(Input::Bytes(debian())),
        7 => Err(missing()),
        19 => Ok(Input::Bytes(b"nonsense".to_vec())),
        at => Ok(Input::Bytes(crate::archive::tar(&[(&format!("file{at}"), "x")]))),
    });
    let image = inspect_local(LocalConfig::Absent(&linux), layers, &LayerReader::InProcess);
    assert_eq!(
        lines(&image.inventory),
        ["bash 5.2-1 0", "zlib1g 1.2.13 0", "layer-missing@7", "layer-unreadable@19"]
    );
    let diff_id = |at: usize| Digest::sha256(&crate::archive::tar(&[(&format!("file{at}"), "x")]));
    for at in (1..19).filter(|at| *at != 7) {
        assert_eq!(image.inventory.layers[at].diff_id, diff_id(at), "{at}");
    }
    let none = inspect_local(LocalConfig::Absent(&linux), Vec::new(), &LayerReader::InProcess);
    assert_eq!((none.inventory.layers.len(), none.inventory.problems.len()), (0, 0));
    let bad = inspect_local(LocalConfig::Bytes(b"nope"), Vec::new(), &LayerReader::InProcess);
    assert_eq!(lines(&bad.inventory), ["config-unreadable@-"]);
}
