//! Ctrl-C, and whatever else asks the program to end: a run that can be kept is kept first.

use std::process;
use std::sync::atomic::{AtomicBool, Ordering};

use super::output;

/// What a shell says of a program that was ended by Ctrl-C.
pub const EXIT_CODE: u8 = 130;

/// Someone looks at [`WANTED`] often enough to be waited for.
static HEEDED: AtomicBool = AtomicBool::new(false);
static WANTED: AtomicBool = AtomicBool::new(false);

/// From now on the first signal is noted while somebody heeds it; any other ends the program at once.
pub fn listen() {
    // A handler of somebody else's (there is none in this program) would only mean that a signal ends it as ever.
    let _ = ctrlc::set_handler(|| {
        if !HEEDED.load(Ordering::SeqCst) || WANTED.swap(true, Ordering::SeqCst) {
            leave_at_once();
        }
        output::complain("stopping after this step; once more to leave at once");
    });
}

/// Whether the next signal is to be noted rather than obeyed at once.
pub fn heed(whether: bool) {
    HEEDED.store(whether, Ordering::SeqCst);
}

/// Whether the program is to end.
pub fn is_wanted() -> bool {
    WANTED.load(Ordering::SeqCst)
}

fn leave_at_once() -> ! {
    process::exit(EXIT_CODE.into())
}
