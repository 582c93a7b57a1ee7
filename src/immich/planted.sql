-- What runs by itself in a database, as its catalogs say: nothing that a dump holds is run to find it. What belongs to an
-- extension, or was there when the server was made (ids below 16384), is left out.
WITH extended AS (
  SELECT classid, objid FROM pg_depend WHERE deptype = 'e'
), calls AS (
  -- Everybody may call them, and none of them runs SQL out of a text, ends sessions or writes anything but its result.
  SELECT proname FROM pg_proc WHERE oid < 16384 GROUP BY proname
  HAVING bool_and(has_function_privilege('public', oid, 'EXECUTE'))
     AND proname !~ '_to_xml|^lo_|^lo(read|write)$|^ts_(stat|rewrite)|^set_config|^pg_(notify|sleep|logical|replication|drop|copy|terminate|cancel|try_advisory|advisory|create)'
  UNION
  SELECT proname FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
    JOIN pg_extension e ON e.oid = d.refobjid
  WHERE extname IN ('cube', 'earthdistance', 'pg_trgm', 'unaccent', 'uuid-ossp', 'vector', 'vectors', 'vchord')
), found AS (
  SELECT 'function' AS kind, p.oid::regprocedure::text AS name, CASE WHEN nspname = 'public' THEN proname END AS function,
    lanname AS language, prosecdef AS definer,
    CASE WHEN prokind IN ('f', 'p') THEN concat(pg_get_function_arguments(p.oid), ' ', pg_get_functiondef(p.oid)) END AS text
  FROM pg_proc p JOIN pg_namespace n ON n.oid = pronamespace JOIN pg_language l ON l.oid = prolang
  WHERE p.oid >= 16384 AND ('pg_proc'::regclass, p.oid) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'trigger', format('%I on %s', tgname, tgrelid::regclass), NULL, NULL, false, pg_get_triggerdef(oid)
  FROM pg_trigger WHERE NOT tgisinternal AND ('pg_class'::regclass, tgrelid) NOT IN (TABLE extended)
  UNION ALL
  SELECT CASE WHEN attgenerated = '' THEN 'default' ELSE 'generated_column' END, format('%s.%I', adrelid::regclass, attname),
    NULL, NULL, false, pg_get_expr(adbin, adrelid)
  FROM pg_attrdef JOIN pg_attribute ON attrelid = adrelid AND attnum = adnum
  WHERE ('pg_class'::regclass, adrelid) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'default', format('%s', oid::regtype), NULL, NULL, false, typdefault FROM pg_type WHERE oid >= 16384 AND typdefault IS NOT NULL
  UNION ALL
  SELECT 'check', format('%I on %s', conname, CASE WHEN conrelid = 0 THEN contypid::regtype::text ELSE conrelid::regclass::text END),
    NULL, NULL, false, pg_get_constraintdef(oid)
  FROM pg_constraint WHERE contype = 'c' AND oid >= 16384 AND ('pg_class'::regclass, conrelid) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'index', indexrelid::regclass::text, NULL, NULL, false, pg_get_indexdef(indexrelid)
  FROM pg_index WHERE indexrelid >= 16384 AND ('pg_class'::regclass, indrelid) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'view', oid::regclass::text, NULL, NULL, false, pg_get_viewdef(oid)
  FROM pg_class WHERE relkind IN ('v', 'm') AND oid >= 16384 AND ('pg_class'::regclass, oid) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'rule', format('%I on %s', rulename, ev_class::regclass), NULL, NULL, false, NULL
  FROM pg_rewrite WHERE rulename <> '_RETURN' AND oid >= 16384 AND ('pg_class'::regclass, ev_class) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'policy', format('%I on %s', polname, polrelid::regclass), NULL, NULL, false, NULL FROM pg_policy
  UNION ALL
  SELECT 'event_trigger', quote_ident(evtname), NULL, NULL, false, NULL
  FROM pg_event_trigger WHERE ('pg_event_trigger'::regclass, oid) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'cast', format('%s as %s', castsource::regtype, casttarget::regtype), NULL, NULL, false, NULL
  FROM pg_cast WHERE castfunc <> 0 AND oid >= 16384 AND ('pg_cast'::regclass, oid) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'operator', oid::regoperator::text, NULL, NULL, false, NULL
  FROM pg_operator WHERE oid >= 16384 AND ('pg_operator'::regclass, oid) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'operator', opcname, NULL, NULL, false, NULL
  FROM pg_opclass WHERE oid >= 16384 AND ('pg_opclass'::regclass, oid) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'language', lanname, NULL, NULL, false, NULL
  FROM pg_language WHERE oid >= 16384 AND ('pg_language'::regclass, oid) NOT IN (TABLE extended)
  UNION ALL
  SELECT 'statistics', stxname, NULL, NULL, false, NULL FROM pg_statistic_ext WHERE 'e' = ANY (stxkind)
)
SELECT json_build_object('calls', (SELECT json_agg(proname) FROM calls), 'found', (SELECT coalesce(json_agg(found), '[]') FROM found));
