//! The program killed from outside, and resumed.

#![cfg(unix)]

#[path = "common/folder.rs"]
mod folder;
#[path = "common/program.rs"]
mod program;
#[path = "common/same.rs"]
mod same;

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use folder::TempFolder;
use same::assert_same;
use shadegrad::data::{self, few_shapes};
use shadegrad::lab::train::State;
use shadegrad::random::{Purpose, Stream};

const STATE: &str = "state.safetensors";

/// A folder with a small data set, and training runs over it.
struct Bench {
    folder: TempFolder,
    more: Vec<String>,
}

impl Bench {
    fn new(train: u32, test: u32, more: &[&str]) -> Self {
        let folder = TempFolder::new("killed");
        data::write_cifar10(&few_shapes(train, test), &folder.path().join("data")).unwrap();
        Self { folder, more: more.iter().map(|&word| word.to_owned()).collect() }
    }

    fn out(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn arguments(&self, out: &Path) -> Vec<String> {
        let folder = |path: PathBuf| path.to_str().unwrap().to_owned();
        let mut all: Vec<String> = ["train", "--data"].map(str::to_owned).to_vec();
        all.push(folder(self.out("data")));
        all.extend(["--out".to_owned(), folder(out.to_owned())]);
        all.extend(self.more.iter().cloned());
        all
    }

    /// Starts a run and waits until it has its device.
    fn start(&self, command: &mut Command, out: &Path) -> (Child, Instant) {
        let errors = File::create(out.with_extension("stderr")).unwrap();
        let mut child = command.stdout(Stdio::piped()).stderr(errors).spawn().unwrap();
        let mut line = String::new();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        stdout.read_line(&mut line).unwrap();
        let said = || fs::read_to_string(out.with_extension("stderr")).unwrap();
        assert!(line.starts_with("adapter: "), "{line}{}", said());
        // The rest is read, so that the program never waits for its reader.
        std::thread::spawn(move || stdout.lines().count());
        (child, Instant::now())
    }

    fn begin(&self, out: &Path) -> (Child, Instant) {
        self.start(program().args(self.arguments(out)), out)
    }

    fn resume(&self, out: &Path) -> ExitStatus {
        let mut command = program();
        command.args(["train", "--resume", "--out"]).arg(out);
        self.start(&mut command, out).0.wait().unwrap()
    }

    /// A run from beginning to end, and how long it took once it had its device.
    fn whole(&self) -> (PathBuf, Duration) {
        let out = self.out("whole");
        let (mut child, begun) = self.begin(&out);
        assert!(child.wait().unwrap().success(), "{}", said(&out));
        (out, begun.elapsed())
    }

    /// The command line is one of the things that are kept; here it names another folder for each run.
    fn assert_same(&self, found: &Path, wanted: &Path, what: &str) {
        let result = wanted.join("result.json");
        let text = fs::read_to_string(&result).unwrap();
        let (from, to) = (wanted.to_str().unwrap(), found.to_str().unwrap());
        fs::write(&result, text.replace(from, to)).unwrap();
        assert_same(found, wanted, what);
        fs::write(&result, text).unwrap();
    }
}

fn program() -> Command {
    program::command()
}

fn said(out: &Path) -> String {
    fs::read_to_string(out.with_extension("stderr")).unwrap()
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success(), "kill {name}");
}

fn wait_for(path: &Path, child: &mut Child) {
    let begun = Instant::now();
    while !path.exists() {
        assert!(
            child.try_wait().unwrap().is_none() && begun.elapsed().as_secs() < 60,
            "{} is not made",
            path.display()
        );
        sleep(Duration::from_millis(1));
    }
}

fn wanted_kills() -> u32 {
    std::env::var("SHADEGRAD_KILLS").map_or(4, |text| text.parse().unwrap())
}

