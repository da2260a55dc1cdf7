//! The examples of ropewalk are programs, one task each: `cargo run --release --example NAME`, listed in `examples/README.md`.
//!
//! This library is empty for a reader. In a documentation test it holds every page of the guide and the README, so that their
//! code blocks compile and run: `ci/guide.sh`. A page that is missing here is found by `tests/tidy`.

#![cfg_attr(doctest, allow(missing_docs))]
