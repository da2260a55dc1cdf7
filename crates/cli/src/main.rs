//! The `ropewalk` command. Everything it does lives in the library beside it, where tests can reach it.
#![forbid(unsafe_code)]

fn main() -> ! {
    // Workers of a pool of processes are this executable, started once more.
    #[cfg(target_os = "linux")]
    ropewalk::init();
    ropewalk_cli::exit::with(ropewalk_cli::run(std::env::args_os()))
}
