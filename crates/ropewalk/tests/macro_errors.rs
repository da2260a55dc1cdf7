//! What the attributes say about the likeliest mistakes: one program per mistake in `macro_errors/`, and beside it what a
//! person reads.
//!
//! Only messages of ours are held here. Texts that the compiler writes by itself change with its version and belong to it.
//! After a wording has been changed on purpose: `TRYBUILD=overwrite cargo test -p ropewalk --test macro_errors`, then read
//! the difference.

#![cfg(feature = "macros")]

#[test]
fn mistakes_are_explained_in_the_users_words() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("tests/macro_errors/*.rs");
}
