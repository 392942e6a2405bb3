//! The little HTTP that a SPICE port understands: a browser's way to a WebSocket, and a page for people who look.
//!
//! Pure: bytes in, an [`Answer`] out. One request per connection; a request has to be complete in
//! [`MAX_REQUEST`] bytes, which may come in any number of pieces.

use base64ct::{Base64, Encoding};
use httparse::{Header, Request, Status};
use sha1::{Digest, Sha1};

/// Largest head of a request in bytes.
pub const MAX_REQUEST: usize = 8 * 1024;
/// Most header lines of a request; browsers send about 15.
const MAX_HEADERS: usize = 64;
/// What a key is hashed with (RFC 6455 §1.3).
const WEBSOCKET_GUID: &str = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
/// The subprotocol under which SPICE goes through WebSockets.
const SUBPROTOCOL: &str = "binary";

/// How methods begin that somebody may send to a web server: enough bytes to tell them from a link magic.
const METHODS: [&[u8; 4]; 9] =
    [b"GET ", b"HEAD", b"POST", b"PUT ", b"DELE", b"OPTI", b"PATC", b"TRAC", b"CONN"];

const PAGE: &str = "<!DOCTYPE html>\n<html lang=\"en\">\n<head><meta charset=\"utf-8\"><title>SPICE</title></head>\n\
    <body>\n<h1>This is the SPICE port of a virtual machine</h1>\n\
    <p>It is served by Cayenne. Connect to it with a SPICE client, such as virt-viewer (remote-viewer), or with\n\
    spice-html5, which reaches it by WebSocket at this same address.</p>\n</body>\n</html>\n";

/// True if a connection with these first bytes speaks HTTP.
#[must_use]
pub fn is_http(first: [u8; 4]) -> bool {
    METHODS.contains(&&first)
}

/// What a request leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its head is not complete yet.
    NeedMore,
    /// Send `reply` and go on with frames; the request was `consumed` bytes long.
    Upgrade {
        /// The 101 reply.
        reply: Vec<u8>,
        /// Bytes of the request.
        consumed: usize,
    },
    /// Send `reply`, then close.
    Close {
        /// Status of the reply, such as 404.
        status: u16,
        /// The whole reply.
        reply: Vec<u8>,
    },
}

/// Looks at what has come of a request.
#[must_use]
pub fn answer(unread: &[u8]) -> Answer {
    let within = unread.get(..MAX_REQUEST).unwrap_or(unread);
    let Some(consumed) = head_len(within) else {
        return if unread.len() < MAX_REQUEST { Answer::NeedMore } else { plain(431, false) };
    };
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(within.get(..consumed).unwrap_or_default()) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return plain(431, false),
        Ok(Status::Partial) | Err(_) => return plain(400, false),
    }
    let method = request.method.unwrap_or_default();
    match (method, values(request.headers, "sec-websocket-key").next()) {
        ("GET", Some(key)) => upgrade(request.headers, key, consumed),
        ("GET" | "HEAD", _) => page(request.path.unwrap_or_default(), method == "HEAD"),
        _ => plain(405, false),
    }
}

/// Bytes up to the empty line; lines may end without a carriage return (RFC 9112 §2.2).
fn head_len(bytes: &[u8]) -> Option<usize> {
    let ends = bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n').map(|(at, _)| at + 1);
    ends.into_iter().find_map(|at| match bytes.get(at..)? {
        [b'\n', ..] => Some(at + 1),
        [b'\r', b'\n', ..] => Some(at + 2),
        _ => None,
    })
}

fn values<'a>(headers: &'a [Header<'a>], name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    headers.iter().filter(|h| h.name.eq_ignore_ascii_case(name)).map(|h| h.value.trim_ascii())
}

/// As in the reference only the key and the subprotocol count: not the version, not `Upgrade`, not the path.
fn upgrade(headers: &[Header<'_>], key: &[u8], consumed: usize) -> Answer {
    let mut offers = values(headers, "sec-websocket-protocol").peekable();
    let named = offers.peek().is_some();
    let mut parts = offers.flat_map(|value| value.split(|byte| *byte == b','));
    if key.is_empty() || (named && !parts.any(|p| p.trim_ascii() == SUBPROTOCOL.as_bytes())) {
        return plain(400, false);
    }
    let hash = Sha1::new().chain_update(key).chain_update(WEBSOCKET_GUID).finalize();
    let accept = Base64::encode_string(&hash);
    let protocol =
        if named { format!("Sec-WebSocket-Protocol: {SUBPROTOCOL}\r\n") } else { String::new() };
    let reply = format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\n{protocol}\r\n"
    );
    Answer::Upgrade { reply: reply.into_bytes(), consumed }
}

fn page(target: &str, head_only: bool) -> Answer {
    // A proxy's request has the whole address.
    let path = match target.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |at| rest.get(at..).unwrap_or_default()),
        None => target,
    };
    if path.split(['?', '#']).next() == Some("/") {
        let kind = "text/html; charset=utf-8";
        Answer::Close { status: 200, reply: reply(200, "OK", kind, PAGE, head_only) }
    } else {
        plain(404, head_only)
    }
}

fn plain(status: u16, head_only: bool) -> Answer {
    let (name, text) = match status {
        404 => ("Not Found", "There is only / here, and SPICE.\n"),
        405 => ("Method Not Allowed", "This is a SPICE port: only GET and HEAD.\n"),
        431 => {
            ("Request Header Fields Too Large", "This is a SPICE port: a short request, please.\n")
        }
        _ => ("Bad Request", "This is a SPICE port; WebSockets need the subprotocol \"binary\".\n"),
    };
    let kind = "text/plain; charset=utf-8";
    Answer::Close { status, reply: reply(status, name, kind, text, head_only) }
}

