//! Which protocol a connection speaks, told by its first bytes, whatever lies below (a socket or TLS).

use super::http::{self, Answer};

/// What the first bytes say. The caller asks again with more of them until it is neither
/// [`Greeting::NeedMore`] nor [`Greeting::Http`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Greeting {
    /// Too few bytes to tell.
    NeedMore,
    /// An HTTP request that is not complete.
    Http,
    /// SPICE, or nothing that anybody knows: the handshake reads it from its first byte on.
    Link,
    /// A WebSocket: consume the request, send the reply, and put frames on top. What they hold is the handshake's;
    /// it is not asked here again.
    WebSocket {
        /// To be sent without a frame.
        reply: Vec<u8>,
        /// Bytes of the request.
        consumed: usize,
    },
    /// Another request: send the reply and close.
    Page {
        /// The whole answer.
        reply: Vec<u8>,
        /// Its status, such as 404.
        status: u16,
    },
}

/// Looks at the first bytes of a connection.
#[must_use]
pub fn greeting(unread: &[u8]) -> Greeting {
    match unread.first_chunk() {
        None => Greeting::NeedMore,
        Some(first) if !http::is_http(*first) => Greeting::Link,
        Some(_) => match http::answer(unread) {
            Answer::NeedMore => Greeting::Http,
            Answer::Upgrade { reply, consumed } => Greeting::WebSocket { reply, consumed },
            Answer::Close { status, reply } => Greeting::Page { reply, status },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn four_bytes_tell() {
        assert_eq!(greeting(b""), Greeting::NeedMore);
        assert_eq!(greeting(b"RED"), Greeting::NeedMore);
        assert_eq!(greeting(b"REDQ"), Greeting::Link);
        assert_eq!(greeting(b"\x16\x03\x01\x00"), Greeting::Link);
        assert_eq!(greeting(b"GET "), Greeting::Http);
        assert!(matches!(greeting(b"GET / HTTP/1.1\r\n\r\n"), Greeting::Page { status: 200, .. }));
        let upgrade = greeting(b"GET / HTTP/1.1\r\nSec-WebSocket-Key: a\r\n\r\n");
        assert!(matches!(upgrade, Greeting::WebSocket { consumed: 40, .. }), "{upgrade:?}");
    }
}
