//! Messages of the main channel.

use super::caps::ChannelType;
use super::common::ClientCommon;
use super::error::MessageError;
use super::message::Message;
use super::wire::{Reader, WireWrite};

/// Largest piece of the agent stream in one message, bytes, in both directions.
pub const AGENT_DATA_MAX: usize = 2048;
/// Pieces that a client may send before it gets tokens back.
pub const AGENT_TOKENS: u32 = 10;

/// Types that the server sends.
pub mod server {
    /// Migration begins: where to connect.
    pub const MIGRATE_BEGIN: u16 = 101;
    /// Migration failed: stay.
    pub const MIGRATE_CANCEL: u16 = 102;
    /// First message of a session.
    pub const INIT: u16 = 103;
    /// Channels that the client may link to.
    pub const CHANNELS_LIST: u16 = 104;
    /// Mouse mode and what else is allowed.
    pub const MOUSE_MODE: u16 = 105;
    /// The server's media clock.
    pub const MULTI_MEDIA_TIME: u16 = 106;
    /// The guest agent is there (old clients).
    pub const AGENT_CONNECTED: u16 = 107;
    /// The guest agent has gone.
    pub const AGENT_DISCONNECTED: u16 = 108;
    /// A piece of the agent stream.
    pub const AGENT_DATA: u16 = 109;
    /// The client may send that many pieces more.
    pub const AGENT_TOKEN: u16 = 110;
    /// Leave for another host at once.
    pub const MIGRATE_SWITCH_HOST: u16 = 111;
    /// Migration is over.
    pub const MIGRATE_END: u16 = 112;
    /// Name of the machine.
    pub const NAME: u16 = 113;
    /// UUID of the machine.
    pub const UUID: u16 = 114;
    /// The guest agent is there, with a fresh window.
    pub const AGENT_CONNECTED_TOKENS: u16 = 115;
    /// Seamless migration begins.
    pub const MIGRATE_BEGIN_SEAMLESS: u16 = 116;
    /// The target takes the seamless migration.
    pub const MIGRATE_DST_SEAMLESS_ACK: u16 = 117;
    /// The target does not.
    pub const MIGRATE_DST_SEAMLESS_NACK: u16 = 118;
}

/// Types that a client sends.
pub mod client {
    /// Cache size; no stock client sends it.
    pub const CLIENT_INFO: u16 = 101;
    /// Connected to the migration target.
    pub const MIGRATE_CONNECTED: u16 = 102;
    /// Could not connect to it.
    pub const MIGRATE_CONNECT_ERROR: u16 = 103;
    /// Asks for CHANNELS_LIST.
    pub const ATTACH_CHANNELS: u16 = 104;
    /// Asks for a mouse mode.
    pub const MOUSE_MODE_REQUEST: u16 = 105;
    /// Opens the agent stream.
    pub const AGENT_START: u16 = 106;
    /// A piece of the agent stream.
    pub const AGENT_DATA: u16 = 107;
    /// The server may send that many pieces more.
    pub const AGENT_TOKEN: u16 = 108;
    /// The client has moved here.
    pub const MIGRATE_END: u16 = 109;
    /// Asks the target for a seamless migration.
    pub const MIGRATE_DST_DO_SEAMLESS: u16 = 110;
    /// Connected to the target, seamlessly.
    pub const MIGRATE_CONNECTED_SEAMLESS: u16 = 111;
    /// Quality the client would like; unused.
    pub const QUALITY_INDICATOR: u16 = 112;
}

/// Mouse mode: the server moves the pointer by relative motion.
pub const MOUSE_MODE_SERVER: u16 = 1;
/// Mouse mode: the client tells positions.
pub const MOUSE_MODE_CLIENT: u16 = 2;

/// Fields of INIT.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Init {
    /// Connection id that the client uses for all other channels.
    pub session_id: u32,
    /// Number of QXL instances.
    pub display_channels_hint: u32,
    /// [`MOUSE_MODE_SERVER`] or both bits.
    pub supported_mouse_modes: u16,
    /// One of the modes.
    pub current_mouse_mode: u16,
    /// True if the guest agent is there.
    pub agent_connected: bool,
    /// Pieces the client may send to the agent, normally [`AGENT_TOKENS`].
    pub agent_tokens: u32,
    /// The server's media clock, ms.
    pub multi_media_time: u32,
    /// Bytes of the QXL's RAM, 0 if there is none.
    pub ram_hint: u32,
}

/// INIT. Modes are 32 bits wide here, 16 in MOUSE_MODE.
#[must_use]
pub fn init(fields: &Init) -> Message {
    let mut body = Vec::with_capacity(32);
    body.put_u32(fields.session_id)
        .put_u32(fields.display_channels_hint)
        .put_u32(fields.supported_mouse_modes.into())
        .put_u32(fields.current_mouse_mode.into())
        .put_u32(fields.agent_connected.into())
        .put_u32(fields.agent_tokens)
        .put_u32(fields.multi_media_time)
        .put_u32(fields.ram_hint);
    Message::new(server::INIT, body)
}

