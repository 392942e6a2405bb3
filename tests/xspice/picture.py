#!/usr/bin/python3
"""Writes what the SPICE server drew on the screen of $DISPLAY (an Xspice) as a PPM: picture.py FILE

xwd answers from the X server's own copy of the screen, and the qxl driver forgets to bring that up to date where programs put
images (gears and films stay black or old in it, on spice-server as well). So the screen is first copied into a pixmap, which the
SPICE server does as a drawing command into a new off-screen surface; that one is then read back, all of it, by update_area.

Needs libX11 and python3-pil.
"""
import ctypes
import sys

from PIL import Image

ALL_PLANES, Z_PIXMAP, INCLUDE_INFERIORS, GC_SUBWINDOW_MODE = ctypes.c_ulong(-1).value, 2, 1, 1 << 15


class GcValues(ctypes.Structure):
    """XGCValues as far as subwindow_mode."""

    _fields_ = (
        [("function", ctypes.c_int)]
        + [(name, ctypes.c_ulong) for name in ("plane_mask", "foreground", "background")]
        + [(name, ctypes.c_int) for name in ("line_width", "line_style", "cap_style", "join_style")]
        + [(name, ctypes.c_int) for name in ("fill_style", "fill_rule", "arc_mode")]
        + [("tile", ctypes.c_ulong), ("stipple", ctypes.c_ulong), ("ts_x", ctypes.c_int), ("ts_y", ctypes.c_int)]
        + [("font", ctypes.c_ulong), ("subwindow_mode", ctypes.c_int), ("rest", ctypes.c_byte * 64)]
    )


class XImage(ctypes.Structure):
    """The head of XImage."""

    _fields_ = [("width", ctypes.c_int), ("height", ctypes.c_int), ("xoffset", ctypes.c_int), ("format", ctypes.c_int),
                ("data", ctypes.c_void_p)] + [(name, ctypes.c_int) for name in (
                    "byte_order", "bitmap_unit", "bitmap_bit_order", "bitmap_pad", "depth", "bytes_per_line", "bits_per_pixel")]


def main():
    x = ctypes.CDLL("libX11.so.6")
    handle, number = ctypes.c_void_p, ctypes.c_ulong
    x.XOpenDisplay.restype = x.XCreateGC.restype = handle
    x.XDefaultRootWindow.restype = x.XCreatePixmap.restype = number
    x.XGetImage.restype = ctypes.POINTER(XImage)
    x.XOpenDisplay.argtypes = [ctypes.c_char_p]
    for name in ("XDefaultRootWindow", "XDefaultScreen", "XCloseDisplay"):
        getattr(x, name).argtypes = [handle]
    for name in ("XDisplayWidth", "XDisplayHeight", "XDefaultDepth"):
        getattr(x, name).argtypes = [handle, ctypes.c_int]
    x.XCreatePixmap.argtypes = [handle, number] + [ctypes.c_uint] * 3
    x.XCreateGC.argtypes = [handle, number, number, ctypes.POINTER(GcValues)]
    x.XCopyArea.argtypes = [handle, number, number, handle, ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint,
                            ctypes.c_int, ctypes.c_int]
    x.XGetImage.argtypes = [handle, number, ctypes.c_int, ctypes.c_int, ctypes.c_uint, ctypes.c_uint, number, ctypes.c_int]

    display = x.XOpenDisplay(None)
    if not display:
        sys.exit("picture: no display")
    root, screen = x.XDefaultRootWindow(display), x.XDefaultScreen(display)
    width, height = x.XDisplayWidth(display, screen), x.XDisplayHeight(display, screen)
    depth = x.XDefaultDepth(display, screen)
    pixmap = x.XCreatePixmap(display, root, width, height, depth)
    context = x.XCreateGC(display, pixmap, GC_SUBWINDOW_MODE, GcValues(subwindow_mode=INCLUDE_INFERIORS))
    x.XCopyArea(display, root, pixmap, context, 0, 0, width, height, 0, 0)
    image = x.XGetImage(display, pixmap, 0, 0, width, height, ALL_PLANES, Z_PIXMAP)
    if not image or image.contents.bits_per_pixel != 32:
        sys.exit(f"picture: no image of 32 bits a pixel (depth {depth})")
    stride = image.contents.bytes_per_line
    pixels = ctypes.string_at(image.contents.data, stride * height)
    Image.frombytes("RGB", (width, height), pixels, "raw", "BGRX", stride).save(sys.argv[1], "PPM")
    x.XCloseDisplay(display)


if __name__ == "__main__":
    main()
