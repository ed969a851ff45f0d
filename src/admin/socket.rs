//! The control socket as a file: made so that at no time anybody else can connect, and taken away at the end.

use std::{
    fs, io,
    os::{
        fd::AsRawFd as _,
        unix::{
            fs::{DirBuilderExt as _, FileTypeExt as _, PermissionsExt as _},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

/// The socket's name in the data directory.
pub const FILE: &str = "control.sock";
/// Where it is made: nobody else can look into this directory, so the socket has its mode before it has its place.
const NEW: &str = "control.new";
/// The longest path that a socket's address has room for, in bytes.
const LONGEST: usize = 107;

/// A listening control socket. Whoever has one holds the store's lock: that is why an old socket may be replaced.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: tokio::net::UnixListener,
    path: PathBuf,
}

impl ControlSocket {
    /// Makes the socket in the data directory, in the place of one that a process left behind. Call it only while the
    /// store is open. Fails if something else has its name, and where a path is too long and there is no `/proc`.
    pub fn bind(data: &Path) -> io::Result<Self> {
        let path = data.join(FILE);
        match fs::symlink_metadata(&path) {
            Ok(found) if !found.file_type().is_socket() => {
                return Err(io::Error::other(format!("{} is in the way: it is no socket", path.display())));
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let private = data.join(NEW);
        let made = private.join(FILE);
        // A process that was killed in here leaves them.
        let _ = fs::remove_file(&made);
        let _ = fs::remove_dir(&private);
        fs::DirBuilder::new().mode(0o700).create(&private)?;
        let result = in_reach(&private, |short| UnixListener::bind(short)).and_then(|listener| {
            fs::set_permissions(&made, fs::Permissions::from_mode(0o600))?;
            fs::rename(&made, &path)?;
            Ok(listener)
        });
        let _ = fs::remove_file(&made);
        let _ = fs::remove_dir(&private);
        let listener = result?;
        listener.set_nonblocking(true)?;
        Ok(Self { listener: tokio::net::UnixListener::from_std(listener)?, path })
    }
}

/// The next process makes its own.
impl Drop for ControlSocket {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!(%error, path = %self.path.display(), "the control socket was gone already");
        }
    }
}

/// Calls `use_it` with a path of the socket in `dir` that fits into a socket's address: through the open directory, if its own
/// is too long.
fn in_reach<T>(dir: &Path, use_it: impl FnOnce(&Path) -> io::Result<T>) -> io::Result<T> {
    let path = dir.join(FILE);
    let length = path.as_os_str().len();
    if length <= LONGEST {
        return use_it(&path);
    }
    let open = fs::File::open(dir)?;
    let short = PathBuf::from(format!("/proc/self/fd/{}", open.as_raw_fd()));
    if !short.exists() {
        return Err(io::Error::other(format!(
            "{} has {length} bytes, a socket's path can have {LONGEST}, and there is no /proc to go around that: give \
             `store.path` a shorter one",
            path.display()
        )));
    }
    use_it(&short.join(FILE))
}

/// Connects to the socket in the data directory.
pub(super) fn connect(data: &Path) -> io::Result<tokio::net::UnixStream> {
    let stream = in_reach(data, |short| std::os::unix::net::UnixStream::connect(short))?;
    stream.set_nonblocking(true)?;
    tokio::net::UnixStream::from_std(stream)
}
