#!/bin/sh
# Tests of the codecs on aarch64, in QEMU's translator of single programs: unit tests, vectors, and NEON kernels against
# scalar ones. Needs Debian 12 on x86-64 with lld and, the first time, the network: the compiler, the standard library
# and the C library for aarch64 are unpacked below target/neon, nothing is installed.
set -eu
cd "$(dirname "$0")"
here=$PWD
work=$(cd ../.. && pwd)/target/neon
root=$work/root/usr
if [ ! -x "$root/bin/qemu-aarch64-static" ]; then
    rm -rf "$work/root"
    mkdir -p "$work/lists/partial" "$work/cache/archives/partial" "$work/debs"
    printf 'Dir::State::Lists "%s/lists";\nDir::Cache "%s/cache";\nAPT::Architectures { "amd64"; "arm64"; };\n' \
        "$work" "$work" > "$work/apt.conf"
    export APT_CONFIG="$work/apt.conf"
    apt-get -qq update
    std=$(apt-cache depends libstd-rust-web-dev:amd64 | sed -n 's/.*Depends: \(libstd-rust-web-[0-9.]*\).*/\1/p')
    llvm=$(apt-cache depends "$std:amd64" | sed -n 's/.*Depends: \(libllvm[0-9]*\).*/\1/p')
    cd "$work/debs"
    rm -f ./*.deb
    apt-get -qq download rustc-web:amd64 "$std:amd64" "$llvm:amd64" libstd-rust-web-dev:amd64 libstd-rust-web-dev:arm64 \
        qemu-user-static:amd64 libc6-arm64-cross libc6-dev-arm64-cross libgcc-12-dev-arm64-cross libgcc-s1-arm64-cross
    for deb in *.deb; do dpkg -x "$deb" "$work/root"; done
    rm -f ./*.deb
    cd "$here"
fi
target=aarch64-unknown-linux-gnu
lib=$root/aarch64-linux-gnu/lib
gcc=$root/lib/gcc-cross/aarch64-linux-gnu/12
# Proc macros of the build are shared objects of this machine and find their libraries so, too.
export LD_LIBRARY_PATH="$root/lib/x86_64-linux-gnu:$root/lib"
export RUSTC="$root/bin/rustc" RUSTC_BOOTSTRAP=1
export CARGO_TARGET_DIR="$work/target" CARGO_BUILD_TARGET=$target
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=ld.lld
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUNNER="$root/bin/qemu-aarch64-static"
# Debian's linker for aarch64 is not needed: lld gets what gcc would say.
export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS="-C linker-flavor=ld.lld -C target-feature=+crt-static \
-C relocation-model=static -L $lib -L $gcc -Z pre-link-args=$lib/crt1.o -Z pre-link-args=$lib/crti.o \
-C link-args=--start-group -C link-args=-lc -C link-args=-lgcc -C link-args=-lgcc_eh -C link-args=--end-group \
-C link-args=$lib/crtn.o"
REPOSITORY=$(cd ../.. && pwd)
export REPOSITORY
cp ../../Cargo.lock Cargo.lock
exec cargo test --lib --tests "$@"
