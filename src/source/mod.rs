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
pub use places::{Places, Root};
pub use postgres::{Access, Clients, DumpPatience, DumpRequest, DumpTool, RunningDump, Server};
pub use secret::Secret;
pub use walk::{Exclude, Found, FoundKind, Obstacle, Walk, walk};
