//! What every test of damaged files needs: memory that is counted, and rounds that are watched.
#![allow(dead_code)] // each test file uses its own part of this one

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use crate::mutate::Dice;

pub const MIB: usize = 1 << 20;

/// Counts what each thread has allocated: now, and at most.
struct Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

fn count(bytes: isize) {
    // A thread that is ending has no counters any more, and nothing here depends on it.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + bytes);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(size as isize - layout.size() as isize);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Runs a parser; says whether it found the input good, and how many bytes it held at most.
pub fn parse(input: &[u8], parser: &dyn Fn(&[u8]) -> Result<(), String>) -> Result<(bool, usize), String> {
    let before = NOW.get();
    PEAK.set(before);
    let outcome = catch_unwind(AssertUnwindSafe(|| parser(input)));
    let peak = (PEAK.get() - before).max(0) as usize;
    match outcome {
        Ok(Ok(())) => Ok((true, peak)),
        Ok(Err(text)) if text.contains('\n') || text.is_empty() => Err(format!("not one line: {text:?}")),
        Ok(Err(_)) => Ok((false, peak)),
        Err(_) => Err("it panics".to_owned()),
    }
}

pub struct Target<'a> {
    pub name: &'a str,
    /// One in so many of the usual rounds, for what is slower.
    pub share: u64,
    pub make: &'a dyn Fn(&mut Dice) -> Vec<u8>,
    pub parser: &'a dyn Fn(&[u8]) -> Result<(), String>,
    /// Bytes that it may hold for an input of this length.
    pub bound: fn(usize) -> usize,
}

/// Ends the process if a parser takes longer than this over one small file.
const HANG: Duration = Duration::from_secs(30);

pub fn run(target: Target<'_>) {
    let rounds = std::env::var("SHADEGRAD_FUZZ_ROUNDS").ok().map(|rounds| rounds.parse::<u64>().unwrap());
    let rounds = rounds.unwrap_or(2_000 / target.share);
    let (beat, watch) = mpsc::channel::<u64>();
    let name = target.name.to_owned();
    let watcher = std::thread::spawn(move || {
        let mut round = 0;
        loop {
            match watch.recv_timeout(HANG) {
                Ok(next) => round = next,
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => {
                    eprintln!("{name}: round {round} hangs");
                    std::process::exit(1);
                }
            }
        }
    });
    let (mut good, mut highest) = (0u64, (0, 0));
    for round in 0..rounds {
        beat.send(round).unwrap();
        let input = (target.make)(&mut Dice::new(round));
        let name = target.name;
        let (fine, peak) =
            parse(&input, target.parser).unwrap_or_else(|text| panic!("{name}, round {round}: {text}: {input:02x?}"));
        let bound = (target.bound)(input.len());
        assert!(peak <= bound, "{name}, round {round}: {peak} bytes for {} of input, not {bound}", input.len());
        good += u64::from(fine);
        highest = highest.max((peak, input.len()));
    }
    println!(
        "{}: {rounds} rounds, {good} still read, at most {} bytes held for {} of input",
        target.name, highest.0, highest.1
    );
    drop(beat);
    watcher.join().unwrap();
}
