//! What is said of speed has been measured: each row of the README's table stands in `docs/benchmarks.md`, whose tables `make bench` writes,
//! and neither text says "N times" of spice-server elsewhere without a row for it.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// What lies between the marks, and the text without it.
fn generated(text: &str) -> (String, String) {
    let (begin, end) = ("<!-- begin summary -->\n", "<!-- end summary -->\n");
    let (before, rest) = text.split_once(begin).expect("a place for the summary");
    let (inside, after) = rest.split_once(end).expect("an end of the summary");
    (inside.to_owned(), format!("{before}{after}"))
}

/// Numbers before "times" or "%", and those of the form "3x".
fn ratios(text: &str) -> BTreeSet<String> {
    let words: Vec<&str> =
        text.split_whitespace().map(|w| w.trim_matches(|c| "()*,.;:|".contains(c))).collect();
    let is_number = |word: &str| {
        word.chars().all(|c| c.is_ascii_digit() || c == '.')
            && word.contains(|c: char| c.is_ascii_digit())
    };
    let named = words.windows(2).filter(|pair| is_number(pair[0]) && pair[1] == "times");
    let short = words.iter().filter_map(|word| word.strip_suffix('x').filter(|w| is_number(w)));
    named.map(|pair| pair[0].to_owned()).chain(short.map(str::to_owned)).collect()
}

#[test]
fn every_claim_of_the_readme_is_a_row_of_the_benchmarks() {
    let (table, prose) = generated(&text("README.md"));
    let (measured, _) = generated(&text("docs/benchmarks.md"));
    let rows = BTreeSet::from_iter(measured.lines());
    for row in table.lines().filter(|row| row.starts_with("| ")) {
        assert!(rows.contains(row), "not in docs/benchmarks.md: {row}");
    }
    let stray = ratios(&prose);
    assert!(stray.is_empty(), "the README's text has figures of its own: {stray:?}");
}

#[test]
fn every_plot_that_is_shown_exists() {
    let text = text("docs/benchmarks.md");
    let shown = text.split("](plots/").skip(1).filter_map(|rest| rest.split_once(')'));
    for (name, _) in shown {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/plots").join(name);
        assert!(path.exists(), "{} is shown and not there", path.display());
    }
}

#[test]
fn a_ratio_is_found_however_it_is_written() {
    let found =
        ratios("It is **3.5 times** as fast, 6x, and (12 times) less; 1920x1080 pixels in 5 ms.");
    assert_eq!(Vec::from_iter(found), ["12", "3.5", "6"]);
}
