//! Countries by their everyday names, where a column holds their codes.

use crate::words::{Kind, Word};

/// ISO 3166-1 codes and English names of the countries that are asked about most.
const NAMES: &[(&str, &[&str])] = &[
    ("AE", &["united arab emirates", "uae"]),
    ("AR", &["argentina"]),
    ("AT", &["austria"]),
    ("AU", &["australia"]),
    ("BE", &["belgium"]),
    ("BG", &["bulgaria"]),
    ("BR", &["brazil"]),
    ("CA", &["canada"]),
    ("CH", &["switzerland"]),
    ("CL", &["chile"]),
    ("CN", &["china"]),
    ("CO", &["colombia"]),
    ("CY", &["cyprus"]),
    ("CZ", &["czech republic", "czechia"]),
    ("DE", &["germany"]),
    ("DK", &["denmark"]),
    ("EE", &["estonia"]),
    ("EG", &["egypt"]),
    ("ES", &["spain"]),
    ("FI", &["finland"]),
    ("FR", &["france"]),
    ("GB", &["united kingdom", "great britain", "uk"]),
    ("GR", &["greece"]),
    ("HK", &["hong kong"]),
    ("HR", &["croatia"]),
    ("HU", &["hungary"]),
    ("ID", &["indonesia"]),
    ("IE", &["ireland"]),
    ("IL", &["israel"]),
    ("IN", &["india"]),
    ("IS", &["iceland"]),
    ("IT", &["italy"]),
    ("JP", &["japan"]),
    ("KE", &["kenya"]),
    ("KR", &["south korea"]),
    ("LT", &["lithuania"]),
    ("LU", &["luxembourg"]),
    ("LV", &["latvia"]),
    ("MA", &["morocco"]),
    ("MT", &["malta"]),
    ("MX", &["mexico"]),
    ("MY", &["malaysia"]),
    ("NG", &["nigeria"]),
    ("NL", &["netherlands", "holland"]),
    ("NO", &["norway"]),
    ("NZ", &["new zealand"]),
    ("PE", &["peru"]),
    ("PH", &["philippines"]),
    ("PL", &["poland"]),
    ("PT", &["portugal"]),
    ("RO", &["romania"]),
    ("RS", &["serbia"]),
    ("SA", &["saudi arabia"]),
    ("SE", &["sweden"]),
    ("SG", &["singapore"]),
    ("SI", &["slovenia"]),
    ("SK", &["slovakia"]),
    ("TH", &["thailand"]),
    ("TR", &["turkey"]),
    ("TW", &["taiwan"]),
    ("UA", &["ukraine"]),
    ("US", &["united states of america", "united states", "usa"]),
    ("VN", &["vietnam"]),
    ("ZA", &["south africa"]),
];

/// How many words, from the first on, name the country with this code.
pub(crate) fn length(words: &[Word], code: &str) -> Option<usize> {
    let (_, names) = NAMES.iter().find(|(known, _)| *known == code)?;
    names.iter().find_map(|name| {
        let mut length = 0;
        for part in name.split(' ') {
            let word = words.get(length)?;
            if word.kind != Kind::Plain || word.lower != part {
                return None;
            }
            length += 1;
        }
        Some(length)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::words::read;

    #[test]
    fn a_country_is_known_by_its_names() {
        for (text, code, expected) in [
            ("norway", "NO", Some(1)),
            ("United States", "US", Some(2)),
            ("United States of America", "US", Some(4)),
            ("the Netherlands", "NL", None),
            ("Netherlands", "NL", Some(1)),
            ("United", "GB", None),
            ("Norway", "SE", None),
        ] {
            assert_eq!(length(&read(text), code), expected, "{text}");
        }
    }

    #[test]
    fn the_codes_are_in_order_and_each_is_there_once() {
        assert!(NAMES.windows(2).all(|pair| pair[0].0 < pair[1].0));
    }
}
