//! Enums as the catalog's columns have them: `schema.sql` says which number is which.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};

use crate::base::file::FileKind;
use crate::base::library::{AlbumRole, Visibility};

/// Which file of an asset: a row of `asset_file` has one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FilePart {
    Original,
    Sidecar,
}

/// Makes an enum a column: each variant is a number. Another number is an error.
macro_rules! numbered {
    ($kind:ident { $($variant:ident = $number:literal),* }) => {
        impl ToSql for $kind {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                let number: i64 = match self {
                    $($kind::$variant => $number,)*
                };
                Ok(number.into())
            }
        }

        impl FromSql for $kind {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                match value.as_i64()? {
                    $($number => Ok($kind::$variant),)*
                    other => Err(FromSqlError::OutOfRange(other)),
                }
            }
        }
    };
}

numbered!(Visibility { Timeline = 0, Archive = 1, Hidden = 2, Locked = 3 });
numbered!(FileKind { File = 0, Folder = 1, Symlink = 2 });
numbered!(AlbumRole { Owner = 0, Editor = 1, Viewer = 2 });
numbered!(FilePart { Original = 0, Sidecar = 1 });
