//! What commands print: data on stdout, talk on stderr.

pub mod format;
pub mod progress;
pub mod style;
pub mod table;
pub mod times;
pub mod tree;
