//! The drawn house holds: rooms use each other only in the directions of `docs/architecture.md`, without a
//! circle, and `unsafe` stands only where it is allowed to.
//!
//! The test reads the sources as tokens (comments and strings fall away), so it needs no compiler and sees
//! code behind every `cfg`.
//! Modules for tests are left out of the directions: a test may build on anything.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use proc_macro2::{Delimiter, TokenStream, TokenTree};

/// What each room may use, the rooms [`BELOW`] all not named.
///
/// The arrow of the drawing means "this and what lies under it", but only edges that somebody needs stand here: a new
/// one takes a sentence in `docs/architecture.md`.
const ROOMS: &[(&str, &[&str])] = &[
    (
        "abi",
        &[
            "server",
            "link",
            "channel",
            "transport",
            "display",
            "qxl",
            "pool",
            "codec",
            "video",
            "sound",
        ],
    ),
    ("server", &["link", "channel", "transport", "display", "qxl", "pool", "video", "sound"]),
    ("link", &["transport"]),
    ("channel", &["transport", "display", "qxl", "pool", "video", "sound"]),
    ("display", &["qxl", "pool", "video", "sound"]),
    ("pool", &["codec"]),
    ("transport", &[]),
    ("qxl", &[]),
    ("video", &["pool"]),
    ("sound", &[]),
];

/// The rooms below all others, and what they may use of each other: everybody above may use each of them.
const BELOW: &[(&str, &[&str])] = &[
    ("observe", &["sys", "sync", "error"]),
    ("sys", &["sync", "error"]),
    ("sync", &["error"]),
    ("protocol", &[]),
    ("error", &[]),
];

/// Rooms that use nothing of ours, not even what lies below: bytes in, bytes out.
const ALONE: &[&str] = &["codec"];

/// Where `unsafe` is allowed, as beginnings of paths under `src/`.
const UNSAFE_ALLOWED: &[&str] = &[
    "abi/",
    "qxl/guest",
    "qxl/memslot",
    "qxl/ring",
    "transport/uring",
    "codec/simd/",
    "display/canvas/target",
    "sys/",
    "sync/",
];

/// A source file: its path under `src/` with `/`, and its text.
struct Source {
    path: String,
    text: String,
}

/// A place where one room names another one.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord, Clone)]
struct Edge {
    from: String,
    to: String,
    /// `path:line`.
    place: String,
}

/// What was read from the sources.
#[derive(Debug, Default)]
struct House {
    edges: BTreeSet<Edge>,
    /// `path:line` of every `unsafe`.
    unsafes: BTreeSet<String>,
    /// Files that only a `#[cfg(test)] mod name;` names, without their ending.
    test_files: BTreeSet<String>,
}

#[test]
fn rooms_use_each_other_only_as_drawn() {
    let house = read_house(&sources());
    let wrong = forbidden_edges(&house.edges);
    assert!(wrong.is_empty(), "not drawn in docs/architecture.md:\n{}", wrong.join("\n"));
    assert_eq!(circle(&house.edges), None, "rooms use each other in a circle");
}

#[test]
fn unsafe_stands_only_where_it_is_allowed() {
    let wrong = forbidden_unsafes(&read_house(&sources()).unsafes);
    assert!(wrong.is_empty(), "unsafe outside its rooms:\n{}", wrong.join("\n"));
}

#[test]
fn the_table_itself_has_no_circle() {
    let edges = ROOMS
        .iter()
        .chain(BELOW)
        .flat_map(|&(from, uses)| uses.iter().map(move |&to| edge(from, to)))
        .collect();
    assert_eq!(circle(&edges), None);
}

/// All Rust files under `src/`, in order of their paths.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("src is readable") {
            let path: PathBuf = entry.expect("src is readable").path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|ending| ending == "rs") {
                let name = path.strip_prefix(&root).expect("it was found under src");
                found.push(Source {
                    path: name.to_str().expect("paths are UTF-8").replace('\\', "/"),
                    text: fs::read_to_string(&path).expect("sources are UTF-8"),
                });
            }
        }
    }
    assert!(found.len() > 10, "only {} files found under {}", found.len(), root.display());
    found.sort_by(|a, b| a.path.cmp(&b.path));
    found
}

fn read_house(sources: &[Source]) -> House {
    let mut house = House::default();
    for source in sources {
        let tokens: TokenStream = source
            .text
            .parse()
            .unwrap_or_else(|error| panic!("{} is no Rust: {error:?}", source.path));
        let module = module_of(&source.path);
        let mut walk = Walk { house: &mut house, source, depth: module.len(), module: &module };
        walk.tokens(tokens, false);
    }
    // A module for tests in a file of its own is known only after its parent was read.
    let test_files = std::mem::take(&mut house.test_files);
    house.edges.retain(|edge| {
        !test_files.iter().any(|test| {
            edge.place.starts_with(&format!("{test}.rs:"))
                || edge.place.starts_with(&format!("{test}/"))
        })
    });
    house
}

