//! What fitting did to a dump, and why: the lines of the plan.

use std::collections::BTreeMap;

use serde::Serialize;

/// One kind of change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FitChange {
    /// What was done, such as `DROP statements left out`.
    pub what: String,
    pub why: String,
    /// How many statements it concerned.
    pub statements: u64,
    /// The dump's first line that it concerned, from 1.
    pub line: u64,
}

/// Changes so far, each kind once.
#[derive(Debug, Default)]
pub struct FitChanges(BTreeMap<String, FitChange>);

/// More kinds of change than a real dump needs: names of a hostile one could go on for ever.
const MOST: usize = 200;

impl FitChanges {
    pub fn add(&mut self, reason: FitReason, line: u64) {
        let FitReason { what, why } = reason;
        if let Some(change) = self.0.get_mut(&what) {
            change.statements += 1;
        } else if self.0.len() < MOST {
            self.0.insert(
                what.clone(),
                FitChange { what, why: why.into_owned(), statements: 1, line },
            );
        }
    }

    /// In the order of the dump.
    pub fn into_list(self) -> Vec<FitChange> {
        let mut list: Vec<_> = self.0.into_values().collect();
        list.sort_by_key(|change| change.line);
        list
    }
}

/// Why a statement is changed or left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FitReason {
    pub what: String,
    pub why: std::borrow::Cow<'static, str>,
}

impl FitReason {
    pub fn new(what: impl Into<String>, why: impl Into<std::borrow::Cow<'static, str>>) -> Self {
        FitReason { what: what.into(), why: why.into() }
    }
}
