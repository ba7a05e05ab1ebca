//! The `offhook` program.
//! In: the command line. Out: an exit code. Knows nothing of what the commands do.

use std::process::ExitCode;

fn main() -> ExitCode {
    offhook::cli::main()
}
