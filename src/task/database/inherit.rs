//! What a database is apart from what is in it: its owner, rights, settings, limit and comment. A
//! new one that takes its place takes them over.

use crate::base::{Error, Result};
use crate::immich::fit::quoted;
use crate::source::DatabaseAccess;
use crate::source::postgres;

/// Asks for statements that give what the database `:OLD` is to the database `:NEW`, one a row.
///
/// Values are those of pg_dump's `makeAlterConfigCommand`: a list of names is quoted as it is kept,
/// all else is a text.
const QUESTION: &str = r#"
WITH old AS (SELECT *, pg_get_userbyid(datdba) AS owner FROM pg_database WHERE datname = :OLD),
settings AS (
  SELECT setrole, split_part(s, '=', 1) AS name, substr(s, strpos(s, '=') + 1) AS value
  FROM old JOIN pg_db_role_setting ON setdatabase = old.oid, unnest(setconfig) s
), rights AS (
  SELECT privilege_type, is_grantable, CASE grantee WHEN 0 THEN 'PUBLIC' ELSE quote_ident(pg_get_userbyid(grantee)) END AS grantee
  FROM old, aclexplode(datacl)
)
SELECT format('ALTER DATABASE %I OWNER TO %I;', :NEW, owner) FROM old
UNION ALL
SELECT format('REVOKE ALL ON DATABASE %I FROM PUBLIC, %I;', :NEW, owner) FROM old WHERE datacl IS NOT NULL
UNION ALL
SELECT format('GRANT %s ON DATABASE %I TO %s%s;', privilege_type, :NEW, grantee,
  CASE WHEN is_grantable THEN ' WITH GRANT OPTION' ELSE '' END) FROM rights
UNION ALL
SELECT format('ALTER DATABASE %I CONNECTION LIMIT %s;', :NEW, datconnlimit) FROM old WHERE datconnlimit >= 0
UNION ALL
SELECT format('COMMENT ON DATABASE %I IS %L;', :NEW, shobj_description(oid, 'pg_database'))
FROM old WHERE shobj_description(oid, 'pg_database') IS NOT NULL
UNION ALL
SELECT format('ALTER %s SET %s TO %s;',
  CASE setrole WHEN 0 THEN format('DATABASE %I', :NEW) ELSE format('ROLE %I IN DATABASE %I', pg_get_userbyid(setrole), :NEW) END,
  (SELECT string_agg(quote_ident(part), '.') FROM unnest(string_to_array(name, '.')) part),
  CASE WHEN name IN ('search_path', 'temp_tablespaces', 'session_preload_libraries', 'local_preload_libraries')
    AND value ~ '^("([^"]|"")*"|[a-z0-9_$]+)(, *("([^"]|"")*"|[a-z0-9_$]+))*$'
    THEN value ELSE quote_literal(value) END) FROM settings;
"#;

/// Statements that give all that the database `old` is to the database `new`.
pub(super) fn statements(access: &DatabaseAccess, old: &str, new: &str) -> Result<String> {
    let question = QUESTION.replace(":OLD", &literal(old)).replace(":NEW", &literal(new));
    postgres::ask(access, &format!("SET search_path = pg_catalog;\n{question}"))
}

/// Tries the statements, and takes them back.
///
/// # Errors
/// What the user may not give to the new database.
pub(super) fn attempt(access: &DatabaseAccess, old: &str, statements: &str) -> Result<()> {
    postgres::ask(access, &format!("BEGIN;\n{statements}ROLLBACK;\n")).map(drop).map_err(|error| {
        let what = format!(
            "what the database {} is set up with cannot be given to a new one",
            quoted(old)
        );
        Error::new(error.kind(), what)
            .caused_by(error.chain())
            .hint("connect as a superuser; nothing was changed")
    })
}

fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}
