//! The inverted index against a map that is searched from end to end.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use seaworthy_advisories::{PackageSetIndex, SetId};
use seaworthy_model::ContentId;

#[derive(Clone, Debug)]
enum Step {
    AddSet(u8, BTreeSet<u8>),
    AddContent(u8, BTreeSet<u8>),
    RemoveContent(u8),
}

fn step() -> impl Strategy<Value = Step> {
    let some = |most| prop::collection::btree_set(0..most, 0..4);
    prop_oneof![
        (0..6_u8, some(5_u8)).prop_map(|(set, packages)| Step::AddSet(set, packages)),
        (0..70_u8, some(6_u8)).prop_map(|(content, sets)| Step::AddContent(content, sets)),
        (0..70_u8).prop_map(Step::RemoveContent),
    ]
}

fn content(number: u8) -> ContentId {
    ContentId::from_bytes(&[number; 32]).unwrap()
}

fn ids(sets: &BTreeSet<u8>) -> Vec<SetId> {
    sets.iter().map(|set| [*set; 32]).collect()
}

#[derive(Default)]
struct Naive {
    sets: BTreeMap<u8, BTreeSet<u8>>,
    contents: BTreeMap<u8, BTreeSet<u8>>,
}

impl Naive {
    fn sets_with(&self, source: u8) -> BTreeSet<u8> {
        let has = |(set, packages): (&u8, &BTreeSet<u8>)| packages.contains(&source).then_some(*set);
        self.sets.iter().filter_map(has).collect()
    }
}

proptest! {
    #[test]
    fn equals_a_naive_map(steps in prop::collection::vec(step(), 0..120)) {
        let (mut index, mut naive) = (PackageSetIndex::new(), Naive::default());
        for step in steps {
            match step {
                Step::AddSet(set, packages) => {
                    let names: Vec<String> = packages.iter().map(|source| format!("s{source}")).collect();
                    index.add_set([set; 32], names.iter().map(|name| ("r", name.as_str())));
                    naive.sets.entry(set).or_insert(packages);
                }
                Step::AddContent(number, sets) => {
                    let is_new = !naive.contents.contains_key(&number);
                    prop_assert_eq!(index.add_content(content(number), &ids(&sets)), is_new);
                    let known = sets.into_iter().filter(|set| naive.sets.contains_key(set)).collect();
                    naive.contents.entry(number).or_insert(known);
                }
                Step::RemoveContent(number) => {
                    let sets = naive.contents.remove(&number).unwrap_or_default();
                    index.remove_content(&content(number), &ids(&sets));
                }
            }
        }
        let set = |sets: Vec<&SetId>| -> BTreeSet<u8> { sets.into_iter().map(|id| id[0]).collect() };
        for source in 0..5 {
            let name = format!("s{source}");
            let with = naive.sets_with(source);
            prop_assert_eq!(set(index.sets_with([("r", name.as_str()), ("r", name.as_str())])), with.clone());
            let hit: BTreeSet<_> = naive.contents.iter().filter(|(_, sets)| !sets.is_disjoint(&with)).map(|(number, _)| content(*number)).collect();
            let found: Vec<_> = index.contents_with([("r", name.as_str())]).copied().collect();
            prop_assert_eq!(found.len(), hit.len());
            prop_assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), hit);
        }
        prop_assert!(index.sets_with([("other", "s0")]).is_empty());
        let filled = naive.sets.iter().filter(|(_, packages)| !packages.is_empty()).map(|(set, _)| *set).collect();
        prop_assert_eq!(set(index.sets_of_release("r")), filled);
    }
}
