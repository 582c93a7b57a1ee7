-- The photos that show a person: those of the person's owner, and of partners who share theirs with that owner and are in the
-- owner's timeline, as far as Immich shows them to partners (what is archived, locked or in the trash it does not). A face on a photo of somebody else names the
-- group only, which others have a row in, too.
SELECT person.id, face.asset
FROM person
CROSS JOIN face ON face.person = person.grp
CROSS JOIN asset ON asset.id = face.asset
WHERE face.deleted IS NULL AND face.visible IS NOT 0
  AND (asset.owner = person.owner
       OR EXISTS (SELECT 1 FROM partner WHERE partner.owner = asset.owner AND partner.viewer = person.owner AND partner.timeline = 1)
          AND coalesce(asset.visibility, iif(asset.visible IS 0 OR asset.archived IS 1, 'hidden', 'timeline')) = 'timeline'
          AND asset.deleted IS NULL AND coalesce(asset.status, 'active') = 'active')
ORDER BY person.id, face.asset
