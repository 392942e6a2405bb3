use super::*;
use crate::protocol::geometry::Rect;

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(u8::is_ascii_hexdigit).collect();
    let digit = |d: u8| u8::try_from(char::from(d).to_digit(16).unwrap()).unwrap();
    digits.chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect()
}

fn agent() -> AgentHandover {
    AgentHandover {
        device: CharDevice {
            connected: true,
            client_tokens: 7,
            send_tokens: 4_000_000_000,
            write_tokens: 2,
            write: b"not taken".to_vec(),
        },
        started: true,
        agent: AgentData {
            chunk_header: vec![1, 0, 0, 0, 40, 0, 0, 0],
            in_message: false,
            message_header: vec![9; 19],
            message_left: 0,
            drops: false,
        },
        client_left: 700,
        client_drops: true,
    }
}

fn display(areas: bool) -> DisplayHandover {
    let lossy = Rect { left: 1, top: 2, right: 30, bottom: 40 };
    let lossy = if areas { lossy } else { Rect::default() };
    DisplayHandover {
        serial: 77,
        slow: areas,
        cache_id: 1,
        cache_pixels: 20 << 20,
        empties_cache: true,
        cache_users: [1, 0, 5, 0],
        dictionary_id: 1,
        window: 6_290_432,
        next_image: 12,
        surfaces: vec![HandedSurface { id: 0, lossy }, HandedSurface { id: 7, lossy }],
    }
}

#[test]
fn what_is_written_is_read_again() {
    let in_message = AgentHandover {
        agent: AgentData { in_message: true, message_left: 5, drops: true, ..AgentData::default() },
        ..agent()
    };
    for handover in [agent(), in_message, AgentHandover::default()] {
        assert_eq!(AgentHandover::read(&handover.write()), Ok(handover));
    }
    for areas in [false, true] {
        assert_eq!(DisplayHandover::read(&display(areas).write(areas), 8), Ok(display(areas)));
    }
    let none = DisplayHandover::default();
    assert_eq!(DisplayHandover::read(&none.write(true), 1024), Ok(none));
    let device = CharDevice::uncounted(b"bytes".to_vec());
    assert_eq!(read_vmc(&write_vmc(&device)), Ok(device.clone()));
    let card = CardHandover { device, reader_added: true, begun: vec![1, 2] };
    assert_eq!(CardHandover::read(&card.write()), Ok(card));
    assert_eq!(read_inputs(&write_inputs(3)), Ok(3));
}

#[test]
fn fields_lie_where_the_reference_has_them() {
    let bytes = agent().write();
    assert_eq!(&bytes[..8], b"MNMD\x01\0\0\0");
    assert_eq!(bytes.len(), 65 + 9 + 19);
    let at = |n: usize| u32::from_le_bytes(bytes[8 + n..12 + n].try_into().unwrap());
    assert_eq!((at(0), bytes[12], at(5), at(9)), (1, 1, 7, 4_000_000_000));
    assert_eq!((at(13), at(17), at(21)), (9, 2, 65));
    assert_eq!((bytes[33], at(26), at(30), at(34)), (1, 8, 1, 40));
    assert_eq!((bytes[46], at(39), at(43)), (0, 19, 74));
    assert_eq!((at(52), bytes[64]), (700, 1));
    // Not connected: all zero except the version.
    let nothing = AgentHandover::default().write();
    let mut expected = b"MNMD\x01\0\0\0\x01\0\0\0".to_vec();
    expected.resize(65, 0);
    assert_eq!(nothing, expected);

    let plain = display(false).write(false);
    assert_eq!(plain.len(), 80 + 4 + 2 * 4);
    assert_eq!(display(true).write(true).len(), 80 + 4 + 2 * 20);
    assert_eq!(plain[60..80], hex("00fc5f00 04000000 0c00000000000000 50000000"));
    assert_eq!(plain[16..27], hex("00 01 0000400100000000 01"));
    assert_eq!(write_inputs(2), b"ICMD\x01\0\0\0\x02\0");
    let port = write_vmc(&CharDevice::uncounted(Vec::new()));
    assert_eq!(port[..8], *b"SVMD\x01\0\0\0");
    assert_eq!(port[8..], hex("01000000 01 ffffffff ffffffff 00000000 00000000 00000000"));
}

#[test]
fn whatever_is_cut_or_points_outside_is_refused() {
    let bodies = [
        agent().write(),
        display(true).write(true),
        write_vmc(&CharDevice::uncounted(vec![1; 9])),
        CardHandover { device: CharDevice::uncounted(vec![1]), reader_added: true, begun: vec![2] }
            .write(),
        write_inputs(1),
    ];
    let reads = |bytes: &[u8]| {
        [
            AgentHandover::read(bytes).is_ok(),
            DisplayHandover::read(bytes, 1024).is_ok(),
            read_vmc(bytes).is_ok(),
            CardHandover::read(bytes).is_ok(),
            read_inputs(bytes).is_ok(),
        ]
    };
    for (n, body) in bodies.iter().enumerate() {
        let mut only = [false; 5];
        only[n] = true;
        assert_eq!(reads(body), only);
        // What is left of a list with areas may be one without.
        let cuts = (0..body.len()).filter(|cut| n != 1 || *cut < 80 + 4 + 2 * 4);
        cuts.for_each(|cut| assert_eq!(reads(&body[..cut]), [false; 5], "{n} {cut}"));
        let mut newer = body.clone();
        newer[4] = 2;
        assert_eq!(reads(&newer), [false; 5]);
    }
    let changed = |n: usize, value: u32| {
        let mut bytes = agent().write();
        bytes[8 + n..12 + n].copy_from_slice(&value.to_le_bytes());
        AgentHandover::read(&bytes).is_ok()
    };
    assert!(changed(21, 64) && changed(13, 10));
    assert!(!changed(21, u32::MAX) && !changed(21, 85) && !changed(13, u32::MAX));
    assert!(!changed(26, 9), "more than a chunk's header");
    assert!(!changed(39, 20), "a whole message's header");
    assert!(!changed(43, 1000) && !changed(0, 2));
}

#[test]
fn surfaces_are_some_that_there_can_be_and_each_one_once() {
    let read = |ids: &[u32], most| {
        let surfaces = ids.iter().map(|id| HandedSurface { id: *id, lossy: Rect::default() });
        let handover = DisplayHandover { surfaces: surfaces.collect(), ..display(false) };
        [false, true].map(|areas| DisplayHandover::read(&handover.write(areas), most).is_ok())
    };
    assert_eq!(read(&[0, 1, 2], 3), [true; 2]);
    assert_eq!(read(&[0, 1, 3], 3), [false; 2]);
    assert_eq!(read(&[1, 0, 1], 3), [false; 2]);
    assert_eq!(read(&[0, 1, 2], 2), [false; 2]);
    let mut many = display(false).write(false);
    many[80..84].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(DisplayHandover::read(&many, u32::MAX).is_err());
    let mut far = display(false).write(false);
    far[76..80].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(DisplayHandover::read(&far, 1024).is_err());
    let high = DisplayHandover { next_image: u64::MAX, ..display(false) };
    assert!(DisplayHandover::read(&high.write(false), 1024).is_err());
}
