//! Messages of clients on the channels of char devices: no panic, no more bytes than the limit, and data comes back the
//! same through a block of our own.
//!
//! Input: message type (2 bytes), then its body.
#![no_main]

use libfuzzer_sys::fuzz_target;
use spice_server::pool::{BlockScratch, compress_block, decompress_block};
use spice_server::protocol::vmc::{MAX_DATA, VmcRequest};

fuzz_target!(|input: &[u8]| {
    let Some((kind, body)) = input.split_first_chunk::<2>() else { return };
    match VmcRequest::parse(u16::from_le_bytes(*kind), body) {
        Ok(VmcRequest::Data(data)) => {
            assert_eq!(data, body);
            let mut scratch = BlockScratch::default();
            let block = compress_block(data, usize::MAX, &mut scratch).unwrap();
            // A buffer with old bytes in it, as they are used again.
            let back = decompress_block(&block, data.len(), vec![7; 100]);
            assert_eq!(back.as_deref(), Some(data));
            if let Some(short) = compress_block(data, data.len() - 1, &mut scratch) {
                assert!(short.len() < data.len() && short == block);
            }
        }
        Ok(VmcRequest::Lz4 { size, block }) => {
            assert!(size <= MAX_DATA);
            if let Some(bytes) = decompress_block(block, size, Vec::new()) {
                assert_eq!(bytes.len(), size);
                assert_eq!(decompress_block(block, size, vec![1; 3000]), Some(bytes));
            }
        }
        Ok(VmcRequest::PortEvent(event)) => assert_eq!(body.first(), Some(&event)),
        Err(_) => {}
    }
});
