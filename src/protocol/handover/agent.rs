//! What the main channel hands over: both directions of the guest agent's stream.

use super::{Body, CHAR_DEVICE, CharDevice, HEAD, HandoverError, Writer, length};
use crate::protocol::agent::{CHUNK_HEADER, HEADER};
use crate::protocol::wire::WireWrite;

/// `filter_result` of a message that passes, and of one that is dropped.
const PASS: u8 = 0;
const DISCARD: u8 = 1;

/// Where the agent is in its stream.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentData {
    /// What has come of a chunk's header; all eight bytes inside a chunk, whose size is that of the rest then.
    pub chunk_header: Vec<u8>,
    /// A message has begun.
    pub in_message: bool,
    /// What has come of the header of a message that has not begun.
    pub message_header: Vec<u8>,
    /// Bytes of the message that have not come.
    pub message_left: u32,
    /// They are dropped.
    pub drops: bool,
}

/// What the main channel hands over.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AgentHandover {
    /// The agent's device, with the tokens of both sides.
    pub device: CharDevice,
    /// The client has opened its stream.
    pub started: bool,
    /// Of the agent for the client.
    pub agent: AgentData,
    /// Bytes that are still to come of the client's message, and whether they are dropped.
    pub client_left: u32,
    /// See `client_left`.
    pub client_drops: bool,
}

impl AgentHandover {
    const SIZE: usize = HEAD + CHAR_DEVICE + 1 + (4 + CHUNK_HEADER + 1 + 4 + 4 + 4 + 1) + (4 + 1);

    /// Reads it.
    ///
    /// # Errors
    /// [`HandoverError`]
    pub fn read(body: &[u8]) -> Result<Self, HandoverError> {
        let mut body = Body::new(body, b"MNMD")?;
        let device = CharDevice::read(&mut body)?;
        let started = body.u8()? != 0;
        let header_size = body.u32()?;
        let header = body.fields.bytes(CHUNK_HEADER)?;
        let in_message = body.u8()? != 0;
        let (partial, at) = (body.u32()?, body.u32()?);
        let (message_left, drops) = (body.u32()?, body.u8()? != PASS);
        let (client_left, client_drops) = (body.u32()?, body.u8()? != PASS);
        if !device.connected {
            return Ok(Self::default());
        }
        let field = |field, value: u32| HandoverError::Field { field, value: value.into() };
        let have = usize::try_from(header_size).ok().and_then(|n| header.get(..n));
        let chunk_header = have.ok_or(field("size of a chunk's header", header_size))?.to_vec();
        if usize::try_from(partial).map_or(true, |n| n >= HEADER) {
            return Err(field("size of a message's header", partial));
        }
        let message_header = if in_message { Vec::new() } else { body.part(at, partial)?.to_vec() };
        let message_left = if in_message { message_left } else { 0 };
        let agent = AgentData { chunk_header, in_message, message_header, message_left, drops };
        Ok(Self { device, started, agent, client_left, client_drops })
    }

    /// Its bytes.
    #[must_use]
    pub fn write(&self) -> Vec<u8> {
        let mut writer = Writer::new(b"MNMD", Self::SIZE);
        self.device.write(&mut writer);
        let Self { agent, started, .. } = self;
        let at = writer.point_to(&agent.message_header);
        let mut header = agent.chunk_header.clone();
        header.resize(CHUNK_HEADER, 0);
        let result = |drops| if drops { DISCARD } else { PASS };
        let fields = &mut writer.fields;
        fields.put_u8(u8::from(*started));
        fields.put_u32(length(&agent.chunk_header)).put_bytes(&header);
        fields.put_u8(u8::from(agent.in_message));
        fields.put_u32(length(&agent.message_header)).put_u32(at);
        fields.put_u32(agent.message_left).put_u8(result(agent.drops));
        fields.put_u32(self.client_left).put_u8(result(self.client_drops));
        writer.finish()
    }
}
