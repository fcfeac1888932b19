//! What an import pushes, where, and in which order: read from the layout alone, before anything is pushed.

use std::collections::{BTreeSet, HashMap, HashSet};

use bytes::Bytes;
use seaworthy_model::{ErrorCode, Problem};
use seaworthy_oci::{Descriptor, Digest, Manifest, RepoName, Tag, media};

use super::{Held, blobs_of};
use crate::layout::{IMAGE_NAME, Layout, Place, REF_NAME, annotation, limit, tag_of};

/// Where images go.
#[derive(Clone, Debug, Default)]
pub(super) struct Wish {
    /// One image alone.
    pub(super) name: Option<String>,
    /// Where that one goes.
    pub(super) destination: Option<Place>,
    /// All go below it.
    pub(super) below: Option<RepoName>,
}

/// One image with all that comes along, in the order of pushing: children before parents, subjects before referrers.
#[derive(Debug)]
pub(super) struct Image {
    pub(super) place: Place,
    pub(super) digest: Digest,
    pub(super) pushes: Vec<Digest>,
    pub(super) referrers: usize,
}

/// Everything that is pushed.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) images: Vec<Image>,
    pub(super) manifests: HashMap<Digest, Part>,
    /// What has no name of its own, and refers to what is not pushed.
    pub(super) left: Vec<Digest>,
}

/// A manifest, and what it lists that is not in the layout.
#[derive(Debug)]
pub(super) struct Part {
    pub(super) bytes: Bytes,
    pub(super) manifest: Manifest,
    pub(super) absent: Vec<Digest>,
}

impl Part {
    /// The blobs that go with it.
    pub(super) fn blobs(&self) -> Vec<&Descriptor> {
        blobs_of(&self.manifest).0
    }
}

impl Plan {
    pub(super) fn read(layout: &Layout, wish: &Wish) -> Result<Self, Problem> {
        let mut plan = Self { images: Vec::new(), manifests: HashMap::new(), left: Vec::new() };
        let mut reading = Reading {
            layout,
            plan: &mut plan,
            held: Held::default(),
            referrers: HashMap::new(),
            lists: HashSet::new(),
        };
        reading.find_referrers()?;
        let others = reading.referrers.values().flatten().map(|entry| entry.digest);
        let others = others.chain(reading.lists.iter().copied()).collect();
        for (entry, place) in chosen(layout, wish, &others)? {
            reading.add(&entry, place)?;
        }
        let nameless: HashSet<Digest> =
            reading.referrers.into_values().flatten().map(|entry| entry.digest).collect();
        let pushed: HashSet<Digest> = plan.images.iter().flat_map(|image| image.pushes.clone()).collect();
        plan.manifests.retain(|digest, _| pushed.contains(digest));
        plan.left = nameless.difference(&pushed).copied().collect();
        plan.check_blobs(layout)?;
        Ok(plan)
    }

    /// Every blob is there, as long as its descriptor says.
    fn check_blobs(&self, layout: &Layout) -> Result<(), Problem> {
        for part in self.manifests.values() {
            for blob in part.blobs() {
                if layout.described(blob)?.is_none() {
                    let message = format!("`{}` does not have {}", layout.path().display(), blob.digest);
                    return Err(Problem::new(ErrorCode::NotFound, message));
                }
            }
        }
        Ok(())
    }

    /// Bytes of an image with all that comes along, each blob once.
    pub(super) fn bytes_of(&self, image: &Image) -> u64 {
        let parts = || image.pushes.iter().filter_map(|digest| self.manifests.get(digest));
        let blobs: HashMap<Digest, u64> =
            parts().flat_map(Part::blobs).map(|blob| (blob.digest, blob.size)).collect();
        parts().map(|part| part.bytes.len() as u64).chain(blobs.into_values()).sum()
    }

    /// What indexes of an image list and the layout does not have.
    pub(super) fn absent_of(&self, image: &Image) -> BTreeSet<Digest> {
        let parts = image.pushes.iter().filter_map(|digest| self.manifests.get(digest));
        parts.flat_map(|part| &part.absent).copied().collect()
    }
}

