//! Names that somebody may have meant who wrote another.

/// The most names that are offered.
const MOST: usize = 5;

/// Those of `known` that are spelt nearly as `name`, or hold it, nearest first.
pub(crate) fn near<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> Vec<&'a str> {
    let lower = name.to_lowercase();
    // A name may be as long as a file; distances take time in proportion to both lengths.
    let wanted: Vec<char> = lower.chars().take(128).collect();
    let distance_of = |other: &'a str| {
        let lower_other = other.to_lowercase();
        let characters: Vec<char> = lower_other.chars().take(128).collect();
        let distance = distance(&wanted, &characters);
        let holds = lower.len() > 2 && lower_other.contains(&lower);
        (holds || distance <= (wanted.len() / 3).max(1)).then_some((distance, other))
    };
    let mut found: Vec<(usize, &str)> =
        known.into_iter().filter(|other| !other.is_empty()).filter_map(distance_of).collect();
    found.sort_unstable();
    found.dedup();
    found.into_iter().take(MOST).map(|(_, other)| other).collect()
}

/// `; near it: a, b`, or nothing.
pub(crate) fn hint<'a>(name: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let near: Vec<String> = near(name, known).into_iter().map(|name| format!("`{name}`")).collect();
    if near.is_empty() { String::new() } else { format!("; near it: {}", near.join(", ")) }
}

/// How many characters must be put in, taken out or changed to make one of the other (Levenshtein).
fn distance(a: &[char], b: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = std::mem::replace(&mut row[0], i + 1);
        for (j, y) in b.iter().enumerate() {
            let changed = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = changed.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_nearest_comes_first() {
        let known = ["conv1", "conv12", "relu", "block.conv1.weight", ""];
        assert_eq!(near("conv1", known), ["conv1", "conv12", "block.conv1.weight"]);
        assert_eq!(near("Conv2", known), ["conv1", "conv12"]);
        assert!(near("softmax", known).is_empty());
        assert_eq!(hint("relv", known), "; near it: `relu`");
        assert_eq!(hint("", known), "");
    }
}
