//! The binary interface: what a C program that was built for the original finds in our library.
//!
//! These tests look at the shared library that cargo built beside this test program, and compile
//! small C programs against the headers. Checks that need the original's packages print SKIPPED
//! with a count when those are absent; everything else always runs.

mod behaviour;
mod header;
mod install;
mod library;
mod matrix;
mod probes;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

/// The root of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The shared library under test: cargo puts it into the directory of the test program.
fn our_library() -> PathBuf {
    let program = std::env::current_exe().expect("the test program has a path");
    let library = program.with_file_name("libspice_server.so");
    assert!(library.exists(), "{} was not built", library.display());
    library
}

/// Where distributions put the original; `None` if it is not installed.
fn original_library() -> Option<PathBuf> {
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]
        .iter()
        .map(|directory| Path::new(directory).join("libspice-server.so.1"))
        .find(|path| path.exists())
}

/// Says that `count` checks did not run; written past the capturing of test output.
fn skipped(count: usize, why: &str) {
    let _ = writeln!(std::io::stderr(), "SKIPPED {count}: {why}");
}

/// Compiler flags of a pkg-config package; `None` if it is not installed.
fn compiler_flags(package: &str) -> Option<Vec<String>> {
    let output = Command::new("pkg-config").args(["--cflags", package]).output().ok()?;
    let flags = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| flags.split_whitespace().map(str::to_owned).collect())
}

/// Compiles `capi-tests/<name>.c` strictly with these flags; returns the program.
fn compiled(name: &str, variant: &str, flags: &[String], libraries: &[&str]) -> PathBuf {
    let program = scratch(variant).join(name);
    let source = root().join("capi-tests").join(name).with_extension("c");
    let output = Command::new("cc")
        .args(["-std=gnu11", "-O1", "-Wall", "-Wextra", "-Werror"])
        .arg("-Wno-deprecated-declarations")
        .args(flags)
        .arg(source)
        .arg("-o")
        .arg(&program)
        .args(libraries)
        .output()
        .expect("cc runs");
    assert!(output.status.success(), "{name} ({variant}):\n{}", shown(&output));
    program
}

/// A new, empty directory of this test run.
fn scratch(name: &str) -> PathBuf {
    let directory =
        Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("abi-{}-{name}", std::process::id()));
    std::fs::create_dir_all(&directory).expect("the scratch directory can be made");
    directory
}

/// Both outputs of a program, for messages.
fn shown(output: &Output) -> String {
    let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
    format!("{}{}", text(&output.stdout), text(&output.stderr))
}
