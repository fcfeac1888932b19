//! What differs between two imports of one feed: only that is matched again.

use std::{cmp::Ordering, collections::BTreeSet, iter::Peekable};

use crate::{
    Segment,
    segment::{RowView, View},
};

/// What a new segment changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Touched {
    /// (release key, source package) whose rows differ.
    pub packages: BTreeSet<(String, String)>,
    /// CVEs that entered or left a catalogue, or whose value there changed; [`crate::Index::packages_with`]
    /// tells the packages.
    pub cves: BTreeSet<String>,
    /// Coverage keys that are covered now and were not, or the other way round: every image of these
    /// releases must be looked at, also where no package is touched.
    pub releases: BTreeSet<String>,
}

/// Compares a feed's segments; `None` is "not loaded".
pub fn touched(old: Option<&Segment>, new: Option<&Segment>) -> Touched {
    let mut touched = Touched::default();
    if let (Some(old), Some(new)) = (old, new)
        && old.content_hash() == new.content_hash()
    {
        return touched;
    }
    let covers = |segment: Option<&Segment>| -> BTreeSet<String> {
        segment.map(Segment::covers).unwrap_or_default().iter().cloned().collect()
    };
    touched.releases = covers(old).symmetric_difference(&covers(new)).cloned().collect();
    let views = (old.map(Segment::view), new.map(Segment::view));
    for ((release, source), old, new) in join(packages(views.0), packages(views.1)) {
        let same = match (old, new, views) {
            (Some(old), Some(new), (Some(old_view), Some(new_view))) => {
                same_rows(old_view, old, new_view, new)
            }
            _ => false,
        };
        if !same {
            touched.packages.insert((release.to_owned(), source.to_owned()));
        }
    }
    for (cve, old, new) in join(scores(views.0), scores(views.1)) {
        if old != new {
            touched.cves.insert(cve.to_owned());
        }
    }
    touched
}

fn same_rows(old_view: View<'_>, old: u32, new_view: View<'_>, new: u32) -> bool {
    let mut pairs = (old_view.rows_of(old), new_view.rows_of(new));
    loop {
        match (pairs.0.next(), pairs.1.next()) {
            (None, None) => return true,
            (Some(old), Some(new)) if same_row(&old, &new) => {}
            _ => return false,
        }
    }
}

fn same_row(old: &RowView<'_>, new: &RowView<'_>) -> bool {
    (old.id(), old.severity(), old.rated_by(), old.state(), old.summary())
        == (new.id(), new.severity(), new.rated_by(), new.state(), new.summary())
        && old.aliases().eq(new.aliases())
        && old.span_texts().eq(new.span_texts())
}

fn packages(view: Option<View<'_>>) -> impl Iterator<Item = ((&str, &str), u32)> {
    view.into_iter().flat_map(View::packages).map(|(release, source, number)| ((release, source), number))
}

fn scores(view: Option<View<'_>>) -> impl Iterator<Item = (&str, u32)> {
    view.into_iter().flat_map(View::scores).map(|(cve, value)| (cve, value.to_bits()))
}

/// Full outer join of two ascending sequences.
fn join<K: Ord + Copy, V: Copy>(
    old: impl Iterator<Item = (K, V)>,
    new: impl Iterator<Item = (K, V)>,
) -> impl Iterator<Item = (K, Option<V>, Option<V>)> {
    let (mut old, mut new) = (old.peekable(), new.peekable());
    std::iter::from_fn(move || {
        let order = match (old.peek(), new.peek()) {
            (None, None) => return None,
            (Some(_), None) => Ordering::Less,
            (None, Some(_)) => Ordering::Greater,
            (Some((old, _)), Some((new, _))) => old.cmp(new),
        };
        let take = |side: &mut Peekable<_>| side.next();
        match order {
            Ordering::Less => old.next().map(|(key, value)| (key, Some(value), None)),
            Ordering::Greater => take(&mut new).map(|(key, value)| (key, None, Some(value))),
            Ordering::Equal => {
                old.next().zip(new.next()).map(|((key, old), (_, new))| (key, Some(old), Some(new)))
            }
        }
    })
}