/// `SHADEGRAD_KILLS=30` kills thirty: half of them at any moment, half while the state is written.
#[test]
fn a_run_that_was_killed_at_any_moment_goes_on_to_the_same_bits() {
    let kills = wanted_kills();
    let bench = Bench::new(
        320,
        100,
        &[
            "--epochs",
            "2",
            "--batch",
            "32",
            "--flip",
            "--shift",
            "1",
            "--adv",
            "fgsm",
            "--adv-eps",
            "2/255",
            "--save-every",
            "1",
        ],
    );
    let (whole, took) = bench.whole();
    let mut moments = Stream::new(7, Purpose::Test, 0);
    let (mut nothing, mut saving, mut late, mut steps) = (0, 0, 0, Vec::new());
    let mut kill = 0;
    while kill < kills {
        let out = bench.out(&format!("killed {kill}"));
        let (mut child, begun) = bench.begin(&out);
        sleep(took.mul_f64(moments.uniform().into()).saturating_sub(begun.elapsed()));
        // Every other run is killed while it writes its state, the next time that it does.
        let part = out.join(format!("{STATE}.part"));
        while kill % 2 == 1 && !part.exists() && child.try_wait().unwrap().is_none() {}
        let ended = child.try_wait().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        saving += usize::from(part.exists());
        if ended.is_some() {
            // Killing the dead proves nothing: once more, at another moment.
            fs::remove_dir_all(&out).unwrap();
            late += 1;
            continue;
        }
        // Whatever there is must be whole.
        match State::read(&out).unwrap() {
            Some(state) => {
                steps.push(state.position().step);
                assert!(bench.resume(&out).success(), "{}", said(&out));
            }
            None => {
                nothing += 1;
                assert!(bench.begin(&out).0.wait().unwrap().success(), "{}", said(&out));
            }
        }
        bench.assert_same(&out, &whole, &format!("kill {kill}"));
        kill += 1;
    }
    steps.sort_unstable();
    println!(
        "{kills} runs killed within {took:.2?}: {nothing} before the first state, {saving} while one was written; the \
         others resumed after steps {steps:?} of 20; all ended with the same bits ({late} more had ended too soon)"
    );
}

