-- Every asset with what its exif row and its sidecar file say, whatever the version; see `asset` in library.rs.
SELECT
    asset.id, asset.owner, asset.path,
    coalesce(asset.type, '') AS type,
    coalesce(asset.name, '') AS name,
    asset.sha1, asset.algorithm,
    coalesce(asset.taken, asset.created, asset.added) AS taken,
    coalesce(asset.created, asset.taken, asset.added) AS created,
    coalesce(asset.added, asset.created) AS added,
    coalesce(asset.favorite, 0) AS favorite,
    -- v1.133 put `visibility` in the place of `isVisible` and `isArchived`.
    coalesce(asset.visibility,
             CASE WHEN asset.visible = 0 THEN 'hidden' WHEN asset.archived THEN 'archive' ELSE 'timeline' END) AS visibility,
    -- In the trash, or waiting to be erased.
    coalesce(asset.deleted,
             CASE WHEN asset.status IN ('trashed', 'deleted') THEN coalesce(asset.updated, asset.added, 0) END) AS trashed,
    asset.live_video, asset.stack,
    -- Up to v1.105 every uploaded asset was in a library of type UPLOAD.
    CASE WHEN library.type IS 'UPLOAD' THEN NULL ELSE asset.library END AS library,
    -- The video of a motion photo in an external library has a libraryId, but is Immich's own file.
    coalesce(asset.external, asset.library IS NOT NULL AND library.type IS NOT 'UPLOAD') AS external,
    coalesce(asset.offline, 0) AS offline,
    coalesce(asset.edited, 0) AS edited,
    -- v2.4 moved sidecars from a column to rows of asset_file.
    coalesce(asset.sidecar,
             (SELECT file.path FROM file WHERE file.asset = asset.id ORDER BY file.edited, file.path LIMIT 1)) AS sidecar,
    exif.size, exif.make, exif.model, exif.time_zone, exif.latitude, exif.longitude,
    exif.city, exif.state, exif.country, exif.description, exif.rating
FROM asset
LEFT JOIN exif ON exif.asset = asset.id
LEFT JOIN library ON library.id = asset.library
ORDER BY asset.id
