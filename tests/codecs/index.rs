//! The index of a set of vectors: a reader of as much JSON as it needs.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// The repository. tests/neon builds these tests from another place and says where it is.
const ROOT: &str = match option_env!("REPOSITORY") {
    Some(root) => root,
    None => env!("CARGO_MANIFEST_DIR"),
};

/// A value of the index.
#[derive(Debug, Clone)]
pub enum Json {
    Text(String),
    Number(u64),
    /// Nothing that a test asks for.
    Other,
    List(Vec<Json>),
    Map(BTreeMap<String, Json>),
}

/// One vector.
pub struct Vector {
    root: PathBuf,
    fields: BTreeMap<String, Json>,
}

/// The vectors of a codec in the committed set and, if it is there, in the whole one.
pub fn vectors(codec: &str) -> Vec<Vector> {
    let here = Path::new(ROOT);
    let mut found = read(&here.join("tests/vectors").join(codec), codec);
    assert!(!found.is_empty(), "no committed vectors of {codec}");
    let all = here.join("../shared/vectors");
    if all.join("index.json").exists() {
        found.extend(read(&all, codec));
    } else {
        skipped(codec);
    }
    found
}

/// The vectors of a codec of which nothing is committed.
pub fn outside_vectors(codec: &str) -> Vec<Vector> {
    let all = Path::new(ROOT).join("../shared/vectors");
    if all.join("index.json").exists() {
        return read(&all, codec);
    }
    skipped(codec);
    Vec::new()
}

/// Past cargo, which keeps what a test prints to itself.
fn skipped(codec: &str) {
    let why = format!("only the committed vectors of {codec}, the whole set is not there");
    let _ = writeln!(std::io::stderr(), "SKIPPED 1: {why}");
}

fn read(root: &Path, codec: &str) -> Vec<Vector> {
    let Ok(text) = fs::read_to_string(root.join("index.json")) else { return Vec::new() };
    let Json::Map(index) = Parser(text.as_bytes()).value() else { panic!("no index") };
    let Json::List(entries) = &index["entries"] else { panic!("no entries") };
    let of_codec = entries.iter().filter_map(|entry| match entry {
        Json::Map(fields) if matches!(&fields["codec"], Json::Text(c) if c == codec) => {
            Some(Vector { root: root.to_owned(), fields: fields.clone() })
        }
        _ => None,
    });
    of_codec.collect()
}

impl Vector {
    pub fn text(&self, field: &str) -> &str {
        text(&self.fields, field)
    }

    pub fn number(&self, field: &str) -> u32 {
        number(&self.fields, field)
    }

    pub fn top_down(&self) -> bool {
        self.text("orientation") == "top_down"
    }

    pub fn file(&self, field: &str) -> Vec<u8> {
        fs::read(self.root.join(self.text(field))).expect("the index names files that are there")
    }
}

fn text<'a>(fields: &'a BTreeMap<String, Json>, field: &str) -> &'a str {
    match &fields[field] {
        Json::Text(text) => text,
        other => panic!("{field}: {other:?}"),
    }
}

fn number(fields: &BTreeMap<String, Json>, field: &str) -> u32 {
    match &fields[field] {
        Json::Number(n) => u32::try_from(*n).unwrap(),
        other => panic!("{field}: {other:?}"),
    }
}

struct Parser<'a>(&'a [u8]);

impl Parser<'_> {
    fn peek(&mut self) -> u8 {
        self.0 = self.0.trim_ascii_start();
        self.0[0]
    }

    fn eat(&mut self, wanted: u8) {
        assert_eq!(char::from(self.peek()), char::from(wanted));
        self.0 = &self.0[1..];
    }

    /// True if the wanted byte came, and was taken.
    fn try_eat(&mut self, wanted: u8) -> bool {
        let there = self.peek() == wanted;
        if there {
            self.eat(wanted);
        }
        there
    }

    fn value(&mut self) -> Json {
        match self.peek() {
            b'{' => Json::Map(self.map()),
            b'[' => Json::List(self.list()),
            b'"' => Json::Text(self.string()),
            _ => {
                let end = self.0.iter().position(|c| b",]} \n".contains(c)).unwrap();
                let (word, rest) = self.0.split_at(end);
                self.0 = rest;
                match std::str::from_utf8(word).unwrap() {
                    "true" | "false" => Json::Other,
                    number => Json::Number(number.parse().unwrap()),
                }
            }
        }
    }

    fn map(&mut self) -> BTreeMap<String, Json> {
        let mut map = BTreeMap::new();
        self.eat(b'{');
        while !self.try_eat(b'}') {
            let key = self.string();
            self.eat(b':');
            map.insert(key, self.value());
            self.try_eat(b',');
        }
        map
    }

    fn list(&mut self) -> Vec<Json> {
        let mut list = Vec::new();
        self.eat(b'[');
        while !self.try_eat(b']') {
            list.push(self.value());
            self.try_eat(b',');
        }
        list
    }

    fn string(&mut self) -> String {
        self.eat(b'"');
        let end = self.0.iter().position(|&c| c == b'"').unwrap();
        assert!(!self.0[..end].contains(&b'\\'), "the index has no escapes");
        let text = String::from_utf8(self.0[..end].to_vec()).unwrap();
        self.0 = &self.0[end + 1..];
        text
    }
}
