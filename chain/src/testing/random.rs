//! Pseudo-random cases.

/// A small generator (SplitMix64): a seed gives the same cases everywhere.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Any number.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`.
    pub fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.number() % bound.max(1) as u64).unwrap_or_default()
    }

    /// True once in `times`.
    pub fn once_in(&mut self, times: usize) -> bool {
        self.below(times) == 0
    }

    /// One of several.
    pub fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Changes bytes in one place: a bit, a byte, a piece that goes, is doubled, or comes from `other` or
    /// the tokens of a language.
    pub fn mutate(&mut self, bytes: &mut Vec<u8>, other: &[u8], tokens: &[&str]) {
        let at = self.below(bytes.len() + 1);
        let end = (at + self.below(60)).min(bytes.len());
        let piece = bytes[at..end].to_vec();
        match self.below(9) {
            0 if at < bytes.len() => bytes[at] ^= 1 << self.below(8),
            1 if at < bytes.len() => bytes[at] = (self.number() % 256) as u8,
            2 if at < bytes.len() => drop(bytes.remove(at)),
            3 => bytes.truncate(at),
            4 => drop(bytes.splice(at..at, self.pick(tokens).bytes())),
            5 => drop(bytes.splice(at..end.min(at + 1), self.pick(tokens).bytes())),
            6 => drop(bytes.splice(at..at, piece)),
            7 => drop(bytes.drain(at..end)),
            _ => {
                let from = self.below(other.len() + 1);
                let to = (from + self.below(80)).min(other.len());
                let end = if self.once_in(2) { at } else { end };
                bytes.splice(at..end, other[from..to].iter().copied());
            }
        }
    }

    /// A text with one to three characters replaced, put in, taken away or doubled.
    pub fn damage(&mut self, text: &str) -> String {
        const ODD: [&str; 22] = [
            "\"", "\\", "{", "}", "[", "]", ",", ":", " ", "\n", "0", "1", "-", "e", ".", "A", "_",
            "é", "\u{feff}", "\\u0061", "null", "\u{0}",
        ];
        let mut characters: Vec<String> = text.chars().map(String::from).collect();
        for _ in 0..=self.below(3) {
            if characters.is_empty() {
                break;
            }
            let at = self.below(characters.len());
            match self.below(4) {
                0 => self.pick(&ODD).clone_into(&mut characters[at]),
                1 => characters.insert(at, self.pick(&ODD).to_owned()),
                2 => drop(characters.remove(at)),
                _ => characters.insert(at, characters[at].clone()),
            }
        }
        characters.concat()
    }
}
