//! A raw client: the link stage and messages, byte by byte, with blocking sockets.

use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use rand_core::OsRng;
use rsa::pkcs8::DecodePublicKey;
use rsa::{Oaep, RsaPublicKey};
use sha1::Sha1;

pub const MAIN: u8 = 1;
pub const INPUTS: u8 = 3;
/// Nobody waits longer for an answer.
pub const PATIENCE: Duration = Duration::from_secs(20);
/// AUTH_SELECTION, AUTH_SPICE, MINI_HEADER.
const COMMON_CAPS: u32 = 1 | 2 | 8;

/// A link message for a channel.
pub fn link_message(connection: u32, channel: u8, id: u8) -> Vec<u8> {
    link_message_with(connection, channel, id, &[])
}

/// As [`link_message`], with the client's capabilities for the channel.
pub fn link_message_with(connection: u32, channel: u8, id: u8, caps: &[u32]) -> Vec<u8> {
    let mut body = connection.to_le_bytes().to_vec();
    body.extend([channel, id]);
    let count = u32::try_from(caps.len()).expect("fits");
    for word in [1u32, count, 18 /* offset of the capabilities */, COMMON_CAPS] {
        body.extend(word.to_le_bytes());
    }
    caps.iter().for_each(|word| body.extend(word.to_le_bytes()));
    let mut bytes = b"REDQ".to_vec();
    for word in [2, 2, u32::try_from(body.len()).expect("fits")] {
        bytes.extend(u32::to_le_bytes(word));
    }
    bytes.extend(body);
    bytes
}

/// Reads the reply to a link message: its key, or the error's number.
pub fn read_reply(socket: &mut impl Read) -> io::Result<Result<Vec<u8>, u32>> {
    let mut head = [0; 16];
    socket.read_exact(&mut head)?;
    let size = u32::from_le_bytes(head[12..].try_into().expect("the length fits"));
    let mut body = vec![0; usize::try_from(size).expect("fits")];
    socket.read_exact(&mut body)?;
    let error = u32::from_le_bytes(body[..4].try_into().expect("the length fits"));
    Ok(if error == 0 { Ok(body[4..166].to_vec()) } else { Err(error) })
}

/// A ticket under the key of a reply.
pub fn seal(key: &[u8], password: &[u8]) -> Vec<u8> {
    let key = RsaPublicKey::from_public_key_der(key).expect("the reply has a key");
    key.encrypt(&mut OsRng, Oaep::new::<Sha1>(), password).expect("encrypts")
}

/// Sends the mechanism and a ticket.
pub fn send_ticket(socket: &mut impl Write, ticket: &[u8]) -> io::Result<()> {
    socket.write_all(&1u32.to_le_bytes())?;
    socket.write_all(ticket)
}

/// Sends a link message and the ticket; the result of the link.
pub fn link(
    socket: &mut (impl Read + Write),
    (connection, channel, id): (u32, u8, u8),
    password: &[u8],
) -> io::Result<u32> {
    link_with(socket, &link_message(connection, channel, id), password)
}

/// Sends this link message and the ticket; the result of the link.
pub fn link_with(
    socket: &mut (impl Read + Write),
    message: &[u8],
    password: &[u8],
) -> io::Result<u32> {
    socket.write_all(message)?;
    let key = match read_reply(socket)? {
        Ok(key) => key,
        Err(error) => return Ok(error),
    };
    send_ticket(socket, &seal(&key, password))?;
    let mut result = [0; 4];
    socket.read_exact(&mut result)?;
    Ok(u32::from_le_bytes(result))
}

/// A message with the mini header.
pub fn message(kind: u16, body: &[u8]) -> Vec<u8> {
    let mut bytes = kind.to_le_bytes().to_vec();
    bytes.extend(u32::try_from(body.len()).expect("fits").to_le_bytes());
    bytes.extend(body);
    bytes
}

/// The next message of the server.
pub fn receive(socket: &mut impl Read) -> io::Result<(u16, Vec<u8>)> {
    let mut head = [0; 6];
    socket.read_exact(&mut head)?;
    let size = u32::from_le_bytes(head[2..].try_into().expect("the length fits"));
    let mut body = vec![0; usize::try_from(size).expect("fits")];
    socket.read_exact(&mut body)?;
    Ok((u16::from_le_bytes([head[0], head[1]]), body))
}

/// True if the server ends the connection; what it still says is read away.
pub fn ends(socket: &mut UnixStream) -> bool {
    socket.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    let mut bytes = [0; 4096];
    loop {
        match socket.read(&mut bytes) {
            Ok(0) => return true,
            Ok(_) => {}
            Err(e) => return e.kind() == io::ErrorKind::ConnectionReset,
        }
    }
}

/// Writes copies of `unit` until the server takes no more for a second, or `limit` copies are
/// through; returns how many whole ones, after completing the last.
pub fn flood(socket: &mut UnixStream, unit: &[u8], limit: usize) -> (usize, Vec<u8>) {
    socket.set_write_timeout(Some(Duration::from_secs(1))).expect("a timeout can be set");
    let batch = unit.repeat(100);
    let (mut sent, mut rest) = (0, Vec::new());
    while sent < limit * unit.len() {
        let mut from = 0;
        while from < batch.len() {
            match socket.write(&batch[from..]) {
                Ok(n) => from += n,
                Err(_) => {
                    let whole = (sent + from).div_ceil(unit.len());
                    rest.extend(&unit.repeat(whole)[sent + from..]);
                    return (whole, rest);
                }
            }
        }
        sent += batch.len();
    }
    (sent / unit.len(), rest)
}