/// A file that may not grow fails like one on a full disk, and any user can have it: the shell limits the size of the
/// program's files (in units of 512 bytes), and has the signal for it passed over. `SHADEGRAD_KILLS=30` fills ten.
#[test]
fn a_disk_that_is_full_while_the_state_is_written_leaves_the_one_before() {
    let bench = Bench::new(64, 20, &["--epochs", "2", "--batch", "8", "--save-every", "3"]);
    let (whole, _) = bench.whole();
    let out = bench.out("full");
    let (mut child, _) = bench.begin(&out);
    wait_for(&out.join(STATE), &mut child);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = fs::read(out.join(STATE)).unwrap();
    let size = before.len() / 512;
    let times = (wanted_kills() as usize / 3).max(2);
    // From a disk that takes next to nothing to one that lacks a KiB.
    for limit in (0..times).map(|time| 1 + time * (size - 3) / (times - 1)) {
        let mut limited = Command::new("sh");
        limited.args(["-c", r#"trap "" XFSZ; ulimit -f "$0"; exec "$@""#, &limit.to_string()]);
        limited
            .env("XDG_CACHE_HOME", program::cache())
            .arg(env!("CARGO_BIN_EXE_shadegrad"))
            .args(["train", "--resume", "--save-every", "1", "--out"])
            .arg(&out);
        let status = bench.start(&mut limited, &out).0.wait().unwrap();
        let text = said(&out);
        let errors: Vec<&str> = text.lines().filter(|line| !line.starts_with("warning: ")).collect();
        assert_eq!((status.code(), errors.len()), (Some(1), 1), "{text}");
        assert!(errors[0].starts_with("error: cannot write ") && errors[0].contains(STATE), "{text}");
        assert!(fs::read(out.join(STATE)).unwrap() == before, "the state before is gone");
        assert!(!out.join(format!("{STATE}.part")).exists());
    }
    assert!(bench.resume(&out).success(), "{}", said(&out));
    bench.assert_same(&out, &whole, "after a full disk");
}

#[test]
fn ctrl_c_keeps_the_run_and_says_how_to_go_on() {
    let bench = Bench::new(640, 20, &["--epochs", "3", "--batch", "4", "--save-every", "5"]);
    let (whole, _) = bench.whole();
    for name in ["-INT", "-TERM"] {
        let out = bench.out(&format!("left by {name}"));
        let (mut child, _) = bench.begin(&out);
        wait_for(&out.join(STATE), &mut child);
        signal(&child, name);
        assert_eq!(child.wait().unwrap().code(), Some(130), "{}", said(&out));
        assert!(said(&out).contains(&format!("shadegrad train --resume --out {}", out.display())), "{}", said(&out));

        // The same command again would throw the work away; other settings are told apart.
        let refused = |more: &[&str], parts: &[&str]| {
            let output = program().args(bench.arguments(&out)).args(more).output().unwrap();
            let text = String::from_utf8(output.stderr).unwrap();
            assert_eq!(output.status.code(), Some(1), "{text}");
            let line = text.lines().find(|line| line.starts_with("error: ")).unwrap();
            for part in parts {
                assert!(line.contains(part), "'{part}' is missing in {line}");
            }
        };
        refused(&[], &["unfinished", "--resume", "--fresh"]);
        refused(&["--resume", "--lr", "0.5"], &[STATE, "lr is 0.001, not 0.5"]);
        refused(
            &["--resume", "--adv", "fgsm", "--adv-eps", "1/255"],
            &["adv is none, not \"fgsm\"", "adv_eps is none"],
        );
        assert!(bench.resume(&out).success(), "{}", said(&out));
        bench.assert_same(&out, &whole, name);
        refused(&["--resume"], &["no unfinished run", out.to_str().unwrap()]);
    }
}

#[test]
fn a_second_ctrl_c_leaves_at_once() {
    // One step (CIFAR's layout has five files of pictures at the least), and then an evaluation that takes its time and is not left for the first signal.
    let bench = Bench::new(5, 4000, &["--model", "ae4", "--epochs", "1", "--batch", "5", "--save-every", "1"]);
    let out = bench.out("left");
    let (mut child, _) = bench.begin(&out);
    wait_for(&out.join(STATE), &mut child);
    signal(&child, "-INT");
    let begun = Instant::now();
    while !said(&out).contains("once more to leave at once") && begun.elapsed().as_secs() < 10 {
        sleep(Duration::from_millis(1));
    }
    signal(&child, "-INT");
    assert_eq!(child.wait().unwrap().code(), Some(130), "{}", said(&out));
    assert!(!out.join("last.safetensors").exists(), "the program went on to the epoch's end");
    assert_eq!(State::read(&out).unwrap().unwrap().position().step, 1);
    assert!(bench.resume(&out).success(), "{}", said(&out));
}

#[test]
fn a_folder_that_another_run_writes_to_is_refused() {
    let bench = Bench::new(320, 20, &["--epochs", "50", "--batch", "4"]);
    let out = bench.out("busy");
    let (mut child, _) = bench.begin(&out);
    let text = out.to_str().unwrap();
    let weights = bench.out("weights.safetensors");
    wait_for(&out.join("best.safetensors"), &mut child);
    fs::copy(out.join("best.safetensors"), &weights).unwrap();
    let data = bench.out("data");
    let attack = ["attack", "--weights", weights.to_str().unwrap(), "--data", data.to_str().unwrap(), "--out", text];
    let train: Vec<String> = bench.arguments(&out);
    let lab = ["lab", "--preset", "tiny", "--out", text];
    for arguments in [train.iter().map(String::as_str).collect::<Vec<_>>(), attack.to_vec(), lab.to_vec()] {
        let output = program().args(&arguments).output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        let wanted = format!("another run of shadegrad (process {}) is writing to {text}", child.id());
        assert!(output.status.code() == Some(1) && said.contains(&wanted), "{arguments:?}: {said}");
    }
    child.kill().unwrap();
    child.wait().unwrap();
}
