//! Which known name a mistyped one was meant to be.

/// The one of `known` that is nearest to `text`, when it is near enough to be meant.
pub fn nearest<'a>(text: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let near_enough = (text.chars().count() / 3).max(1);
    known
        .into_iter()
        .map(|name| (distance(text, name), name))
        .filter(|(distance, _)| *distance <= near_enough)
        .min()
        .map(|(_, name)| name)
}

/// How many letters must be changed, added, left out or swapped with their neighbour (the restricted
/// Damerau-Levenshtein distance). Texts are names: what is longer than 64 letters is cut.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().take(64).collect();
    let b: Vec<char> = b.chars().take(64).collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i; b.len() + 1];
        for j in 1..=b.len() {
            let change = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            row[j] = change.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                row[j] = row[j].min(before_last[j - 2] + 1);
            }
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_typo_finds_its_name_and_nonsense_finds_none() {
        let known = ["interval", "probes", "probe-timeout", "data-dir"];
        assert_eq!(nearest("intervall", known), Some("interval"));
        assert_eq!(nearest("inetrval", known), Some("interval"));
        assert_eq!(nearest("probe-timout", known), Some("probe-timeout"));
        assert_eq!(nearest("datadir", known), Some("data-dir"));
        assert_eq!(nearest("colour", known), None);
        assert_eq!(nearest("", known), None);
    }

    proptest::proptest! {
        #[test]
        fn distance_is_symmetric_and_zero_only_for_equals(a in "[a-c-]{0,8}", b in "[a-c-]{0,8}") {
            proptest::prop_assert_eq!(distance(&a, &b), distance(&b, &a));
            proptest::prop_assert_eq!(distance(&a, &b) == 0, a == b);
        }
    }
}
