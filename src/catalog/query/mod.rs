//! Questions to the catalog: one function each, a typed row out.

pub mod view;
