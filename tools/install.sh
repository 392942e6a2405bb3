#!/bin/sh
# Installs the library, its headers and the pkg-config file.
#
#   tools/install.sh PREFIX LIBRARY
#
# LIBRARY is the file that cargo built, for example target/release/libspice_server.so. A libcayenne-gst.so that lies beside it
# is installed beside it.
# LIBDIR (default PREFIX/lib) and DESTDIR may be set in the environment.
set -eu

if [ $# != 2 ]; then
    echo "usage: tools/install.sh PREFIX LIBRARY" >&2
    exit 1
fi
library=$(realpath "$2")
case "$1" in
    /*) prefix=$1 ;;
    *) prefix=$(pwd)/$1 ;;
esac
libdir=${LIBDIR:-$prefix/lib}
destination=${DESTDIR:-}
cd "$(dirname "$0")/.."

# Release of the original that hosts are told about; the header says the same.
release=0.15.1
# ldconfig prefers the highest number behind a soname. 1.14.2 is the original's 0.15.1 and 1.15.0
# its 0.16.0, so with this one ours is taken where both lie in one directory.
real=libspice-server.so.1.15.1

install -d "$destination$libdir/pkgconfig" "$destination$prefix/include/spice-server" \
    "$destination$prefix/share/doc/cayenne"
install -m 755 "$library" "$destination$libdir/$real"
gst=$(dirname "$library")/libcayenne-gst.so
if [ -f "$gst" ]; then
    # The library looks for it in the folder of its own file.
    install -m 755 "$gst" "$destination$libdir/libcayenne-gst.so"
fi
ln -sf "$real" "$destination$libdir/libspice-server.so.1"
ln -sf libspice-server.so.1 "$destination$libdir/libspice-server.so"
install -m 644 include/spice-server/spice.h "$destination$prefix/include/spice-server/"
install -m 644 include/cayenne.h "$destination$prefix/include/"
for licence in LICENSE-*; do
    if [ -f "$licence" ]; then
        install -m 644 "$licence" "$destination$prefix/share/doc/cayenne/"
    fi
done

case "$libdir" in
    "$prefix"/*) pc_libdir="\${prefix}${libdir#"$prefix"}" ;;
    *) pc_libdir=$libdir ;;
esac
cat >"$destination$libdir/pkgconfig/spice-server.pc" <<PC
prefix=$prefix
includedir=\${prefix}/include
libdir=$pc_libdir

Name: spice-server
Description: SPICE server library (Cayenne)
Version: $release
Requires: spice-protocol >= 0.14.3
Libs: -L\${libdir} -lspice-server
Cflags: -I\${includedir}/spice-server -I\${includedir}
PC
