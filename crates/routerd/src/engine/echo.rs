//! Says the same thing less and less often: a fight with another writer must not fill the log.

/// What was said last and how often it came up since.
#[derive(Debug, Default)]
pub(super) struct Echo {
    text: String,
    times: u32,
}

impl Echo {
    /// Hears a text and says whether it is worth saying: the count if so. The same text in a row is worth it the
    /// 1st, 2nd, 4th, 8th … time.
    pub(super) fn heard(&mut self, text: &str) -> Option<u32> {
        if self.text != text {
            text.clone_into(&mut self.text);
            self.times = 0;
        }
        self.times = self.times.saturating_add(1);
        self.times.is_power_of_two().then_some(self.times)
    }
}

#[cfg(test)]
mod tests {
    use super::Echo;

    #[test]
    fn the_same_thing_is_said_less_and_less_often() {
        let mut echo = Echo::default();
        let said: Vec<u32> = (0..100).filter_map(|_| echo.heard("a")).collect();
        assert_eq!(said, [1, 2, 4, 8, 16, 32, 64]);
        assert_eq!(echo.heard("b"), Some(1));
        assert_eq!(echo.heard("a"), Some(1));
    }
}
