-- Brings the rows of older versions to the shape of the newest.

-- Up to v2.7 the owner is a column of the album; since v3 a row of album_user.
INSERT INTO album_user (album, user, role) SELECT id, owner, 'owner' FROM album WHERE owner IS NOT NULL;
-- Before v1.103 there are no roles: whoever saw an album could add to it.
UPDATE album_user SET role = 'editor' WHERE role IS NULL;

-- Since v3.2 a person is a group of faces, with a row for each owner who knows them; before, it is a group of one row. The row
-- that is as old as its group has the group's id: it was a person before there were groups, or the group was made for it.
-- Every other row has an id of its own, made of group and owner. So no id depends on whether another row is there.
ALTER TABLE person ADD COLUMN id;
UPDATE person SET id = iif(
    rowid = (SELECT p.rowid FROM person p LEFT JOIN person_group g ON g.id = p.grp
             WHERE p.grp = person.grp AND (p.created <= g.created) IS NOT 0 ORDER BY p.created, p.owner LIMIT 1),
    grp, person_id(grp, owner));
CREATE INDEX person_id_index ON person (id);

-- Before v1.113 a stack has no owner of its own.
UPDATE stack SET owner = (SELECT owner FROM asset WHERE asset.id = stack.cover) WHERE owner IS NULL;
