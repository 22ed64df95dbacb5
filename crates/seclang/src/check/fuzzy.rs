//! Fuzzy hashes: context triggered piecewise hashing, as `@fuzzyHash` compares values with known files.
//!
//! The method is spamsum's (A. Tridgell, 2002) in the form that J. Kornblum's "Identifying almost identical
//! files using context triggered piecewise hashing" (2006) describes and `ssdeep` writes: a rolling sum over
//! seven bytes cuts a text where it meets a multiple of the block size, and each piece is one letter. Two
//! texts are alike as far as their letters are. Time is linear in the value; a comparison has a fixed price.
//! Read next: [`Hashing`], then [`FuzzyHash::likeness`].

/// Letters of a hash, at most; the second part has half.
const LETTERS_MAX: usize = 64;
/// Bytes that decide where a piece ends; hashes with fewer letters in common than this are not alike at all.
const WINDOW: usize = 7;
/// The smallest block size; each next one is twice as large.
const BLOCK_MIN: u64 = 3;
/// Block sizes that are tried.
const BLOCKS: usize = 31;
/// Where the hash of a piece begins, and by what it is multiplied (that of FNV).
const PIECE_BEGIN: u32 = 0x2802_1967;
const PIECE_PRIME: u32 = 0x0100_0193;
const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Steps of making a hash, for each byte: some six block sizes are under way at once.
pub(crate) const HASH_STEPS: u64 = 16;
/// Steps of a comparison with a hash of another block size, and with one that has letters to compare.
pub(crate) const LOOK_STEPS: u64 = 1;
pub(crate) const COMPARE_STEPS: u64 = 10_000;

/// A hash, its letters as they are compared: of more than three equal ones in a row three.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FuzzyHash {
    block: u64,
    /// By the block size, and by twice as much.
    letters: [Vec<u8>; 2],
}

/// The sum over the last [`WINDOW`] bytes.
#[derive(Debug, Default)]
struct Rolling {
    window: [u8; WINDOW],
    at: usize,
    sum: u32,
    weighted: u32,
    shifted: u32,
}

impl Rolling {
    fn take(&mut self, byte: u8) {
        let new = u32::from(byte);
        self.weighted = self.weighted.wrapping_sub(self.sum).wrapping_add(WINDOW as u32 * new);
        if let Some(oldest) = self.window.get_mut(self.at) {
            self.sum = self.sum.wrapping_add(new).wrapping_sub(u32::from(*oldest));
            *oldest = byte;
        }
        self.at = (self.at + 1) % WINDOW;
        self.shifted = (self.shifted << 5) ^ new;
    }

    fn value(&self) -> u32 {
        self.sum.wrapping_add(self.weighted).wrapping_add(self.shifted)
    }
}

/// The pieces by one block size.
#[derive(Debug, Clone)]
struct Pieces {
    /// Of the piece under way; once all letters are there, of all the rest.
    piece: u32,
    /// The same where half the letters are all.
    half: u32,
    letters: Vec<u8>,
    /// The letter behind the last, which stands for all the rest and is written anew at each end.
    last: Option<u8>,
    half_last: Option<u8>,
}

impl Pieces {
    fn new(piece: u32, half: u32) -> Self {
        Self { piece, half, letters: Vec::new(), last: None, half_last: None }
    }

    fn end_piece(&mut self) {
        let (letter, half) = (letter(self.piece), letter(self.half));
        self.half_last = Some(half);
        if self.letters.len() < LETTERS_MAX - 1 {
            self.letters.push(letter);
            self.piece = PIECE_BEGIN;
            if self.letters.len() < LETTERS_MAX / 2 {
                self.half = PIECE_BEGIN;
                self.half_last = None;
            }
        } else {
            self.last = Some(letter);
        }
    }
}

fn letter(piece: u32) -> u8 {
    ALPHABET.get((piece % 64) as usize).copied().unwrap_or(b'A')
}

const fn block_of(index: usize) -> u64 {
    BLOCK_MIN << index
}

/// A hash under way, so that a long text is hashed in pieces.
#[derive(Debug)]
pub(crate) struct Hashing {
    /// Bytes of the whole text, and of what was taken of it.
    length: usize,
    taken: usize,
    /// By block size, as far as the text has reached it.
    all: Vec<Pieces>,
    /// The first block size that may still be chosen.
    first: usize,
    rolling: Rolling,
}

