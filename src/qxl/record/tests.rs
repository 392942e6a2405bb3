//! What is recorded is what was played; what does not map is left out.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::path::PathBuf;
use std::process::{Command as Process, Stdio};
use std::sync::Arc;

use super::structures::command_text;
use super::{PrimaryShape, Recorder};
use crate::qxl::command::{CommandExt, FLAG_COMPAT};
use crate::qxl::memslot::testing::{GUEST, HOST, TestRam};
use crate::qxl::replay::reader::{Event, Reader, Recorded, ReplayError, ReplayLimits};

const EVERY_KIND: &[u8] = include_bytes!("../../../fuzz/seeds/replay/every_kind");
const ODD_KINDS: &[u8] = include_bytes!("../../../fuzz/seeds/replay/odd_kinds");

/// Remembers what was read.
struct Tee<R> {
    input: R,
    seen: Vec<u8>,
}

impl<R: BufRead> Read for &mut Tee<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let got = self.input.read(out)?;
        self.seen.extend_from_slice(&out[..got]);
        Ok(got)
    }
}

impl<R: BufRead> BufRead for &mut Tee<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, n: usize) {
        let taken = &self.input.fill_buf().unwrap()[..n];
        self.seen.extend_from_slice(taken);
        self.input.consume(n);
    }
}

/// Gives a command addresses, as plain pointers.
fn place(command: &mut Recorded) -> CommandExt {
    let payload = &mut command.payload;
    let addresses: Vec<u64> =
        payload.blocks.iter_mut().map(|b| b.as_mut_ptr().expose_provenance() as u64).collect();
    for link in std::mem::take(&mut payload.links) {
        payload.put(link.from, &addresses[link.target].to_le_bytes());
    }
    CommandExt { data: addresses[0], kind: command.kind, group_id: HOST, flags: 0 }
}

/// Reads a recording and records each command again: the same bytes. How many of each kind.
fn round_trip(input: impl BufRead) -> [usize; 6] {
    let ram = TestRam::new(16);
    let tee = std::cell::RefCell::new(Tee { input, seen: Vec::new() });
    let mut kinds = [0; 6];
    // The reader holds the tee between events; a cell lets the test look into it.
    struct Shared<'a, R>(&'a std::cell::RefCell<Tee<R>>, Vec<u8>);
    impl<R: BufRead> Read for Shared<'_, R> {
        fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
            (&mut *self.0.borrow_mut()).read(out)
        }
    }
    impl<R: BufRead> BufRead for Shared<'_, R> {
        fn fill_buf(&mut self) -> io::Result<&[u8]> {
            self.1.clear();
            self.1.extend_from_slice((&mut *self.0.borrow_mut()).fill_buf()?);
            Ok(&self.1)
        }
        fn consume(&mut self, n: usize) {
            (&mut *self.0.borrow_mut()).consume(n);
        }
    }
    let mut reader = Reader::new(Shared(&tee, Vec::new()), ReplayLimits::default())
        .map_err(|(error, _)| error)
        .unwrap();
    loop {
        match reader.next_event() {
            Ok(Event::Command(mut command)) => {
                let ext = place(&mut command);
                kinds[command.kind as usize] += 1;
                let body = command_text(&ram.slots, &ext).unwrap();
                let mut tee = tee.borrow_mut();
                let head = tee.seen.strip_suffix(&body[..]).unwrap_or_else(|| {
                    panic!("command of type {} differs:\n{}", command.kind, body.escape_ascii())
                });
                let head =
                    String::from_utf8_lossy(&head[head.len().saturating_sub(60)..]).into_owned();
                assert!(head.lines().last().unwrap().starts_with("event "), "{head}");
                tee.seen.clear();
            }
            Ok(Event::CreatePrimary(_)) => tee.borrow_mut().seen.clear(),
            Ok(Event::Request(_)) => {}
            Err(ReplayError::End) => return kinds,
            Err(error) => panic!("{error}"),
        }
    }
}

fn temporary(name: &str) -> PathBuf {
    std::env::temp_dir().join(format!("cayenne-record-{name}-{}", std::process::id()))
}

#[test]
fn every_kind_of_command_is_recorded_as_it_was_read() {
    assert_eq!(round_trip(EVERY_KIND), [0, 22, 1, 5, 0, 4]);
    assert_eq!(round_trip(ODD_KINDS), [0, 4, 0, 0, 2, 1]);
}

#[test]
fn real_recordings_are_recorded_as_they_were_read() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../shared/traces");
    let traces = [
        ("terminal", [0, 28960, 0, 24, 0, 3]),
        ("office", [0, 5511, 0, 734, 0, 3]),
        ("web", [0, 1635, 0, 46, 0, 3]),
    ];
    for (name, commands) in traces {
        let path = folder.join(format!("{name}.rec.zst"));
        let unpacked = path
            .exists()
            .then(|| Process::new("zstd").arg("-dcq").arg(&path).stdout(Stdio::piped()).spawn());
        let Some(Ok(mut zstd)) = unpacked else {
            let why = if unpacked.is_none() { "is not there" } else { "needs zstd" };
            let _ = writeln!(io::stderr(), "SKIPPED 1: {name}.rec.zst {why}");
            continue;
        };
        let input = BufReader::with_capacity(1 << 16, zstd.stdout.take().unwrap());
        assert_eq!(round_trip(input), commands, "{name}");
        assert!(zstd.wait().unwrap().success());
    }
}

