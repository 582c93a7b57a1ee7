//! Extended attributes: what a file of `users/` says about its asset. Only where they were asked
//! for.

use crate::view::{OnDisk, ViewAsset};

/// The attributes of `asset`: name and value.
pub(super) fn all(asset: &ViewAsset) -> Vec<(&'static str, Vec<u8>)> {
    let mut all = vec![
        ("user.shoebox.asset", asset.id.to_string().into_bytes()),
        ("user.shoebox.sha1", asset.sha1.to_string().into_bytes()),
        ("user.shoebox.blake3", asset.blake3.to_string().into_bytes()),
    ];
    match asset.on_disk {
        OnDisk::Same => {}
        OnDisk::Changed => all.push(("user.shoebox.disk", b"changed".to_vec())),
        OnDisk::Missing => all.push(("user.shoebox.disk", b"missing".to_vec())),
    }
    if !asset.albums.is_empty() {
        all.push(("user.shoebox.albums", asset.albums.join("\n").into_bytes()));
    }
    all
}

/// The names, each with a NUL after it, as listxattr(2) has them.
pub(super) fn names(asset: &ViewAsset) -> Vec<u8> {
    all(asset).into_iter().flat_map(|(name, _)| [name.as_bytes(), b"\0"].concat()).collect()
}