impl Hashing {
    /// Begins with a text of so many bytes.
    pub(crate) fn new(length: usize) -> Self {
        let all = vec![Pieces::new(PIECE_BEGIN, PIECE_BEGIN)];
        Self { length, taken: 0, all, first: 0, rolling: Rolling::default() }
    }

    /// Bytes that were taken.
    pub(crate) fn taken(&self) -> usize {
        self.taken
    }

    /// Takes what follows of the text.
    pub(crate) fn take(&mut self, piece: &[u8]) {
        let Self { length, all, first, rolling, .. } = self;
        for byte in piece {
            rolling.take(*byte);
            for pieces in all.iter_mut().skip(*first) {
                pieces.piece = pieces.piece.wrapping_mul(PIECE_PRIME) ^ u32::from(*byte);
                pieces.half = pieces.half.wrapping_mul(PIECE_PRIME) ^ u32::from(*byte);
            }
            let (mut index, sum) = (*first, u64::from(rolling.value()));
            // Where a piece ends by one block size, one may end by the next, and by none above it if not
            // there.
            while sum % block_of(index) == block_of(index) - 1 {
                let Some(pieces) = all.get_mut(index) else { break };
                if pieces.letters.is_empty() && index + 1 < BLOCKS {
                    let next = Pieces::new(pieces.piece, pieces.half);
                    pieces.end_piece();
                    all.push(next);
                } else {
                    pieces.end_piece();
                }
                index += 1;
            }
            // A block size below one that has enough letters is not chosen any more.
            let has_enough = all.get(*first + 1).is_some_and(|next| next.letters.len() >= LETTERS_MAX / 2);
            if has_enough && block_of(*first) * (LETTERS_MAX as u64) < *length as u64 {
                *first += 1;
            }
        }
        self.taken += piece.len();
    }

    /// The hash as `ssdeep` writes it: block size and two rows of letters.
    pub(crate) fn written(self) -> (u64, [Vec<u8>; 2]) {
        let Self { length, all, first, rolling, .. } = self;
        let mut guess = 0;
        while block_of(guess) * (LETTERS_MAX as u64) < length as u64 && guess + 1 < BLOCKS {
            guess += 1;
        }
        let mut chosen = guess.min(all.len() - 1).max(first);
        let is_short = |index: usize| all.get(index).is_some_and(|one| one.letters.len() < LETTERS_MAX / 2);
        while chosen > first && is_short(chosen) {
            chosen -= 1;
        }
        let has_rest = rolling.value() != 0;
        let (mut long, mut short) = (Vec::new(), Vec::new());
        if let Some(pieces) = all.get(chosen) {
            long.extend_from_slice(&pieces.letters);
            long.extend(if has_rest { Some(letter(pieces.piece)) } else { pieces.last });
            match all.get(chosen + 1) {
                Some(next) => {
                    short.extend(next.letters.iter().take(LETTERS_MAX / 2 - 1));
                    short.extend(if has_rest { Some(letter(next.half)) } else { next.half_last });
                }
                None => short.extend(has_rest.then(|| letter(pieces.piece))),
            }
        }
        (block_of(chosen), [long, short])
    }
}

/// The hash of a text, in one piece.
#[cfg(test)]
pub(crate) fn written(text: &[u8]) -> (u64, [Vec<u8>; 2]) {
    let mut hashing = Hashing::new(text.len());
    hashing.take(text);
    hashing.written()
}

/// Of more than three equal letters in a row, three: long runs say little.
fn without_runs(letters: &[u8]) -> Vec<u8> {
    let mut out: Vec<u8> = Vec::with_capacity(letters.len().min(LETTERS_MAX));
    for letter in letters {
        if out.iter().rev().take(3).filter(|before| *before == letter).count() < 3 {
            out.push(*letter);
        }
    }
    out
}

impl FuzzyHash {
    /// Hashes a text in one piece.
    #[cfg(test)]
    pub(crate) fn of(text: &[u8]) -> Self {
        let mut hashing = Hashing::new(text.len());
        hashing.take(text);
        Self::after(hashing)
    }

    /// The hash of a text that was taken whole.
    pub(crate) fn after(hashing: Hashing) -> Self {
        let (block, letters) = hashing.written();
        Self { block, letters: letters.map(|letters| without_runs(&letters)) }
    }

