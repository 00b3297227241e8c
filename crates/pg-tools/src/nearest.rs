//! Finds the names that somebody probably meant.

/// The longest wrong name that is compared, in bytes; PostgreSQL's own have 63 at most. It must be
/// short, because it is compared with thousands of names while others wait for the thread.
const LONGEST: usize = 128;

/// Finds the known name that is nearest to a wrong one, if one is near.
pub(crate) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wrong = Wrong::read(wrong)?;
    known
        .into_iter()
        .filter_map(|name| Some((wrong.distance(&name.to_lowercase())?, name)))
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Finds the known names that are nearest to a wrong one, the nearest first: names with a similar spelling, and names
/// that contain the wrong one or are contained in it. Each known name is given as the text to return and the text to
/// compare.
pub(crate) fn nearest_few<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = (&'a str, &'a str)>,
    most: usize,
) -> Vec<String> {
    let Some(wrong) = Wrong::read(wrong) else {
        return Vec::new();
    };
    let distance = |name: &str| {
        let name = name.to_lowercase();
        let by_spelling = wrong.distance(&name);
        by_spelling.or_else(|| wrong.is_part(&name).then(|| wrong.spelled_apart(&name)))
    };
    let mut found: Vec<_> = known
        .into_iter()
        .filter_map(|(told, name)| Some((distance(name)?, told)))
        .collect();
    found.sort();
    found
        .into_iter()
        .take(most)
        .map(|(_, told)| told.to_owned())
        .collect()
}

/// A name that does not exist, in lower case.
struct Wrong {
    lower: String,
    characters: usize,
}

impl Wrong {
    /// Reads a wrong name; `None` if it is too long to be meant for one of PostgreSQL's.
    fn read(name: &str) -> Option<Self> {
        if name.len() > LONGEST {
            return None;
        }
        let lower = name.to_lowercase();
        let characters = lower.chars().count();
        Some(Wrong { lower, characters })
    }

    /// Returns the distance to a known name, if it is near.
    fn distance(&self, name: &str) -> Option<usize> {
        let characters = name.chars().count();
        let most = 1 + characters / 3;
        // The distance is at least the difference of the lengths.
        if characters.abs_diff(self.characters) > most {
            return None;
        }
        Some(self.spelled_apart(name)).filter(|distance| *distance <= most)
    }

    fn spelled_apart(&self, name: &str) -> usize {
        strsim::osa_distance(&self.lower, name)
    }

    /// Returns whether one of the two contains the other.
    fn is_part(&self, name: &str) -> bool {
        let shorter = self.lower.len().min(name.len());
        shorter >= 3 && (name.contains(&self.lower) || self.lower.contains(name))
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn names_spelled_alike_come_before_names_that_hold_it() {
        let known = [
            "shop.users",
            "shop.user_sessions",
            "shop.orders",
            "shop.product",
        ];
        let known = known.map(|name| (name, name.trim_start_matches("shop.")));
        assert_eq!(
            nearest_few("User", known, 3),
            ["shop.users", "shop.user_sessions"]
        );
        assert_eq!(nearest_few("products", known, 3), ["shop.product"]);
        assert_eq!(nearest_few("xyz", known, 3), [""; 0]);
    }

    #[test]
    fn two_letters_that_changed_places_are_near() {
        assert_eq!(nearest("uesrs", ["orders", "users"]), Some("users"));
        assert_eq!(nearest("us", ["orders", "users"]), None);
    }

    #[test]
    fn a_name_that_none_can_have_keeps_nobody_waiting() {
        let names: Vec<String> = (0..5_000)
            .map(|number| format!("{}{number}", "x".repeat(58)))
            .collect();
        let began = Instant::now();
        for length in [63, LONGEST, 60_000, 1_000_000] {
            let wrong = "b".repeat(length);
            assert_eq!(nearest(&wrong, names.iter().map(String::as_str)), None);
            let known = names.iter().map(|name| (&**name, &**name));
            assert_eq!(nearest_few(&wrong, known, 3), [""; 0]);
        }
        // The longest text alone took many minutes when all of it was compared.
        assert!(began.elapsed() < Duration::from_secs(20));
    }
}
