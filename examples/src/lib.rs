//! The examples of ropewalk are programs, one task each: `cargo run --release --example NAME`, listed in `examples/README.md`.
//!
//! This library is empty for a reader. In a documentation test it holds every page of the guide and the README, so that their
//! code blocks compile and run: `ci/guide.sh`. A page that is missing here is found by `tests/tidy`.

#![cfg_attr(doctest, allow(missing_docs))]

/// The pages, one module each, so that a failure names its page.
#[cfg(doctest)]
mod pages {
    #[doc = include_str!("../../README.md")]
    mod readme {}

    #[doc = include_str!("../../guide/src/introduction.md")]
    mod introduction {}

    #[doc = include_str!("../../guide/src/find-the-bottleneck.md")]
    mod find_the_bottleneck {}

    #[doc = include_str!("../../guide/src/which-executor.md")]
    mod which_executor {}

    #[doc = include_str!("../../guide/src/beside-rayon-and-tokio.md")]
    mod beside_rayon_and_tokio {}

    #[doc = include_str!("../../guide/src/threads-and-pools.md")]
    mod threads_and_pools {}

    #[doc = include_str!("../../guide/src/greenlets.md")]
    mod greenlets {}

    #[doc = include_str!("../../guide/src/jobs.md")]
    mod jobs {}

    #[doc = include_str!("../../guide/src/change-one-word.md")]
    mod change_one_word {}

    #[doc = include_str!("../../guide/src/coming-from-python.md")]
    mod coming_from_python {}

    #[doc = include_str!("../../guide/src/coming-from-gevent.md")]
    mod coming_from_gevent {}

    #[doc = include_str!("../../guide/src/coming-from-asyncio.md")]
    mod coming_from_asyncio {}

    #[doc = include_str!("../../guide/src/coming-from-multiprocessing.md")]
    mod coming_from_multiprocessing {}

    #[doc = include_str!("../../guide/src/coming-from-subprocess.md")]
    mod coming_from_subprocess {}

    #[cfg(feature = "redis")]
    #[doc = include_str!("../../guide/src/coming-from-rq.md")]
    mod coming_from_rq {}
}
