-- Every asset with what its exif row and its sidecar file say, whatever the version.
-- `asset` in library.rs reads the columns in this order.
SELECT
    asset.path,
    -- The video of a motion photo in an external library has a libraryId, but is Immich's own file: isExternal decides.
    coalesce(asset.external, asset.library IS NOT NULL AND library.type IS NOT 'UPLOAD'),
    asset.id, asset.owner, asset.type, asset.name,
    asset.sha1, asset.algorithm,
    coalesce(asset.taken, asset.created, asset.added),
    coalesce(asset.created, asset.taken, asset.added),
    coalesce(asset.added, asset.created),
    asset.favorite,
    -- v1.133 put `visibility` in the place of `isVisible` and `isArchived`.
    coalesce(asset.visibility,
             CASE WHEN asset.visible = 0 THEN 'hidden' WHEN asset.archived THEN 'archive' ELSE 'timeline' END),
    -- In the trash, or waiting to be erased.
    coalesce(asset.deleted,
             CASE WHEN asset.status IN ('trashed', 'deleted') THEN coalesce(asset.updated, asset.added, 0) END),
    asset.live_video, asset.stack,
    -- Up to v1.105 every uploaded asset was in a library of type UPLOAD.
    CASE WHEN library.type IS 'UPLOAD' THEN NULL ELSE asset.library END,
    asset.offline, asset.edited,
    -- v2.4 moved sidecars from a column to rows of asset_file.
    coalesce(asset.sidecar,
             (SELECT file.path FROM file WHERE file.asset = asset.id ORDER BY file.edited, file.path LIMIT 1)),
    exif.size, exif.make, exif.model, exif.time_zone, exif.latitude, exif.longitude,
    exif.city, exif.state, exif.country, exif.description, exif.rating
FROM asset
LEFT JOIN exif ON exif.asset = asset.id
LEFT JOIN library ON library.id = asset.library
ORDER BY asset.id