/// `channel/main.rs` and `channel/main/mod.rs` are `[channel, main]`, `lib.rs` is `[]`.
fn module_of(path: &str) -> Vec<String> {
    let mut module: Vec<String> =
        path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if module.last().is_some_and(|name| name == "mod" || name == "lib") {
        module.pop();
    }
    module
}

/// One file being read.
struct Walk<'a> {
    house: &'a mut House,
    source: &'a Source,
    /// The module that the file is; its first name is the room.
    module: &'a [String],
    /// How many `super` lead from here to the crate: grows in modules written inline.
    depth: usize,
}

impl Walk<'_> {
    fn tokens(&mut self, stream: TokenStream, mut in_test: bool) {
        let tokens: Vec<TokenTree> = stream.into_iter().collect();
        // `#![cfg(test)]` makes all of this a test.
        in_test |= tokens.windows(3).any(|inner| {
            is_punct(&inner[0], '#') && is_punct(&inner[1], '!') && is_cfg_test(&inner[2])
        });
        let mut at = 0;
        let mut next_is_test = false;
        let mut next_is_module = false;
        while let Some(token) = tokens.get(at) {
            match token {
                TokenTree::Group(group) => {
                    let attribute = at > 0 && is_punct(&tokens[at - 1], '#');
                    let body = group.delimiter() == Delimiter::Brace;
                    if attribute && is_cfg_test(token) {
                        next_is_test = true;
                    } else {
                        let inline_module = usize::from(body && next_is_module);
                        self.depth += inline_module;
                        self.tokens(group.stream(), in_test || next_is_test);
                        self.depth -= inline_module;
                    }
                    if body {
                        next_is_test = false;
                        next_is_module = false;
                    }
                }
                TokenTree::Punct(punct) if punct.as_char() == ';' => {
                    next_is_test = false;
                    next_is_module = false;
                }
                TokenTree::Ident(word) => {
                    let word = word.to_string();
                    if word == "unsafe" {
                        let line = token.span().start().line;
                        self.house.unsafes.insert(format!("{}:{line}", self.source.path));
                    } else if word == "mod" {
                        next_is_module = true;
                        if next_is_test {
                            self.test_file(tokens.get(at + 1));
                        }
                    } else if word == "crate" && !(in_test || next_is_test) {
                        self.path(&tokens, at + 1);
                    } else if word == "super" && !(in_test || next_is_test) {
                        at = self.path_upward(&tokens, at);
                    }
                }
                _ => {}
            }
            at += 1;
        }
    }

    /// Remembers that `mod name` behind `#[cfg(test)]` makes its file a test.
    fn test_file(&mut self, name: Option<&TokenTree>) {
        if let Some(TokenTree::Ident(name)) = name {
            let mut path = self.module.to_vec();
            path.push(name.to_string());
            self.house.test_files.insert(path.join("/"));
        }
    }

    /// What follows `crate`: `::room…` or `::{room…, room…}`.
    fn path(&mut self, tokens: &[TokenTree], at: usize) {
        if !is_double_colon(tokens, at) {
            return;
        }
        match tokens.get(at + 2) {
            Some(TokenTree::Ident(room)) => self.edge(&room.to_string(), room.span().start().line),
            Some(TokenTree::Group(group)) => {
                let mut first = true;
                for token in group.stream() {
                    match &token {
                        TokenTree::Ident(room) if first => {
                            self.edge(&room.to_string(), room.span().start().line);
                            first = false;
                        }
                        other => first = is_punct(other, ','),
                    }
                }
            }
            _ => {}
        }
    }

    /// `super::super::room` from `[a, b]` is `crate::room` in other words. Returns the place of the last `super`.
    fn path_upward(&mut self, tokens: &[TokenTree], mut at: usize) -> usize {
        let mut steps = 1;
        while is_double_colon(tokens, at + 1)
            && matches!(tokens.get(at + 3), Some(TokenTree::Ident(word)) if word == "super")
        {
            at += 3;
            steps += 1;
        }
        if steps == self.depth {
            self.path(tokens, at + 1);
        }
        at
    }

    fn edge(&mut self, to: &str, line: usize) {
        // `lib.rs` lists the rooms and is none itself; a capital is an item of lib.rs, `self` is the crate.
        let Some(from) = self.module.first() else { return };
        if from != to && to != "self" && to.starts_with(|c: char| c.is_ascii_lowercase()) {
            self.house.edges.insert(Edge {
                from: from.clone(),
                to: to.to_owned(),
                place: format!("{}:{line}", self.source.path),
            });
        }
    }
}

fn is_punct(token: &TokenTree, wanted: char) -> bool {
    matches!(token, TokenTree::Punct(punct) if punct.as_char() == wanted)
}

