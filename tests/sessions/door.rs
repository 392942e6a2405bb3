//! The door from outside: browsers, silence, crowds and guesses.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddrV4, TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use rustix::net::{AddressFamily, SocketType, bind, connect, socket};
use spice_server::server::host::ChannelEvent;

use super::Session;
use super::client::{
    MAIN, PATIENCE, ends, link, link_message, read_reply, receive, seal, send_ticket,
};

const PERMISSION_DENIED: u32 = 7;

/// A server with a TCP listener of the host.
fn listening() -> (Session, u16) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
    let port = listener.local_addr().expect("an address").port();
    (Session::with_listener(Some(listener.as_fd())), port)
}

/// A connection from one of our addresses.
fn from(last: u8, port: u16) -> TcpStream {
    let fd = socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
    let ours = SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, last), 0);
    bind(&fd, &ours).expect("the address is ours");
    connect(&fd, &SocketAddrV4::new(Ipv4Addr::LOCALHOST, port)).expect("somebody listens");
    let stream = TcpStream::from(fd);
    stream.set_read_timeout(Some(PATIENCE)).expect("a timeout can be set");
    stream
}

/// A browser's side of a WebSocket: what it reads and writes is payload.
struct Browser {
    socket: UnixStream,
    left: usize,
    /// A close frame has come.
    closed: bool,
}

impl Browser {
    fn upgrade(mut socket: UnixStream) -> Self {
        let request =
            b"GET /any/path HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
            Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
            Sec-WebSocket-Protocol: binary\r\n\r\n";
        // In two pieces: spice-server would not wait for the second.
        socket.write_all(&request[..30]).expect("the request goes");
        socket.write_all(&request[30..]).expect("the request goes");
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            socket.read_exact(&mut byte).expect("an answer");
            head.push(byte[0]);
        }
        let head = String::from_utf8(head).expect("text");
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        assert!(head.contains("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{head}");
        assert!(head.contains("Sec-WebSocket-Protocol: binary\r\n"), "{head}");
        Self { socket, left: 0, closed: false }
    }

    fn frame(&mut self, first: u8, payload: &[u8]) {
        let mask = [0x5a, 0, 0xff, 0x13];
        let mut bytes = vec![first, 0x80 | 126];
        bytes.extend(u16::try_from(payload.len()).expect("short").to_be_bytes());
        bytes.extend(mask);
        bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(b, m)| b ^ m));
        self.socket.write_all(&bytes).expect("the frame goes");
    }

    /// The next frame's header: opcode and length.
    fn header(&mut self) -> std::io::Result<(u8, usize)> {
        let mut head = [0; 2];
        self.socket.read_exact(&mut head)?;
        let mut long = [0; 8];
        let width = [0, 2, 8][usize::from(head[1]).saturating_sub(125)];
        self.socket.read_exact(&mut long[8 - width..])?;
        let len = if width == 0 { u64::from(head[1]) } else { u64::from_be_bytes(long) };
        Ok((head[0], usize::try_from(len).expect("fits")))
    }
}

impl Read for Browser {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        while self.left == 0 {
            let (first, len) = self.header()?;
            if first == 0x88 {
                self.closed = true;
                return Ok(0);
            }
            assert_eq!(first, 0x82, "whole binary messages only");
            self.left = len;
        }
        let most = self.left.min(buffer.len());
        let n = self.socket.read(&mut buffer[..most])?;
        self.left -= n;
        Ok(n)
    }
}

impl Write for Browser {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let n = bytes.len().min(1000);
        let (a, b) = bytes[..n].split_at(n / 2);
        self.frame(0x02, a);
        self.frame(0x89, b"between");
        self.frame(0x80, b);
        assert_eq!(self.header()?, (0x8a, 7), "the ping is answered first");
        self.socket.read_exact(&mut [0; 7])?;
        Ok(n)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_browser_links_through_a_websocket_and_closes_it_in_order() {
    let session = Session::new();
    let socket = session.socket();
    session.meanwhile(move || {
        let mut browser = Browser::upgrade(socket);
        // Pings are answered at once only as long as the server has nothing else to say: up to the link message.
        let message = link_message(0, MAIN, 0);
        browser.write_all(&message).expect("the link message goes");
        let key = read_reply(&mut browser).expect("a reply").expect("no error");
        let ticket = [1u32.to_le_bytes().to_vec(), seal(&key, b"")].concat();
        browser.frame(0x82, &ticket);
        let mut result = [9; 4];
        browser.read_exact(&mut result).expect("a link result");
        assert_eq!(result, [0; 4]);
        assert_eq!(receive(&mut browser).expect("a message").0, 103, "INIT comes first");
        browser.frame(0x88, &1000u16.to_be_bytes());
        let mut rest = Vec::new();
        browser.read_to_end(&mut rest).expect("whole frames");
        assert!(browser.closed, "the close is answered");
        assert!(ends(&mut browser.socket));
    });
    session.all_gone();
    assert_eq!(session.count(ChannelEvent::Initialized), 1);
}

#[test]
fn a_refusal_can_be_read_in_frames_and_ends_with_a_close() {
    let session = Session::new();
    let socket = session.socket();
    session.meanwhile(move || {
        let mut browser = Browser::upgrade(socket);
        browser.frame(0x82, b"GET / HTTP/1.1\r\n\r\n");
        let mut reply = Vec::new();
        browser.read_to_end(&mut reply).expect("whole frames");
        assert_eq!((reply.len(), reply[16]), (194, 2), "no HTTP inside: a wrong link magic");
        assert!(browser.closed);
        browser.frame(0x88, &1000u16.to_be_bytes());
        assert!(ends(&mut browser.socket));
    });
    session.all_gone();
}

#[test]
fn frames_that_break_the_protocol_end_the_connection() {
    let session = Session::new();
    for garbage in [&b"\xff\xff\xff\xff"[..], b"\x83\x00", b"\x80\x00", b"\x89\xfe\x01\x00"] {
        let socket = session.socket();
        session.meanwhile(move || {
            let mut browser = Browser::upgrade(socket);
            browser.socket.write_all(garbage).expect("the bytes go");
            assert_eq!(browser.header().expect("a close frame"), (0x88, 2));
            assert!(ends(&mut browser.socket));
        });
    }
    session.all_gone();
}

#[test]
fn people_who_look_get_a_page_they_can_read() {
    let (session, port) = listening();
    for (request, status) in [
        ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200),
        ("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n", 200),
        ("GET /favicon.ico HTTP/1.1\r\nHost: h\r\n\r\n", 404),
        ("POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\nmore text", 405),
        ("GET nonsense\r\n\r\n", 400),
    ] {
        let mut socket = from(1, port);
        let answer = session.meanwhile(move || {
            socket.write_all(request.as_bytes()).expect("the request goes");
            let mut answer = String::new();
            socket.read_to_string(&mut answer).expect("an answer and the end, no reset");
            answer
        });
        assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{request:?}: {answer}");
    }
    assert!(session.events().is_empty(), "the host hears nothing of it");
}

