//! The `streamgauge` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    streamgauge::cli::main()
}
