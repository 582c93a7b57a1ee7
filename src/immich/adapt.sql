-- Brings the rows of older versions to the shape of the newest.

-- Up to v2.7 the owner is a column of the album; since v3 a row of album_user.
INSERT INTO album_user (album, user, role) SELECT id, owner, 'owner' FROM album WHERE owner IS NOT NULL;
-- Before v1.103 there are no roles: whoever saw an album could add to it.
UPDATE album_user SET role = 'editor' WHERE role IS NULL;

-- Before v1.113 a stack has no owner of its own.
UPDATE stack SET owner = (SELECT owner FROM asset WHERE asset.id = stack.cover) WHERE owner IS NULL;
