//! Who was in which state when, and the picture of it.
//!
//! Two rooms so far. [`timeline`] is plain data: lanes of spans, one lane per worker, each span computing, waiting for
//! something named, or idle. [`picture`] draws such data as SVG, as one HTML page, or as lanes for a terminal. Neither
//! knows where the data came from: the lab writes timelines from what its units report, and so may anybody else. Nothing
//! here reads a clock, and this crate never imports what it measures.
#![forbid(unsafe_code)]

pub mod picture;
pub mod timeline;
