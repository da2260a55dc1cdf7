//! Nothing: `tests/` holds other people's crates beside ours.
