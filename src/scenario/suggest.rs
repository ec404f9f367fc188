//! "Did you mean".

/// The candidate nearest to what was written, when it is near enough to be a slip of the hand.
pub(crate) fn nearest<'a>(written: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written_lower = written.to_lowercase();
    let allowed = ((written.chars().count() + 1) / 3).max(1);
    candidates
        .into_iter()
        .map(|candidate| (distance(&written_lower, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Text longer than this is no slip of the hand, and its distance is not worth computing.
const LONGEST: usize = 100;

fn distance(written: &str, candidate: &str) -> usize {
    if written.len() > LONGEST {
        return usize::MAX;
    }
    let ignoring_separators = |text: &str| text.replace(['-', '_'], "");
    if ignoring_separators(written) == ignoring_separators(candidate) {
        return 0;
    }
    strsim::osa_distance(written, candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_slips_and_nothing_else() {
        let fields = ["secret", "podStatus", "within", "tenant"];
        let cases = [
            ("secert", Some("secret")),
            ("secrets", Some("secret")),
            ("pod_status", Some("podStatus")),
            ("pod-status", Some("podStatus")),
            ("Within", Some("within")),
            ("colour", None),
            ("", None),
        ];
        for (written, expected) in cases {
            assert_eq!(nearest(written, fields), expected, "{written:?}");
        }
        assert_eq!(nearest(&"x".repeat(1_000_000), fields), None);
    }
}
