//! The living Immich: its database, asked through PostgreSQL's own clients, and its
//! UPLOAD_LOCATION, walked.
//!
//! Everything here only reads. Nothing of what Immich holds is changed, locked or kept.

pub mod docker;
pub mod dotenv;
pub mod envfile;
pub mod installation;
pub mod location;
pub mod places;
pub mod postgres;
pub mod secret;
pub mod walk;

pub use envfile::ImmichEnv;
pub use location::UploadLocation;
pub use places::{ExternalFolder, LibraryPlaces, LibraryRoot};
pub use postgres::{
    ClientPrograms, DatabaseAccess, DumpPatience, DumpRequest, DumpTool, RunningDump, ServerPlace,
};
pub use secret::Secret;
pub use walk::{ExcludePatterns, FoundEntry, FoundKind, LibraryWalk, WalkObstacle, walk};
