//! A bit per slot.

/// A set of slots.
#[derive(Debug, Clone, Default)]
pub(crate) struct Bits {
    words: Vec<u64>,
    count: usize,
    /// No bit is set in a word before this one.
    first: usize,
}

impl Bits {
    /// Adds a slot; whether it was not there yet.
    pub(crate) fn insert(&mut self, slot: u32) -> bool {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let fresh = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += usize::from(fresh);
        self.first = self.first.min(word);
        fresh
    }

    pub(crate) fn remove(&mut self, slot: u32) -> bool {
        let (word, bit) = (slot as usize / 64, 1 << (slot % 64));
        let there = self.words.get(word).is_some_and(|w| w & bit != 0);
        if there {
            self.words[word] &= !bit;
            self.count -= 1;
        }
        there
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Takes out the lowest slot.
    pub(crate) fn pop(&mut self) -> Option<u32> {
        if self.count == 0 {
            self.first = 0;
            return None;
        }
        while self.words.get(self.first).is_some_and(|w| *w == 0) {
            self.first += 1;
        }
        let word = self.words.get_mut(self.first)?;
        let bit = word.trailing_zeros();
        *word &= *word - 1;
        self.count -= 1;
        u32::try_from(self.first * 64).ok().map(|base| base + bit)
    }
}
