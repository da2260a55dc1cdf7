//! How python-rq writes jobs into Redis: keys, texts and data, both ways. Pure; what speaks to a server is the broker.
//!
//! | file | what it knows |
//! | --- | --- |
//! | [`keys`] | the names of the keys, under a prefix |
//! | [`text`] | times and tracebacks as rq writes them |
//! | [`data`] | the blob that says what is to be run, results, and in which serializer they are |
//! | [`pickle`] | Python's pickle as data: read without running anything, and written |
//!
//! Everything here judges bytes that others wrote: each function has a limit to what it reads, and none recurses.

pub mod data;
pub mod keys;
pub mod pickle;
pub mod text;
