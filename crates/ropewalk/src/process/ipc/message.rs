//! Values as packets on a socket: any size, with the descriptors that belong to them.
//!
//! A packet is sent whole or not at all, whoever else sends on the same socket, and whenever its sender dies. What is too long for
//! one goes into memory of its own, and the packet carries the descriptor of that. The receiver copies before it looks: what
//! comes from a broken sender is an error, or a wrong value, and no more.

use super::super::carry::DESCRIPTORS_MAX;
use super::super::system;
use super::super::wire::{BODY_BYTES_MAX, Body};
use rustix::fs::{MemfdFlags, fstat, memfd_create};
use rustix::net::{RecvFlags, SendFlags};
use std::fs::File;
use std::io::{self, ErrorKind, Read, Seek, Write};
use std::os::fd::{AsFd, OwnedFd};

/// Bytes that go in the packet itself.
const INLINE_BYTES_MAX: usize = 32 * 1024;
const _: () = assert!(DESCRIPTORS_MAX < 250, "one more may go along");

/// The last byte of a packet: where the bytes of the value are.
const INLINE: u8 = 0;
const APART: u8 = 1;

/// A value on its way out.
#[derive(Debug)]
pub(in super::super) struct Message {
    packet: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Message {
    pub(in super::super) fn new(body: Body) -> io::Result<Self> {
        let Body { bytes, mut descriptors, .. } = body;
        let mut packet = Vec::new();
        if bytes.len() <= INLINE_BYTES_MAX {
            packet = bytes;
            packet.push(INLINE);
        } else {
            packet.push(APART);
            let mut memory = File::from(memfd_create("ropewalk-message", MemfdFlags::CLOEXEC)?);
            memory.write_all(&bytes)?;
            descriptors.insert(0, memory.into());
        }
        Ok(Self { packet, descriptors })
    }

    /// Sends it; without waiting, if the flags say so.
    pub(in super::super) fn send(&self, socket: impl AsFd, flags: SendFlags) -> io::Result<()> {
        let descriptors: Vec<_> = self.descriptors.iter().map(AsFd::as_fd).collect();
        system::send_with(socket, &self.packet, &descriptors, flags)
    }
}

/// Takes the next value; None when all senders are gone.
pub(in super::super) fn receive(socket: impl AsFd, flags: RecvFlags) -> io::Result<Option<Body>> {
    let (mut bytes, mut descriptors) = system::receive_with(socket, 1 + INLINE_BYTES_MAX, flags)?;
    let bytes = match bytes.pop() {
        None => return Ok(None),
        Some(INLINE) => bytes,
        Some(APART) if !descriptors.is_empty() => bytes_of(File::from(descriptors.remove(0)))?,
        Some(_) => return Err(io::Error::new(ErrorKind::InvalidData, "a packet that makes no sense")),
    };
    Ok(Some(Body { bytes, descriptors, ..Body::default() }))
}

fn bytes_of(mut memory: File) -> io::Result<Vec<u8>> {
    // The writer has left it at its end, and both share the place.
    memory.rewind()?;
    let length = usize::try_from(fstat(&memory)?.st_size).unwrap_or(usize::MAX);
    if length > BODY_BYTES_MAX {
        return Err(io::Error::new(ErrorKind::InvalidData, "a message that is longer than any may be"));
    }
    let mut bytes = Vec::with_capacity(length);
    // What a broken sender adds meanwhile is not read.
    memory.take(length as u64).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_size_comes_whole_and_descriptors_come_along() {
        let (ours, theirs) = system::packets().unwrap();
        for length in [0, 1, INLINE_BYTES_MAX, INLINE_BYTES_MAX + 1, 3_000_000] {
            let bytes: Vec<u8> = (0..length).map(|at| at as u8).collect();
            let descriptors = vec![File::open("/dev/null").unwrap().into()];
            let body = Body { bytes: bytes.clone(), descriptors, ..Body::default() };
            Message::new(body).unwrap().send(&ours, SendFlags::empty()).unwrap();
            let got = receive(&theirs, RecvFlags::empty()).unwrap().unwrap();
            assert!(got.bytes == bytes && got.descriptors.len() == 1, "{length} bytes");
        }
        drop(ours);
        assert!(receive(&theirs, RecvFlags::empty()).unwrap().is_none());
    }

    #[test]
    fn packets_that_make_no_sense_are_errors() {
        let (ours, theirs) = system::packets().unwrap();
        for packet in [&[APART][..], &[2, 3, 4], &[255]] {
            system::send(&ours, packet, &[]).unwrap();
            assert!(receive(&theirs, RecvFlags::empty()).is_err());
        }
        // A descriptor that is no memory.
        let null = File::open("/dev/null").unwrap();
        system::send(&ours, &[APART], &[null.as_fd()]).unwrap();
        assert!(receive(&theirs, RecvFlags::empty()).is_ok_and(|body| body.unwrap().bytes.is_empty()));
        let (reads, _writes) = io::pipe().unwrap();
        system::send(&ours, &[APART], &[reads.as_fd()]).unwrap();
        assert!(receive(&theirs, RecvFlags::empty()).is_err());
    }
}
