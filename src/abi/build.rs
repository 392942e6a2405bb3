//! Build script: gives the shared library its soname and its symbol versions.
//!
//! Hosts load the library by soname and import `name@SPICE_SERVER_x.y.z`, so both are part of the
//! contract. rustc hands the linker a version script of its own for every cdylib; only lld takes a
//! second one and lets the `.symver` directives beside the functions decide, so the linker is
//! pinned. `-z nodelete` keeps the code mapped after `dlclose`: our threads and the thread-local
//! destructors of the standard library may still run then. `-z separate-loadable-segments` puts code where its address
//! says, in the file as well: perf takes the one for the other when it looks for probes.

use std::env;
use std::path::PathBuf;

fn main() {
    let root = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets the root"));
    let map = root.join("src/abi/libspice-server.map");
    let map = map.to_str().expect("the path of the version script is UTF-8");
    for arg in [
        "-fuse-ld=lld".to_owned(),
        "-Wl,-soname,libspice-server.so.1".to_owned(),
        format!("-Wl,--version-script={map}"),
        "-Wl,-z,nodelete".to_owned(),
        "-Wl,-z,separate-loadable-segments".to_owned(),
    ] {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
    println!("cargo:rerun-if-changed=src/abi/build.rs");
    println!("cargo:rerun-if-changed=src/abi/libspice-server.map");
}
