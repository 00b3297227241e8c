//! Objects in which no name occurs twice.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Refuses an object in which a name occurs twice, at any depth: two readers could each take
/// another one of the values (RFC 8259, section 4).
pub(crate) fn check(raw: &RawValue) -> Result<(), serde_json::Error> {
    Distinct.deserialize(&mut serde_json::Deserializer::from_str(raw.get()))
}

struct Distinct;

impl<'de> DeserializeSeed<'de> for Distinct {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut names = BTreeSet::<Name<'de>>::new();
        while let Some(name) = map.next_key()? {
            if !names.insert(name) {
                return Err(A::Error::custom("a name stands twice in an object"));
            }
            map.next_value_seed(Distinct)?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        while list.next_element_seed(Distinct)?.is_some() {}
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }
}

#[derive(Deserialize, PartialEq, Eq, PartialOrd, Ord)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_name_may_stand_once_in_each_object() {
        let many = |last: &str| {
            let names: Vec<String> = (0..100).map(|number| format!("\"n{number}\":0")).collect();
            format!("{{{},\"{last}\":0}}", names.join(","))
        };
        for (text, is_distinct) in [
            (r#"{}"#, true),
            (r#"{"a":1,"b":{"a":1,"c":[{"a":null},{"a":-1.5}]}}"#, true),
            (r#"{"a":1,"a":1}"#, false),
            (r#"{"a":1,"A":true}"#, true),
            (r#"{"é":"","\u00e9":""}"#, false),
            (r#"{"a":[0,{"b":1,"c":2,"b":3}]}"#, false),
            (&many("n100"), true),
            (&many("n3"), false),
            (&many("n77"), false),
        ] {
            let raw = RawValue::from_string(text.to_owned()).unwrap();
            assert_eq!(check(&raw).is_ok(), is_distinct, "{text}");
        }
    }
}
