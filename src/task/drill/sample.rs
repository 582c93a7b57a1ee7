//! Drawing assets at random: the same ones for the same seed, in whatever order they come.

use std::collections::BTreeMap;

use uuid::Uuid;

use crate::base::Sha1;

/// What a database says of an asset.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SampledAsset {
    pub id: Uuid,
    /// Of its bytes; `None` where Immich hashed something else.
    pub sha1: Option<Sha1>,
    /// Where it says that the original is.
    pub path: String,
    /// It belongs to an external library.
    pub is_external: bool,
    /// Bytes, as Immich counted them.
    pub size: Option<u64>,
}

/// So many of the assets that were offered: those whose hash with the seed is least.
#[derive(Debug)]
pub(super) struct AssetSample {
    seed: u64,
    size: u64,
    seen: u64,
    drawn: BTreeMap<[u8; 32], SampledAsset>,
}

impl AssetSample {
    /// Draws up to `size` assets by `seed`.
    pub fn new(seed: u64, size: u64) -> Self {
        AssetSample { seed, size, seen: 0, drawn: BTreeMap::new() }
    }

    /// Offers an asset.
    pub fn offer(&mut self, row: SampledAsset) {
        self.seen += 1;
        let place = blake3::hash(&[&self.seed.to_le_bytes()[..], row.id.as_bytes()].concat());
        self.drawn.insert(*place.as_bytes(), row);
        if self.drawn.len() as u64 > self.size {
            self.drawn.pop_last();
        }
    }

    /// How many were offered.
    pub fn seen(&self) -> u64 {
        self.seen
    }

    /// Those that were drawn.
    pub fn into_rows(self) -> Vec<SampledAsset> {
        self.drawn.into_values().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn row(id: u128) -> SampledAsset {
        SampledAsset {
            id: Uuid::from_u128(id),
            sha1: None,
            path: String::new(),
            is_external: false,
            size: None,
        }
    }

    fn drawn(seed: u64, size: u64, ids: impl Iterator<Item = u128>) -> BTreeSet<Uuid> {
        let mut sample = AssetSample::new(seed, size);
        ids.for_each(|id| sample.offer(row(id)));
        sample.into_rows().into_iter().map(|row| row.id).collect()
    }

    #[test]
    fn a_seed_draws_the_same_assets_in_any_order_and_another_seed_others() {
        let first = drawn(7, 20, 0..1000);
        assert_eq!(first.len(), 20);
        assert_eq!(first, drawn(7, 20, (0..1000).rev()));
        assert_ne!(first, drawn(8, 20, 0..1000));
        assert_eq!((drawn(7, 20, 0..5).len(), drawn(7, 0, 0..5).len()), (5, 0));
    }

    #[test]
    fn every_asset_is_drawn_by_some_seed() {
        let all: BTreeSet<Uuid> = (0..200).flat_map(|seed| drawn(seed, 3, 0..50)).collect();
        assert_eq!(all.len(), 50);
    }
}
