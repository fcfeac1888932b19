//! The proof that a segment is safe to read.

use seaworthy_model::Severity;

use super::{
    KIND_BEFORE, KIND_OPEN, KIND_THROUGH, NONE,
    read::{SegmentError, View, count, numbers, piece},
    write::STATES,
};

impl View<'_> {
    /// Checks every number once, so that readers may trust them.
    pub(super) fn check(self) -> Result<(), SegmentError> {
        let widths = [
            ("text", self.text_ends.len(), 4),
            ("key", self.key_ends.len(), 4),
            ("package", self.packages.len(), 16),
            ("row", self.rows.len(), 36),
            ("alias", self.aliases.len(), 4),
            ("span", self.spans.len(), 20),
            ("score", self.scores.len(), 8),
            ("id", self.ids.len(), 8),
            ("spoken", self.spoken.len(), 4),
        ];
        if let Some((section, ..)) = widths.into_iter().find(|(_, bytes, width)| bytes % width != 0) {
            return Err(SegmentError::Broken { section });
        }
        let checks: [(&'static str, bool); 9] = [
            ("text", ends_fit(self.text_ends, self.texts.len()) && self.texts_are_sorted()),
            ("key", ends_fit(self.key_ends, self.keys.len())),
            ("package", self.packages_fit()),
            ("row", self.rows_fit()),
            ("alias", numbers::<1>(self.aliases).all(|[text]| self.has_text(text))),
            ("span", numbers::<5>(self.spans).all(|span| self.span_fits(span))),
            (
                "score",
                self.sorted_ids(self.scores) && numbers::<2>(self.scores).all(|[_, bits]| in_unit(bits)),
            ),
            ("id", self.ids_fit()),
            ("spoken", numbers::<1>(self.spoken).all(|[text]| self.has_text(text))),
        ];
        match checks.into_iter().find(|(_, holds)| !holds) {
            Some((section, _)) => Err(SegmentError::Broken { section }),
            None => Ok(()),
        }
    }

    fn has_text(self, number: u32) -> bool {
        number < count::<1>(self.text_ends)
    }

    /// Distinct, ascending and UTF-8: numbers order like texts.
    fn texts_are_sorted(self) -> bool {
        let mut last: Option<&[u8]> = None;
        (0..count::<1>(self.text_ends)).all(|number| {
            let Some(text) = piece(self.text_ends, self.texts, number) else { return false };
            last.replace(text).is_none_or(|last| last < text) && str::from_utf8(text).is_ok()
        })
    }

    fn packages_fit(self) -> bool {
        let rows = u64::from(count::<9>(self.rows));
        let sorted = numbers::<4>(self.packages).zip(numbers::<4>(self.packages).skip(1)).all(
            |([release, source, ..], [next_release, next_source, ..])| {
                (release, source) < (next_release, next_source)
            },
        );
        sorted
            && numbers::<4>(self.packages).all(|[release, source, first, many]| {
                self.has_text(release) && self.has_text(source) && u64::from(first) + u64::from(many) <= rows
            })
    }

    fn rows_fit(self) -> bool {
        let (aliases, spans) = (u64::from(count::<1>(self.aliases)), u64::from(count::<5>(self.spans)));
        numbers::<9>(self.rows).all(
            |[id, record, rated_by, summary, codes, alias, alias_count, span, span_count]| {
                [id, record, rated_by, summary].into_iter().all(|text| self.has_text(text))
                    && ((codes >> 8) as usize) < Severity::ALL.len()
                    && ((codes & 0xff) as usize) < STATES.len()
                    && u64::from(alias) + u64::from(alias_count) <= aliases
                    && u64::from(span) + u64::from(span_count) <= spans
            },
        )
    }

    fn span_fits(self, [from, from_key, to, to_key, kind]: [u32; 5]) -> bool {
        let pair = |text: u32, key: u32| {
            (text == NONE && key == NONE) || (self.has_text(text) && key < count::<1>(self.key_ends))
        };
        pair(from, from_key)
            && pair(to, to_key)
            && match kind {
                KIND_OPEN => to == NONE,
                KIND_BEFORE | KIND_THROUGH => to != NONE,
                _ => false,
            }
    }

    fn sorted_ids(self, pairs: &[u8]) -> bool {
        numbers::<2>(pairs).all(|[text, _]| self.has_text(text))
            && numbers::<2>(pairs).zip(numbers::<2>(pairs).skip(1)).all(|([id, _], [next, _])| id < next)
    }

    fn ids_fit(self) -> bool {
        let packages = count::<4>(self.packages);
        numbers::<2>(self.ids).all(|[text, package]| self.has_text(text) && package < packages)
            && numbers::<2>(self.ids).zip(numbers::<2>(self.ids).skip(1)).all(|(pair, next)| pair < next)
    }
}

fn in_unit(bits: u32) -> bool {
    (0.0..=1.0).contains(&f32::from_bits(bits))
}

fn ends_fit(ends: &[u8], length: usize) -> bool {
    let mut last = 0;
    numbers::<1>(ends).all(|[end]| std::mem::replace(&mut last, end) <= end) && last as usize == length
}
