//! What channels of another server hand over: no panic, no more memory than the message has; what is understood is written as
//! it is read, and the parts of a server that it sets up go on from there.
//!
//! Input: the channel (one byte), then the body of MIGRATE_DATA.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::display::pipe::{ClientPipe, Limits, SurfaceInfo};
use spice_server::protocol::agent::{ClientStream, DeviceReader, Rules};
use spice_server::protocol::handover::{
    AgentHandover, CardHandover, DisplayHandover, read_inputs, read_vmc, write_inputs, write_vmc,
};
use spice_server::protocol::main::AGENT_DATA_MAX;
use spice_server::qxl::model::SurfaceFormat;

fn agent(body: &[u8]) {
    let Ok(handover) = AgentHandover::read(body) else { return };
    assert!(handover.device.write.len() + handover.agent.message_header.len() <= 2 * body.len());
    assert_eq!(AgentHandover::read(&handover.write()).as_ref(), Ok(&handover));
    let mut stream = ClientStream::resume(handover.client_left, handover.client_drops);
    let left = stream.rest();
    assert_eq!(left.0, handover.client_left);
    let _ = stream.piece(body.get(..AGENT_DATA_MAX).unwrap_or(body), Rules::ALL);
    let Ok(mut reader) = DeviceReader::resume(&handover.agent) else { return };
    let again = reader.handover();
    assert_eq!(again.message_left, handover.agent.message_left);
    assert_eq!(again.message_header, handover.agent.message_header);
    // The agent goes on, with whatever bytes.
    let mut rest = body;
    while !rest.is_empty() {
        let wanted = reader.wanted();
        assert!((1..=AGENT_DATA_MAX).contains(&wanted));
        let (now, behind) = rest.split_at(wanted.min(rest.len()));
        rest = behind;
        if reader.take(now, Rules::ALL).is_err() {
            return;
        }
    }
    let _ = reader.cut(Rules::ALL);
    let known = reader.handover();
    assert!(DeviceReader::resume(&known).is_ok());
}

fn display(body: &[u8]) {
    let Ok(handover) = DisplayHandover::read(body, 1024) else { return };
    for areas in [false, true] {
        let again = DisplayHandover::read(&handover.write(areas), 1024).unwrap();
        assert_eq!(again.surfaces.len(), handover.surfaces.len());
        if areas {
            assert_eq!(again, handover);
        }
    }
    let mut pipe = ClientPipe::new(Limits::default());
    pipe.inherit(false);
    for id in [0, 3, 1023] {
        let (format, width, height) = (SurfaceFormat::Xrgb, 64, 48);
        pipe.surface_known(SurfaceInfo { id, format, width, height, primary: id == 0 });
    }
    pipe.inherited_all();
    let gone = pipe.settle_inheritance(&handover.surfaces);
    assert!(gone.iter().all(|id| ![0, 3, 1023].contains(id)));
    for surface in pipe.handover() {
        assert!(surface.lossy.width() <= 64 && surface.lossy.height() <= 48);
    }
}

fuzz_target!(|input: &[u8]| {
    let Some((channel, body)) = input.split_first() else { return };
    match channel % 5 {
        0 => agent(body),
        1 => display(body),
        2 => {
            if let Ok(device) = read_vmc(body) {
                assert_eq!(read_vmc(&write_vmc(&device)), Ok(device));
            }
        }
        3 => {
            if let Ok(card) = CardHandover::read(body) {
                assert_eq!(CardHandover::read(&card.write()), Ok(card));
            }
        }
        _ => {
            if let Ok(movements) = read_inputs(body) {
                assert_eq!(read_inputs(&write_inputs(movements)), Ok(movements));
            }
        }
    }
});
