//! Catalogues of CVEs: CISA's known exploited vulnerabilities (JSON and CSV) and FIRST's EPSS scores.

use std::borrow::Cow;

use serde::Deserialize;

use crate::{ImportError, csv::Csv, document::Document, draft::Draft, limit};

/// Feed name of the catalogue of known exploited vulnerabilities, and what it covers.
pub(crate) const KEV: &str = "kev";
/// Feed name of the exploit prediction scores, and what they cover.
pub(crate) const EPSS: &str = "epss";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Kev {
    catalog_version: Option<String>,
    date_released: Option<String>,
    vulnerabilities: Vec<KevEntry>,
}

#[derive(Deserialize)]
struct KevEntry {
    #[serde(rename = "cveID")]
    cve: String,
}

/// The JSON form; its date is `dateReleased`, else `catalogVersion`.
pub(crate) fn kev_json(document: &Document<'_>) -> Result<Draft, ImportError> {
    let kev: Kev = document.parse("KEV catalogue")?;
    let mut draft = catalogue(KEV);
    draft.newest = kev.date_released.or_else(|| kev.catalog_version.map(|version| version.replace('.', "-")));
    for entry in &kev.vulnerabilities {
        score(&mut draft, document.path, &entry.cve, 1.0)?;
    }
    Ok(draft)
}

/// True for the header line of the CSV form.
pub(crate) fn is_kev_csv(first_line: &str) -> bool {
    first_line.split(',').map(|column| column.trim_matches('"')).any(|column| column == "cveID")
        && first_line.contains("dateAdded")
}

/// The CSV form; its date is the newest `dateAdded`.
pub(crate) fn kev_csv(document: &Document<'_>) -> Result<Draft, ImportError> {
    let mut csv = Csv::new(document.path, "KEV catalogue", document.text()?, 1);
    let mut fields = Vec::new();
    csv.read(&mut fields)?;
    let columns = fields.len();
    let column = |name: &str| fields.iter().position(|field| field == name);
    let (cve, added) = (column("cveID"), column("dateAdded"));
    let mut draft = catalogue(KEV);
    while csv.read(&mut fields)? {
        if fields.len() != columns {
            return Err(csv.error(format!("{} fields where the header has {columns}", fields.len())));
        }
        let field = |column: Option<usize>| {
            column.and_then(|column| fields.get(column)).map(Cow::as_ref).unwrap_or_default()
        };
        let (cve, added) = (field(cve), field(added));
        if !is_cve(cve) {
            return Err(csv.error(format!("`{}` is not a CVE id", shorten(cve))));
        }
        score(&mut draft, document.path, cve, 1.0)?;
        if draft.newest.as_deref() < Some(added) {
            draft.newest = Some(added.to_owned());
        }
    }
    Ok(draft)
}

/// True for the first line of a score file: a comment with the model, or the header itself.
pub(crate) fn is_epss(first_line: &str) -> bool {
    first_line.starts_with("#model_version:") || first_line.trim_end() == "cve,epss,percentile"
}

/// EPSS scores; the date is `score_date` of the comment line.
pub(crate) fn epss(document: &Document<'_>) -> Result<Draft, ImportError> {
    let mut draft = catalogue(EPSS);
    let (mut text, mut line) = (document.text()?, 1);
    if let Some((comment, rest)) = text.split_once('\n').filter(|(comment, _)| comment.starts_with('#')) {
        let date = comment.split(',').find_map(|part| part.trim().strip_prefix("score_date:"));
        draft.newest = date.map(|date| date.chars().take(40).collect());
        (text, line) = (rest, 2);
    }
    let mut csv = Csv::new(document.path, "EPSS scores", text, line);
    let mut fields = Vec::new();
    if !csv.read(&mut fields)?
        || fields.first().map(Cow::as_ref) != Some("cve")
        || fields.get(1).map(Cow::as_ref) != Some("epss")
    {
        return Err(csv.error("the header is not `cve,epss,percentile`".to_owned()));
    }
    while csv.read(&mut fields)? {
        let [cve, epss, ..] = fields.as_slice() else {
            return Err(csv.error("a line has fewer than 2 fields".to_owned()));
        };
        if !is_cve(cve) {
            return Err(csv.error(format!("`{}` is not a CVE id", shorten(cve))));
        }
        match epss.parse::<f32>() {
            Ok(value) if (0.0..=1.0).contains(&value) => score(&mut draft, document.path, cve, value.abs())?,
            _ => return Err(csv.error(format!("`{}` is not a probability", shorten(epss)))),
        }
    }
    Ok(draft)
}