    /// Reads a hash as `ssdeep` writes it, with or without a file's name behind it; nothing where it is none.
    pub(crate) fn parse(line: &str) -> Option<Self> {
        let mut parts = line.splitn(3, ':');
        let block = parts.next()?.parse().ok().filter(|block| *block > 0)?;
        let (long, rest) = (parts.next()?, parts.next()?);
        let short = rest.split(',').next()?;
        let is_letters =
            |text: &str| text.len() <= LETTERS_MAX && text.bytes().all(|byte| ALPHABET.contains(&byte));
        (is_letters(long) && is_letters(short))
            .then(|| Self { block, letters: [long, short].map(|text| without_runs(text.as_bytes())) })
    }

    /// Says whether the block sizes of two hashes allow a comparison at all.
    pub(crate) fn is_comparable(&self, other: &Self) -> bool {
        self.block == other.block
            || self.block.checked_mul(2) == Some(other.block)
            || other.block.checked_mul(2) == Some(self.block)
    }

    /// How much two hashes are alike, from 0 to 100.
    pub(crate) fn likeness(&self, other: &Self) -> u32 {
        let ([long, short], [other_long, other_short]) = (&self.letters, &other.letters);
        if self.block == other.block {
            if self.letters == other.letters {
                return 100;
            }
            let twice = self.block.saturating_mul(2);
            return alike(long, other_long, self.block).max(alike(short, other_short, twice));
        }
        if self.block.checked_mul(2) == Some(other.block) {
            return alike(short, other_long, other.block);
        }
        if other.block.checked_mul(2) == Some(self.block) {
            return alike(long, other_short, self.block);
        }
        0
    }
}

/// How much two rows of letters by one block size are alike.
fn alike(one: &[u8], other: &[u8], block: u64) -> u32 {
    let mut windows = one.windows(WINDOW);
    if !windows.any(|window| other.windows(WINDOW).any(|theirs| theirs == window)) {
        return 0;
    }
    let (most, letters) = (LETTERS_MAX as u32, (one.len() + other.len()) as u32);
    let distance = distance(one, other) * most / letters.max(1);
    let score = 100_u32.saturating_sub(100 * distance / most);
    // Few letters by a small block size prove little.
    let pieces = block / BLOCK_MIN;
    if pieces >= (99 + WINDOW as u64) / WINDOW as u64 {
        return score;
    }
    score.min(u32::try_from(pieces * one.len().min(other.len()) as u64).unwrap_or(u32::MAX))
}

/// The letters to take out and put in to make one row of the other.
fn distance(one: &[u8], other: &[u8]) -> u32 {
    let mut row: Vec<u32> = (0..).take(other.len() + 1).collect();
    for (number, letter) in (1..).zip(one) {
        // What the row above had one place to the left.
        let mut diagonal = number - 1;
        let mut left = number;
        if let Some(first) = row.first_mut() {
            *first = number;
        }
        for (cell, theirs) in row.iter_mut().skip(1).zip(other) {
            let changed = diagonal + if letter == theirs { 0 } else { 2 };
            diagonal = *cell;
            left = changed.min(*cell + 1).min(left + 1);
            *cell = left;
        }
    }
    row.last().copied().unwrap_or_default()
}

