//! The `ropewalk` command. Everything it does lives in the library beside it, where tests can reach it.
#![forbid(unsafe_code)]

fn main() -> ! {
    ropewalk_cli::exit::with(ropewalk_cli::run(std::env::args_os()))
}
