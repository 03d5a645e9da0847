//! Programs in other languages: what they need is installed below target/, and what they say is collected.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use crate::stack::wait_for;

/// One installation at a time: the tests run in threads of one process.
static INSTALLING: Mutex<()> = Mutex::new(());

/// A file of `tests`.
pub(crate) fn source(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests").join(name)
}

/// A folder below target/, which `install` fills when what it holds is not what `wanted` says.
fn installed(name: &str, wanted: &str, install: impl FnOnce(&Path)) -> PathBuf {
    let _one = INSTALLING.lock().expect("no installation has failed");
    let test = std::env::current_exe().expect("a path");
    let target = test.ancestors().nth(3).expect("target/<profile>/deps/<test>");
    let folder = target.join(name);
    let wanted = std::fs::read(source(wanted)).expect("read");
    let done = folder.join("installed");
    if std::fs::read(&done).is_ok_and(|installed| installed == wanted) {
        return folder;
    }
    std::fs::create_dir_all(&folder).expect("made");
    install(&folder);
    std::fs::write(done, wanted).expect("written");
    folder
}

/// A script under Node, with npm's packages beside it.
pub(crate) fn node(script: &str) -> Command {
    let folder = installed("npm-accounts", "npm/package-lock.json", |folder| {
        for name in ["package.json", "package-lock.json"] {
            std::fs::copy(source("npm").join(name), folder.join(name)).expect("copied");
        }
        let mut npm = Command::new("npm");
        npm.args(["ci", "--omit=dev", "--no-audit", "--no-fund", "--prefix"]).arg(folder);
        ended_well(npm.output().expect("npm starts"));
    });
    let copy = folder.join(script);
    std::fs::copy(source("npm").join(script), &copy).expect("copied");
    let mut node = Command::new("node");
    node.arg(copy).current_dir(folder);
    node
}

/// A script under Python, with the packages of `python/requirements.txt`.
pub(crate) fn python(script: &str) -> Command {
    let folder = installed("python-accounts", "python/requirements.txt", |folder| {
        let mut venv = Command::new("python3");
        ended_well(venv.args(["-m", "venv", "--clear"]).arg(folder).output().expect("Python"));
        let mut pip = Command::new(folder.join("bin/pip"));
        pip.args(["install", "--quiet", "--disable-pip-version-check", "--requirement"]);
        ended_well(pip.arg(source("python/requirements.txt")).output().expect("pip starts"));
    });
    let mut python = Command::new(folder.join("bin/python"));
    python.arg("-B").arg(source("python").join(script));
    python
}

/// What a command printed, which must have succeeded.
pub(crate) fn ended_well(output: Output) -> String {
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}\n{text}\n{errors}", output.status);
    text
}

/// The same of a command that is given something to read.
pub(crate) fn told(command: &mut Command, text: &str) -> String {
    let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = piped.spawn().expect("it starts");
    let mut input = child.stdin.take().expect("its standard input");
    input.write_all(text.as_bytes()).expect("it reads");
    drop(input);
    ended_well(child.wait_with_output().expect("it ends"))
}

/// A program that runs beside the test. It ends when it is dropped.
pub(crate) struct Beside {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Beside {
    pub(crate) fn start(command: &mut Command) -> Self {
        let piped = command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = piped.spawn().expect("it starts");
        let output = BufReader::new(child.stdout.take().expect("its standard output"));
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let said = Arc::clone(&lines);
        thread::spawn(move || {
            for line in output.lines().map_while(Result::ok) {
                said.lock().expect("no panic").push(line);
            }
        });
        Self { child, lines }
    }

    /// The lines that it has printed but for so many.
    pub(crate) fn after(&self, lines: usize) -> Vec<String> {
        self.lines.lock().expect("no panic")[lines..].to_vec()
    }

    /// How many lines it has printed.
    pub(crate) fn count(&self) -> usize {
        self.lines.lock().expect("no panic").len()
    }

    /// Its line of this number, counted from zero, when it is there.
    pub(crate) fn line(&self, number: usize) -> String {
        wait_for("a line", || self.after(0).get(number).cloned())
    }
}

impl Drop for Beside {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
