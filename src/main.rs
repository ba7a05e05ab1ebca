//! The `offhook` program.
//! In: the command line. Out: an exit code. Knows nothing of what the commands do.

use std::process::ExitCode;

use mimalloc::MiMalloc;

/// What is tracked is many small pieces that come and go: they are had faster here than from the C library, and are
/// nearer to one another.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

fn main() -> ExitCode {
    offhook::cli::main()
}
