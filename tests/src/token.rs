//! A SoftHSM token of one test, arranged through the `hsmd-softhsm` command.

use std::path::{Path, PathBuf};
use std::process::Command;

use hsmd_softhsm::{Class, ObjectInfo, Selection, TokenInfo, Tool};
use tempfile::TempDir;

use crate::program;

/// CKA_LABEL of the daemon's keys in the harness's configuration.
pub const KEY_LABEL: &str = "authorization-key";

pub(crate) const LABEL: &str = "hsmd test";
pub(crate) const PIN: &str = "24680-right";

/// A token in a folder of its own, on tmpfs where there is one. The folder goes when it is dropped.
#[derive(Debug)]
pub struct TestToken {
    folder: TempDir,
    tool: Tool,
}

impl TestToken {
    /// A new, empty token.
    pub fn provision() -> Self {
        Self::labelled(LABEL)
    }

    /// A new, empty token with a label of its own.
    pub fn labelled(label: &str) -> Self {
        let folder = memory_folder();
        let pin_file = folder.path().join("pin");
        crate::hsmd::write_private(&pin_file, &format!("{PIN}\n"));
        let tool = Tool {
            program: program("hsmd-softhsm"),
            dir: folder.path().join("softhsm"),
            label: label.into(),
            pin_file,
        };
        tool.provision().expect("a provisioned token");
        Self { folder, tool }
    }

    /// The value for `SOFTHSM2_CONF`.
    pub fn conf(&self) -> PathBuf {
        self.tool.dir.join("softhsm2.conf")
    }

    /// OpenSC's pkcs11-tool, logged in to this token: for what a program other than hsmd does with it.
    pub fn pkcs11_tool(&self) -> Command {
        let mut tool = Command::new("pkcs11-tool");
        tool.env("SOFTHSM2_CONF", self.conf()).env("HSMD_TEST_PIN", PIN);
        tool.args(["--module", hsmd_softhsm::MODULE, "--token-label", &self.tool.label]);
        tool.args(["--login", "--pin", "env:HSMD_TEST_PIN"]);
        tool
    }

    /// What the token says of itself, asked without a login.
    pub fn info(&self) -> TokenInfo {
        self.tool.info().expect("hsmd-softhsm info")
    }

    /// Every key and data object. They are listed again when the daemon destroys one meanwhile.
    pub fn objects(&self) -> Vec<ObjectInfo> {
        let list = || match self.tool.keys() {
            Err(error) if error.to_string().contains("object handle is not valid") => None,
            listed => Some(listed.expect("hsmd-softhsm keys")),
        };
        std::iter::repeat_with(list).take(20).flatten().next().expect("a list of objects")
    }

    /// The numbers of the daemon's private keys, in order.
    pub fn private_keys(&self) -> Vec<u32> {
        let number = |object: ObjectInfo| {
            let ours = object.class == Class::Private && object.label == KEY_LABEL;
            ours.then(|| object.id.and_then(|id| id.parse().ok())).flatten()
        };
        let mut numbers: Vec<u32> = self.objects().into_iter().filter_map(number).collect();
        numbers.sort_unstable();
        numbers
    }

    /// Makes a key pair as the daemon does.
    pub fn generate(&self, number: u32) -> ObjectInfo {
        self.tool.generate(KEY_LABEL, number).expect("hsmd-softhsm generate")
    }

    /// Makes a second copy of a pair.
    pub fn duplicate(&self, number: u32) {
        self.tool.copy(&Selection::pair(KEY_LABEL, number)).expect("hsmd-softhsm copy");
    }

    /// Destroys a pair.
    pub fn destroy(&self, number: u32) {
        self.tool.destroy(&Selection::pair(KEY_LABEL, number)).expect("hsmd-softhsm destroy");
    }

    /// Destroys one half of a pair.
    pub fn destroy_half(&self, number: u32, class: Class) {
        let half = Selection { class: Some(class), ..Selection::pair(KEY_LABEL, number) };
        self.tool.destroy(&half).expect("hsmd-softhsm destroy");
    }

    /// Destroys the journal's copies, if there are any: the records of the token's owners hold them.
    pub fn forget_journal(&self) {
        // The records of the token's owners, and the copy of older versions.
        for label in [format!("{KEY_LABEL}:owner"), format!("hsmd-journal:{KEY_LABEL}")] {
            if self.objects().iter().any(|object| object.label == label) {
                let journal = Selection { label, id: None, class: Some(Class::Data) };
                self.tool.destroy(&journal).expect("hsmd-softhsm destroy");
            }
        }
    }

    /// How many records of owners there are.
    pub fn records(&self) -> usize {
        let label = format!("{KEY_LABEL}:owner");
        self.objects().iter().filter(|object| object.label == label).count()
    }

    /// A backup of the token, to be [restored](Self::restore) later.
    pub fn backup(&self) -> TempDir {
        let backup = memory_folder();
        copy_folder(&self.tokens(), backup.path());
        backup
    }

    /// Puts a backup in the token's place. No process may have the token open.
    pub fn restore(&self, backup: &TempDir) {
        std::fs::remove_dir_all(self.tokens()).expect("remove the token");
        copy_folder(backup.path(), &self.tokens());
    }

    /// Takes the token away, as a pulled cable does; gives back what brings it back.
    pub fn unplug(&self) -> Unplugged {
        let unplugged = Unplugged { here: self.folder.path().join("away"), there: self.tokens() };
        std::fs::rename(&unplugged.there, &unplugged.here).expect("move the token away");
        unplugged
    }

    fn tokens(&self) -> PathBuf {
        self.tool.dir.join("tokens")
    }
}

/// A token that was taken away.
#[derive(Debug)]
pub struct Unplugged {
    here: PathBuf,
    there: PathBuf,
}

impl Unplugged {
    /// Brings it back.
    pub fn plug_in(self) {
        std::fs::rename(&self.here, &self.there).expect("move the token back");
    }
}

fn memory_folder() -> TempDir {
    let builder = || {
        let mut builder = tempfile::Builder::new();
        builder.prefix("hsmd-token.");
        builder
    };
    builder()
        .tempdir_in("/dev/shm")
        .or_else(|_| builder().tempdir())
        .expect("a folder for the token")
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make a folder");
    for entry in std::fs::read_dir(from).expect("list a folder") {
        let entry = entry.expect("an entry");
        let target = to.join(entry.file_name());
        if entry.file_type().expect("its type").is_dir() {
            copy_folder(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), &target).expect("copy a file");
        }
    }
}
