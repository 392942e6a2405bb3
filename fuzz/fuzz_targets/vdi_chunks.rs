//! What a guest's agent writes, read in steps of any size: no panic, pieces of 1 to 2048 bytes, the same ones however it
//! was read; with everything allowed they are the agent's own bytes but for announcements.
//!
//! Input: two bytes with the size of the steps, one with the rules, then the device's bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::protocol::agent::{CLIENT_PORT, DeviceReader, Reading, Rules};
use spice_server::protocol::main::AGENT_DATA_MAX;

fuzz_target!(|input: &[u8]| {
    let Some((head, bytes)) = input.split_first_chunk::<3>() else { return };
    let step = usize::from(u16::from_le_bytes([head[0], head[1]])).max(1);
    let rules = Rules {
        open: head[2] & 1 == 0,
        copy_paste: head[2] & 2 == 0,
        file_xfer: head[2] & 4 == 0,
        monitors: head[2] & 8 == 0,
    };
    let (pieces, ended_well) = read(bytes, step, rules);
    let whole = read(bytes, usize::MAX, rules);
    assert_eq!((&pieces, ended_well), (&whole.0, whole.1));
    if !rules.open {
        assert!(pieces.is_empty());
    }
    if rules == Rules::ALL {
        let said = of_clients(bytes);
        let all = pieces.concat();
        assert_eq!(said.get(..all.len()), Some(&all[..]));
    }
});

/// The pieces, and whether the agent kept to its protocol.
fn read(mut bytes: &[u8], step: usize, rules: Rules) -> (Vec<Vec<u8>>, bool) {
    let mut reader = DeviceReader::default();
    let mut pieces = Vec::new();
    while !bytes.is_empty() {
        let wanted = reader.wanted();
        assert!((1..=AGENT_DATA_MAX).contains(&wanted));
        let (now, rest) = bytes.split_at(step.min(wanted).min(bytes.len()));
        bytes = rest;
        match reader.take(now, rules) {
            Ok(Reading::Piece { data, .. }) => {
                assert!((1..=AGENT_DATA_MAX).contains(&data.len()));
                pieces.push(data);
            }
            Ok(Reading::Incomplete | Reading::Dropped) => {}
            Err(_) => return (pieces, false),
        }
    }
    (pieces, true)
}

/// What is said on the clients' port, taken apart by a plain twin.
fn of_clients(mut bytes: &[u8]) -> Vec<u8> {
    let mut said = Vec::new();
    while let Some((head, rest)) = bytes.split_first_chunk::<8>() {
        let port = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let size = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let (data, rest) = rest.split_at(size.min(rest.len()));
        if port == CLIENT_PORT {
            said.extend_from_slice(data);
        }
        bytes = rest;
    }
    said
}
