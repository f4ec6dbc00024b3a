//! What happens when a mapped file cannot be read: the disk failed, or someone cut the file. The kernel sends SIGBUS; the
//! process says which file it was, notes that for the next start, which reads without mappings and puts the file aside,
//! and ends.

use std::ffi::{CStr, CString};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::OnceLock;

use libc::{c_int, c_void, siginfo_t};

/// Where suspects are noted.
static SUSPECTS: OnceLock<CString> = OnceLock::new();

/// Handles SIGBUS from now on; files are noted in the data directory, which must be there by the time of the signal.
///
/// # Errors
/// The path has a zero byte, or the system refuses.
pub fn watch(data_dir: &Path) -> io::Result<()> {
    let path = CString::new(data_dir.join(storage::SUSPECTS).as_os_str().as_bytes())?;
    SUSPECTS.get_or_init(|| path);
    // SAFETY: an all-zero `sigaction` is a valid one; the handler below does only what a signal handler may.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = on_bus_error as extern "C" fn(c_int, *mut siginfo_t, *mut c_void) as usize;
        // On the stack for signals that Rust's threads have.
        action.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
        if libc::sigaction(libc::SIGBUS, &action, std::ptr::null_mut()) != 0 {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

/// No locks, no memory, only calls that POSIX lists as safe here (signal-safety(7)).
extern "C" fn on_bus_error(_: c_int, info: *mut siginfo_t, _: *mut c_void) {
    // SAFETY: with `SA_SIGINFO` the kernel passes a valid `siginfo_t`, which has an address for SIGBUS.
    let address = unsafe { (*info).si_addr() }.addr();
    match storage::mapped_file_at(address) {
        Some((path, offset)) => {
            let mut digits = [0; 20];
            say(&[b"FATAL: cannot read ", path.to_bytes(), b" at byte ", decimal(offset, &mut digits)]);
            say(&[b" (SIGBUS): the disk failed, or the file was cut; the next start looks at it\n"]);
            note(path);
        }
        None => say(&[b"FATAL: SIGBUS outside of mapped files\n"]),
    }
    // SAFETY: both calls are safe in a handler. The signal waits until the handler is left, and then ends the process as
    // it does without a handler, so that who started it sees the signal.
    unsafe {
        libc::signal(libc::SIGBUS, libc::SIG_DFL);
        libc::raise(libc::SIGBUS);
    }
}

/// Writes to standard error; there is nobody to tell if that fails.
fn say(parts: &[&[u8]]) {
    for part in parts {
        // SAFETY: the bytes are there for the time of the call.
        unsafe { libc::write(libc::STDERR_FILENO, part.as_ptr().cast(), part.len()) };
    }
}

/// Appends a path to the list that the next start reads.
fn note(path: &CStr) {
    let Some(suspects) = SUSPECTS.get() else { return };
    let flags = libc::O_WRONLY | libc::O_CREAT | libc::O_APPEND | libc::O_CLOEXEC;
    // SAFETY: the texts end with a zero byte and live as long as the process; the descriptor is ours.
    unsafe {
        let file = libc::open(suspects.as_ptr(), flags, 0o644);
        if file >= 0 {
            libc::write(file, path.as_ptr().cast(), path.count_bytes());
            libc::write(file, b"\n".as_ptr().cast(), 1);
            libc::fsync(file);
            libc::close(file);
        }
    }
}

/// A number without formatting machinery, which may take memory.
fn decimal(mut number: u64, digits: &mut [u8; 20]) -> &[u8] {
    let mut first = digits.len();
    loop {
        first -= 1;
        digits[first] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 || first == 0 {
            return &digits[first..];
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_whole() {
        for number in [0, 7, 10, 4096, u64::MAX] {
            assert_eq!(decimal(number, &mut [0; 20]), number.to_string().as_bytes());
        }
    }
}
