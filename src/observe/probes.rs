//! Probes for tracing tools, in the form of SystemTap's `sys/sdt.h`: a `nop` each and a note in the library, provider
//! `cayenne`. `docs/profiling.md` lists them and shows how `perf`, `bpftrace` and `gdb` use them.
//!
//! Rooms call these functions and know nothing of the crate. Arguments are numbers that are at hand anyway, because they
//! are computed whether somebody looks or not. A function is one probe and one place, never inlined: a call costs a
//! nanosecond or two, and tools that meet many places of one name, some of them in functions that the linker has
//! dropped, take the wrong ones (bpftrace 0.17) or none (perf 6.1).
#![forbid(unsafe_code)]

use probe::probe;

/// Defines a function for each probe.
macro_rules! probes {
    ($($(#[$doc:meta])* $name:ident($($arg:ident: $ty:ty),*);)*) => {
        $($(#[$doc])*
        #[inline(never)]
        pub fn $name($($arg: $ty),*) {
            probe!(cayenne, $name, $($arg),*);
        })*

        /// The names of all probes and of their arguments, in the order of the notes' operands.
        pub const ALL: &[(&str, &[&str])] =
            &[$((stringify!($name), &[$(stringify!($arg)),*])),*];
    };
}

probes! {
    /// The host says that there are commands (`spice_qxl_wakeup`), on its thread.
    wakeup(display: u8);
    /// A command was taken from a ring; `kind` is `QXL_CMD_*`.
    command_taken(display: u8, kind: u32);
    /// A drawable has been executed on the server's surface, or put off; `bytes` is what it takes of our memory.
    command_drawn(display: u8, surface: u32, bytes: usize);
    /// The guest gets a command's memory back.
    resource_released(display: u8);
    /// A job goes to the encode workers.
    job_queued(bytes: usize);
    /// Encoding begins; `codec` as in the list of codecs.
    encode_begin(codec: usize, bytes: usize);
    /// Encoding has ended; 0 bytes out: the result is of no use.
    encode_end(codec: usize, bytes_in: usize, bytes_out: usize, ns: u64);
    /// A message stands in a client's outbox.
    message_queued(channel: u8, id: u8, client: u32, kind: u16, bytes: usize);
    /// The kernel has taken bytes of a socket.
    socket_written(fd: i32, bytes: usize);
    /// The first message after a wakeup has left for the socket.
    wakeup_to_socket(id: u8, client: u32, ns: u64);
    /// An input of a client goes to the host's loop.
    input_received(kind: u32);
    /// The host's callbacks for an input have returned; `ns` since its bytes arrived.
    input_done(kind: u32, ns: u64);
    /// Something goes into the host's mailbox, behind so much else.
    mailbox_post(kind: u32, depth: usize);
    /// The host's loop is woken, by the current thread.
    mailbox_wake();
    /// Something of the mailbox is about to run, on the host's thread.
    mailbox_run(kind: u32);
    /// A connection was accepted, or handed over by the host.
    link_accepted(connection: u64);
    /// A connection has become a channel of a client.
    link_done(connection: u64, channel: u8, id: u8, client: u32);
    /// The host plays a buffer of sound.
    sound_put(time: u32);
    /// Sound goes to the client.
    sound_sent(time: u32, bytes: usize);
    /// Sound of a client has been decoded.
    sound_heard(samples: usize);
    /// A char device gave bytes.
    device_read(bytes: usize);
    /// A char device took so many of the bytes that it was offered.
    device_written(taken: usize, offered: usize);
}
