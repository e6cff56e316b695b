//! How much slower than a real machine this one is: the lab under an emulated processor keeps its meaning when
//! every deadline is stretched by one factor, and only deadlines are.

use std::sync::OnceLock;
use std::time::Duration;

/// The variable with the factor; 1 without it. `tests/qemu/run` sets it.
pub const VARIABLE: &str = "ROUTERD_LAB_SLOWNESS";

/// A deadline for this machine.
pub fn slowed(limit: Duration) -> Duration {
    static FACTOR: OnceLock<u32> = OnceLock::new();
    let factor = FACTOR.get_or_init(|| parse(std::env::var(VARIABLE).ok().as_deref()));
    limit * *factor
}

/// A factor that is no number from 1 to 100 counts as none: deadlines never shrink.
fn parse(text: Option<&str>) -> u32 {
    let factor = text.and_then(|text| text.trim().parse().ok());
    factor
        .filter(|factor| (1..=100).contains(factor))
        .unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn deadlines_are_stretched_and_never_shrink() {
        let factors = [
            None,
            Some("8"),
            Some(" 3\n"),
            Some("0"),
            Some("-2"),
            Some("fast"),
            Some("500"),
        ];
        assert_eq!(factors.map(parse), [1, 8, 3, 1, 1, 1, 1]);
    }
}
