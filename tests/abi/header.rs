//! The public header as a C compiler sees it.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use super::{compiled, compiler_flags, root, scratch, shown, skipped};

/// What `capi-tests/abi_check.c` prints when compiled with these flags.
fn seen_by_c(variant: &str, flags: &[String]) -> String {
    let output = Command::new(compiled("abi_check", variant, flags, &[]))
        .output()
        .expect("the program runs");
    assert!(output.status.success(), "{}", shown(&output));
    let _ = fs::remove_dir_all(scratch(variant));
    String::from_utf8(output.stdout).expect("the output is text")
}

fn our_flags() -> Option<Vec<String>> {
    let mut flags = compiler_flags("spice-protocol")?;
    let include: PathBuf = root().join("include/spice-server");
    flags.push(format!("-I{}", include.display()));
    flags.push("-DSPICE_QXL_HAS_GL_SCANOUT2".to_owned());
    Some(flags)
}

/// Fails with the first line that differs.
fn assert_same(ours: &str, theirs: &str) {
    for (number, (ours, theirs)) in ours.lines().zip(theirs.lines()).enumerate() {
        assert_eq!(ours, theirs, "line {}", number + 1);
    }
    assert_eq!(ours.lines().count(), theirs.lines().count());
}

#[test]
fn the_header_says_what_was_measured_on_the_original() {
    let Some(flags) = our_flags() else {
        return skipped(1, "libspice-protocol-dev is not installed");
    };
    let expected = root().join("capi-tests/abi_check.expected");
    let expected = fs::read_to_string(expected).expect("the expected output exists");
    assert_same(&seen_by_c("header-ours", &flags), &expected);
}

#[test]
fn the_header_says_what_the_installed_original_says() {
    let Some(flags) = our_flags() else {
        return skipped(1, "libspice-protocol-dev is not installed");
    };
    let Some(original) = compiler_flags("spice-server") else {
        return skipped(1, "libspice-server-dev is not installed");
    };
    let theirs = seen_by_c("header-original", &original);
    if !theirs.contains("value SPICE_SERVER_VERSION 3841\n") {
        return skipped(1, "the installed libspice-server-dev is not 0.15.1");
    }
    assert_same(&seen_by_c("header-ours-again", &flags), &theirs);
}

#[test]
fn the_headers_are_the_generated_ones() {
    if Command::new("cbindgen").arg("--version").output().is_err() {
        return skipped(1, "cbindgen is not installed");
    }
    let output = Command::new(root().join("tools/gen-headers.sh"))
        .arg("--check")
        .output()
        .expect("the script runs");
    assert!(output.status.success(), "run tools/gen-headers.sh:\n{}", shown(&output));
}
