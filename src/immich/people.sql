-- Every person with whether a locked photo of another owner shows them. `person` in library.rs reads the columns in this order.
SELECT
    id, grp, owner, name, hidden, favorite, born,
    EXISTS (SELECT 1 FROM face JOIN asset ON asset.id = face.asset
            WHERE face.person = person.grp AND face.deleted IS NULL AND face.visible IS NOT 0 AND asset.owner <> person.owner
              AND asset.visibility NOT IN ('timeline', 'archive', 'hidden'))
FROM person
ORDER BY id