/// CHANNELS_LIST: pairs of type and id; the order has no meaning.
#[must_use]
pub fn channels_list(channels: &[(ChannelType, u8)]) -> Message {
    // Types and ids are bytes, so a list without repetition always fits.
    let count = u32::try_from(channels.len()).unwrap_or(u32::MAX);
    let mut body = Vec::with_capacity(4 + 2 * channels.len());
    body.put_u32(count);
    for (ty, id) in channels {
        body.put_u8(ty.0).put_u8(*id);
    }
    Message::new(server::CHANNELS_LIST, body)
}

/// MOUSE_MODE.
#[must_use]
pub fn mouse_mode(supported: u16, current: u16) -> Message {
    let mut body = Vec::with_capacity(4);
    body.put_u16(supported).put_u16(current);
    Message::new(server::MOUSE_MODE, body)
}

/// MULTI_MEDIA_TIME in ms.
#[must_use]
pub fn multi_media_time(ms: u32) -> Message {
    Message::new(server::MULTI_MEDIA_TIME, ms.to_le_bytes().to_vec())
}

/// AGENT_CONNECTED, for clients without capability AGENT_CONNECTED_TOKENS.
#[must_use]
pub fn agent_connected() -> Message {
    Message::new(server::AGENT_CONNECTED, Vec::new())
}

/// AGENT_CONNECTED_TOKENS with the client's fresh window.
#[must_use]
pub fn agent_connected_tokens(tokens: u32) -> Message {
    Message::new(server::AGENT_CONNECTED_TOKENS, tokens.to_le_bytes().to_vec())
}

/// AGENT_DISCONNECTED without an error.
#[must_use]
pub fn agent_disconnected() -> Message {
    Message::new(server::AGENT_DISCONNECTED, 0u32.to_le_bytes().to_vec())
}

/// AGENT_DATA: one piece of the agent stream, at most [`AGENT_DATA_MAX`] bytes.
#[must_use]
pub fn agent_data(piece: Vec<u8>) -> Message {
    debug_assert!(piece.len() <= AGENT_DATA_MAX, "the stream is cut before it gets here");
    Message::new(server::AGENT_DATA, piece)
}

/// AGENT_TOKEN: the client may send that many pieces more.
#[must_use]
pub fn agent_token(tokens: u32) -> Message {
    Message::new(server::AGENT_TOKEN, tokens.to_le_bytes().to_vec())
}

/// NAME of the machine; only for clients with capability NAME_AND_UUID.
/// `name` comes without its NUL, which is counted and sent.
#[must_use]
pub fn name(name: &[u8]) -> Message {
    let len = u32::try_from(name.len() + 1).unwrap_or(u32::MAX);
    let mut body = Vec::with_capacity(4 + name.len() + 1);
    body.put_u32(len).put_bytes(name).put_u8(0);
    Message::new(server::NAME, body)
}

/// UUID of the machine; only for clients with capability NAME_AND_UUID.
#[must_use]
pub fn uuid(uuid: &[u8; 16]) -> Message {
    Message::new(server::UUID, uuid.to_vec())
}