fn catalogue(feed: &str) -> Draft {
    let mut draft = Draft::new(feed);
    draft.covers.insert(feed.to_owned());
    draft
}

fn score(draft: &mut Draft, path: &str, cve: &str, value: f32) -> Result<(), ImportError> {
    if cve.len() > limit::NAME_BYTES {
        return Err(ImportError::too_large(path, limit::NAME_BYTES as u64, "bytes in a CVE id"));
    }
    if draft.scores.len() >= limit::SCORES {
        return Err(ImportError::too_large(path, limit::SCORES as u64, "CVEs"));
    }
    let id = draft.texts.intern(cve).map_err(|e| ImportError::too_large(path, e.limit as u64, e.what))?;
    draft.scores.push((id, value));
    draft.records += 1;
    Ok(())
}

pub(crate) fn is_cve(id: &str) -> bool {
    let Some((year, number)) = id.strip_prefix("CVE-").and_then(|rest| rest.split_once('-')) else {
        return false;
    };
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    year.len() == 4 && digits(year) && (4..=19).contains(&number.len()) && digits(number)
}

pub(crate) fn shorten(text: &str) -> String {
    text.chars().take(60).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn document(text: &str) -> Document<'_> {
        Document { path: "f", bytes: text.as_bytes(), date: None }
    }

    fn scores(draft: &Draft) -> Vec<(String, f32)> {
        let texts = draft.texts.sorted();
        let text = |id| texts.iter().find(|(_, other)| *other == id).unwrap().0.to_owned();
        draft.scores.iter().map(|(id, value)| (text(*id), *value)).collect()
    }

    #[test]
    fn epss_with_and_without_comment() {
        let text = "#model_version:v1,score_date:2025-09-30T00:00:00+0000\ncve,epss,percentile\nCVE-2005-0406,0.5,0.9\n";
        let draft = epss(&document(text)).unwrap();
        assert_eq!(draft.newest.as_deref(), Some("2025-09-30T00:00:00+0000"));
        assert_eq!(scores(&draft), [("CVE-2005-0406".to_owned(), 0.5)]);
        assert_eq!(epss(&document("cve,epss,percentile\r\nCVE-2005-0406,1\r\n")).unwrap().records, 1);
    }

    #[test]
    fn epss_faults_name_their_line() {
        for (text, line) in [
            ("#model_version:v1\nCVE-2005-0406,0.5,0.9\n", 3),
            ("cve,epss,percentile\nCVE-2005-0406,NaN,0\n", 3),
            ("cve,epss,percentile\nCVE-2005-0406,1.01,0\n", 3),
            ("cve,epss,percentile\nCVE-2005-0406\n", 3),
            ("cve,epss,percentile\nGHSA-1,0.1,0\n", 3),
        ] {
            assert!(
                matches!(epss(&document(text)), Err(ImportError::Csv { line: found, .. }) if found == line),
                "{text}"
            );
        }
    }

    #[test]
    fn a_catalogue_ends_at_its_limit() {
        let mut draft = catalogue("epss");
        let id = draft.texts.intern("CVE-2020-0001").expect("text");
        draft.scores = vec![(id, 0.5); limit::SCORES - 1];
        assert!(score(&mut draft, "f", "CVE-2020-0002", 0.5).is_ok(), "at the limit");
        let refused = score(&mut draft, "f", "CVE-2020-0003", 0.5);
        assert!(matches!(refused, Err(ImportError::TooLarge { limit, .. }) if limit == limit::SCORES as u64));
        assert_eq!(draft.scores.len(), limit::SCORES);
    }

    #[test]
    fn kev_in_both_forms() {
        let json = r#"{"catalogVersion":"2026.08.07","vulnerabilities":[{"cveID":"CVE-2026-8037","new":1}]}"#;
        let draft = kev_json(&document(json)).unwrap();
        assert_eq!((draft.newest.as_deref(), draft.records), (Some("2026-08-07"), 1));
        let csv = "cveID,vendorProject,dateAdded\nCVE-2025-48384,\"Git, Inc\",2025-08-25\nCVE-2025-0001,x,2025-01-01\n";
        let draft = kev_csv(&document(csv)).unwrap();
        assert_eq!((draft.newest.as_deref(), draft.records), (Some("2025-08-25"), 2));
        assert!(kev_json(&document(r#"{"vulnerabilities":[{"cveID":7}]}"#)).is_err());
        assert!(kev_csv(&document("cveID,dateAdded\nCVE-2025-48384\n")).is_err());
    }
}
