"""What the stock client does with a guest's agent: clipboards and files. Part of glib_client.py; its commands:

  clip-grab TYPE...       the client's user has copied something of these types (1 text, 2 PNG, ...)
  clip-give TYPE PATH     what to answer a guest that asks for this type
  clip-ask TYPE           asks for the guest's clipboard; the answer is "clipboard"
  clip-release            the client's user has nothing to paste any more
  send-file PATH          sends a file to the guest; "file-sent" with its error when it is over
"""
import ctypes
import hashlib
import time

from gi.repository import Gio, GObject

on = GObject.Object.connect

class AgentPart:
    """Main channel's signals and the commands above; needs `say`."""

    def __init__(self, main, say):
        self.main, self.say = main, say
        self.given = {}
        on(main, "main-agent-update", self.update)
        on(main, "main-clipboard-selection", self.clipboard)
        on(main, "main-clipboard-selection-grab", self.grabbed)
        on(main, "main-clipboard-selection-request", self.asked)
        on(main, "main-clipboard-selection-release", lambda _m, selection: self.say("clip-released", selection=selection))

    def update(self, main):
        self.say("agent", connected=main.get_property("agent-connected"), caps=main.get_property("agent-caps-0"))

    def clipboard(self, _main, selection, kind, data, size):
        content = ctypes.string_at(data, size) if size else b""
        self.say("clipboard", selection=selection, type=kind, size=size, sha256=hashlib.sha256(content).hexdigest())

    def grabbed(self, _main, selection, types, count):
        # Depending on the bindings' notes a list or an address.
        found = list((ctypes.c_uint32 * count).from_address(types)) if isinstance(types, int) and count else types
        self.say("clip-grabbed", selection=selection, types=found)
        return True

    def asked(self, main, selection, kind):
        self.say("clip-asked", selection=selection, type=kind)
        if kind not in self.given:
            return False
        main.clipboard_selection_notify(selection, kind, self.given[kind])
        return True

    def obey(self, word, rest):
        """False if the word is none of ours."""
        if word == "clip-grab":
            types = [int(text) for text in rest]
            try:
                self.main.clipboard_selection_grab(0, types, len(types))
            except TypeError:  # bindings that count by themselves
                self.main.clipboard_selection_grab(0, types)
        elif word == "clip-give":
            with open(rest[1], "rb") as file:
                self.given[int(rest[0])] = file.read()
        elif word == "clip-ask":
            self.main.clipboard_selection_request(0, int(rest[0]))
        elif word == "clip-release":
            self.main.clipboard_selection_release(0)
        elif word == "send-file":
            began = time.monotonic()

            def sent(main, result, *_):
                error = None
                try:
                    main.file_copy_finish(result)
                except Exception as failure:  # noqa: BLE001 GLib.Error
                    error = str(failure)
                self.say("file-sent", error=error, seconds=time.monotonic() - began)

            self.main.file_copy_async([Gio.File.new_for_path(rest[0])], 0, None, None, None, sent)
        else:
            return False
        return True
