//! Processes that outlive the one that starts them; whoever starts one keeps its id and ends it later.

use std::fs::File;
use std::io;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use crate::sys;

/// Starts `command` in a session of its own, its output in `log` (anew), its input closed.
pub fn spawn_detached(mut command: Command, log: &Path) -> io::Result<Child> {
    let output = File::create(log)?;
    command
        .stdin(Stdio::null())
        .stdout(Stdio::from(output.try_clone()?))
        .stderr(Stdio::from(output));
    sys::own_session(&mut command);
    command.spawn()
}

/// Asks process `pid` to end (SIGTERM). `false`: there is no such process, or it is not ours.
pub fn terminate(pid: u32) -> bool {
    sys::terminate(pid)
}

/// Ends process `pid` (SIGKILL). `false`: there is no such process, or it is not ours.
pub fn kill(pid: u32) -> bool {
    sys::kill(pid)
}
