//! Clients whose connection is cut in the middle of a layer, on its way up and on its way down: they, or whoever runs
//! them again, get through, and what the registry then has is whole.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use seaworthy_oci::{Digest, Platform};
use seaworthy_testkit::{Dockerd, docker, modern_docker, real_engines};

use crate::{
    caching::user,
    clients::Containerd,
    image::{Image, TAR, lay_out},
    killing::Random,
    server::{Place, Said, done, run},
    wire::{Way, Wire},
};

const LAYER_BYTES: u64 = 24 << 20;

/// One image on its way between a client and the registry.
struct Journey<'j> {
    program: &'static str,
    reference: String,
    push: Box<dyn Fn(&str) -> Said + 'j>,
    /// Forgets what it has of it first.
    pull: Box<dyn Fn(&str) -> Said + 'j>,
}

impl Journey<'_> {
    fn gets_through(&self, wire: &Wire) {
        for (what, way, work) in [("push", &wire.up, &self.push), ("pull", &wire.down, &self.pull)] {
            let tries = through_a_cut(way, || work(&self.reference));
            eprintln!("{}: a {what} that was cut got through in {tries} tries", self.program);
        }
    }
}

/// How often it had to be run until it worked, once cut on this way.
fn through_a_cut(way: &Way, work: impl Fn() -> Said) -> u32 {
    way.cut_after(LAYER_BYTES / 2);
    for tries in 1..=2 {
        let said = work();
        assert!(way.was_cut(), "it carried less than that: {said:?}");
        if said.code == 0 {
            return tries;
        }
        assert!(tries < 2, "{said:?}");
    }
    unreachable!("it worked or failed")
}

/// A layer with one file, which no compression makes smaller.
fn layer(seed: u64) -> Vec<u8> {
    let noise = Random(seed).bytes(LAYER_BYTES);
    let mut header = tar::Header::new_gnu();
    header.set_size(noise.len() as u64);
    header.set_mode(0o644);
    let mut out = tar::Builder::new(Vec::new());
    out.append_data(&mut header, "noise", noise.as_slice()).expect("in memory");
    out.into_inner().expect("in memory")
}

/// An engine that signs in by itself.
fn of_docker<'j>(
    (program, engine): (&'static str, &'static Dockerd),
    (place, port, login): (&'j Place, u16, &str),
    file: &Path,
) -> Journey<'j> {
    let home = place.path(&format!("home-{program}"));
    fs::create_dir(&home).expect("a folder");
    let (name, secret) = login.split_once(':').expect("both");
    let registry = format!("localhost:{port}");
    let reference = format!("{registry}/dev/{program}:1");
    done(engine.client(&home).args(["login", "-u", name, "-p", secret, &registry]));
    done(engine.client(&home).arg("import").arg(file).arg(&reference));
    let of_push = home.clone();
    Journey {
        program,
        reference,
        push: Box::new(move |reference| run(engine.client(&of_push).args(["push", reference]))),
        pull: Box::new(move |reference| {
            drop(run(engine.client(&home).args(["image", "rm", "-f", reference])));
            run(engine.client(&home).args(["pull", reference]))
        }),
    }
}

/// podman or buildah, with storage of its own.
fn of_builder<'j>(
    program: &'static str,
    (place, port, login): (&'j Place, u16, &'j str),
    layout: &Path,
) -> Journey<'j> {
    let storage: PathBuf = place.path(&format!("home-{program}"));
    let layout = layout.file_name().and_then(|name| name.to_str()).expect("a name");
    let says = move |words: &[&str]| {
        let mut command = Command::new(program);
        command.arg("--root").arg(storage.join("root")).arg("--runroot").arg(storage.join("run"));
        // A layout is named from here: its path becomes a name, and names are lower case.
        run(command.args(["--storage-driver", "vfs"]).args(words).current_dir(place.path("")))
    };
    let got = says(&["pull", "-q", &format!("oci:{layout}:it")]);
    assert_eq!(got.code, 0, "{program}: {got:?}");
    let image = got.out.trim().to_owned();
    let of_push = says.clone();
    Journey {
        program,
        reference: format!("localhost:{port}/dev/{program}:1"),
        push: Box::new(move |reference| {
            let to = format!("docker://{reference}");
            of_push(&["push", "--tls-verify=false", "--creds", login, &image, &to])
        }),
        pull: Box::new(move |reference| {
            drop(says(&["rmi", "-af"]));
            says(&["pull", "--tls-verify=false", "--creds", login, reference])
        }),
    }
}

fn of_containerd<'j>(
    containerd: &'j [Containerd; 2],
    (port, login): (u16, &'j str),
    layout: &Path,
) -> Journey<'j> {
    let [pusher, puller] = containerd;
    pusher.import(layout);
    let moves = move |with: &Containerd, verb: &str, words: &[&str], reference: &str| {
        let mut command = with.ctr(&["images", verb, "--plain-http", "--user", login]);
        run(command.args(words).arg(reference))
    };
    Journey {
        program: "ctr",
        reference: format!("localhost:{port}/dev/ctr:1"),
        push: Box::new(move |reference| moves(pusher, "push", &[], reference)),
        pull: Box::new(move |reference| moves(puller, "pull", &["--snapshotter", "native"], reference)),
    }
}

#[test]
fn a_cut_connection_is_tried_again() {
    const NAME: &str = "a_cut_connection_is_tried_again";
    let tools = ["docker", "dockerd", "podman", "buildah", "containerd", "ctr", "setpriv", "unshare", "tar"];
    if !real_engines(NAME, &tools) {
        return;
    }
    let Some(modern) = modern_docker(NAME) else { return };
    let place = Place::new();
    let server = place.up(&[]);
    let door = place.login(server.port);
    let wire = Wire::to(server.port);
    let login = user(&door);
    let at = (&place, wire.port, login.as_str());
    let containerd = ["pusher", "puller"].map(|name| Containerd::start(place.path(name)));
    for (seed, program) in (1..).zip(["docker", "current-docker", "podman", "buildah", "ctr"]) {
        // A layer of its own: what the registry has already is not sent.
        let layer = layer(seed);
        let (file, layout) = (place.path("layer.tar"), place.path("layout"));
        fs::write(&file, &layer).expect("written");
        drop(fs::remove_dir_all(&layout));
        let image = Image::new(&layer, TAR, &Digest::sha256(&layer), program);
        let reference = format!("localhost:{}/dev/{program}:1", wire.port);
        lay_out(&layout, &reference, &[(&Platform::host().architecture, &image)]);
        let journey = match program {
            "docker" => of_docker((program, docker()), at, &file),
            "current-docker" => of_docker((program, modern), at, &file),
            "ctr" => of_containerd(&containerd, (wire.port, &login), &layout),
            _ => of_builder(program, at, &layout),
        };
        journey.gets_through(&wire);
    }
    let verified = place.cli(&["registry", "verify", "--deep"]);
    assert_eq!(verified.code, 0, "{verified:?}");
}