struct Reading<'l> {
    layout: &'l Layout,
    plan: &'l mut Plan,
    held: Held,
    /// Entries without a name of their own, by what they refer to; and those of lists that are named after it.
    referrers: HashMap<Digest, Vec<Descriptor>>,
    /// Lists of referrers: a registry makes its own.
    lists: HashSet<Digest>,
}

/// A step of the walk: what a manifest needs is done before the manifest is.
enum Step {
    Enter(Descriptor, usize, Role),
    Leave(Digest, usize, Role),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Role {
    Image,
    Referrer,
}

impl Reading<'_> {
    fn find_referrers(&mut self) -> Result<(), Problem> {
        let layout = self.layout;
        for entry in layout.entries().iter().filter(|entry| is_nameless(entry)) {
            if let Some(part) = self.part(entry)?
                && let Some(subject) = part.manifest.subject()
            {
                let subject = subject.digest;
                self.referrers.entry(subject).or_default().push(entry.clone());
            }
        }
        for entry in layout.entries() {
            let Some(subject) = tag_of(entry).and_then(|tag| listed_after(&tag)) else { continue };
            let Some(Manifest::Index(list)) = self.part(entry)?.map(|part| &part.manifest) else { continue };
            let listed = list.manifests.iter().filter(|it| media::is_manifest(&it.media_type));
            for referrer in listed.cloned().collect::<Vec<_>>() {
                let part = self.part(&referrer)?;
                if part.and_then(|part| part.manifest.subject()).map(|it| it.digest) != Some(subject) {
                    continue;
                }
                let known = self.referrers.entry(subject).or_default();
                if known.iter().all(|it| it.digest != referrer.digest) {
                    known.push(referrer);
                }
                self.lists.insert(entry.digest);
            }
        }
        Ok(())
    }

    /// A manifest with what it lists; `None` when it is not in the layout.
    fn part(&mut self, descriptor: &Descriptor) -> Result<Option<&Part>, Problem> {
        let digest = descriptor.digest;
        if !self.plan.manifests.contains_key(&digest) {
            let Some((bytes, manifest)) = self.layout.manifest(descriptor)? else { return Ok(None) };
            self.held.add(bytes.len()).map_err(|why| {
                Problem::new(ErrorCode::TooLarge, why).hint("import its images one by one, by name")
            })?;
            self.plan.manifests.insert(digest, Part { bytes, manifest, absent: Vec::new() });
        }
        Ok(self.plan.manifests.get(&digest))
    }

    fn add(&mut self, entry: &Descriptor, place: Place) -> Result<(), Problem> {
        let mut image = Image { place, digest: entry.digest, pushes: Vec::new(), referrers: 0 };
        let mut seen = HashSet::new();
        let mut steps = vec![Step::Enter(entry.clone(), 0, Role::Image)];
        while let Some(step) = steps.pop() {
            match step {
                Step::Enter(descriptor, depth, role) if seen.insert(descriptor.digest) => {
                    if depth > limit::DEPTH {
                        let message =
                            format!("{} lies more than {} manifests deep", descriptor.digest, limit::DEPTH);
                        return Err(Problem::new(ErrorCode::ManifestInvalid, message));
                    }
                    let children = self.children(&descriptor)?;
                    steps.push(Step::Leave(descriptor.digest, depth, role));
                    steps
                        .extend(children.into_iter().rev().map(|it| Step::Enter(it, depth + 1, Role::Image)));
                }
                Step::Enter(..) => {}
                Step::Leave(digest, depth, role) => {
                    image.pushes.push(digest);
                    image.referrers += usize::from(role == Role::Referrer);
                    let referrers = self.referrers.get(&digest).into_iter().flatten().cloned();
                    steps.extend(referrers.map(|it| Step::Enter(it, depth + 1, Role::Referrer)));
                }
            }
        }
        self.plan.images.push(image);
        Ok(())
    }

