//! `shadegrad kernels`.

use crate::lab::LabError;
use crate::ops::sources::{self, SOURCES};

use super::output;

#[derive(Debug, clap::Args)]
pub struct Args {
    /// Print this kernel's source; without a name, all are listed
    name: Option<String>,
}

pub fn run(args: &Args) -> Result<(), LabError> {
    let Some(name) = &args.name else {
        for source in SOURCES {
            let entries = source.entries();
            let entries = if entries.is_empty() { "(put before others)".to_owned() } else { entries.join(", ") };
            output::say(&format!("{:<24} {entries}", source.name));
            output::say(&format!("    {}", source.summary()));
        }
        output::say("'shadegrad kernels NAME' prints one; shaders/README.md leads through them from the naive ones up");
        return Ok(());
    };
    match sources::find(name) {
        Ok(source) => {
            output::say(source.text.trim_end());
            Ok(())
        }
        Err(near) => {
            let hint = if near.is_empty() {
                "'shadegrad kernels' lists them".to_owned()
            } else {
                format!("did you mean {}?", near.join(", "))
            };
            Err(LabError::Usage(format!("there is no kernel '{}': {hint}", name.escape_debug())))
        }
    }
}
