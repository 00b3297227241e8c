//! Which rows come first: by distance and by words, and without many that are alike.

/// Dampens how much less a lower rank counts; the number is that of the paper on reciprocal rank fusion (Cormack,
/// Clarke, Büttcher 2009).
const RANK_OFFSET: f64 = 60.0;

/// What is known of a row that may be shown.
#[derive(Clone, Debug, Default)]
pub(super) struct Candidate {
    /// How far its vector is from the one searched with.
    pub(super) distance: Option<f64>,
    /// How well its words fit; `None` if they do not.
    pub(super) weight: Option<f64>,
    /// The cosine distance to each candidate before it, in their order; empty if it is not needed.
    pub(super) apart: Vec<Option<f32>>,
}

/// A candidate that is shown.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Ranked {
    /// Its index among the candidates.
    pub(super) candidate: usize,
    /// The sum of its reciprocal ranks.
    pub(super) score: f64,
    /// Its rank by distance, from 1 on.
    pub(super) by_distance: Option<usize>,
    /// Its rank by words, from 1 on.
    pub(super) by_words: Option<usize>,
}

/// Picks `count` candidates, best first. With `relevance` 1 only their scores count; with less, a candidate that is
/// like those already picked comes later (maximal marginal relevance).
pub(super) fn pick(candidates: &[Candidate], count: usize, relevance: f64) -> Vec<Ranked> {
    let mut left = places(candidates);
    left.sort_by(|a, b| {
        b.score
            .total_cmp(&a.score)
            .then(a.candidate.cmp(&b.candidate))
    });
    if relevance >= 1.0 {
        left.truncate(count);
        return left;
    }
    let (best, worst) = match (left.first(), left.last()) {
        (Some(first), Some(last)) => (first.score, last.score),
        _ => return left,
    };
    let scale = (best - worst).max(f64::EPSILON);
    let mut picked: Vec<Ranked> = Vec::new();
    while picked.len() < count && !left.is_empty() {
        let value = |place: &Ranked| {
            let fitting = (place.score - worst) / scale;
            relevance * fitting - (1.0 - relevance) * likeness(candidates, place, &picked)
        };
        // The first of equal ones, which has the better score.
        let mut next = 0;
        for at in 1..left.len() {
            if value(&left[at]) > value(&left[next]) {
                next = at;
            }
        }
        picked.push(left.remove(next));
    }
    picked
}

/// Returns how much a candidate is like the one that it is most like among those picked, from 0 to 1.
fn likeness(candidates: &[Candidate], place: &Ranked, picked: &[Ranked]) -> f64 {
    picked
        .iter()
        .filter_map(|other| {
            let before = place.candidate.min(other.candidate);
            let after = place.candidate.max(other.candidate);
            (*candidates[after].apart.get(before)?).filter(|distance| !distance.is_nan())
        })
        .map(|distance| (1.0 - f64::from(distance)).clamp(0.0, 1.0))
        .fold(0.0, f64::max)
}

fn places(candidates: &[Candidate]) -> Vec<Ranked> {
    let by_distance = ranks(candidates, |candidate| candidate.distance);
    let by_words = ranks(candidates, |candidate| {
        candidate.weight.map(|weight| -weight)
    });
    let reciprocal = |rank: &Option<usize>| {
        // A result has some hundred rows at most.
        #[allow(clippy::cast_precision_loss)]
        rank.map_or(0.0, |rank| 1.0 / (RANK_OFFSET + rank as f64))
    };
    let all = by_distance.into_iter().zip(by_words).enumerate();
    all.map(|(candidate, (by_distance, by_words))| Ranked {
        candidate,
        score: reciprocal(&by_distance) + reciprocal(&by_words),
        by_distance,
        by_words,
    })
    .collect()
}

/// Ranks the candidates by a value, the smallest first; those without one get none. Equal values share the last of
/// their ranks: a word that all rows have says nothing about any of them.
fn ranks(
    candidates: &[Candidate],
    value: impl Fn(&Candidate) -> Option<f64>,
) -> Vec<Option<usize>> {
    let value = |candidate| value(candidate).filter(|value| !value.is_nan());
    let mut sorted: Vec<f64> = candidates.iter().filter_map(value).collect();
    sorted.sort_by(f64::total_cmp);
    candidates
        .iter()
        .map(|candidate| {
            let own = value(candidate)?;
            Some(sorted.partition_point(|other| *other <= own))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn candidate(distance: Option<f64>, weight: Option<f64>) -> Candidate {
        Candidate {
            distance,
            weight,
            apart: Vec::new(),
        }
    }

    fn order(places: &[Ranked]) -> Vec<usize> {
        places.iter().map(|place| place.candidate).collect()
    }

    #[test]
    fn a_row_that_is_good_in_both_ranks_comes_first() {
        let candidates = [
            candidate(Some(0.1), None),
            candidate(Some(0.2), Some(0.5)),
            candidate(Some(0.3), Some(0.9)),
            candidate(None, Some(0.7)),
            candidate(Some(f64::NAN), None),
        ];
        let places = pick(&candidates, 9, 1.0);
        // 1/63 + 1/61, 1/62 + 1/63, 1/61, 1/62, 0.
        assert_eq!(order(&places), [2, 1, 0, 3, 4]);
        assert_eq!(
            (places[0].by_distance, places[0].by_words),
            (Some(3), Some(1))
        );
        assert!((places[0].score - (1.0 / 63.0 + 1.0 / 61.0)).abs() < 1e-12);
        assert_eq!((places[4].by_distance, places[4].by_words), (None, None));
    }

    #[test]
    fn equals_share_the_last_of_their_ranks() {
        let candidates = [0.5, 0.1, 0.5, 0.9].map(|distance| candidate(Some(distance), None));
        assert_eq!(
            ranks(&candidates, |candidate| candidate.distance),
            [Some(3), Some(1), Some(3), Some(4)]
        );
    }

    #[test]
    fn a_word_that_all_rows_have_does_not_hide_the_rare_one() {
        // All have the common word; the last one has the rare word too, and is the farthest.
        let mut candidates: Vec<_> = (0..60)
            .map(|number| candidate(Some(f64::from(number)), Some(0.1)))
            .collect();
        candidates[59].weight = Some(0.2);
        assert!(order(&pick(&candidates, 3, 1.0)).contains(&59));
    }

    #[test]
    fn with_less_relevance_a_twin_comes_later() {
        // 0 and 1 are twins; 2 is unlike both.
        let apart: [&[f32]; 3] = [&[], &[0.0], &[0.9, 0.9]];
        let candidates: Vec<_> = [0.1, 0.11, 0.3]
            .into_iter()
            .zip(apart)
            .map(|(distance, apart)| Candidate {
                distance: Some(distance),
                weight: None,
                apart: apart.iter().copied().map(Some).collect(),
            })
            .collect();
        assert_eq!(order(&pick(&candidates, 3, 1.0)), [0, 1, 2]);
        assert_eq!(order(&pick(&candidates, 3, 0.4)), [0, 2, 1]);
        assert_eq!(order(&pick(&candidates, 2, 0.0)), [0, 2]);
    }

    #[test]
    fn nothing_gives_nothing() {
        assert!(pick(&[], 5, 0.6).is_empty());
    }
}
