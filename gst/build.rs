//! Build script: the library is never unloaded (its threads and those of GStreamer may run then), and is found by its name.

fn main() {
    for arg in ["-Wl,-soname,libcayenne-gst.so", "-Wl,-z,nodelete", "-Wl,-z,defs"] {
        println!("cargo:rustc-cdylib-link-arg={arg}");
    }
    println!("cargo:rerun-if-changed=build.rs");
}