#[test]
fn a_command_of_before_0_6_is_recorded_in_its_own_words() {
    let mut ram = TestRam::new(4096);
    let mut drawable = vec![0; 128];
    drawable[9] = 13; // alpha blend
    drawable[10..12].copy_from_slice(&4u16.to_le_bytes());
    drawable[60] = 200;
    let data = ram.put(&drawable);
    let command = CommandExt { data, kind: 1, group_id: GUEST, flags: FLAG_COMPAT };
    let text = String::from_utf8(command_text(&ram.slots, &command).unwrap()).unwrap();
    assert!(
        text.contains("mm_time 0\nbitmap_offset 4\nrect bitmap_area 0 0 0 0\ntype 13\nalpha 200\n")
    );
    assert!(!text.contains("surface_id"));
}

#[test]
fn a_command_that_leads_out_of_memory_leaves_nothing() {
    let path = temporary("hostile");
    let recorder = Recorder::create(path.as_os_str(), None).unwrap();
    let mut ram = TestRam::new(4096);
    let record = |ram: &mut TestRam, kind: u32, bytes: &[u8]| {
        let data = ram.put(bytes);
        let command = CommandExt { data, kind, group_id: GUEST, flags: 0 };
        recorder.command(&ram.slots, &command);
    };
    // A cursor shape at an address that no slot has.
    let mut cursor = vec![0; 150];
    cursor[14..22].copy_from_slice(&(9u64 << 56).to_le_bytes());
    record(&mut ram, 3, &cursor);
    // A surface whose pixels are larger than memory.
    let mut surface = vec![0; 41];
    surface[13] = 1;
    surface[25..29].copy_from_slice(&u32::MAX.to_le_bytes());
    surface[29..33].copy_from_slice(&i32::MIN.to_le_bytes());
    record(&mut ram, 5, &surface);
    // Types that nobody knows.
    record(&mut ram, 77, &[0; 8]);
    let mut drawable = vec![0; 191];
    drawable[13] = 99;
    record(&mut ram, 1, &drawable);
    // A chunk that follows itself.
    let circle = ram.put(&[0; 20]);
    let mut chunk = [0; 20];
    chunk[12..].copy_from_slice(&circle.to_le_bytes());
    ram.slots.resolve(circle, GUEST, 20).unwrap().write(0, &chunk).unwrap();
    let mut shape = [0; 42];
    shape[34..].copy_from_slice(&circle.to_le_bytes());
    let shape = ram.put(&shape);
    cursor[14..22].copy_from_slice(&shape.to_le_bytes());
    record(&mut ram, 3, &cursor);
    recorder.request(2);
    drop(recorder);
    let file = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    assert!(file.starts_with("SPICE_REPLAY 1\nevent 0 1 2 "), "{file}");
    assert_eq!(file.lines().count(), 2);
}

#[test]
fn several_workers_share_a_file_and_a_count() {
    let path = temporary("shared");
    let recorder = Arc::new(Recorder::create(path.as_os_str(), None).unwrap());
    let workers: Vec<_> = (0..4)
        .map(|_| {
            let recorder = Arc::clone(&recorder);
            std::thread::spawn(move || (0..100).for_each(|_| recorder.request(2)))
        })
        .collect();
    workers.into_iter().for_each(|worker| worker.join().unwrap());
    let file = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    for (index, line) in file.lines().skip(1).enumerate() {
        assert!(line.starts_with(&format!("event {index} 1 2 ")), "{line}");
    }
    assert_eq!(file.lines().count(), 401);
}

#[test]
fn a_recording_may_go_through_a_filter() {
    let path = temporary("filter");
    let recorder = Recorder::create(path.as_os_str(), Some("tr a-z A-Z".into())).unwrap();
    let mut ram = TestRam::new(64);
    let at = ram.put(&[1; 16]);
    let memory = ram.slots.resolve(at, GUEST, 16).unwrap();
    let shape = PrimaryShape {
        width: 2,
        height: 2,
        stride: -8,
        format: 32,
        position: 0,
        mouse_mode: 1,
        flags: 0,
        kind: 0,
    };
    recorder.create_primary(20, &shape, &memory);
    drop(recorder);
    let file = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (head, body) = file.split_once("2 2 -8 32\n").unwrap();
    assert!(head.starts_with("SPICE_REPLAY 1\nEVENT 0 1 20 "), "{head}");
    assert_eq!(body, format!("0 1 0 0\nBINARY 0 DATA 16:{}\n", "\u{1}".repeat(16)));
}

#[test]
fn a_filter_that_ends_early_ends_the_recording_only() {
    let path = temporary("dead-filter");
    let recorder = Recorder::create(path.as_os_str(), Some("exec true".into())).unwrap();
    // Until the pipe is seen to be closed; what fits into it before is lost.
    for _ in 0..10_000 {
        recorder.request(2);
    }
    drop(recorder);
    std::fs::remove_file(&path).unwrap();
}
