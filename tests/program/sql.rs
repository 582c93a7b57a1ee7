//! SQL stands where the tables are described: the catalog's in `catalog/`, the server's in the rooms
//! named here. Above `repo/` nobody sees SQLite.

use crate::layers::sources;

/// The rooms, and the files until `immich/` has all of it, that may ask the server's database or
/// the tables of a dump.
const SERVER: [&str; 5] = [
    "immich/",
    "source/postgres/",
    "task/database/",
    "task/doctor/database.rs",
    "task/drill/rows.rs",
];

/// The rooms above `repo/`.
const ABOVE: [&str; 6] = ["source/", "view/", "task/", "mount/", "service/", "cli/"];

/// How a statement begins.
const STATEMENTS: [&str; 8] = [
    "SELECT ",
    "INSERT INTO ",
    "INSERT OR ",
    "UPDATE ",
    "DELETE FROM ",
    "CREATE TABLE ",
    "CREATE TEMP ",
    "PRAGMA ",
];

/// The lines of the product, with their numbers, for which `is_wrong` holds; of files whose path
/// `counts`.
fn wrong(counts: impl Fn(&str) -> bool, is_wrong: impl Fn(&str) -> bool) -> Vec<String> {
    let mut found = Vec::new();
    for (path, text) in sources() {
        let path = path.display().to_string();
        if !counts(&path) {
            continue;
        }
        let product = text.lines().take_while(|line| *line != "#[cfg(test)]").enumerate();
        let lines = product.filter(|(_, line)| is_wrong(line.split("//").next().unwrap_or("")));
        found.extend(lines.map(|(number, line)| format!("src/{path}:{}: {line}", number + 1)));
    }
    found
}

fn has_statement(line: &str) -> bool {
    line.split('"').skip(1).any(|text| STATEMENTS.iter().any(|it| text.starts_with(it)))
}

#[test]
fn sql_on_the_catalog_stands_in_the_catalog() {
    let outside = |path: &str| {
        !path.starts_with("catalog/") && !SERVER.iter().any(|room| path.starts_with(room))
    };
    let found = wrong(outside, has_statement);
    assert!(found.is_empty(), "{}", found.join("\n"));
    let seen = wrong(|path| !outside(path), has_statement).len();
    assert!(seen > 100, "only {seen} statements were seen: does this test still find them?");
}

#[test]
fn nobody_above_the_repository_sees_sqlite() {
    let above = |path: &str| ABOVE.iter().any(|room| path.starts_with(room));
    let found = wrong(above, |line| line.contains("rusqlite"));
    assert!(found.is_empty(), "{}", found.join("\n"));
    let seen = wrong(|path| !above(path), |line| line.contains("rusqlite")).len();
    assert!(seen > 20, "only {seen} lines name rusqlite: does this test still find them?");
}

#[test]
fn the_tests_above_see_what_they_should() {
    assert!(has_statement(r#"let sql = "SELECT 1 FROM asset";"#));
    assert!(has_statement(r#"db.execute("DELETE FROM chunk WHERE hash = ?1", [patch])?;"#));
    assert!(!has_statement(r#"let said = "the SELECT of a dump";"#));
}