#[cfg(test)]
mod judged;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shown(text: &[u8]) -> String {
        let (block, [long, short]) = written(text);
        format!("{block}:{}:{}", String::from_utf8_lossy(&long), String::from_utf8_lossy(&short))
    }

    const UPPER: &str = "Also called fuzzy hashes, CTPH can match inputs that have homologies.";
    const LOWER: &str = "Also called fuzzy hashes, Ctph can match inputs that have homologies.";

    #[test]
    fn hashes_and_compares_as_ssdeep_does() {
        assert_eq!(shown(LOWER.as_bytes()), "3:AXGBicFlgVNhBGcL6wCrFQEv:AXGHsNhxLsr2C");
        assert_eq!(shown(UPPER.as_bytes()), "3:AXGBicFlIHBGcL6wCrFQEv:AXGH6xLsr2C");
        assert_eq!(shown(b""), "3::");
        assert_eq!(shown(&b"a".repeat(5_000)), "3:tjt:f");
        assert_eq!(shown(&b"ab".repeat(1_000)), "3:uy:uy");
        let all: Vec<u8> = (0..=255).collect();
        assert_eq!(shown(&all.repeat(40)), format!("192:z{}b:n", "n".repeat(62)));
        let [upper, lower] = [UPPER, LOWER].map(|text| FuzzyHash::of(text.as_bytes()));
        assert_eq!(upper.likeness(&lower), 22);
        assert_eq!(upper.likeness(&upper), 100);
    }

    #[test]
    fn reads_what_ssdeep_writes_and_nothing_else() {
        let line = "96:cxL1mY8SqN5RNFEAAAAAAt:cdEV3f,\"/tmp/a file\"";
        let read = FuzzyHash::parse(line).expect("a hash");
        assert_eq!((read.block, read.letters[0].len()), (96, 19), "runs are cut");
        for line in ["ssdeep,1.1--blocksize:hash:hash,filename", "", "3", "3:a", "0:a:b", "x:a:b", "3:a b:c"]
        {
            assert_eq!(FuzzyHash::parse(line), None, "{line}");
        }
        assert_eq!(FuzzyHash::parse(&format!("3:{}:a", "a".repeat(65))), None);
        let [small, large] =
            ["3:a:b", "18446744073709551615:a:b"].map(|line| FuzzyHash::parse(line).unwrap());
        assert_eq!((small.likeness(&large), small.is_comparable(&large)), (0, false));
    }

    fn noise(seed: u32, length: usize) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        };
        (0..length).map(|_| next()).collect()
    }

    /// What another implementation of the method writes, for texts of every course that it takes.
    #[test]
    fn hashes_of_longer_texts_are_those_of_others() {
        for (seed, length, expected) in [
            (1, 50, "3:eDjrjzgp/9e4MGp+7Xf:eDXPs/4FGUv"),
            (1, 193, "6:eDXPs/4FGUrX+5SHQTdPjEpgYe2fDH4Yrebn:eDXPs/yrX+Mwj2jCbn"),
            (
                1,
                700,
                "12:eDXPs/yrX+Mwj2jCbiN9fqmaAbggzIWZ1BE2nCrCcOW24ngmJm1Ewkrrer0X:\
                 ofpwiCb4fQARTZ1DnCmjr4ngjEBaa",
            ),
            (2, 5_000, "96:vhNyulyz28B/OuNXhU8t+Lwewvpj/IbWR7bDVFlRO3h5f/nIEcP+:zLyHOL8oLweQ/IyR7b7lREXI9+"),
            (3, 50_000, "768:tEp0CdTw1O71x91GkjQwP4jGrlInGAwv3lAKEz80DenhjYIRJJ8:VKDJx9Qkj74yJU49FGAhjXJ8"),
        ] {
            assert_eq!(shown(&noise(seed, length)), expected);
        }
    }

    #[test]
    fn a_text_with_a_piece_changed_is_still_alike_and_another_is_not() {
        for length in [5_000, 50_000, 400_000] {
            let text = noise(1, length);
            let mut changed = text.clone();
            changed.splice(length / 2..length / 2 + 20, *b"something else");
            let [text, changed] = [text, changed].map(|text| FuzzyHash::of(&text));
            let likeness = text.likeness(&changed);
            assert!((80..=100).contains(&likeness), "{likeness} of {length}");
            assert_eq!(text.likeness(&FuzzyHash::of(&noise(2, length))), 0);
        }
    }

    proptest! {
        #[test]
        fn never_panics_and_is_the_same_either_way(
            one in proptest::collection::vec(any::<u8>(), 0..2_000),
            other in proptest::collection::vec(0_u8..4, 0..2_000),
            size in 1..99_usize,
            line in "[0-9]{0,20}:[A-Za-z0-9+/]{0,70}:[A-Za-z0-9+/,]{0,70}",
        ) {
            let [a, b] = [&one, &other].map(|text| FuzzyHash::of(text));
            let mut hashing = Hashing::new(one.len());
            one.chunks(size).for_each(|piece| hashing.take(piece));
            prop_assert_eq!(FuzzyHash::after(hashing), a.clone());
            prop_assert_eq!(a.likeness(&a), 100);
            prop_assert_eq!(a.likeness(&b), b.likeness(&a));
            prop_assert_eq!(FuzzyHash::parse(&shown(&one)), Some(a.clone()));
            if let Some(read) = FuzzyHash::parse(&line) {
                prop_assert!(read.likeness(&a) <= 100);
            }
        }
    }
}