    /// What an index lists that the layout has; what it has not is noted.
    fn children(&mut self, descriptor: &Descriptor) -> Result<Vec<Descriptor>, Problem> {
        let Some(part) = self.part(descriptor)? else {
            let message = format!("`{}` does not have {}", self.layout.path().display(), descriptor.digest);
            return Err(Problem::new(ErrorCode::NotFound, message));
        };
        let Manifest::Index(index) = &part.manifest else { return Ok(Vec::new()) };
        let listed: Vec<Descriptor> =
            index.manifests.iter().filter(|child| media::is_manifest(&child.media_type)).cloned().collect();
        let (mut there, mut absent) = (Vec::new(), Vec::new());
        for child in listed {
            if self.part(&child)?.is_some() { there.push(child) } else { absent.push(child.digest) }
        }
        if let Some(part) = self.plan.manifests.get_mut(&descriptor.digest) {
            part.absent = absent;
        }
        Ok(there)
    }
}

/// The images to push, and where each goes.
fn chosen(
    layout: &Layout,
    wish: &Wish,
    others: &HashSet<Digest>,
) -> Result<Vec<(Descriptor, Place)>, Problem> {
    let is_root = |entry: &&Descriptor| {
        let is_list = || tag_of(entry).and_then(|tag| listed_after(&tag)).is_some();
        !(others.contains(&entry.digest) && (is_nameless(entry) || is_list()))
    };
    let mut roots: Vec<&Descriptor> = layout.entries().iter().filter(is_root).collect();
    if let Some(name) = &wish.name {
        roots = layout.entries().iter().filter(|entry| is_called(entry, name)).collect();
    }
    let at = layout.path().display();
    match (&wish.destination, roots.as_slice()) {
        (_, []) => Err(Problem::new(ErrorCode::NotFound, format!("`{at}` has no such image"))),
        (Some(destination), [one]) => {
            let tag = destination.tag.clone().or_else(|| tag_of(one));
            let place = Place { repository: destination.repository.clone(), tag };
            Ok(vec![((*one).clone(), below(place, wish)?)])
        }
        (Some(_), several) => {
            let message = format!("`{at}` has {} images, and one destination", several.len());
            Err(Problem::new(ErrorCode::Invalid, message)
                .hint("name one with `oci:DIR:NAME` or `oci-archive:FILE:NAME`"))
        }
        (None, all) => all.iter().map(|entry| Ok(((*entry).clone(), below(named(entry)?, wish)?))).collect(),
    }
}

fn below(place: Place, wish: &Wish) -> Result<Place, Problem> {
    match &wish.below {
        Some(prefix) => place.below(prefix),
        None => Ok(place),
    }
}

fn named(entry: &Descriptor) -> Result<Place, Problem> {
    Place::of(entry).ok_or_else(|| {
        let digest = entry.digest;
        let message = match annotation(entry, REF_NAME) {
            Some(name) => format!("{digest} has no repository, only the name `{name}`"),
            None => format!("{digest} has no name"),
        };
        Problem::new(ErrorCode::Invalid, message)
            .hint("say where it goes: `seaworthy image import SOURCE REPOSITORY:TAG`")
    })
}

/// As typed behind a layout: a name as it stands, `prod/web:1`, a tag, or a digest.
fn is_called(entry: &Descriptor, name: &str) -> bool {
    let as_it_stands = [REF_NAME, IMAGE_NAME].iter().any(|key| annotation(entry, key) == Some(name));
    as_it_stands
        || Place::of(entry).is_some_and(|place| place.to_string() == name)
        || tag_of(entry).as_ref().map(Tag::as_str) == Some(name)
        || name.parse() == Ok(entry.digest)
}

/// The manifest whose referrers a tag lists where there is no API for that (distribution spec, "Referrers Tag Schema").
fn listed_after(tag: &Tag) -> Option<Digest> {
    let (algorithm, hex) = tag.as_str().split_once('-')?;
    format!("{algorithm}:{hex}").parse().ok()
}

