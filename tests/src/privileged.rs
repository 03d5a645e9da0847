//! What only root can make: connections of other users, and a network of its own. As another user it takes a
//! `sudo` that asks for nothing.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::{program, soon};

/// The address at which servers listen in an [`OwnNetwork`].
pub const ANSWERS: &str = "192.0.2.1";

/// A name there: one of its addresses drops all packets, the other is [`ANSWERS`].
pub const TWO_ADDRESSES: &str = "two-addresses.test";

/// Another name there, with addresses of one family: the first drops all packets, the second is [`ANSWERS`].
pub const TWO_OF_IPV4: &str = "two-of-ipv4.test";

/// A veth whose other end is nobody: what is sent to a neighbour is dropped without a word.
const NETWORK: &str = "\
set -e
ip link set lo up
ip link add v0 type veth peer name v1
ip link set v0 up
ip link set v1 up
ip addr add 192.0.2.1/24 dev v0
ip -6 addr add 2001:db8::1/64 dev v0 nodad
ip -6 neigh add 2001:db8::dead lladdr 02:00:00:00:00:01 dev v0
ip addr add 169.254.1.1/16 dev v0 scope link
ip neigh add 169.254.1.2 lladdr 02:00:00:00:00:01 dev v0
mount --bind \"$0\" /etc/hosts
echo $$
exec cat";

/// Of two IPv4 addresses the one of the link comes first (RFC 6724, rule 8).
const HOSTS: &str = "\
127.0.0.1 localhost
2001:db8::dead two-addresses.test
192.0.2.1 two-addresses.test
169.254.1.2 two-of-ipv4.test
192.0.2.1 two-of-ipv4.test
";

/// Connections to a socket as somebody else. Dropping it ends them.
#[derive(Debug)]
pub struct OtherUser {
    folder: TempDir,
    _relay: Child,
}

/// A network that nothing outside of it reaches, but that shares the file system, and with it all Unix
/// sockets. It ends with this value; whoever runs in it goes first.
#[derive(Debug)]
pub struct OwnNetwork {
    /// The process that keeps it.
    holder: String,
    _held: Child,
    _hosts: TempDir,
}

impl OtherUser {
    /// A user of this number, with this group only, who can reach the socket.
    pub async fn before(socket: &Path, uid: u32, gid: u32) -> Self {
        Self::with_groups(socket, uid, gid, &[]).await
    }

    /// The same with supplementary groups.
    pub async fn with_groups(socket: &Path, uid: u32, gid: u32, groups: &[u32]) -> Self {
        let folder = tempfile::Builder::new().prefix("hsmd-user.").tempdir_in("/tmp");
        let folder = folder.expect("a folder for the user's socket");
        let relay = folder.path().join("relay");
        // The user may not be able to reach the folder that the tests were built in. Another process writes the
        // file: what other tests start meanwhile would hold our end of it open.
        let copied = Command::new("cp").arg(program("hsmd-test-relay")).arg(&relay).status().await;
        assert!(copied.expect("cp").success());
        let owner = format!("{uid}:{gid}");
        let given = privileged("chown", ["-R".as_ref(), owner.as_ref(), folder.path().as_os_str()]);
        assert!({ given }.status().await.expect("chown").success());
        let groups: Vec<_> = groups.iter().map(u32::to_string).collect();
        let groups = match groups.as_slice() {
            [] => "--clear-groups".to_owned(),
            groups => format!("--groups={}", groups.join(",")),
        };
        let user =
            ["--reuid", &uid.to_string(), "--regid", &gid.to_string(), &groups].map(OsString::from);
        let listen = folder.path().join("socket");
        let words = [relay.as_os_str(), listen.as_os_str(), socket.as_os_str()].map(OsString::from);
        let (relay, _) = started(&mut privileged("setpriv", user.into_iter().chain(words))).await;
        Self { folder, _relay: relay }
    }

    /// Where to connect: what is behind it sees that user.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }
}

impl OwnNetwork {
    /// Makes one.
    pub async fn make() -> Self {
        let hosts = tempfile::tempdir().expect("a folder for the hosts");
        let file = hosts.path().join("hosts");
        std::fs::write(&file, HOSTS).expect("a file of hosts");
        let words = ["--net", "--mount", "sh", "-c", NETWORK].map(OsString::from);
        let words = words.into_iter().chain([file.into_os_string()]);
        let (held, holder) = started(&mut privileged("unshare", words)).await;
        Self { holder, _held: held, _hosts: hosts }
    }

    /// The words before a command that make it run in this network.
    pub fn enter(&self) -> Vec<OsString> {
        let enter = ["nsenter", "--target", &self.holder, "--net", "--mount", "--"];
        prefix().iter().chain(&enter).map(OsString::from).collect()
    }

    /// Carries what is sent to an address in this network to a Unix socket.
    pub async fn carry(&self, from: &str, to: &Path) -> Child {
        let words = self.enter();
        let mut command = Command::new(&words[0]);
        command.args(&words[1..]).arg(program("hsmd-test-relay")).arg(from).arg(to);
        started(&mut command).await.0
    }
}

/// Carries each connection to a Unix socket to an address of this machine.
pub async fn carry(from: &Path, to: &str) -> Child {
    started(Command::new(program("hsmd-test-relay")).arg(from).arg(to)).await.0
}

fn prefix() -> &'static [&'static str] {
    if nix::unistd::getuid().is_root() { &[] } else { &["sudo", "--non-interactive"] }
}

fn privileged<S: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = S>) -> Command {
    let mut words = prefix().iter().copied().chain([program]);
    let mut command = Command::new(words.next().expect("a program"));
    command.args(words).args(arguments);
    command
}

/// Starts what says a line when it is ready, which is returned, and ends with its standard input.
async fn started(command: &mut Command) -> (Child, String) {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().expect("a command that can be run");
    let said = child.stdout.take().expect("its standard output");
    let said = soon(BufReader::new(said).lines().next_line()).await.expect("a line");
    let line = said.unwrap_or_else(|| panic!("it ended: {command:?}"));
    (child, line)
}