/// A message of a client on the main channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MainRequest<'a> {
    /// One of the messages that all channels have.
    Common(ClientCommon<'a>),
    /// Cache size; to be ignored.
    ClientInfo,
    /// Connected to the migration target.
    MigrateConnected,
    /// Could not connect to it.
    MigrateConnectError,
    /// Wants CHANNELS_LIST; may come again.
    AttachChannels,
    /// Wants a mouse mode; other values than the two modes may come and are to be ignored.
    MouseMode(u16),
    /// Opens the agent stream; the server may send that many pieces.
    AgentStart(u32),
    /// 1 to [`AGENT_DATA_MAX`] bytes of the agent stream.
    AgentData(&'a [u8]),
    /// The server may send that many pieces more.
    AgentToken(u32),
    /// The client has moved here.
    MigrateEnd,
    /// Asks for a seamless migration; version of the source.
    MigrateDstDoSeamless(u32),
    /// Connected to the target, seamlessly.
    MigrateConnectedSeamless,
    /// To be ignored.
    QualityIndicator,
}

impl<'a> MainRequest<'a> {
    /// Reads one message.
    ///
    /// # Errors
    /// [`MessageError`]: unknown type, short body, agent data of 0 or more than
    /// [`AGENT_DATA_MAX`] bytes. Bytes behind the last field are ignored.
    pub fn parse(kind: u16, body: &'a [u8]) -> Result<Self, MessageError> {
        let mut r = Reader::new(body);
        let short = MessageError::short(kind);
        Ok(match kind {
            // The reference drops a client that sends this; no stock client does, and it is harmless.
            client::CLIENT_INFO => Self::ClientInfo,
            client::MIGRATE_CONNECTED => Self::MigrateConnected,
            client::MIGRATE_CONNECT_ERROR => Self::MigrateConnectError,
            client::ATTACH_CHANNELS => Self::AttachChannels,
            client::MOUSE_MODE_REQUEST => Self::MouseMode(r.u16().map_err(short)?),
            client::AGENT_START => Self::AgentStart(r.u32().map_err(short)?),
            client::AGENT_DATA => match body.len() {
                0 => return Err(MessageError::Empty { kind }),
                size if size > AGENT_DATA_MAX => {
                    return Err(MessageError::TooLong { kind, size, limit: AGENT_DATA_MAX });
                }
                _ => Self::AgentData(body),
            },
            client::AGENT_TOKEN => Self::AgentToken(r.u32().map_err(short)?),
            client::MIGRATE_END => Self::MigrateEnd,
            client::MIGRATE_DST_DO_SEAMLESS => Self::MigrateDstDoSeamless(r.u32().map_err(short)?),
            client::MIGRATE_CONNECTED_SEAMLESS => Self::MigrateConnectedSeamless,
            client::QUALITY_INDICATOR => Self::QualityIndicator,
            _ => Self::Common(ClientCommon::parse(kind, body)?),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn init_has_its_32_bytes_in_order() {
        let message = init(&Init {
            session_id: 0x0403_0201,
            display_channels_hint: 1,
            supported_mouse_modes: 3,
            current_mouse_mode: 2,
            agent_connected: true,
            agent_tokens: AGENT_TOKENS,
            multi_media_time: 7,
            ram_hint: 0x0400_0000,
        });
        assert_eq!(message.kind, 103);
        assert_eq!(
            message.body,
            [
                1, 2, 3, 4, 1, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0, 0, //
                1, 0, 0, 0, 10, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 4
            ]
        );
    }

    #[test]
    fn lists_and_names_have_the_bytes_of_the_reference() {
        // Measured on 0.15.1 with every kind of channel registered.
        let list =
            [(4, 1), (2, 1), (11, 0), (10, 0), (9, 0), (6, 0), (5, 0), (2, 0), (4, 0), (3, 0)]
                .map(|(ty, id)| (ChannelType(ty), id));
        let message = channels_list(&list);
        assert_eq!(message.kind, 104);
        assert_eq!(
            message.body,
            [0x0a, 0, 0, 0, 4, 1, 2, 1, 0x0b, 0, 0x0a, 0, 9, 0, 6, 0, 5, 0, 2, 0, 4, 0, 3, 0]
        );
        assert_eq!(name(b"vm").body, [3, 0, 0, 0, b'v', b'm', 0]);
        assert_eq!((uuid(&[7; 16]).kind, uuid(&[7; 16]).len()), (114, 16));
        assert_eq!((mouse_mode(3, 1).kind, &mouse_mode(3, 1).body[..]), (105, &[3, 0, 1, 0][..]));
        assert_eq!(multi_media_time(258).body, [2, 1, 0, 0]);
        assert_eq!((agent_connected().kind, agent_connected().len()), (107, 0));
        assert_eq!((agent_disconnected().kind, agent_disconnected().len()), (108, 4));
        assert_eq!((agent_token(5).kind, &agent_token(5).body[..]), (110, &[5, 0, 0, 0][..]));
        assert_eq!(agent_connected_tokens(10).kind, 115);
        assert_eq!(agent_data(vec![1]).kind, 109);
    }

    #[test]
    fn every_client_type_is_read() {
        let word = [5, 0, 0, 0, 9];
        for (kind, request) in [
            (3, MainRequest::Common(ClientCommon::Pong { id: 5, time: 1 })),
            (101, MainRequest::ClientInfo),
            (102, MainRequest::MigrateConnected),
            (103, MainRequest::MigrateConnectError),
            (104, MainRequest::AttachChannels),
            (105, MainRequest::MouseMode(5)),
            (106, MainRequest::AgentStart(5)),
            (107, MainRequest::AgentData(&word)),
            (108, MainRequest::AgentToken(5)),
            (109, MainRequest::MigrateEnd),
            (110, MainRequest::MigrateDstDoSeamless(5)),
            (111, MainRequest::MigrateConnectedSeamless),
            (112, MainRequest::QualityIndicator),
        ] {
            let body: &[u8] = if kind == 3 { &[5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0] } else { &word };
            assert_eq!(MainRequest::parse(kind, body), Ok(request));
        }
    }

    #[test]
    fn short_empty_long_and_unknown_messages_are_refused() {
        for (kind, len) in [(105, 1), (106, 3), (108, 3), (110, 3), (1, 0)] {
            let body = vec![0; len];
            assert!(matches!(
                MainRequest::parse(kind, &body),
                Err(MessageError::Short { kind: k, .. }) if k == kind
            ));
        }
        assert_eq!(MainRequest::parse(107, &[]), Err(MessageError::Empty { kind: 107 }));
        assert!(MainRequest::parse(107, &[0; 2048]).is_ok());
        assert!(matches!(
            MainRequest::parse(107, &[0; 2049]),
            Err(MessageError::TooLong { size: 2049, limit: 2048, .. })
        ));
        for kind in [0, 7, 100, 113, u16::MAX] {
            assert_eq!(MainRequest::parse(kind, &[0; 64]), Err(MessageError::Unknown { kind }));
        }
    }
}
