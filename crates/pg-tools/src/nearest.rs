//! The names that somebody probably meant.

/// Finds the known name that is nearest to a wrong one, if one is near.
pub(crate) fn nearest<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let wrong = wrong.to_lowercase();
    known
        .into_iter()
        .map(|name| {
            (
                strsim::damerau_levenshtein(&wrong, &name.to_lowercase()),
                name,
            )
        })
        .filter(|(distance, name)| *distance <= 1 + name.chars().count() / 3)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, name)| name)
}

/// Finds the few known names that are nearest to a wrong one, the nearest first: those that are
/// spelled like it, and those that hold it or are held by it. Each comes with what it is compared by.
pub(crate) fn nearest_few<'a>(
    wrong: &str,
    known: impl IntoIterator<Item = (&'a str, &'a str)>,
    most: usize,
) -> Vec<String> {
    let wrong = wrong.to_lowercase();
    let distance = |name: &str| {
        let name = name.to_lowercase();
        let distance = strsim::damerau_levenshtein(&wrong, &name);
        let is_near = distance <= 1 + name.chars().count() / 3;
        let shorter = wrong.len().min(name.len());
        let is_part = shorter >= 3 && (name.contains(&wrong) || wrong.contains(&name));
        (is_near || is_part).then_some(distance)
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

#[cfg(test)]
mod tests {
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
}
