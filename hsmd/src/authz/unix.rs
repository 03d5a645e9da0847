//! The peer of a Unix socket: user, group and supplementary groups, as the kernel recorded them when
//! it connected.

use std::io;

use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::getsockopt;
use tokio::net::UnixStream;

use super::UnixPeer;
use crate::config::Who;

/// The user that a file system or a user namespace shows for users it can't name: it could be any user.
pub const OVERFLOW_UID: u32 = 65534;

/// Asks the kernel who connected.
///
/// # Errors
/// The kernel does not say.
pub fn unix_peer(stream: &UnixStream) -> io::Result<UnixPeer> {
    let credentials = stream.peer_cred()?;
    let mut gids = vec![credentials.gid()];
    gids.extend(groups(stream)?);
    Ok(UnixPeer { uid: credentials.uid(), gids, pid: credentials.pid() })
}

/// The entry of a process: the one with its uid, else the first with one of its groups.
pub fn find_unix<'a, T>(
    entries: &'a [T],
    peer: &UnixPeer,
    who: impl Fn(&T) -> &Who,
) -> Option<&'a T> {
    if peer.uid == OVERFLOW_UID {
        return None;
    }
    let by_uid = entries.iter().find(|entry| *who(entry) == Who::Uid(peer.uid));
    by_uid.or_else(|| {
        entries.iter().find(|entry| matches!(who(entry), Who::Gid(gid) if peer.gids.contains(gid)))
    })
}

/// A user by number, and by name where /etc/passwd has one. No name service is asked: that can take long,
/// and a taint would wait for it.
pub fn person(uid: u32) -> String {
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid.to_string()).then(|| name.to_owned())
    });
    name.map_or_else(|| format!("uid {uid}"), |name| format!("uid {uid} {name}"))
}

/// Defines a reader of SO_PEERGROUPS for each possible count of groups, and one that tries them in
/// turn. The kernel answers ERANGE to a buffer that is too small, so the first that fits fits exactly;
/// nix reads socket options of a fixed size only, and we have no `unsafe` of our own.
macro_rules! peer_groups {
    ($($name:ident $count:literal),*) => {
        $(
            #[derive(Clone, Copy)]
            struct $name;
            nix::getsockopt_impl!(
                $name,
                libc::SOL_SOCKET,
                libc::SO_PEERGROUPS,
                [u32; $count],
                nix::sys::socket::sockopt::GetStruct<[u32; $count]>
            );
        )*

        /// The supplementary groups of the peer, up to 32. Of a peer with more, none is known: it can
        /// still be named by its uid or its primary group.
        fn groups(stream: &UnixStream) -> io::Result<Vec<u32>> {
            $(
                match getsockopt(stream, $name) {
                    Ok(groups) => return Ok(groups.to_vec()),
                    Err(Errno::ERANGE) => {}
                    // A peer without recorded groups.
                    Err(Errno::ENODATA) => return Ok(Vec::new()),
                    Err(error) => return Err(error.into()),
                }
            )*
            // No warning: any user with so many could fill the log with them.
            tracing::debug!("a peer has more than 32 supplementary groups: they are not considered");
            Ok(Vec::new())
        }
    };
}

peer_groups!(
    Groups0 0, Groups1 1, Groups2 2, Groups3 3, Groups4 4, Groups5 5, Groups6 6, Groups7 7,
    Groups8 8, Groups9 9, Groups10 10, Groups11 11, Groups12 12, Groups13 13, Groups14 14,
    Groups15 15, Groups16 16, Groups17 17, Groups18 18, Groups19 19, Groups20 20, Groups21 21,
    Groups22 22, Groups23 23, Groups24 24, Groups25 25, Groups26 26, Groups27 27, Groups28 28,
    Groups29 29, Groups30 30, Groups31 31, Groups32 32
);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_person_has_a_number_and_perhaps_a_name() {
        assert_eq!(person(0), "uid 0 root");
        assert_eq!(person(u32::MAX - 7), format!("uid {}", u32::MAX - 7));
    }

    #[tokio::test]
    async fn a_peer_is_known_with_all_its_groups() {
        let (ours, _theirs) = UnixStream::pair().unwrap();
        let peer = unix_peer(&ours).unwrap();
        assert_eq!(peer.uid, nix::unistd::getuid().as_raw());
        assert_eq!(peer.gids[0], nix::unistd::getgid().as_raw());
        let groups = nix::unistd::getgroups().unwrap();
        if groups.len() <= 32 {
            let mut expected: Vec<u32> = groups.into_iter().map(|gid| gid.as_raw()).collect();
            let mut found = peer.gids[1..].to_vec();
            expected.sort_unstable();
            found.sort_unstable();
            assert_eq!(found, expected);
        }
    }
}
