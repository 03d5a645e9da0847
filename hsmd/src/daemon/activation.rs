//! Sockets that systemd bound for us (socket activation, `sd_listen_fds(3)`).

use std::os::unix::net::UnixListener;

use listenfd::ListenFd;

/// The sockets handed over, by their FileDescriptorName: `service` and `admin`.
#[derive(Debug, Default)]
pub struct Inherited {
    /// For the service listener.
    pub service: Option<UnixListener>,
    /// For the admin listener.
    pub admin: Option<UnixListener>,
}

/// Takes what was handed over; nothing when the daemon was started without.
///
/// # Errors
/// A handed-over descriptor is not a Unix socket, or has another name.
pub fn inherited() -> std::io::Result<Inherited> {
    #[expect(clippy::disallowed_methods, reason = "sd_listen_fds(3) is an environment protocol")]
    let names = std::env::var("LISTEN_FDNAMES").unwrap_or_default();
    let mut sockets = ListenFd::from_env();
    let mut inherited = Inherited::default();
    for (position, name) in names.split(':').enumerate().take(sockets.len()) {
        let place = match name {
            "service" => &mut inherited.service,
            "admin" => &mut inherited.admin,
            other => {
                return Err(std::io::Error::new(
                    std::io::ErrorKind::InvalidInput,
                    format!(
                        "systemd handed over a socket named {other:?}: name it service or admin"
                    ),
                ));
            }
        };
        *place = sockets.take_unix_listener(position)?;
    }
    Ok(inherited)
}
