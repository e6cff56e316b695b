//! "Did you mean".

/// The candidate nearest to what was written, if any is near enough to be a slip of the keyboard. Each
/// comparison is paid from `budget`.
pub(crate) fn nearest<'b>(
    written: &str,
    candidates: impl IntoIterator<Item = &'b str>,
    budget: &mut usize,
) -> Option<&'b str> {
    let length = written.chars().count();
    let limit = match length {
        0 => return None,
        1..=3 => 1,
        4..=7 => 2,
        8..=40 => 3,
        _ => return None,
    };
    let written = written.to_lowercase();
    let mut best: Option<(usize, &str)> = None;
    for candidate in candidates {
        *budget = budget.checked_sub(1)?;
        if candidate.len().abs_diff(length) > limit {
            continue;
        }
        let distance = distance(&written, &candidate.to_lowercase());
        if distance <= limit && best.is_none_or(|(least, _)| distance < least) {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Optimal string alignment: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &str, b: &str) -> usize {
    let a: Vec<char> = a.chars().collect();
    let b: Vec<char> = b.chars().collect();
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &x) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &y) in b.iter().enumerate() {
            let mut cost = (last[j] + usize::from(x != y))
                .min(last[j + 1] + 1)
                .min(row[j] + 1);
            if i > 0 && j > 0 && x == b[j - 1] && a[i - 1] == y {
                cost = cost.min(before[j - 1] + 1);
            }
            row.push(cost);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suggest<'a>(written: &str, candidates: &[&'a str]) -> Option<&'a str> {
        nearest(written, candidates.iter().copied(), &mut 100)
    }

    #[test]
    fn slips_of_the_keyboard_are_recognised() {
        let fields = ["endpoint", "allowedIPs", "publicKey", "interface"];
        assert_eq!(suggest("allowedIps", &fields), Some("allowedIPs"));
        assert_eq!(suggest("endpiont", &fields), Some("endpoint"));
        assert_eq!(suggest("pubkey", &fields), None);
        assert_eq!(suggest("interfaces", &fields), Some("interface"));
        assert_eq!(suggest("", &fields), None);
    }

    #[test]
    fn a_swap_counts_once() {
        assert_eq!(distance("mtu", "mut"), 1);
        assert_eq!(distance("abc", "abc"), 0);
        assert_eq!(distance("", "abc"), 3);
    }

    #[test]
    fn the_budget_ends_the_search() {
        assert_eq!(nearest("abc", ["xyz", "abd"], &mut 1), None);
    }
}
