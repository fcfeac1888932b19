//! An independent and slow reading of the same facts: JSON as values, versions by the words of
//! deb-version(7), no index.

use std::{cmp::Ordering, collections::BTreeMap};

use serde_json::Value;

/// Order of dpkg versions, written from the manual page.
pub(crate) fn compare(a: &str, b: &str) -> Ordering {
    let split = |text: &str| -> (u64, Vec<char>, Vec<char>) {
        let (epoch, rest) = text.split_once(':').unwrap_or(("0", text));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.parse().unwrap(), upstream.chars().collect(), revision.chars().collect())
    };
    let (a, b) = (split(a), split(b));
    a.0.cmp(&b.0).then_with(|| part(&a.1, &b.1)).then_with(|| part(&a.2, &b.2))
}

fn weight(c: Option<&char>) -> i32 {
    match c {
        None => 0,
        Some('~') => -1,
        Some(c) if c.is_ascii_digit() => 0,
        Some(c) if c.is_ascii_alphabetic() => i32::from(u8::try_from(*c).unwrap()),
        Some(c) => i32::from(u8::try_from(*c).unwrap()) + 256,
    }
}

fn part(a: &[char], b: &[char]) -> Ordering {
    let (mut i, mut j) = (0, 0);
    let digit = |text: &[char], at: usize| text.get(at).is_some_and(char::is_ascii_digit);
    while i < a.len() || j < b.len() {
        while (i < a.len() && !digit(a, i)) || (j < b.len() && !digit(b, j)) {
            let order = weight(a.get(i)).cmp(&weight(b.get(j)));
            if order != Ordering::Equal {
                return order;
            }
            i += 1;
            j += 1;
        }
        let number = |text: &[char], at: &mut usize| {
            let start = *at;
            while digit(text, *at) {
                *at += 1;
            }
            text[start.min(text.len())..(*at).min(text.len())]
                .iter()
                .collect::<String>()
                .parse::<u128>()
                .unwrap_or(0)
        };
        let order = number(a, &mut i).cmp(&number(b, &mut j));
        if order != Ordering::Equal {
            return order;
        }
    }
    Ordering::Equal
}

/// (source, CVE) → fixed version in one release; `None` is open, "0" never affected.
pub(crate) type Facts = BTreeMap<(String, String), Option<String>>;

pub(crate) fn tracker(json: &Value, codename: &str) -> Facts {
    let mut facts = Facts::new();
    for (source, cves) in json.as_object().unwrap() {
        for (cve, entry) in cves.as_object().unwrap() {
            if let Some(release) = entry["releases"].get(codename) {
                let fixed = release.get("fixed_version").map(|version| version.as_str().unwrap().to_owned());
                facts.insert((source.clone(), cve.clone()), fixed);
            }
        }
    }
    facts
}

/// Every fixed version that advisories name, with the advisory: (source, CVE) → [(advisory, version)].
pub(crate) fn osv(records: &[Value], ecosystem: &str) -> BTreeMap<(String, String), Vec<(String, String)>> {
    let mut facts: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for record in records {
        let id = record["id"].as_str().unwrap();
        for affected in record["affected"].as_array().unwrap() {
            if affected["package"]["ecosystem"] != ecosystem {
                continue;
            }
            let source = affected["package"]["name"].as_str().unwrap();
            let fixed = affected["ranges"][0]["events"][1]["fixed"].as_str().unwrap();
            for cve in record["upstream"].as_array().into_iter().flatten() {
                let key = (source.to_owned(), cve.as_str().unwrap().to_owned());
                facts.entry(key).or_default().push((id.to_owned(), fixed.to_owned()));
            }
        }
    }
    facts
}

/// A member of a tar archive, by the end of its name.
pub(crate) fn tar_member<'a>(tar: &'a [u8], ends_with: &str) -> &'a [u8] {
    let mut at = 0;
    let mut long = None;
    while at + 512 <= tar.len() && tar[at] != 0 {
        let text = |from: usize, to: usize| {
            String::from_utf8_lossy(&tar[at + from..at + to]).trim_matches(['\0', ' ']).to_owned()
        };
        let size = usize::from_str_radix(&text(124, 136), 8).unwrap();
        let content = &tar[at + 512..at + 512 + size];
        let name = long.take().unwrap_or_else(|| text(0, 100));
        match tar[at + 156] {
            b'x' => {
                let pax = String::from_utf8_lossy(content).into_owned();
                long = pax.split('\n').find_map(|line| Some(line.split_once("path=")?.1.to_owned()));
            }
            b'0' | 0 if name.ends_with(ends_with) => return content,
            _ => {}
        }
        at += 512 + size.next_multiple_of(512);
    }
    panic!("{ends_with} is not in the archive");
}
