//! Sending packets by the batch (sendmmsg(2)).

use std::io;
use std::mem;
use std::os::fd::AsRawFd;

use socket2::SockAddr;

use super::packet::ECHO_LEN;

/// Packets given to the kernel at once.
const BATCH: usize = 8;

/// One packet and where it goes.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) destination: SockAddr,
    pub(super) bytes: [u8; ECHO_LEN],
}

/// Sends the first of `requests`, up to a batch; returns how many went. An error is the first one's, and none went.
pub(super) fn send(socket: &impl AsRawFd, requests: &[Request]) -> io::Result<usize> {
    // SAFETY: both are plain C structs of integers and pointers, for which all zeroes (null) is a value.
    let (mut headers, mut vectors): ([libc::mmsghdr; BATCH], [libc::iovec; BATCH]) =
        unsafe { (mem::zeroed(), mem::zeroed()) };
    for ((request, header), vector) in requests.iter().zip(&mut headers).zip(&mut vectors) {
        vector.iov_base = request.bytes.as_ptr().cast_mut().cast();
        vector.iov_len = request.bytes.len();
        header.msg_hdr.msg_iov = vector;
        header.msg_hdr.msg_iovlen = 1;
        header.msg_hdr.msg_name = request.destination.as_ptr().cast_mut().cast();
        header.msg_hdr.msg_namelen = request.destination.len();
    }
    let count = requests.len().min(BATCH);
    // SAFETY: the first `count` headers each point at one vector, at the bytes and at the address of one request,
    // with their true lengths; all outlive the call, which only reads them.
    let sent = unsafe {
        libc::sendmmsg(
            socket.as_raw_fd(),
            headers.as_mut_ptr(),
            libc::c_uint::try_from(count).expect("8 fits"),
            libc::MSG_DONTWAIT,
        )
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}
