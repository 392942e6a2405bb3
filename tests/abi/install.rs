//! What `make install` leaves: a program that asks pkg-config for `spice-server` builds and runs.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{compiler_flags, our_library, root, scratch, shown, skipped};

#[test]
fn a_program_builds_and_runs_on_the_installed_files() {
    if compiler_flags("spice-protocol").is_none() {
        return skipped(1, "libspice-protocol-dev is not installed");
    }
    let prefix = scratch("install");
    let output = Command::new(root().join("tools/install.sh"))
        .arg(&prefix)
        .arg(our_library())
        .env_remove("LIBDIR")
        .env_remove("DESTDIR")
        .output()
        .expect("the script runs");
    assert!(output.status.success(), "{}", shown(&output));

    let link = |name: &str| fs::read_link(prefix.join("lib").join(name)).expect("a link");
    assert_eq!(link("libspice-server.so"), Path::new("libspice-server.so.1"));
    assert_eq!(link("libspice-server.so.1"), Path::new("libspice-server.so.1.15.1"));

    let flags = Command::new("pkg-config")
        .args(["--cflags", "--libs", "spice-server = 0.15.1"])
        .env("PKG_CONFIG_PATH", prefix.join("lib/pkgconfig"))
        .output()
        .expect("pkg-config runs");
    assert!(flags.status.success(), "{}", shown(&flags));
    let flags = String::from_utf8(flags.stdout).expect("flags are text");

    let source = prefix.join("host.c");
    let text = "#include <stdio.h>\n#include <spice.h>\n#include <cayenne.h>\nint main(void)\n\
                { return printf(\"%d %s\", spice_get_current_compat_version(), \
                cayenne_version()) < 0; }\n";
    fs::write(&source, text).expect("the program can be written");
    let output = Command::new("cc")
        .args(["-Wall", "-Wextra", "-Werror", "-o"])
        .arg(prefix.join("host"))
        .arg(&source)
        .args(flags.split_whitespace())
        .output()
        .expect("cc runs");
    assert!(output.status.success(), "{}", shown(&output));

    let output = Command::new(prefix.join("host"))
        .env("LD_LIBRARY_PATH", prefix.join("lib"))
        .output()
        .expect("the program runs");
    let expected = format!("1 {}", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{}", shown(&output));
    let _ = fs::remove_dir_all(prefix);
}
