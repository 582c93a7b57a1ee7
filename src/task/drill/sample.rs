//! Which photos a drill reads.

use std::collections::BinaryHeap;

use rusqlite::Connection;
use uuid::Uuid;

use crate::base::{Error, Result, Sha1};
use crate::catalog::query::drill as ask;
use crate::catalog::query::search;
use crate::view::ino::{Place, Shelf, Spot};
use crate::view::{Ino, Part};

/// An asset that was drawn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    pub id: Uuid,
    /// Its name when it was uploaded.
    pub name: String,
    /// Bytes of the original.
    pub size: u64,
    /// What the database said when it was backed up; `None` where that was no checksum of bytes.
    pub sha1: Option<Sha1>,
    row: u64,
    is_half: bool,
}

/// Draws `many` of the assets whose originals are in the snapshot at `at`; the same for the same `seed`.
pub(super) fn draw(db: &Connection, at: i64, many: u64, seed: u64) -> Result<Vec<Drawn>> {
    // Each asset has a lot; the lowest lots win.
    let mut lots: BinaryHeap<([u8; 16], u64)> = BinaryHeap::new();
    ask::each_asset(db, at, &mut |row, id| {
        let mut hasher = blake3::Hasher::new();
        hasher.update(&seed.to_le_bytes()).update(&id);
        let mut lot = [0; 16];
        hasher.finalize_xof().fill(&mut lot);
        lots.push((lot, row));
        if lots.len() as u64 > many {
            lots.pop();
        }
    })?;
    let rows = lots.into_sorted_vec().into_iter().map(|(_, row)| row);
    rows.map(|row| {
        let asset = ask::asset(db, row, at)?;
        let (id, sha1) = (Uuid::from_bytes(asset.id), asset.sha1);
        Ok(Drawn { id, name: asset.name, size: asset.size, sha1, row, is_half: asset.is_hidden })
    })
    .collect()
}

/// Where the tree shows the original of `asset` in the snapshot `number` at `at`.
pub(super) fn ino(db: &Connection, number: u16, at: i64, asset: &Drawn) -> Result<Ino> {
    // A moving half is where its photo is.
    let photo = if asset.is_half { search::photo_of(db, asset.id.as_bytes(), at)? } else { None };
    let spot = match photo {
        Some(photo) => Spot::Item(Shelf::ByDate, photo.row, Part::Video),
        None if asset.is_half => Spot::File(ask::file(db, asset.id.as_bytes(), at)?),
        None => Spot::Item(Shelf::ByDate, asset.row, Part::Original),
    };
    Place::In(number, spot).pack().ok_or_else(|| Error::not_found("node"))
}
