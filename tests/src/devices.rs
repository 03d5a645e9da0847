//! Tokens of other makers, as people have them: a TPM (swtpm behind tpm2-abrmd and tpm2-pkcs11), NSS's
//! own token, and a SoftHSM token of another process through p11-kit's remoting.
//!
//! They are Debian packages (scripts/test installs them); a test fails when one is missing. Kryoptic is
//! built from crates.io, by `scripts/test --long` only.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use tempfile::TempDir;

use crate::token::PIN;
use crate::{Hsmd, TestToken, program, wait_for};

/// A device and the processes that it needs. They end, and its folder goes, when it is dropped.
#[derive(Debug)]
pub struct Device {
    module: PathBuf,
    label: String,
    settings: Vec<(&'static str, toml::Value)>,
    environment: Vec<(&'static str, OsString)>,
    running: Vec<Child>,
    _token: Option<TestToken>,
    _folder: TempDir,
}

const LABEL: &str = "hsmd";

impl Device {
    /// A TPM 2.0: swtpm, with a resource manager of its own, because hsmd has more than three objects.
    pub fn swtpm() -> Self {
        let mut device = Self::new("pkcs11/libtpm2_pkcs11.so", LABEL);
        let [state, store, socket, bus] =
            ["state", "store", "sock", "bus"].map(|name| device.path(name));
        for folder in [&state, &store] {
            std::fs::create_dir(folder).expect("a folder");
        }
        let mut swtpm = Command::new("swtpm");
        swtpm.args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"]);
        swtpm.arg("--tpmstate").arg(format!("dir={}", state.display()));
        swtpm.arg("--server").arg(format!("type=unixio,path={}", socket.display()));
        swtpm.arg("--ctrl").arg(format!("type=unixio,path={}.ctrl", socket.display()));
        device.start(swtpm, &socket);
        let address = format!("unix:path={}", bus.display());
        let mut dbus = Command::new("dbus-daemon");
        dbus.args(["--session", "--nofork", "--address", &address]);
        device.start(dbus, &bus);
        let lock_file = device.path("lock").display().to_string();
        device.settings = vec![("token.0.lock_file", lock_file.into())];
        device.environment = vec![
            ("DBUS_SESSION_BUS_ADDRESS", address.into()),
            ("TPM2_PKCS11_STORE", store.into()),
            ("TPM2_PKCS11_TCTI", "tabrmd:bus_type=session".into()),
        ];
        let mut broker = Command::new("tpm2-abrmd");
        broker.args(["--session", "--allow-root", "--flush-all"]);
        broker.arg(format!("--tcti=swtpm:path={}", socket.display()));
        broker.envs(device.environment.clone());
        device.running.push(spawn(broker));
        device.initialise();
        device
    }

    /// Kryoptic, whose module was built to this path, with a database of its own.
    pub fn kryoptic(module: impl Into<PathBuf>) -> Self {
        let mut device = Self::of(module.into(), LABEL);
        let (settings, database) = (device.path("kryoptic.conf"), device.path("token.sql"));
        let text = format!(
            "[[slots]]\nslot = 0\ndbtype = \"sqlite\"\ndbargs = \"{}\"\n",
            database.display()
        );
        std::fs::write(&settings, text).expect("a configuration");
        device.environment = vec![("KRYOPTIC_CONF", settings.into())];
        device.initialise();
        device
    }

    /// NSS's softoken with a database of its own; its keys are reported as ones that were not made there.
    pub fn nss() -> Self {
        Self::nss_with(true)
    }

    /// The same without a password: it asks for no login.
    pub fn nss_without_a_password() -> Self {
        Self::nss_with(false)
    }

    fn nss_with(password: bool) -> Self {
        let mut device = Self::new("libsoftokn3.so", "NSS Certificate DB");
        let (pin, database) = (device.path("pin"), device.path("db"));
        std::fs::create_dir(&database).expect("a folder");
        std::fs::write(&pin, format!("{PIN}\n")).expect("a PIN file");
        let mut certutil = Command::new("certutil");
        certutil.arg("-N").arg("-d").arg(format!("sql:{}", database.display()));
        match password {
            true => certutil.arg("-f").arg(pin),
            false => certutil.arg("--empty-password"),
        };
        assert!(certutil.status().expect("run certutil (libnss3-tools)").success());
        let arguments = format!(
            "configdir='sql:{}' certPrefix='' keyPrefix='' secmod='secmod.db'",
            database.display()
        );
        device.settings = vec![
            ("token.0.initialize_args", arguments.into()),
            ("token.0.accept_extractable", true.into()),
        ];
        device
    }

    /// A SoftHSM token that another process serves through p11-kit.
    pub fn p11_kit() -> Self {
        let mut device = Self::new("pkcs11/p11-kit-client.so", crate::token::LABEL);
        let token = TestToken::provision();
        let socket = device.path("sock");
        let mut server = Command::new("p11-kit");
        server.args(["server", "--foreground", "--provider", hsmd_softhsm::MODULE, "--name"]);
        server.arg(&socket).arg("pkcs11:").env("SOFTHSM2_CONF", token.conf());
        device.start(server, &socket);
        let address = format!("unix:path={}", socket.display());
        device.environment = vec![("P11_KIT_SERVER_ADDRESS", address.into())];
        device._token = Some(token);
        device
    }

    /// Its PKCS#11 module.
    pub fn module(&self) -> &Path {
        &self.module
    }

    /// Gives a program what it needs to reach the device.
    pub fn prepare(&self, program: &mut Command) {
        program.envs(self.environment.clone());
    }

    fn new(module: &str, label: &str) -> Self {
        Self::of(library(module), label)
    }

    fn of(module: PathBuf, label: &str) -> Self {
        // Short: the path of a Unix socket has 108 bytes at the most.
        let folder = tempfile::Builder::new().prefix("hsmd-d.").tempdir_in("/tmp");
        Self {
            module,
            label: label.into(),
            settings: Vec::new(),
            environment: Vec::new(),
            running: Vec::new(),
            _token: None,
            _folder: folder.expect("a folder for a device"),
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self._folder.path().join(name)
    }

    /// Starts a server and waits for its socket.
    fn start(&mut self, command: Command, socket: &Path) {
        let what = format!("{command:?} listens");
        self.running.push(spawn(command));
        wait_for(&what, || socket.exists().then_some(()));
    }

    /// Makes the token and sets its user PIN. A device that has just started may need a moment.
    fn initialise(&self) {
        wait_for("the module initialises its token", || {
            let arguments =
                ["--init-token", "--slot-index", "0", "--label", LABEL, "--so-pin", PIN];
            self.tool(&arguments).then_some(())
        });
        let arguments = ["--init-pin", "--token-label", LABEL, "--so-pin", PIN, "--pin", PIN];
        assert!(self.tool(&arguments), "the module takes a user PIN");
    }

    fn tool(&self, arguments: &[&str]) -> bool {
        let mut tool = Command::new("pkcs11-tool");
        tool.arg("--module").arg(&self.module).args(arguments);
        self.prepare(&mut tool);
        tool.stdout(Stdio::null()).stderr(Stdio::null());
        tool.status().expect("run pkcs11-tool (opensc)").success()
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        for mut child in self.running.drain(..).rev() {
            // One that has ended already is as good.
            drop(child.kill());
            drop(child.wait());
        }
    }
}

impl Hsmd {
    /// The same hsmd on another device, with the fault module before it.
    pub fn on(self, device: &Device) -> (Self, hsmd_fault::Control) {
        let control = self.path("fault");
        let faults = hsmd_fault::Control::open(&control).expect("a control file");
        let module = program("libhsmd_fault.so").display().to_string();
        let hsmd = self
            .directly_on(device)
            .set("token.0.module", module)
            .env("HSMD_FAULT_MODULE", device.module.clone())
            .env("HSMD_FAULT_CONTROL", control);
        (hsmd, faults)
    }

    /// The same hsmd on another device.
    #[must_use]
    pub fn directly_on(self, device: &Device) -> Self {
        let mut hsmd = self
            .set("token.0.module", device.module.display().to_string())
            .set("token.0.label", device.label.clone());
        for (path, value) in device.settings.clone() {
            hsmd = hsmd.set(path, value);
        }
        for (name, value) in device.environment.clone() {
            hsmd = hsmd.env(name, value);
        }
        hsmd
    }
}

fn spawn(mut command: Command) -> Child {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

/// A library in the folder of this machine's kind.
fn library(name: &str) -> PathBuf {
    let folders = std::fs::read_dir("/usr/lib").expect("/usr/lib");
    let found = folders
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|folder| folder.to_string_lossy().ends_with("-linux-gnu"))
        .map(|folder| folder.join(name))
        .find(|path| path.exists());
    found
        .unwrap_or_else(|| panic!("{name} is missing: scripts/test says which packages to install"))
}