#[test]
fn who_stops_at_any_stage_goes_after_its_time() {
    let (session, port) = listening();
    let message = link_message(0, MAIN, 0);
    let start = Instant::now();
    let stopped = [
        &b""[..],
        b"RE",
        b"GET / HTTP/1.1\r\nHost:",
        &message[..10],
        &message[..30],
        &message[..],
        &[&message[..], &1u32.to_le_bytes()].concat(),
        &[&message[..], &1u32.to_le_bytes(), &[0; 100]].concat(),
    ]
    .map(|bytes| {
        let mut socket = from(1, port);
        socket.write_all(bytes).expect("the bytes go");
        socket
    });
    session.meanwhile(move || {
        for mut socket in stopped {
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).expect("the end");
        }
    });
    // Five seconds for a stage; the whole ten are not waited for.
    assert!((4..9).contains(&start.elapsed().as_secs()), "{:?}", start.elapsed());
    session.all_gone();
    assert_eq!(session.count(ChannelEvent::Connected), 3, "those with a link message");
}

#[test]
fn an_address_has_a_share_of_the_places_and_the_rest_is_for_others() {
    let (session, port) = listening();
    let mut guests: Vec<TcpStream> = (0..3).map(|_| from(3, port)).collect();
    // Each has to be in before the next comes, so that it is the oldest who goes.
    let mut many: Vec<TcpStream> = (0..64).map(|_| from(2, port)).collect();
    let (mut oldest, more) = session.meanwhile(move || {
        let mut oldest = many.remove(0);
        let more: Vec<TcpStream> = (0..40).map(|_| from(2, port)).collect();
        let mut byte = [0];
        assert_eq!(oldest.read(&mut byte).expect("the end"), 0);
        for socket in &mut many[..39] {
            assert_eq!(socket.read(&mut byte).expect("the end"), 0);
        }
        (many.pop().expect("the newest of the first"), more)
    });
    for socket in [&mut oldest].into_iter().chain(&mut guests) {
        socket.set_nonblocking(true).expect("it can be set");
        let error = socket.read(&mut [0]).expect_err("it is still open");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
    }
    let mut client = from(1, port);
    let result = session.meanwhile(move || link(&mut client, (0, MAIN, 0), b"").expect("a result"));
    assert_eq!(result, 0);
    drop(more);
}

#[test]
fn wrong_tickets_wait_and_a_right_one_does_not() {
    let (session, port) = listening();
    session.core.set_ticket(Some(b"right"), 0, false, false).expect("set");
    session.meanwhile(move || {
        let start = Instant::now();
        for _ in 0..5 {
            let result = link(&mut from(1, port), (0, MAIN, 0), b"wrong\0").expect("a result");
            assert_eq!(result, PERMISSION_DENIED);
        }
        let waited = Duration::from_millis(100 + 200 + 400 + 800);
        assert!(start.elapsed() >= waited, "{:?}", start.elapsed());
        // The next wrong answer takes a second: a right ticket of the same address overtakes it.
        let mut guess = from(1, port);
        guess.write_all(&link_message(0, MAIN, 0)).expect("the link message goes");
        let key = read_reply(&mut guess).expect("a reply").expect("no error");
        send_ticket(&mut guess, &seal(&key, b"wrong\0")).expect("the ticket goes");
        let mut client = from(1, port);
        assert_eq!(link(&mut client, (0, MAIN, 0), b"right\0").expect("a result"), 0);
        guess.set_nonblocking(true).expect("it can be set");
        let error = guess.read(&mut [0; 4]).expect_err("the guess still waits");
        assert_eq!(error.kind(), std::io::ErrorKind::WouldBlock);
        guess.set_nonblocking(false).expect("it can be set");
        let mut result = [0; 4];
        guess.read_exact(&mut result).expect("the answer comes");
        assert_eq!(u32::from_le_bytes(result), PERMISSION_DENIED);
    });
    session.all_gone();
}
