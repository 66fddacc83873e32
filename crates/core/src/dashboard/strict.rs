//! JSON that is taken at its word.
//!
//! Left to itself serde reads a list where a struct is expected, and an object where a variant is. Here an
//! object is an object and a word is a word; each form says what it expects, for the message.

use super::Invalid;
use chrono::{NaiveDate, TimeDelta};
use serde::de::value::{Error as ValueError, MapAccessDeserializer, StrDeserializer};
use serde::de::{
    DeserializeSeed, Deserializer, Error, IgnoredAny, IntoDeserializer, MapAccess, SeqAccess,
    Unexpected, Visitor,
};
use serde::{Deserialize, Serialize, Serializer};
use serde_json::value::RawValue;
use serde_path_to_error::Segment;
use std::fmt;
use std::marker::PhantomData;
use uuid::Uuid;

/// Characters of a key or a reason that a message shows.
const SHOWN: usize = 300;

/// Something that JSON can hold.
pub trait Form {
    type Value;

    /// # Errors
    /// What the form does not allow.
    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self::Value, D::Error>;
}

/// A field that may be left out.
pub fn optional<'de, F: Form, D: Deserializer<'de>>(from: D) -> Result<Option<F::Value>, D::Error> {
    struct Seed<F>(PhantomData<F>);

    impl<'de, F: Form> Visitor<'de> for Seed<F> {
        type Value = Option<F::Value>;

        fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
            f.write_str("a value or null")
        }

        fn visit_none<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_unit<E: Error>(self) -> Result<Self::Value, E> {
            Ok(None)
        }

        fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Self::Value, D::Error> {
            F::read(from).map(Some)
        }
    }

    from.deserialize_option(Seed::<F>(PhantomData))
}

/// A field that is the default where it is left out.
pub fn defaulted<'de, F, D>(from: D) -> Result<F::Value, D::Error>
where
    F: Form,
    F::Value: Default,
    D: Deserializer<'de>,
{
    Ok(optional::<F, D>(from)?.unwrap_or_default())
}

/// A field that has to be there.
pub fn required<'de, F: Form, D: Deserializer<'de>>(from: D) -> Result<F::Value, D::Error> {
    F::read(from)
}

/// A text without its middle, where it is too long: what was expected stands at its end.
fn cut(text: &str) -> String {
    let count = text.chars().count();
    if count <= SHOWN {
        return text.to_owned();
    }
    let (head, tail) = (SHOWN / 3, SHOWN - SHOWN / 3 - 1);
    let mut short: String = text.chars().take(head).collect();
    short.push('…');
    short.extend(text.chars().skip(count - tail));
    short
}

/// The object that a text holds; `name` is what its path begins with.
pub fn object<T: for<'de> Deserialize<'de>>(name: &str, json: &str) -> Result<T, Invalid> {
    let mut reader = serde_json::Deserializer::from_str(json);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut reader, &mut track);
    match Object::<T>::read(tracked).and_then(|value| reader.end().map(|()| value)) {
        Ok(value) => Ok(value),
        Err(error) => {
            let mut path = name.to_owned();
            for segment in &track.path() {
                match segment {
                    Segment::Seq { index } => path.push_str(&format!("[{index}]")),
                    Segment::Map { key } | Segment::Enum { variant: key } => {
                        path.push('.');
                        path.push_str(&cut(key));
                    }
                    Segment::Unknown => path.push_str(".?"),
                }
            }
            let why = error.to_string();
            // Without " at line 1 column 17": the path says where.
            let end = why.rfind(" at line ").unwrap_or(why.len());
            Err(Invalid::new(path, cut(&why[..end])))
        }
    }
}

/// A text that stands on its own, outside of JSON; `path` is what it is called.
pub fn text<F: Form>(path: &str, text: &str) -> Result<F::Value, Invalid> {
    let reader: StrDeserializer<ValueError> = text.into_deserializer();
    F::read(reader).map_err(|error| Invalid::new(path, cut(&error.to_string())))
}

/// An object with the fields of a struct.
pub struct Object<T>(PhantomData<T>);

impl<T: for<'de> Deserialize<'de>> Form for Object<T> {
    type Value = T;

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        from.deserialize_map(Self(PhantomData))
    }
}

impl<'de, T: Deserialize<'de>> Visitor<'de> for Object<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<T, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map))
    }
}

/// A list of so many items.
pub struct List<F, const LOW: usize, const HIGH: usize>(PhantomData<F>);

impl<F: Form, const LOW: usize, const HIGH: usize> Form for List<F, LOW, HIGH> {
    type Value = Vec<F::Value>;

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self::Value, D::Error> {
        from.deserialize_seq(Self(PhantomData))
    }
}

impl<'de, F: Form, const LOW: usize, const HIGH: usize> Visitor<'de> for List<F, LOW, HIGH> {
    type Value = Vec<F::Value>;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a list of {LOW} to {HIGH} items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
        struct Item<F>(PhantomData<F>);

        impl<'de, F: Form> DeserializeSeed<'de> for Item<F> {
            type Value = F::Value;

            fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<F::Value, D::Error> {
                F::read(from)
            }
        }

        let mut list = Vec::new();
        while list.len() < HIGH {
            match items.next_element_seed(Item::<F>(PhantomData))? {
                Some(item) => list.push(item),
                None if list.len() < LOW => {
                    return Err(A::Error::invalid_length(list.len(), &self));
                }
                None => return Ok(list),
            }
        }
        let mut count = HIGH;
        while items.next_element::<IgnoredAny>()?.is_some() {
            count += 1;
        }
        if count > HIGH {
            return Err(A::Error::invalid_length(count, &self));
        }
        Ok(list)
    }
}

/// Any text, up to so many characters.
pub struct Text<const HIGH: usize>;

impl<const HIGH: usize> Form for Text<HIGH> {
    type Value = String;

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        from.deserialize_str(Self)
    }
}

impl<const HIGH: usize> Visitor<'_> for Text<HIGH> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a string of at most {HIGH} characters")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        match text.chars().count() {
            count if count > HIGH => Err(E::invalid_length(count, &self)),
            _ => Ok(text.to_owned()),
        }
    }
}

/// A text that is not blank, up to so many characters.
pub struct Name<const HIGH: usize>;

impl<const HIGH: usize> Form for Name<HIGH> {
    type Value = String;

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
        from.deserialize_str(Self)
    }
}

impl<const HIGH: usize> Visitor<'_> for Name<HIGH> {
    type Value = String;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a string of 1 to {HIGH} characters that is not blank")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<String, E> {
        match text.chars().count() {
            count if count > HIGH => Err(E::invalid_length(count, &self)),
            _ if text.trim().is_empty() => Err(E::invalid_value(Unexpected::Str(text), &self)),
            _ => Ok(text.to_owned()),
        }
    }
}

/// A whole number from `LOW` to `HIGH`.
pub struct Whole<const LOW: u32, const HIGH: u32>;

impl<const LOW: u32, const HIGH: u32> Form for Whole<LOW, HIGH> {
    type Value = u32;

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
        from.deserialize_u32(Self)
    }
}

impl<const LOW: u32, const HIGH: u32> Visitor<'_> for Whole<LOW, HIGH> {
    type Value = u32;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        write!(f, "a whole number from {LOW} to {HIGH}")
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<u32, E> {
        u32::try_from(value)
            .ok()
            .filter(|value| (LOW..=HIGH).contains(value))
            .ok_or_else(|| E::invalid_value(Unexpected::Unsigned(value), &self))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<u32, E> {
        match u64::try_from(value) {
            Ok(value) => self.visit_u64(value),
            Err(_) => Err(E::invalid_value(Unexpected::Signed(value), &self)),
        }
    }
}

/// True or false.
pub struct Bool;

impl Form for Bool {
    type Value = bool;

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<bool, D::Error> {
        bool::deserialize(from)
    }
}

/// What is written as a string of its own form.
pub trait Spelt: Sized {
    /// For messages: `a uuid`.
    const EXPECTED: &'static str;

    fn spelt(text: &str) -> Option<Self>;
}

/// A string of the form of `T`.
pub struct Word<T>(PhantomData<T>);

impl<T: Spelt> Form for Word<T> {
    type Value = T;

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<T, D::Error> {
        from.deserialize_str(Self(PhantomData))
    }
}

impl<T: Spelt> Visitor<'_> for Word<T> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter) -> fmt::Result {
        f.write_str(T::EXPECTED)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
        T::spelt(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }
}

impl Spelt for Uuid {
    const EXPECTED: &'static str = "a uuid";

    fn spelt(text: &str) -> Option<Self> {
        // As the server writes it; of the other ways to write one, it does not read all.
        (text.len() == 36).then(|| Self::try_parse(text).ok())?
    }
}

impl Spelt for NaiveDate {
    const EXPECTED: &'static str = "a date of the form YYYY-MM-DD, from 1900 to 2200";

    fn spelt(text: &str) -> Option<Self> {
        let days = crate::instant::parse_date(text).ok()?;
        Self::from_ymd_opt(2000, 1, 1)?.checked_add_signed(TimeDelta::days(days.into()))
    }
}

/// An object whose keys mean nothing here, as the text that it came as.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Custom(String);

impl Custom {
    #[must_use]
    pub fn json(&self) -> &str {
        &self.0
    }
}

impl Form for Custom {
    type Value = Self;

    fn read<'de, D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let raw = <Box<RawValue>>::deserialize(from)?;
        if !raw.get().starts_with('{') {
            return Err(Error::custom("expected an object"));
        }
        Ok(Self(raw.get().to_owned()))
    }
}

impl Serialize for Custom {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        raw(&self.0, to)
    }
}

/// Writes JSON that is JSON already.
pub fn raw<S: Serializer>(json: &str, to: S) -> Result<S::Ok, S::Error> {
    serde_json::from_str::<&RawValue>(json)
        .map_err(serde::ser::Error::custom)?
        .serialize(to)
}