fn is_double_colon(tokens: &[TokenTree], at: usize) -> bool {
    tokens.get(at).is_some_and(|token| is_punct(token, ':'))
        && tokens.get(at + 1).is_some_and(|token| is_punct(token, ':'))
}

/// `[cfg(test)]` or `[cfg(all(test, …))]`: code that no build for use contains.
fn is_cfg_test(token: &TokenTree) -> bool {
    let text = token.to_string().replace(char::is_whitespace, "");
    text == "[cfg(test)]" || text.starts_with("[cfg(all(test,")
}

/// The sentences about edges that the table does not have.
fn forbidden_edges(edges: &BTreeSet<Edge>) -> Vec<String> {
    edges
        .iter()
        .filter(|edge| !is_drawn(&edge.from, &edge.to))
        .map(|Edge { from, to, place }| format!("{place}: {from} uses {to}"))
        .collect()
}

fn is_drawn(from: &str, to: &str) -> bool {
    let uses = |table: &[(&str, &[&str])]| {
        table.iter().find(|(room, _)| *room == from).map(|(_, uses)| uses.contains(&to))
    };
    if ALONE.contains(&from) {
        return false;
    }
    match (uses(BELOW), uses(ROOMS)) {
        (Some(drawn), _) => drawn,
        (None, Some(drawn)) => drawn || BELOW.iter().any(|(room, _)| *room == to),
        // A room that nobody drew may use nothing and be used by nobody.
        (None, None) => false,
    }
}

fn forbidden_unsafes(unsafes: &BTreeSet<String>) -> Vec<String> {
    let allowed = |place: &str| UNSAFE_ALLOWED.iter().any(|start| place.starts_with(start));
    unsafes.iter().filter(|place| !allowed(place)).cloned().collect()
}

/// The rooms of one circle, if there is any: what is left when rooms that use nothing are taken away again and again.
fn circle(edges: &BTreeSet<Edge>) -> Option<Vec<String>> {
    let mut uses: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for edge in edges {
        uses.entry(&edge.from).or_default().insert(&edge.to);
        uses.entry(&edge.to).or_default();
    }
    loop {
        let free: BTreeSet<&str> =
            uses.iter().filter(|(_, to)| to.is_empty()).map(|(&room, _)| room).collect();
        if free.is_empty() {
            break;
        }
        uses.retain(|room, _| !free.contains(room));
        for to in uses.values_mut() {
            to.retain(|room| !free.contains(room));
        }
    }
    // Every room that is left uses one that is left: walking on must come back.
    let mut way: Vec<&str> = vec![uses.keys().next()?];
    loop {
        let last = way[way.len() - 1];
        let next = uses[last].iter().next()?;
        if let Some(start) = way.iter().position(|room| room == next) {
            way.push(next);
            return Some(way[start..].iter().map(|&room| room.to_owned()).collect());
        }
        way.push(next);
    }
}

fn edge(from: &str, to: &str) -> Edge {
    Edge { from: from.to_owned(), to: to.to_owned(), place: String::new() }
}

/// The test can fail: bad snippets are found, good ones are not.
mod reader {
    use super::*;

    fn read(files: &[(&str, &str)]) -> House {
        let sources: Vec<Source> = files
            .iter()
            .map(|&(path, text)| Source { path: path.to_owned(), text: text.to_owned() })
            .collect();
        read_house(&sources)
    }

    fn edges_of(path: &str, text: &str) -> Vec<String> {
        let house = read(&[(path, text)]);
        house.edges.iter().map(|e| format!("{} {} {}", e.from, e.to, e.place)).collect()
    }

    #[test]
    fn an_edge_upward_is_refused() {
        let house = read(&[("display/scene.rs", "//! x\n\nuse crate::channel::Pipe;\n")]);
        assert_eq!(forbidden_edges(&house.edges), ["display/scene.rs:3: display uses channel"]);
    }

    #[test]
    fn the_drawn_edges_are_allowed() {
        for (from, to) in [
            ("abi", "codec"),
            ("server", "channel"),
            ("link", "transport"),
            ("channel", "qxl"),
            ("display", "pool"),
            ("pool", "codec"),
            ("transport", "sys"),
            ("qxl", "protocol"),
            ("observe", "sync"),
        ] {
            assert!(is_drawn(from, to), "{from} -> {to}");
        }
    }

    #[test]
    fn what_is_not_drawn_is_refused() {
        for (from, to) in [
            ("display", "codec"),
            ("codec", "protocol"),
            ("protocol", "observe"),
            ("sync", "observe"),
            ("sys", "observe"),
            ("qxl", "display"),
            ("transport", "link"),
            ("link", "server"),
            ("server", "abi"),
            ("server", "kitchen"),
            ("kitchen", "sys"),
        ] {
            assert!(!is_drawn(from, to), "{from} -> {to}");
        }
    }

