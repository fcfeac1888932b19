use std::fmt;

use serde::{
    Deserialize,
    de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor},
};

use crate::{Tag, json};

/// Why nothing more is read of a list of tags: whose list it is says who reads it, and so what is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TagListError {
    /// It is no object that says at least whose tags they are, or a name is no text.
    NoList,
    /// What is wanted of it does not fit.
    TooMany,
}

/// Tags as lists name them, page by page (distribution spec, "Listing Tags"): those that are wanted, at most so many.
///
/// Nothing else of a page is kept while it is read, so it takes as much memory as its tags do.
pub struct TagList<F> {
    tags: Vec<Tag>,
    most: usize,
    is_wanted: F,
}

impl<F: Fn(&Tag) -> bool> TagList<F> {
    /// An empty list.
    pub const fn new(most: usize, is_wanted: F) -> Self {
        Self { tags: Vec::new(), most, is_wanted }
    }

    /// Adds the tags of one page, in the order that it has. Names that are no tags are left out.
    pub fn read(&mut self, page: &[u8]) -> Result<(), TagListError> {
        match json::read_object_with(page, Page(self)) {
            _ if self.tags.len() > self.most => Err(TagListError::TooMany),
            Ok(()) => Ok(()),
            Err(_) => Err(TagListError::NoList),
        }
    }

    /// All of them.
    pub fn into_tags(self) -> Vec<Tag> {
        self.tags
    }
}

/// `{"name": …, "tags": […]}`.
struct Page<'l, F>(&'l mut TagList<F>);

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "lowercase")]
enum Field {
    Name,
    Tags,
    #[serde(other)]
    Other,
}

impl<'de, F: Fn(&Tag) -> bool> DeserializeSeed<'de> for Page<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de, F: Fn(&Tag) -> bool> Visitor<'de> for Page<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of tags")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        let mut is_list = false;
        while let Some(field) = fields.next_key()? {
            match field {
                Field::Tags => fields.next_value_seed(Names(&mut *self.0))?,
                Field::Name | Field::Other => drop(fields.next_value::<IgnoredAny>()?),
            }
            is_list |= matches!(field, Field::Tags | Field::Name);
        }
        if is_list { Ok(()) } else { Err(A::Error::missing_field("tags")) }
    }
}

struct Names<'l, F>(&'l mut TagList<F>);

impl<'de, F: Fn(&Tag) -> bool> DeserializeSeed<'de> for Names<'_, F> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, F: Fn(&Tag) -> bool> Visitor<'de> for Names<'_, F> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("names of tags")
    }

    /// As some say that there are none.
    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut names: A) -> Result<(), A::Error> {
        while let Some(name) = names.next_element_seed(Name)? {
            self.0.tags.extend(name.filter(&self.0.is_wanted));
            if self.0.tags.len() > self.0.most {
                return Err(A::Error::custom("more tags than are read"));
            }
        }
        Ok(())
    }
}

struct Name;

impl<'de> DeserializeSeed<'de> for Name {
    type Value = Option<Tag>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Option<Tag>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name {
    type Value = Option<Tag>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, name: &str) -> Result<Option<Tag>, E> {
        Ok(name.parse().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pages: &[&str], most: usize) -> Result<Vec<String>, TagListError> {
        let mut list = TagList::new(most, |tag: &Tag| !tag.as_str().starts_with('x'));
        pages.iter().try_for_each(|page| list.read(page.as_bytes()))?;
        Ok(list.into_tags().iter().map(ToString::to_string).collect())
    }

    #[test]
    fn lists_of_tags_are_read() {
        for (page, names) in [
            (r#"{"name":"a","tags":["1","2"]}"#, Some(&["1", "2"][..])),
            (r#"{"tags":["1"]}"#, Some(&["1"])),
            (r#"{"tags":["\u0031","x1","no tag","","/"],"more":{"a":[null]}}"#, Some(&["1"])),
            (r#"{"name":"a","tags":null}"#, Some(&[])),
            (r#"{"name":"a"}"#, Some(&[])),
            ("{}", None),
            (r#"["a",["1"]]"#, None),
            (r#"{"name":"a","tags":"1"}"#, None),
            (r#"{"name":"a","tags":{}}"#, None),
            (r#"{"name":"a","tags":["1",2]}"#, None),
            (r#"{"name":"a","tags":["1",null]}"#, None),
            (r#"{"name":"a","tags":["1"],"tags":["2"]}"#, None),
            (r#"{"name":"a","tags":["1"],"t\u0061gs":["2"]}"#, None),
            (r#"{"tags":["1"],"more":{"a":1,"a":2}}"#, None),
            (r#"{"tags":["1"]}{}"#, None),
            (r#"{"tags":["1"],"#, None),
            (r#"{"errors":[{"code":"DENIED"}]}"#, None),
            ("", None),
        ] {
            let names = names.map(|names| names.iter().map(ToString::to_string).collect());
            assert_eq!(read(&[page], 2), names.ok_or(TagListError::NoList), "{page}");
        }
    }

    #[test]
    fn no_more_is_read_than_fits() {
        let (two, three) = (r#"{"tags":["1","x","2"]}"#, r#"{"tags":["3"#);
        assert_eq!(read(&[two], 2).map(|tags| tags.len()), Ok(2));
        assert_eq!(read(&[two, r#"{"tags":["x","y z"]}"#], 2).map(|tags| tags.len()), Ok(2));
        assert_eq!(read(&[two, three], 2), Err(TagListError::NoList));
        let mut list = TagList::new(2, |_: &Tag| true);
        let many = format!("{{\"tags\":[{}\"1\"]}}", "\"1\",".repeat(100));
        assert_eq!(list.read(many.as_bytes()), Err(TagListError::TooMany));
        assert_eq!(list.into_tags().len(), 3);
        // Not even whether it is JSON behind that.
        assert_eq!(read(&[two, &format!("{three}\", no text")], 2), Err(TagListError::TooMany));
    }
}