fn reply(status: u16, name: &str, kind: &str, text: &str, head_only: bool) -> Vec<u8> {
    let allow = if status == 405 { "Allow: GET, HEAD\r\n" } else { "" };
    let length = text.len();
    let head = format!(
        "HTTP/1.1 {status} {name}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}\
         Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n"
    );
    let body = if head_only { "" } else { text };
    [head.as_bytes(), body.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROWSER: &str = "GET /spice HTTP/1.1\r\nHost: h:5900\r\nConnection: keep-alive, Upgrade\r\n\
        Upgrade: websocket\r\nOrigin: http://h\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";

    fn status(request: &str) -> u16 {
        match answer(request.as_bytes()) {
            Answer::Close { status, reply } => {
                let text = String::from_utf8(reply).unwrap();
                let (head, body) = text.split_once("\r\n\r\n").unwrap();
                let length = head.split("Content-Length: ").nth(1).unwrap();
                let length: usize = length.split("\r\n").next().unwrap().parse().unwrap();
                assert!(length > 0 && (body.len() == length) != request.starts_with("HEAD /"));
                assert!(head.starts_with(&format!("HTTP/1.1 {status} ")));
                assert!(head.contains("Connection: close"));
                assert_eq!(head.contains("Allow: GET, HEAD"), status == 405);
                status
            }
            other => panic!("{request:?}: {other:?}"),
        }
    }

    #[test]
    fn an_upgrade_is_answered_with_the_hash_of_its_key() {
        // Key and answer of RFC 6455 §1.3.
        let request = format!("{BROWSER}Sec-WebSocket-Protocol: chat, binary\r\n\r\nREDQ");
        for cut in 0..request.len() - 4 {
            assert_eq!(answer(&request.as_bytes()[..cut]), Answer::NeedMore, "{cut}");
        }
        let Answer::Upgrade { reply, consumed } = answer(request.as_bytes()) else { panic!() };
        assert_eq!(consumed, request.len() - 4);
        assert_eq!(
            String::from_utf8(reply).unwrap(),
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: WebSocket\r\nConnection: Upgrade\r\n\
             Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\nSec-WebSocket-Protocol: binary\r\n\r\n"
        );
    }

    #[test]
    fn only_an_asked_for_subprotocol_is_answered_and_only_binary_is_right() {
        let with = |line: &str| answer(format!("{BROWSER}{line}\r\n").as_bytes());
        let Answer::Upgrade { reply, .. } = with("") else { panic!() };
        assert!(!String::from_utf8(reply).unwrap().contains("Protocol:"));
        for right in
            ["binary", " binary , chat", "chat,binary", "chat\r\nsec-websocket-PROTOCOL: binary"]
        {
            let answer = with(&format!("Sec-WebSocket-Protocol: {right}\r\n"));
            assert!(matches!(answer, Answer::Upgrade { .. }), "{right}");
        }
        for wrong in ["chat", "binaryx", "", "base64"] {
            let answer = with(&format!("Sec-WebSocket-Protocol: {wrong}\r\n"));
            assert!(matches!(answer, Answer::Close { status: 400, .. }), "{wrong}");
        }
        assert_eq!(status("GET / HTTP/1.1\r\nSec-WebSocket-Key:  \r\n\r\n"), 400);
    }

    #[test]
    fn people_get_a_page_and_others_a_reason() {
        for (request, want) in [
            ("GET / HTTP/1.1\r\nHost: h\r\n\r\n", 200),
            ("GET / HTTP/1.0\r\n\r\n", 200),
            ("GET /?a=b HTTP/1.1\nHost: h\n\n", 200),
            ("HEAD / HTTP/1.1\r\n\r\n", 200),
            ("GET http://h:5900/ HTTP/1.1\r\n\r\n", 200),
            ("GET http://h HTTP/1.1\r\n\r\n", 200),
            ("GET /favicon.ico HTTP/1.1\r\n\r\n", 404),
            ("HEAD /x HTTP/1.1\r\n\r\n", 404),
            ("POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabc", 405),
            ("CONNECT h:80 HTTP/1.1\r\n\r\n", 405),
            ("POST / HTTP/1.1\r\nSec-WebSocket-Key: a\r\n\r\n", 405),
            ("GET / HTTP/9\r\n\r\n", 400),
            ("GET \0 HTTP/1.1\r\n\r\n", 400),
            ("GET /\r\n\r\n", 400),
            ("HEADLESS\r\n\r\n", 400),
            ("GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        ] {
            assert_eq!(status(request), want, "{request:?}");
        }
    }

    #[test]
    fn a_request_is_bounded_in_bytes_and_lines() {
        let long = format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(MAX_REQUEST));
        assert_eq!(answer(&long.as_bytes()[..MAX_REQUEST - 1]), Answer::NeedMore);
        assert_eq!(status(&long[..MAX_REQUEST]), 431);
        assert_eq!(status(&format!("{}\r\n\r\n", &long[..MAX_REQUEST])), 431);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(64))), 200);
        assert_eq!(status(&format!("GET / HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(65))), 431);
    }

    #[test]
    fn the_link_magic_is_no_method() {
        assert!(!is_http(*b"REDQ") && !is_http(*b"GETX") && !is_http([0x16, 3, 1, 2]));
        assert!(is_http(*b"GET ") && is_http(*b"HEAD") && is_http(*b"POST"));
    }
}
