//! The same fitting as a dump arrives: what a restore would refuse is known the night it is made.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use super::apart::ObjectsApart;
use super::rule::{FitRules, StatementFate};
use super::statement::Statement;
use super::{FitTarget, whole_statement};
use crate::immich::copy::CopyHeader;
use crate::immich::lexer::{DumpLexer, conforming};

/// What is refused whatever the server.
static ANY: LazyLock<FitTarget> = LazyLock::new(FitTarget::file);

/// The statements of one database, tried one after the other; nothing is kept of them.
pub struct FitTrial {
    rules: FitRules<'static>,
    /// The statement so far, and the line that it began on.
    text: String,
    began: u64,
    refused: Option<(u64, String)>,
    /// Tables of the schema `public` whose key is their column `id`.
    keyed: BTreeSet<String>,
    apart: ObjectsApart,
}

impl Default for FitTrial {
    fn default() -> Self {
        FitTrial {
            rules: FitRules::new(&ANY),
            text: String::new(),
            began: 0,
            refused: None,
            keyed: BTreeSet::new(),
            apart: ObjectsApart::default(),
        }
    }
}

impl FitTrial {
    /// Takes line `number`, which is part of a statement; `lexer` went over it.
    pub fn line(&mut self, line: &str, number: u64, lexer: &DumpLexer) {
        if self.refused.is_some() {
            return;
        }
        if self.text.is_empty() {
            self.began = number;
        }
        self.text.push_str(line);
        self.text.push('\n');
        if lexer.at_start() && lexer.escapes {
            self.text = conforming(&self.text);
        }
        match whole_statement(&self.text, lexer.at_start()) {
            Ok(None) => return,
            Ok(Some(tokens)) => {
                let statement = Statement::new(&self.text, &tokens);
                if statement.begins("ALTER TABLE ONLY public .")
                    && statement.find("PRIMARY KEY ( id )").is_some()
                {
                    self.keyed.extend(statement.name(5));
                }
                match self.rules.judge(&statement) {
                    StatementFate::Refuse(reason) => self.refuse(self.began, reason),
                    StatementFate::Apart(_) => self.apart.add(&statement),
                    StatementFate::Split(split, _) => self.apart.extend(split.named),
                    StatementFate::Keep | StatementFate::Change(..) | StatementFate::Omit(_) => {}
                }
            }
            Err(reason) => self.refuse(self.began, reason.to_owned()),
        }
        self.text.clear();
    }

    /// Takes the header of a COPY block, which stands on line `number`.
    pub fn rows(&mut self, header: &CopyHeader, number: u64) {
        if let Some(reason) = self.rules.needs.rows(header) {
            self.refuse(number, reason);
        }
        if self.rules.foreign.has_rows(header) {
            let schema = if header.schema == "public" {
                String::new()
            } else {
                format!("{}.", header.schema)
            };
            self.apart.mention(&format!("{schema}{}", header.table));
        }
    }

    /// What is not Immich's, and a restore leaves out, such as `event trigger note`.
    pub fn into_apart(self) -> Vec<String> {
        self.apart.into_list()
    }

    /// Notes that line `number` is refused, unless an earlier one is.
    pub fn refuse(&mut self, number: u64, reason: String) {
        self.refused.get_or_insert((number, reason));
    }

    /// True where the column `id` is the key of the table `public.table`.
    pub fn is_key(&self, table: &str) -> bool {
        self.keyed.contains(table)
    }

    /// The first line that a restore would refuse, and why.
    pub fn refusal(&self) -> Option<&(u64, String)> {
        self.refused.as_ref()
    }
}