    #[test]
    fn every_way_to_write_a_use_is_seen() {
        for text in [
            "use crate::server::Session;",
            "pub(crate) use crate::server as s;",
            "use crate::{protocol::wire, server::{Session, Ticket}};",
            "use crate::{self, server};",
            "fn f() { let x = crate::server::start(); }",
            "fn f(x: &crate::server::Host) {}",
            "macro_rules! m { () => { $crate::server::f() } }",
            "#[cfg(feature = \"x\")] use crate::server::Session;",
            "#[cfg(any(test, fuzzing))] use crate::server::Session;",
            "#[cfg(not(test))] use crate::server::Session;",
            "use super::super::server::Session;",
            "mod inner { use super::super::super::server::Session; }",
            "use super::super::{server::Session};",
            "#[cfg(test)] use std::fmt; use crate::server::Session;",
        ] {
            let edges = edges_of("qxl/drawing.rs", text);
            assert!(edges.contains(&"qxl server qxl/drawing.rs:1".to_owned()), "{text}: {edges:?}");
        }
    }

    #[test]
    fn what_is_no_use_of_another_room_is_not_seen() {
        for text in [
            "// use crate::server::Session;",
            "/* use crate::server::Session; */",
            "/// See [`crate::server::Session`].\nfn f() {}",
            "fn f() { g(\"use crate::server::Session;\"); }",
            "fn f() { g(r#\"crate::server\"#, 'c', '\\''); }",
            "use crate::qxl::model::Drawable;",
            "pub(crate) fn f() {}",
            "use super::server::Session;",
            "use crate::Version;",
            "mod inner { use super::super::server::Session; }",
            "#[cfg(test)] use crate::server::Session;",
            "#[cfg(test)]\n#[expect(dead_code, reason = \"x\")]\nmod tests { use crate::server::Session; }",
            "#[cfg(all(test, unix))] fn f() { crate::server::start() }",
            "#![cfg(test)] use crate::server::Session;",
        ] {
            assert_eq!(edges_of("qxl/drawing.rs", text), [""; 0], "{text}");
        }
    }

    #[test]
    fn a_module_file_counts_its_own_depth() {
        assert_eq!(edges_of("qxl/mod.rs", "use super::server::S;"), ["qxl server qxl/mod.rs:1"]);
        assert_eq!(edges_of("error.rs", "use super::server::S;"), ["error server error.rs:1"]);
        assert_eq!(edges_of("lib.rs", "pub use crate::server::S;"), [""; 0]);
    }

    #[test]
    fn a_test_module_in_its_own_file_is_left_out() {
        let house = read(&[
            ("qxl/mod.rs", "#[cfg(test)]\nmod tests;\nmod ring;"),
            ("qxl/ring.rs", "use crate::server::S;"),
            ("qxl/tests.rs", "use crate::server::S;"),
            ("qxl/tests/more.rs", "use crate::server::S;"),
        ]);
        let places: Vec<&str> = house.edges.iter().map(|edge| edge.place.as_str()).collect();
        assert_eq!(places, ["qxl/ring.rs:1"]);
    }

    #[test]
    fn unsafe_code_is_found_and_unsafe_words_are_not() {
        let text = "#![forbid(unsafe_code)]\n// unsafe\nconst S: &str = \"unsafe\";\n/// unsafe\nfn f() {}\n";
        assert_eq!(read(&[("server/mod.rs", text)]).unsafes.len(), 0);
        for (path, allowed) in [
            ("server/mod.rs", false),
            ("qxl/mod.rs", false),
            ("qxl/parse.rs", false),
            ("display/canvas/mod.rs", false),
            ("codec/quic.rs", false),
            ("qxl/guest.rs", true),
            ("qxl/memslot/table.rs", true),
            ("display/canvas/target.rs", true),
            ("codec/simd/avx2.rs", true),
            ("sys/pixman.rs", true),
        ] {
            let house = read(&[(path, "fn f() {\n    unsafe { g() }\n}\n#[cfg(test)] mod t {}")]);
            let wrong = forbidden_unsafes(&house.unsafes);
            let expected = if allowed { vec![] } else { vec![format!("{path}:2")] };
            assert_eq!(wrong, expected, "{path}");
        }
    }

    #[test]
    fn a_circle_is_named() {
        let edges = [("a", "b"), ("b", "c"), ("c", "b"), ("c", "d"), ("e", "a")];
        let edges = edges.into_iter().map(|(from, to)| edge(from, to)).collect();
        assert_eq!(circle(&edges), Some(["b", "c", "b"].map(str::to_owned).to_vec()));
        let straight = [("a", "b"), ("b", "c"), ("a", "c")];
        assert_eq!(circle(&straight.into_iter().map(|(f, t)| edge(f, t)).collect()), None);
    }
}
