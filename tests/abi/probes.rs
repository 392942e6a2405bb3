//! The notes in the library by which tracing tools find its probes (`sys/sdt.h`), against the code and the documentation.

use std::collections::BTreeMap;
use std::fs;

use object::{Object, ObjectSection};
use spice_server::observe::codecs::Codec;
use spice_server::observe::probes;

use super::{our_library, root};

/// A note: where the probe is, provider, name, how many arguments.
fn notes() -> Vec<(u64, String, String, usize)> {
    let data = fs::read(our_library()).expect("the library can be read");
    let file = object::File::parse(&*data).expect("the library is an object file");
    let section = file.section_by_name(".note.stapsdt").expect("there are probes");
    let mut rest = section.data().expect("the notes can be read");
    let mut found = Vec::new();
    while !rest.is_empty() {
        let word = |at: usize| {
            let bytes: [u8; 4] = rest[at..at + 4].try_into().expect("four bytes");
            usize::try_from(u32::from_le_bytes(bytes)).expect("fits")
        };
        let (owner, size, kind) = (word(0), word(4), word(8));
        let content = 12 + owner.next_multiple_of(4);
        assert_eq!((&rest[12..12 + owner], kind), (&b"stapsdt\0"[..], 3));
        // Three addresses: of the probe, of the section's base, of the semaphore.
        let address: [u8; 8] = rest[content..content + 8].try_into().expect("eight bytes");
        let words = &rest[content + 24..content + size];
        let mut texts = words
            .split(|byte| *byte == 0)
            .map(|text| String::from_utf8(text.to_vec()).expect("names are ASCII"));
        let mut next = || texts.next().expect("three texts");
        let (provider, name, operands) = (next(), next(), next());
        found.push((
            u64::from_le_bytes(address),
            provider,
            name,
            operands.split_whitespace().count(),
        ));
        rest = &rest[content + size.next_multiple_of(4)..];
    }
    found
}

#[test]
fn every_probe_is_in_the_library_with_its_arguments_and_no_other_is() {
    let mut there = Vec::new();
    for (address, provider, name, operands) in notes() {
        assert_eq!(provider, "cayenne", "{name}");
        assert!(address > 0x1000, "{name} is in a function that the linker has dropped");
        there.push((name, operands));
    }
    there.sort();
    // Each in one place: tools lose their way among several.
    let wanted = probes::ALL.iter().map(|(name, args)| ((*name).to_owned(), args.len()));
    let mut wanted: Vec<(String, usize)> = wanted.collect();
    wanted.sort();
    assert_eq!(there, wanted);
}

#[test]
fn code_lies_in_the_file_where_its_address_says() {
    // perf (6.1) takes the address of a probe for its place in the file.
    let data = fs::read(our_library()).expect("the library can be read");
    let file = object::File::parse(&*data).expect("the library is an object file");
    let text = file.section_by_name(".text").expect("there is code");
    assert_eq!(text.file_range().map(|(offset, _)| offset), Some(text.address()));
}

#[test]
fn the_documentation_lists_them_with_their_arguments() {
    let text = fs::read_to_string(root().join("docs/profiling.md")).expect("the documentation");
    let rows: BTreeMap<&str, Vec<&str>> = text
        .lines()
        .filter_map(|line| line.strip_prefix("| `")?.split_once("` | "))
        .map(|(name, rest)| {
            let args = rest.split('|').next().unwrap_or_default().trim();
            (name, args.split(", ").filter(|arg| *arg != "—").collect())
        })
        .collect();
    let wanted = probes::ALL.iter().map(|(name, args)| (*name, args.to_vec()));
    assert_eq!(rows, wanted.collect());
    let codecs = Codec::ALL.iter().enumerate().map(|(at, codec)| format!("{at} {}", codec.name()));
    let codecs = codecs.collect::<Vec<_>>().join(", ");
    assert!(text.contains(&codecs), "the numbers of the codecs: {codecs}");
}
