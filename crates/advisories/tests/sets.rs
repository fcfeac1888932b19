//! The inverted index against a map that is searched from end to end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use seaworthy_advisories::{PackageSetIndex, PackageVersion};
use seaworthy_model::ContentId;

#[derive(Clone, Debug)]
enum Step {
    AddSet(u8, Vec<(u8, u8)>),
    Assign(u8, u8),
    RemoveContent(u8),
    RemoveSet(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        (0..6_u8, prop::collection::vec((0..4_u8, 0..3_u8), 0..5))
            .prop_map(|(set, packages)| Step::AddSet(set, packages)),
        (0..8_u8, 0..6_u8).prop_map(|(content, set)| Step::Assign(content, set)),
        (0..8_u8).prop_map(Step::RemoveContent),
        (0..6_u8).prop_map(Step::RemoveSet),
    ]
}

fn content(number: u8) -> ContentId {
    ContentId::from_bytes(&[number; 32]).unwrap()
}

fn names(packages: &[(u8, u8)]) -> Vec<(String, String)> {
    packages.iter().map(|(source, version)| (format!("s{source}"), format!("v{version}"))).collect()
}

#[derive(Default)]
struct Naive {
    sets: BTreeMap<u8, BTreeSet<(u8, u8)>>,
    contents: BTreeMap<u8, u8>,
}

proptest! {
    #[test]
    fn equals_a_naive_map(steps in prop::collection::vec(step(), 0..40)) {
        let (mut index, mut naive) = (PackageSetIndex::new(), Naive::default());
        for step in steps {
            match step {
                Step::AddSet(set, packages) => {
                    let texts = names(&packages);
                    let versions: Vec<_> = texts.iter().map(|(source, version)| PackageVersion { release: "r", source, version }).collect();
                    index.add_set(&set.to_string(), &versions);
                    naive.sets.entry(set).or_insert_with(|| packages.into_iter().collect());
                }
                Step::Assign(number, set) => {
                    let known = naive.sets.contains_key(&set);
                    prop_assert_eq!(index.assign(&content(number), &set.to_string()), known);
                    if known {
                        naive.contents.insert(number, set);
                    }
                }
                Step::RemoveContent(number) => {
                    index.remove_content(&content(number));
                    naive.contents.remove(&number);
                }
                Step::RemoveSet(set) => {
                    index.remove_set(&set.to_string());
                    naive.sets.remove(&set);
                    naive.contents.retain(|_, other| *other != set);
                }
            }
        }
        let sorted = |sets: Vec<&str>| sets.into_iter().map(str::to_owned).collect::<BTreeSet<_>>();
        for source in 0..4 {
            let expected: BTreeSet<_> = naive.sets.iter().filter(|(_, packages)| packages.iter().any(|(other, _)| *other == source)).map(|(set, _)| set.to_string()).collect();
            prop_assert_eq!(sorted(index.sets_with([("r", format!("s{source}").as_str())])), expected);
            for version in 0..3 {
                let (name, text) = (format!("s{source}"), format!("v{version}"));
                let expected: BTreeSet<_> = naive.sets.iter().filter(|(_, packages)| packages.contains(&(source, version))).map(|(set, _)| set.to_string()).collect();
                prop_assert_eq!(sorted(index.sets_at(PackageVersion { release: "r", source: &name, version: &text })), expected);
            }
        }
        prop_assert!(index.sets_with([("other", "s0")]).is_empty());
        let filled: BTreeSet<_> = naive.sets.iter().filter(|(_, packages)| !packages.is_empty()).map(|(set, _)| set.to_string()).collect();
        prop_assert_eq!(sorted(index.sets_of_release("r")), filled);
        for set in 0..6_u8 {
            let expected: BTreeSet<_> = naive.contents.iter().filter(|(_, other)| **other == set).map(|(number, _)| content(*number)).collect();
            prop_assert_eq!(index.contents_of(&set.to_string()).copied().collect::<BTreeSet<_>>(), expected);
        }
    }
}
