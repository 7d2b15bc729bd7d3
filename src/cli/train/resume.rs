//! `shadegrad train --resume`.

use std::path::Path;

use crate::data::DataSet;
use crate::gpu::Gpu;
use crate::lab::LabError;
use crate::lab::train::{self, Settings, State};

use super::super::output;
use super::Args;

/// The unfinished run that `args` want to go on with, and its own arguments in the place of theirs.
pub fn resumed(args: Args, given: &[String], out: &Path) -> Result<(Args, Option<State>), LabError> {
    let Some(state) = State::read(out)? else {
        let problem = format!(
            "there is no unfinished run in {}: a run keeps its state from its first epoch's end (or --save-every) until \
             it is finished",
            out.display()
        );
        return Err(LabError::Usage(problem));
    };
    let failed = |error: serde_json::Error| LabError::Usage(error.to_string());
    let (_, there) = state.command();
    let mut here = serde_json::to_value(&args).map_err(failed)?;
    // What was not typed is meant to be as it was begun; where the same pictures lie may have changed.
    if let Some(here) = here.as_object_mut() {
        for (name, value) in here.iter_mut() {
            let is_place = ["out", "data"].contains(&name.as_str());
            if is_place || !given.contains(name) {
                *value = there[name].clone();
            }
        }
    }
    let differences = train::differences(there, &here);
    if !differences.is_empty() {
        return Err(state.refused(&differences));
    }
    let mut begun: Args = serde_json::from_value(there.clone()).map_err(failed)?;
    if given.iter().any(|name| name == "data") {
        begun.data = args.data;
    }
    let args = Args {
        json: args.json,
        elsewhere: args.elsewhere,
        save_every: args.save_every,
        check: args.check,
        memory_limit: args.memory_limit,
        ..begun
    };
    Ok((args, Some(state)))
}

pub fn say_where_it_goes_on(args: &Args, state: &State, out: &Path) {
    let at = state.position();
    let line = format!("going on in {} after step {} ({} epochs are over)", out.display(), at.step, at.epochs.len());
    if args.json { output::complain(&line) } else { output::say(&line) }
}

/// The same command once more is a slip where `--resume` was meant; another run in the same folder is not.
pub fn refuse_to_lose(gpu: &Gpu, settings: &Settings, set: &DataSet, out: &Path) -> Result<(), LabError> {
    // A state that cannot be read is not worth keeping.
    let Ok(Some(state)) = State::read(out) else { return Ok(()) };
    if state.mismatch(gpu, settings, set, false)?.is_empty() {
        return Err(LabError::Usage(format!(
            "{} holds the state of this very run, unfinished, after step {}: go on with --resume, or begin anew with \
             --fresh",
            out.display(),
            state.position().step
        )));
    }
    Ok(())
}
