//! What a command said, and how it ended.

use std::process::Command;

use serde_json::Value;

#[derive(Debug)]
pub struct Said {
    /// -1 where a signal ended it.
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Said {
    /// Runs `command` to its end.
    pub fn of(command: &mut Command) -> Said {
        let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Said {
            code: output.status.code().unwrap_or(-1),
            out: text(&output.stdout),
            err: text(&output.stderr),
        }
    }

    #[track_caller]
    pub fn ends(self, code: i32) -> Said {
        assert_eq!(self.code, code, "stdout: {}\nstderr: {}", self.out, self.err);
        self
    }

    /// Asserts an error of one line that holds `message`, and a hint that holds `hint`.
    #[track_caller]
    pub fn fails(self, message: &str, hint: &str) {
        let said = self
            .err
            .lines()
            .filter(|line| line.starts_with("shoebox: ") || line.starts_with("hint: "));
        let lines: Vec<&str> = said.collect();
        assert!(self.code == 1 || self.code == 2, "{}", self.code);
        assert_eq!(lines.len(), 2, "{}", self.err);
        assert!(lines[0].contains(message), "{}", self.err);
        assert!(lines[1].contains(hint), "{}", self.err);
    }

    /// Its answers.
    #[track_caller]
    pub fn json(&self) -> Vec<Value> {
        let read =
            |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(read).collect()
    }
}
