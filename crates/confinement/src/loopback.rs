//! The loopback interface of a new network namespace: it is down and has no address. Settings are messages of
//! rtnetlink(7), each acknowledged by the kernel before it returns from taking it.

use std::{
    io,
    net::{IpAddr, TcpListener, TcpStream},
    thread,
    time::{Duration, Instant},
};

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};
use rustix::io::Errno;

use crate::Error;

/// An address of the loopback interface and its prefix length.
pub type Address = (IpAddr, u8);

/// The index of the loopback interface in every network namespace (`LOOPBACK_IFINDEX`).
const LOOPBACK: u32 = 1;

const RTM_NEWLINK: u16 = 16;
const RTM_NEWADDR: u16 = 20;
const NLMSG_ERROR: u16 = 2;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_CREATE: u16 = 0x400;
const IFF_UP: u32 = 0x1;
const IFA_ADDRESS: u16 = 1;
const IFA_LOCAL: u16 = 2;
const AF_UNSPEC: u8 = 0;
const AF_INET: u8 = 2;
const AF_INET6: u8 = 10;
/// How long the kernel may take to make an address usable, which it does in the background: far more than it needs.
const USABLE_WITHIN: Duration = Duration::from_secs(10);
/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;

/// Brings it up and gives it the addresses. What is missed without IPv6 is a note, no error.
pub(crate) fn set_up(addresses: &[Address]) -> Result<Vec<String>, Error> {
    let failed = |what: &str, source| Error::Loopback {
        what: what.to_owned(),
        source,
    };
    let socket = open().map_err(|source| failed("open a socket for settings", source))?;
    settle(&socket, RTM_NEWLINK, 0, &up()).map_err(|source| failed("bring it up", source))?;
    let mut notes = Vec::new();
    for (address, prefix) in addresses {
        let set = settle(
            &socket,
            RTM_NEWADDR,
            NLM_F_CREATE,
            &new_address(*address, *prefix),
        );
        match set.and_then(|()| usable(*address)) {
            Err(error) if address.is_ipv6() && is_without_ipv6(&error) => {
                notes.push(format!(
                    "IPv6 is off in this kernel: nothing can listen on {address}"
                ));
            }
            set => set.map_err(|source| failed(&format!("set {address}/{prefix}"), source))?,
        }
    }
    Ok(notes)
}

/// Waits until somebody who listens on it can be reached: IPv6 first looks whether another machine has the address.
fn usable(address: IpAddr) -> io::Result<()> {
    let end = Instant::now() + USABLE_WITHIN;
    loop {
        let tried = TcpListener::bind((address, 0))
            .and_then(|listener| TcpStream::connect_timeout(&listener.local_addr()?, USABLE_WITHIN));
        match tried {
            Err(_) if Instant::now() < end => thread::sleep(Duration::from_millis(1)),
            tried => return tried.map(drop),
        }
    }
}

/// Built without, not loaded, or disabled on the interface.
fn is_without_ipv6(error: &io::Error) -> bool {
    [Errno::OPNOTSUPP, Errno::AFNOSUPPORT, Errno::ACCESS]
        .iter()
        .any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

fn open() -> io::Result<Socket> {
    let mut socket = Socket::new(NETLINK_ROUTE)?;
    socket.bind_auto()?;
    socket.connect(&SocketAddr::new(0, 0))?;
    // The answer is there when the question is sent: no need to wait for one that is not.
    socket.set_non_blocking(true)?;
    Ok(socket)
}

/// Sends a message and reads what the kernel says to it.
fn settle(socket: &Socket, kind: u16, flags: u16, body: &[u8]) -> io::Result<()> {
    socket.send(&message(kind, flags, body), 0)?;
    let (answer, _) = socket.recv_from_full()?;
    acknowledged(&answer)
}

/// `struct nlmsghdr` and what follows it.
fn message(kind: u16, flags: u16, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(HEADER + body.len()).expect("a message of some dozen bytes");
    let mut message = Vec::new();
    message.extend(length.to_ne_bytes());
    message.extend(kind.to_ne_bytes());
    message.extend((NLM_F_REQUEST | NLM_F_ACK | flags).to_ne_bytes());
    message.extend([0; 8]); // sequence and port: one question at a time, to the kernel
    message.extend(body);
    message
}

/// `struct ifinfomsg`: family, type, index, flags, which flags change.
fn up() -> Vec<u8> {
    let mut body = vec![AF_UNSPEC, 0, 0, 0];
    body.extend(LOOPBACK.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body.extend(IFF_UP.to_ne_bytes());
    body
}

/// `struct ifaddrmsg` (family, prefix length, flags, scope, index) and the address as both of its attributes.
fn new_address(address: IpAddr, prefix: u8) -> Vec<u8> {
    let (family, octets) = match address {
        IpAddr::V4(address) => (AF_INET, address.octets().to_vec()),
        IpAddr::V6(address) => (AF_INET6, address.octets().to_vec()),
    };
    let mut body = vec![family, prefix, 0, 0];
    body.extend(LOOPBACK.to_ne_bytes());
    let length = u16::try_from(4 + octets.len()).expect("an address of at most 16 bytes");
    for attribute in [IFA_LOCAL, IFA_ADDRESS] {
        // `struct rtattr`; both lengths are multiples of 4, so nothing is padded.
        body.extend(length.to_ne_bytes());
        body.extend(attribute.to_ne_bytes());
        body.extend(&octets);
    }
    body
}

/// `struct nlmsgerr`: a negative error number, 0 for done.
fn acknowledged(answer: &[u8]) -> io::Result<()> {
    let field = |at: usize, length: usize| answer.get(at..at + length);
    let kind = field(4, 2)
        .and_then(|bytes| bytes.try_into().ok())
        .map(u16::from_ne_bytes);
    let error = field(HEADER, 4)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match (kind, error) {
        (Some(NLMSG_ERROR), Some(0)) => Ok(()),
        (Some(NLMSG_ERROR), Some(error)) => Err(io::Error::from_raw_os_error(-error)),
        _ => Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "the kernel's answer is no acknowledgement",
        )),
    }
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "a panic is the failure")]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_an_acknowledgement_or_an_error() {
        let answer = |kind: u16, error: i32| message(kind, 0, &error.to_ne_bytes());
        assert!(acknowledged(&answer(NLMSG_ERROR, 0)).is_ok());
        assert_eq!(
            acknowledged(&answer(NLMSG_ERROR, -13))
                .unwrap_err()
                .raw_os_error(),
            Some(13)
        );
        for garbage in [
            answer(RTM_NEWADDR, 0),
            Vec::new(),
            answer(NLMSG_ERROR, 0)[..18].to_vec(),
        ] {
            assert_eq!(
                acknowledged(&garbage).unwrap_err().kind(),
                io::ErrorKind::InvalidData
            );
        }
    }
}