fn is_nameless(entry: &Descriptor) -> bool {
    Place::of(entry).is_none() && tag_of(entry).is_none()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verbs::transfer::made::{Made, digest, named as called};

    fn order(plan: &Plan) -> Vec<Vec<Digest>> {
        plan.images.iter().map(|image| image.pushes.clone()).collect()
    }

    #[test]
    fn children_go_before_parents_and_subjects_before_what_refers_to_them() {
        let made = Made::new();
        let (one, two) = (made.image(&[b"one"], None), made.image(&[b"two"], None));
        let index = made.index(&[&one, &two]);
        let sbom = made.image(&[b"sbom"], Some(&one));
        let signature = made.image(&[b"signature"], Some(&sbom));
        let stray = made.image(&[b"stray"], Some(&made.image(&[b"elsewhere"], None)));
        let layout =
            made.listing(&[signature.clone(), stray.clone(), called(index.clone(), "a:1"), sbom.clone()]);
        let plan = Plan::read(&layout, &Wish::default()).expect("a plan");
        let wanted = [&one, &sbom, &signature, &two, &index].map(digest).to_vec();
        assert_eq!(order(&plan), [wanted]);
        assert_eq!(plan.images.first().map(|image| image.referrers), Some(2));
        assert_eq!(plan.left, [digest(&stray)]);
    }

    /// As clients leave it that wrote for registries without a list of referrers.
    #[test]
    fn lists_that_are_named_after_their_subject_are_followed() {
        let made = Made::new();
        let image = made.image(&[b"one"], None);
        let (sbom, other) = (made.image(&[b"sbom"], Some(&image)), made.image(&[b"other"], None));
        let named = called(made.image(&[b"named"], Some(&image)), "mine");
        let list = made.index(&[&sbom, &other, &named]);
        let tag = digest(&image).to_string().replace(':', "-");
        let layout = made.listing(&[called(image.clone(), "v1"), called(list.clone(), &tag), named.clone()]);
        let wish = |name: Option<&str>| Wish {
            name: name.map(str::to_owned),
            destination: Place::parse("a:1"),
            below: None,
        };
        let plan = Plan::read(&layout, &wish(Some("v1"))).expect("a plan");
        let mut pushed = order(&plan).concat();
        assert_eq!(pushed.first(), Some(&digest(&image)));
        pushed.sort();
        let mut expected = [&image, &sbom, &named].map(digest);
        expected.sort();
        assert_eq!(pushed, expected, "what does not refer to it does not come along");
        assert!(Plan::read(&layout, &wish(None)).is_err(), "`v1` and `mine` are two images");
        let asked = Plan::read(&layout, &wish(Some(&tag))).expect("a plan");
        assert_eq!(asked.images.first().map(|image| image.digest), Some(digest(&list)));
    }

    #[test]
    fn one_image_goes_where_it_is_said_to() {
        let made = Made::new();
        let (one, two) = (made.image(&[b"one"], None), made.image(&[b"two"], None));
        let layout = made.listing(&[called(one.clone(), "a/b:1"), called(two.clone(), "latest")]);
        let wish = |name: Option<&str>, destination: Option<&str>, below: Option<&str>| Wish {
            name: name.map(str::to_owned),
            destination: destination.and_then(Place::parse),
            below: below.map(|text| text.parse().expect("a prefix")),
        };
        let by_digest = digest(&two).to_string();
        for (wish, expected) in [
            (wish(Some("a/b:1"), None, None), Some("a/b:1")),
            (wish(Some("1"), None, Some("air")), Some("air/a/b:1")),
            (wish(Some("latest"), Some("c"), None), Some("c:latest")),
            (wish(Some(&by_digest), Some("c:2"), None), Some("c:2")),
            (wish(Some("latest"), None, None), None),
            (wish(Some("none"), None, None), None),
            (wish(None, None, None), None),
            (wish(None, Some("c:2"), None), None),
        ] {
            let plan = Plan::read(&layout, &wish);
            let places: Vec<String> =
                plan.iter().flat_map(|plan| &plan.images).map(|image| image.place.to_string()).collect();
            assert_eq!(places.first().map(String::as_str), expected, "{wish:?}: {:?}", plan.err());
            assert!(places.len() < 2, "{places:?}");
        }
    }

    #[test]
    fn layouts_are_bounded_in_depth() {
        for (levels, is_fine) in [(limit::DEPTH, true), (limit::DEPTH + 1, false)] {
            let made = Made::new();
            let mut inner = made.image(&[b"one"], None);
            for _ in 0..levels {
                inner = made.index(&[&inner]);
            }
            let layout = made.listing(&[called(inner, "a:1")]);
            assert_eq!(Plan::read(&layout, &Wish::default()).is_ok(), is_fine, "{levels}");
        }
    }
}
