//! The ways to measure how far vectors are apart.

/// A distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Metric {
    Cosine,
    L2,
    InnerProduct,
    L1,
}

/// Name, operator, and the middle part of the names of its operator classes; the usual metric first.
const METRICS: [(Metric, &str, &str, &str); 4] = [
    (Metric::Cosine, "cosine", "<=>", "cosine"),
    (Metric::L2, "l2", "<->", "l2"),
    (Metric::InnerProduct, "inner_product", "<#>", "ip"),
    (Metric::L1, "l1", "<+>", "l1"),
];

impl Metric {
    pub(super) const NAMES: [&'static str; 4] = ["cosine", "l2", "inner_product", "l1"];

    pub(super) fn from_name(name: &str) -> Option<Self> {
        let found = METRICS.iter().find(|(_, known, ..)| *known == name);
        found.map(|(metric, ..)| *metric)
    }

    /// Reads the metric of an operator class, such as `vector_cosine_ops`.
    pub(super) fn of_class(class: &str) -> Option<Self> {
        let middle = class.strip_suffix("_ops")?;
        let middle = middle.split_once('_')?.1;
        let found = METRICS.iter().find(|(.., known)| *known == middle);
        found.map(|(metric, ..)| *metric)
    }

    fn parts(self) -> (&'static str, &'static str, &'static str) {
        let found = METRICS.iter().find(|(metric, ..)| *metric == self);
        let (_, name, operator, class) = found.expect("every metric is in the table");
        (name, operator, class)
    }

    pub(super) fn name(self) -> &'static str {
        self.parts().0
    }

    pub(super) fn operator(self) -> &'static str {
        self.parts().1
    }

    /// Returns the operator class that an index needs.
    pub(super) fn class(self, type_name: &str) -> String {
        format!("{type_name}_{}_ops", self.parts().2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_tells_its_metric() {
        for (metric, name, ..) in METRICS {
            assert_eq!(Metric::from_name(name), Some(metric));
            assert_eq!(Metric::of_class(&metric.class("halfvec")), Some(metric));
        }
        for class in ["bit_hamming_ops", "vector_ops", "text_ops", "ip"] {
            assert_eq!(Metric::of_class(class), None, "{class}");
        }
        assert_eq!(METRICS.map(|(_, name, ..)| name), Metric::NAMES);
    }
}
