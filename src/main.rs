use std::process::ExitCode;

fn main() -> ExitCode {
    shadegrad::cli::run()
}
