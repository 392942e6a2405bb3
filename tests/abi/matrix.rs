//! The table of exported functions against the map, the sources and the committed page.

use std::collections::BTreeSet;
use std::fs;

use spice_server::abi::matrix::{MATRIX, Status, markdown};

use super::library::read_map;
use super::root;

#[test]
fn the_matrix_lists_what_the_map_lists() {
    let listed: BTreeSet<_> =
        MATRIX.iter().map(|entry| format!("{}@@{}", entry.name, entry.node)).collect();
    assert_eq!(listed, read_map().0);
    assert_eq!(listed.len(), MATRIX.len(), "a function stands in the matrix twice");
}

#[test]
fn a_function_is_not_yet_in_the_matrix_exactly_if_its_body_says_so() {
    let mut unfinished = BTreeSet::new();
    for entry in fs::read_dir(root().join("src/abi")).expect("the room exists") {
        let path = entry.expect("the room can be listed").path();
        if path.extension().is_none_or(|extension| extension != "rs") {
            continue;
        }
        let source = fs::read_to_string(&path).expect("sources are text");
        for call in source.split("not_yet!(").skip(1) {
            // The name is the first argument, maybe on a line of its own.
            if let Some(name) = call.trim_start().strip_prefix('"') {
                unfinished.extend(name.split('"').next().map(str::to_owned));
            }
        }
    }
    let listed: BTreeSet<_> = MATRIX
        .iter()
        .filter(|entry| entry.status == Status::NotYet)
        .map(|entry| entry.name.to_owned())
        .collect();
    assert_eq!(listed, unfinished);
}

#[test]
fn the_committed_page_is_the_generated_one() {
    let page = fs::read_to_string(root().join("docs/abi-matrix.md")).expect("the page exists");
    assert!(page == markdown(), "run cargo run --example abi_matrix > docs/abi-matrix.md");
}
