//! Names, version nodes and the soname of the shared library.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use object::Endianness;
use object::elf::{DF_1_NODELETE, DT_FLAGS_1, DT_SONAME, VER_FLG_BASE};
use object::read::elf::{ElfFile64, Sym as _};
use spice_server::abi::matrix::{Entry, MATRIX, Status};

use super::{
    compiled, compiler_flags, original_library, our_library, root, scratch, shown, skipped,
};

/// Exported names as dynamic linkers see them: `name@@node`, `name@node` or a bare name.
type Names = BTreeSet<String>;

/// Version nodes and the ones they depend on.
type Nodes = BTreeMap<String, Option<String>>;

/// What a shared library offers.
struct Library {
    exports: Names,
    nodes: Nodes,
    soname: String,
    nodelete: bool,
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).expect("names are ASCII")
}

fn read_library(path: &Path) -> Library {
    let data = fs::read(path).expect("the library can be read");
    let file = ElfFile64::<Endianness>::parse(&*data).expect("the library is ELF");
    let endian = file.endian();
    let sections = file.elf_section_table();
    let symbols = file.elf_dynamic_symbol_table();
    let versions =
        sections.versions(endian, &*data).expect("versions parse").expect("there are versions");

    let mut exports = Names::new();
    for (index, symbol) in symbols.enumerate() {
        if symbol.is_undefined(endian) || symbol.is_local() {
            continue;
        }
        let name = text(symbol.name(endian, symbols.strings()).expect("a symbol has a name"));
        let versym = versions.version_index(endian, index);
        let version = versions.version(versym.index()).expect("a version index is valid");
        let node = version.map(|version| text(version.name()));
        exports.insert(match node {
            // GNU ld also lists every node as a symbol of itself; lld does not.
            Some(node) if node == name => continue,
            Some(node) if versym.is_hidden() => format!("{name}@{node}"),
            Some(node) => format!("{name}@@{node}"),
            None => name,
        });
    }

    let mut nodes = Nodes::new();
    let (mut definitions, strings) =
        sections.gnu_verdef(endian, &*data).expect("nodes parse").expect("there are nodes");
    let strings = sections.strings(endian, &*data, strings).expect("the node names can be read");
    while let Some((definition, mut names)) = definitions.next().expect("a node parses") {
        if definition.vd_flags.get(endian).contains(VER_FLG_BASE) {
            continue;
        }
        let mut read = || {
            let name = names.next().expect("a node name parses")?;
            Some(text(name.name(endian, strings).expect("a node has a name")))
        };
        let name = read().expect("a node has a name");
        nodes.insert(name, read());
    }

    let dynamic = file.elf_dynamic_table().expect("there is a dynamic section");
    let entry = |tag| dynamic.iter().find(|entry| entry.tag == tag);
    let soname = entry(DT_SONAME).expect("there is a soname");
    Library {
        exports,
        nodes,
        soname: text(dynamic.string(soname).expect("the soname can be read")),
        nodelete: entry(DT_FLAGS_1).is_some_and(|flags| flags.val & DF_1_NODELETE.0 != 0),
    }
}

/// The version script, read as far as ours goes: nodes, names, `local: *;`, parents.
pub fn read_map() -> (Names, Nodes) {
    let script = fs::read_to_string(root().join("src/abi/libspice-server.map")).expect("the map");
    let (_, script) = script.split_once("*/").expect("the map begins with a comment");
    let (mut names, mut nodes) = (Names::new(), Nodes::new());
    for block in script.split_inclusive('}').filter(|block| block.contains('{')) {
        let (head, body) = block.split_once('{').expect("a block has a brace");
        // The parent stands behind the brace that closes a node, before the next node's name.
        let (_, head) = head.rsplit_once(';').unwrap_or(("", head));
        let node = head.trim().to_owned();
        for name in body.trim_end_matches('}').split(';').map(str::trim) {
            let name = name.strip_prefix("global:").unwrap_or(name).trim();
            if !name.is_empty() && name != "local:\n    *" {
                names.insert(format!("{name}@@{node}"));
            }
        }
        let behind = script.split_once(block).expect("the block is in the script").1;
        let parent = behind.split_once(';').expect("a node ends with a semicolon").0.trim();
        nodes.insert(node, (!parent.is_empty()).then(|| parent.to_owned()));
    }
    (names, nodes)
}

#[test]
fn the_library_exports_what_the_map_lists_and_nothing_else() {
    let (names, nodes) = read_map();
    let library = read_library(&our_library());
    assert_eq!(names.len(), 97 /* 0.15.1 */ + 1 /* scanout2 */ + 7 /* CAYENNE_1 */);
    assert_eq!(nodes.len(), 22 + 1 + 1);
    assert_eq!(library.exports, names);
    // lld writes no parents; the dynamic linker never looks at them.
    assert!(library.nodes.keys().eq(nodes.keys()), "{:?}", library.nodes.keys());
}

#[test]
fn the_library_is_found_by_the_soname_of_the_original_and_stays_loaded() {
    let library = read_library(&our_library());
    assert_eq!(library.soname, "libspice-server.so.1");
    assert!(library.nodelete);
}

#[test]
fn the_library_offers_the_original_and_two_nodes_more() {
    let Some(path) = original_library() else {
        return skipped(1, "libspice-server1 is not installed");
    };
    let original = read_library(&path);
    if original.nodes.contains_key("CAYENNE_1") {
        return skipped(1, "the installed libspice-server.so.1 is Cayenne");
    }
    let ours = read_library(&our_library());
    let missing: Vec<_> = original.exports.difference(&ours.exports).collect();
    assert_eq!(missing, Vec::<&String>::new());
    let more: Vec<_> = ours.exports.difference(&original.exports).map(String::as_str).collect();
    let new_in_0_16 = "spice_qxl_gl_scanout2@@SPICE_SERVER_0.16";
    let mut expected = vec![
        "cayenne_qxl_attach_ring@@CAYENNE_1",
        "cayenne_qxl_detach_ring@@CAYENNE_1",
        "cayenne_set_channel_qos@@CAYENNE_1",
        "cayenne_set_encoder_threads@@CAYENNE_1",
        "cayenne_set_multiple_clients@@CAYENNE_1",
        "cayenne_stats_json@@CAYENNE_1",
        "cayenne_version@@CAYENNE_1",
    ];
    if !original.exports.contains(new_in_0_16) {
        expected.push(new_in_0_16);
    }
    assert_eq!(more, expected);
    let (_, nodes) = read_map();
    for (node, parent) in &original.nodes {
        assert_eq!(nodes.get(node), Some(parent), "{node}");
    }
}

#[test]
fn loading_and_closing_the_library_leaks_nothing() {
    let Some(mut flags) = compiler_flags("spice-protocol") else {
        return skipped(1, "libspice-protocol-dev is not installed");
    };
    flags.push(format!("-I{}", root().join("include/spice-server").display()));
    let program = compiled("dlopen_loop", "dlopen", &flags, &["-ldl"]);
    let output = Command::new(program).arg(our_library()).output().expect("the program runs");
    assert!(output.status.success(), "{}", shown(&output));
    let waits = |entry: &Entry| entry.name == "spice_server_new" && entry.status == Status::NotYet;
    if MATRIX.iter().any(waits) {
        skipped(1, "dlopen_loop made no server: spice_server_new is not done");
    } else {
        assert!(shown(&output).contains("rounds 110 servers 110"), "{}", shown(&output));
    }
    let _ = fs::remove_dir_all(scratch("dlopen"));
}
