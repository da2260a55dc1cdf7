//! The system calls behind the start of workers that nothing we stand on wraps, and the packets with descriptors in them.

use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, SocketFlags, SocketType, recvmsg, sendmsg, socketpair,
};
use rustix::process::Pid;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

/// Bytes of a packet.
const PACKET_BYTES_MAX: usize = 4096;
/// Descriptors in a packet.
const DESCRIPTORS_MAX: usize = super::carry::DESCRIPTORS_MAX + 8;

/// What came in one: its bytes, and descriptors.
pub(super) type Packet = (Vec<u8>, Vec<OwnedFd>);

/// Two ends of a socket for packets.
pub(super) fn packets() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?)
}

/// Sends a packet, and duplicates of descriptors with it.
pub(super) fn send(socket: impl AsFd, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> io::Result<()> {
    send_with(socket, bytes, descriptors, SendFlags::empty())
}

/// [`send`] with flags.
pub(super) fn send_with(
    socket: impl AsFd,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
    flags: SendFlags,
) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    let flags = flags | SendFlags::NOSIGNAL;
    rustix::io::retry_on_intr(|| sendmsg(&socket, &[IoSlice::new(bytes)], &mut ancillary, flags))?;
    Ok(())
}

/// Waits for a packet; an empty one is the end of the other side.
pub(super) fn receive(socket: impl AsFd) -> io::Result<Packet> {
    receive_with(socket, PACKET_BYTES_MAX, RecvFlags::empty())
}

/// [`receive`] of a packet of at most so many bytes, with flags.
pub(super) fn receive_with(socket: impl AsFd, bytes_max: usize, flags: RecvFlags) -> io::Result<Packet> {
    let mut bytes = vec![0; bytes_max];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(DESCRIPTORS_MAX))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let flags = flags | RecvFlags::CMSG_CLOEXEC;
    let got =
        rustix::io::retry_on_intr(|| recvmsg(&socket, &mut [IoSliceMut::new(&mut bytes)], &mut ancillary, flags))?;
    if got.flags.intersects(ReturnFlags::TRUNC | ReturnFlags::CTRUNC) {
        // Descriptors that did not fit, or for which this process has no place, are lost.
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a packet came without all that belongs to it"));
    }
    bytes.truncate(got.bytes);
    let mut descriptors = Vec::new();
    for message in ancillary.drain() {
        if let RecvAncillaryMessage::ScmRights(received) = message {
            descriptors.extend(received);
        }
    }
    Ok((bytes, descriptors))
}

/// Where the C library keeps the number of this thread, which a clone has to bring up to date; None where the system does
/// not tell.
fn thread_number_place() -> Option<usize> {
    let mut place: usize = 0;
    // SAFETY: the system writes one address to `place`.
    let told = unsafe { libc::prctl(libc::PR_GET_TID_ADDRESS, &raw mut place) };
    (told == 0 && place != 0).then_some(place)
}

/// Whether this process can be cloned as a sibling: it has one thread, and the system tells what has to be known.
pub(super) fn can_clone() -> Result<(), String> {
    let threads = std::fs::read_dir("/proc/self/task").map_err(|error| format!("/proc is not there: {error}"))?.count();
    if threads != 1 {
        return Err(format!(
            "{threads} threads ran when `ropewalk::init()` was called, and a process with threads must not be forked: put \
             it, or `#[ropewalk::main]`, first in `main` (above `#[tokio::main]`), or start workers with `Start::Exec`"
        ));
    }
    thread_number_place().map(drop).ok_or_else(|| "the system does not tell what a clone needs to know".to_owned())
}

/// Forks this process; the new one is a child of our parent, so that this may watch and reap it. None in the new process.
///
/// # Safety
///
/// [`can_clone`] has said so, and no thread was started since.
pub(super) unsafe fn clone_as_sibling() -> io::Result<Option<Pid>> {
    // The C library does not know of this fork. What it keeps of a thread and a fork would change: its number (which the
    // system writes for us), and the list of the locks that the thread holds, which the system forgets in the new process.
    let place = thread_number_place().ok_or(io::ErrorKind::Unsupported)?;
    let (mut locks, mut length) = (0_usize, 0_usize);
    // SAFETY: the system writes an address and a length.
    let told = unsafe { libc::syscall(libc::SYS_get_robust_list, 0, &raw mut locks, &raw mut length) };
    let flags = libc::CLONE_PARENT | libc::CLONE_CHILD_SETTID | libc::CLONE_CHILD_CLEARTID | libc::SIGCHLD;
    // On x86-64 the place is the fourth argument, on AArch64 the fifth; the other one is not used with these flags.
    // SAFETY: without CLONE_VM this is a fork: the new process goes on here, on a copy of this stack. There is one thread, so
    // no lock is held by another one that the copy does not have.
    let pid = unsafe { libc::syscall(libc::SYS_clone, libc::c_long::from(flags), 0_usize, 0_usize, place, place) };
    match i32::try_from(pid) {
        Ok(0) => {
            if told == 0 {
                // SAFETY: the list of this very thread, at the same address in the copy.
                unsafe { libc::syscall(libc::SYS_set_robust_list, locks, length) };
            }
            Ok(None)
        }
        Ok(pid) if pid > 0 => Ok(Pid::from_raw(pid)),
        _ => Err(io::Error::last_os_error()),
    }
}
