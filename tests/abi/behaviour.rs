//! C programs that must print the same on our library and on the original.
//!
//! `capi-tests/NAME.expected` holds what NAME printed on spice-server 0.15.1. Where the original is
//! installed, the same binary runs on it, too: that shows that the file is still true, and that a
//! program which was linked with our library finds its versioned names in the original.
//! Functions that [`MATRIX`] calls not yet done are left out of the comparison, counted.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;

use spice_server::abi::matrix::{MATRIX, Status};

use super::{
    compiled, compiler_flags, original_library, our_library, root, scratch, shown, skipped,
};

/// Names in `text` of functions that are not done yet.
fn unfinished_in(text: &str) -> Vec<&'static str> {
    let words = |name| text.split(|c: char| !c.is_alphanumeric() && c != '_').any(|w| w == name);
    MATRIX
        .iter()
        .filter(|entry| entry.status == Status::NotYet && words(entry.name))
        .map(|entry| entry.name)
        .collect()
}

/// The first few names, and how many more there are.
fn shortened(names: &[&str]) -> String {
    let (shown, rest) = names.split_at(names.len().min(3));
    match rest.len() {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// What `program` prints on the library in `directory`; it must end well.
fn output_on(program: &Path, directory: &OsStr) -> String {
    let output =
        Command::new(program).env("LD_LIBRARY_PATH", directory).output().expect("the program runs");
    assert!(output.status.success(), "{:?}: {}\n{}", directory, output.status, shown(&output));
    String::from_utf8(output.stdout).expect("the output is text")
}

/// The lines that are about finished functions only.
fn finished_lines(text: &str) -> Vec<&str> {
    text.lines().filter(|line| unfinished_in(line).is_empty()).collect()
}

/// Lines of `text` that are on the list, and the others.
fn parted<'a>(text: &[&'a str], list: &[&str]) -> (Vec<&'a str>, Vec<&'a str>) {
    text.iter().partition(|line| list.contains(line))
}

/// Compares the program of this name. Lines on the list `differ` until what they are about is
/// built; once they do not, they have to leave the list.
fn compare(name: &'static str, differ: &[&str]) {
    let Some(mut flags) = compiler_flags("spice-protocol") else {
        return skipped(1, "libspice-protocol-dev is not installed");
    };
    let source = fs::read_to_string(root().join("capi-tests").join(name).with_extension("c"))
        .expect("the program exists");
    let unfinished = unfinished_in(&source);
    if unfinished.contains(&"spice_server_new") {
        return skipped(1, &format!("{name} waits for {}", shortened(&unfinished)));
    }

    let ours = scratch(name);
    symlink(our_library(), ours.join("libspice-server.so.1")).expect("the link can be made");
    flags.push(format!("-I{}", root().join("include/spice-server").display()));
    flags.push(format!("-L{}", ours.display()));
    let program = compiled(name, name, &flags, &["-l:libspice-server.so.1"]);

    let expected = root().join("capi-tests").join(name).with_extension("expected");
    let expected = fs::read_to_string(expected).expect("the expected output exists");
    let printed = output_on(&program, ours.as_os_str());
    let (printed_listed, printed) = parted(&finished_lines(&printed), differ);
    let (expected_listed, compared) = parted(&finished_lines(&expected), differ);
    assert_eq!(printed, compared);
    assert!(
        differ.is_empty() || printed_listed != expected_listed,
        "{differ:?} are equal by now: take them off the list"
    );
    if !differ.is_empty() {
        skipped(expected_listed.len(), &format!("lines of {name} that still differ: {differ:?}"));
    }
    let left_out = expected.lines().count() - finished_lines(&expected).len();
    if left_out > 0 {
        skipped(left_out, &format!("lines of {name} about {}", shortened(&unfinished)));
    }

    match original_library().as_deref().and_then(Path::parent) {
        Some(directory) => {
            let printed = output_on(&program, directory.as_os_str());
            assert_eq!(printed.lines().collect::<Vec<_>>(), expected.lines().collect::<Vec<_>>());
        }
        None => skipped(1, "libspice-server1 is not installed"),
    }
    let _ = fs::remove_dir_all(ours);
}

#[test]
fn what_needs_no_server_is_answered_as_by_the_original() {
    compare("without_server", &[]);
}

#[test]
fn settings_answer_as_those_of_the_original() {
    compare("settings", &[]);
}

#[test]
fn interfaces_come_and_go_as_in_the_original() {
    compare("lifecycle", &[]);
}

#[test]
fn devices_and_sound_without_clients_answer_as_in_the_original() {
    compare("devices", &[]);
}
