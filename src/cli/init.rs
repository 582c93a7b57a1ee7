//! `shoebox init`

use serde_json::json;

use super::output::Output;
use super::{Done, Global};
use crate::base::Result;
use crate::repo::Repository;

/// Make a new repository
///
/// The folder must be empty or not there. Keep it on another disk than the photos. It is private (0700), for
/// dumps hold passwords and session tokens.
#[derive(Debug, clap::Args)]
#[command(after_help = "Example:\n  shoebox init -r /mnt/usb/photos\n\nJSON: {\"repository\": ID, \"folder\": PATH}")]
pub(super) struct Args {}

impl Args {
    pub fn run(self, global: &Global, output: &Output) -> Result<Done> {
        let repository = Repository::create(global.repository_path()?)?;
        let folder = repository.root().display().to_string();
        let text =
            format!("made a repository in {folder}\nnext: shoebox backup --upload-location FOLDER --docker CONTAINER");
        output.answer(&json!({ "repository": repository.id(), "folder": folder }), text)?;
        Ok(Done::Whole)
    }
}
