//! The few system calls that the standard library has no safe form of. The only module of the workspace with
//! `unsafe` in it; everything else goes through the three functions here.
#![allow(unsafe_code)]

use std::os::unix::process::CommandExt;
use std::process::Command;

/// Makes the kernel send SIGKILL to the child as soon as the *thread* that spawns it ends, however it ends. Spawn
/// such a command only from a thread that lives as long as the process (see `spawner`). Linux only; elsewhere a
/// child outlives a parent that was killed.
pub(crate) fn die_with_spawning_thread(command: &mut Command) {
    #[cfg(target_os = "linux")]
    {
        let parent = std::process::id();
        // SAFETY: the closure runs between fork and exec and calls only prctl, getppid and _exit, which are
        // async-signal-safe; it neither allocates nor takes a lock.
        unsafe {
            command.pre_exec(move || {
                if libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) != 0 {
                    return Err(std::io::Error::last_os_error());
                }
                // The parent may have died before prctl took effect: then no signal will ever come.
                if libc::getppid() as u32 != parent {
                    libc::_exit(1);
                }
                Ok(())
            });
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = command;
}

/// Puts the child into a session of its own, so that closing the terminal or killing the caller's process group
/// does not reach it.
pub(crate) fn own_session(command: &mut Command) {
    // SAFETY: runs between fork and exec and calls only setsid, which is async-signal-safe.
    unsafe {
        command.pre_exec(|| {
            if libc::setsid() == -1 {
                return Err(std::io::Error::last_os_error());
            }
            Ok(())
        });
    }
}

/// Asks process `pid` to end. `false`: there is no such process, or it is not ours.
pub(crate) fn terminate(pid: u32) -> bool {
    signal(pid, libc::SIGTERM)
}

/// Ends process `pid` without asking. `false`: there is no such process, or it is not ours.
pub(crate) fn kill(pid: u32) -> bool {
    signal(pid, libc::SIGKILL)
}

/// Halts process `pid` until it is resumed. `false`: there is no such process, or it is not ours.
pub(crate) fn pause(pid: u32) -> bool {
    signal(pid, libc::SIGSTOP)
}

/// Lets a paused process go on. `false`: there is no such process, or it is not ours.
pub(crate) fn resume(pid: u32) -> bool {
    signal(pid, libc::SIGCONT)
}

fn signal(pid: u32, signal: libc::c_int) -> bool {
    // 0 and negative ids mean whole process groups; no caller ever wants those.
    let Ok(pid @ 1..) = libc::pid_t::try_from(pid) else {
        return false;
    };
    // SAFETY: kill takes two integers and touches no memory of ours.
    unsafe { libc::kill(pid, signal) == 0 }
}

/// Runs `cleanup` when the process ends through `exit` or by returning from `main`: the one moment at which what a
/// static holds can still be released.
pub(crate) fn at_exit(cleanup: extern "C" fn()) {
    // SAFETY: the function pointer is valid for the whole life of the process, and atexit only stores it.
    unsafe {
        libc::atexit(cleanup);
    }
}
