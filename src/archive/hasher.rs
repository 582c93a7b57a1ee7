//! Hashing contents: BLAKE3, its segments and SHA-1 in one pass.

use blake3::hazmat::{
    ChainingValue, HasherExt, Mode, merge_subtrees_non_root, merge_subtrees_root,
};
use sha1::Digest;

use super::SEGMENT;
use crate::base::{Hash, Sha1};

/// What the bytes of a file are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digests {
    /// BLAKE3 of all bytes.
    pub hash: Hash,
    /// SHA-1 of all bytes.
    pub sha1: Sha1,
    /// Number of bytes.
    pub size: u64,
    /// Over one segment: the chaining value of each segment, 32 bytes apiece. Else empty.
    pub tree: Vec<u8>,
}

/// Takes the bytes of one content, in pieces of any length.
pub struct Hasher {
    sha1: sha1::Sha1,
    segment: blake3::Hasher,
    filled: usize,
    done: Vec<ChainingValue>,
    size: u64,
}

impl Default for Hasher {
    fn default() -> Self {
        Hasher {
            sha1: sha1::Sha1::new(),
            segment: blake3::Hasher::new(),
            filled: 0,
            done: Vec::new(),
            size: 0,
        }
    }
}

impl Hasher {
    /// Takes the next bytes.
    pub fn update(&mut self, mut bytes: &[u8]) {
        self.sha1.update(bytes);
        self.size += bytes.len() as u64;
        while !bytes.is_empty() {
            if self.filled == SEGMENT {
                self.next_segment();
            }
            let (now, later) = bytes.split_at(bytes.len().min(SEGMENT - self.filled));
            self.segment.update(now);
            self.filled += now.len();
            bytes = later;
        }
    }

    fn next_segment(&mut self) {
        self.done.push(self.segment.finalize_non_root());
        self.segment = blake3::Hasher::new();
        self.segment.set_input_offset((self.done.len() * SEGMENT) as u64);
        self.filled = 0;
    }

    /// The digests of all bytes taken.
    pub fn finish(mut self) -> Digests {
        let sha1 = Sha1(self.sha1.finalize().into());
        if self.done.is_empty() {
            return Digests {
                hash: Hash(*self.segment.finalize().as_bytes()),
                sha1,
                size: self.size,
                tree: Vec::new(),
            };
        }
        self.done.push(self.segment.finalize_non_root());
        Digests { hash: root(&self.done), sha1, size: self.size, tree: self.done.concat() }
    }
}

/// The digests of `bytes`.
pub fn digest(bytes: &[u8]) -> Digests {
    let mut hasher = Hasher::default();
    hasher.update(bytes);
    hasher.finish()
}

/// BLAKE3 of `bytes`.
pub fn hash(bytes: &[u8]) -> Hash {
    Hash(*blake3::hash(bytes).as_bytes())
}

/// True when the chaining values in `tree` (32 bytes each) are those of a content called `hash`.
pub fn tree_matches(tree: &[u8], hash: Hash) -> bool {
    let values = values(tree);
    values.len() > 1 && tree.len().is_multiple_of(32) && root(&values) == hash
}

/// True when `bytes` are segment `index` of the content whose verified tree is `tree`.
pub fn segment_matches(tree: &[u8], index: u64, bytes: &[u8]) -> bool {
    let Some(expected) =
        usize::try_from(index).ok().and_then(|index| tree.chunks_exact(32).nth(index))
    else {
        return false;
    };
    let mut hasher = blake3::Hasher::new();
    hasher.set_input_offset(index * SEGMENT as u64);
    hasher.update(bytes);
    !bytes.is_empty() && bytes.len() <= SEGMENT && hasher.finalize_non_root() == expected
}

fn values(tree: &[u8]) -> Vec<ChainingValue> {
    tree.chunks_exact(32)
        .map(|value| value.try_into().expect("holds because chunks_exact gives 32 bytes"))
        .collect()
}

/// The hash that two or more segments make. Source: the BLAKE3 paper, section 2.1: the left subtree
/// is the largest power of two that leaves something for the right one.
fn root(segments: &[ChainingValue]) -> Hash {
    let (left, right) = halves(segments);
    Hash(*merge_subtrees_root(&subtree(left), &subtree(right), Mode::Hash).as_bytes())
}

fn subtree(segments: &[ChainingValue]) -> ChainingValue {
    match segments {
        [one] => *one,
        _ => {
            let (left, right) = halves(segments);
            merge_subtrees_non_root(&subtree(left), &subtree(right), Mode::Hash)
        }
    }
}

fn halves(segments: &[ChainingValue]) -> (&[ChainingValue], &[ChainingValue]) {
    segments.split_at(segments.len().next_power_of_two() / 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(len: usize) -> Vec<u8> {
        (0..len).map(|i| (i * 7 + i / 251) as u8).collect()
    }

    #[test]
    fn the_tree_of_segments_has_the_ordinary_hash() {
        for len in [
            0,
            1,
            SEGMENT - 1,
            SEGMENT,
            SEGMENT + 1,
            2 * SEGMENT,
            2 * SEGMENT + 1,
            3 * SEGMENT,
            5 * SEGMENT + 77,
        ] {
            let data = bytes(len);
            let mut hasher = Hasher::default();
            data.chunks(300_007).for_each(|piece| hasher.update(piece));
            let digests = hasher.finish();
            assert_eq!(digests.hash, hash(&data), "{len}");
            assert_eq!(digests.sha1.0, <[u8; 20]>::from(sha1::Sha1::digest(&data)));
            assert_eq!(
                digests.tree.len(),
                if len > SEGMENT { len.div_ceil(SEGMENT) * 32 } else { 0 }
            );
            if len > SEGMENT {
                assert!(tree_matches(&digests.tree, digests.hash));
            }
        }
    }

    #[test]
    fn a_flipped_bit_is_seen_in_its_segment_alone() {
        let mut data = bytes(3 * SEGMENT + 5);
        let digests = digest(&data);
        data[SEGMENT + 9] ^= 1;
        let good: Vec<bool> = data
            .chunks(SEGMENT)
            .enumerate()
            .map(|(i, s)| segment_matches(&digests.tree, i as u64, s))
            .collect();
        assert_eq!(good, [true, false, true, true]);
        assert!(!segment_matches(&digests.tree, 4, b"x"));
    }
}
