//! The counters of a server: what `cayenne_stats_json` tells.
//!
//! Each channel's thread writes its own counters, without locked instructions; any thread reads them. The lists of
//! channels and clients stand under locks that are held to add, to remove and to copy a list of pointers, never while
//! text is made. What the numbers mean is said in `docs/statistics.md`; names there never change their meaning.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::codecs;
use super::histogram::{Histogram, Times};
use super::json::{Object, list};

/// Version of the format. Grows when a name goes or changes its meaning, not when one is added.
pub const VERSION: u32 = 1;

/// A number that one thread writes.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// For the thread that writes it.
    #[inline]
    pub fn add(&self, n: u64) {
        // Relaxed: nobody else writes, and the number guards nothing.
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// As [`Counter::add`], for numbers that several threads write.
    pub fn add_shared(&self, n: u64) {
        self.0.fetch_add(n, Ordering::Relaxed);
    }

    /// Sets it; for the thread that writes it.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// How it stands.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// What went both ways.
#[derive(Debug, Default)]
pub struct Traffic {
    /// Bytes of whole messages that came, headers included, without TLS and the like.
    pub bytes_in: Counter,
    /// Bytes that were handed to the socket or to what lies above it.
    pub bytes_out: Counter,
    /// Messages that came.
    pub messages_in: Counter,
    /// Messages that were queued.
    pub messages_out: Counter,
    /// What was not sent because something newer came, or because it was too late.
    pub drops: Counter,
}

impl Traffic {
    fn add(&self, other: &Self) {
        self.each(other, |own, more| own.add(more.get()));
    }

    fn each(&self, other: &Self, act: impl Fn(&Counter, &Counter)) {
        act(&self.bytes_in, &other.bytes_in);
        act(&self.bytes_out, &other.bytes_out);
        act(&self.messages_in, &other.messages_in);
        act(&self.messages_out, &other.messages_out);
        act(&self.drops, &other.drops);
    }

    fn tell(&self, object: Object) -> Object {
        object
            .number("bytes_in", self.bytes_in.get())
            .number("bytes_out", self.bytes_out.get())
            .number("messages_in", self.messages_in.get())
            .number("messages_out", self.messages_out.get())
            .number("drops", self.drops.get())
    }
}

/// One client of one channel. Written by the channel's thread.
#[derive(Debug, Default)]
pub struct ClientStats {
    /// Session id.
    pub client: u32,
    /// Address and port, or "local socket".
    pub peer: String,
    /// Inside TLS.
    pub tls: bool,
    /// What went both ways.
    pub traffic: Traffic,
    /// Bytes in its outbox.
    pub queued_bytes: Counter,
    /// Commands, or other things, that wait to become messages.
    pub queued_items: Counter,
}

/// One channel. Written by its thread.
#[derive(Debug)]
pub struct ChannelStats {
    kind: &'static str,
    id: u8,
    thread_name: String,
    /// The thread's number in the system; 0 before it runs.
    pub thread: AtomicU32,
    /// Turns of its loop: how often it was awake.
    pub turns: Counter,
    /// Bytes a second that each client is sent at most; 0: no bound.
    pub bytes_per_second: Counter,
    /// Commands of the guest that were taken.
    pub commands: Counter,
    /// Commands of the guest that were skipped because they were wrong.
    pub bad_commands: Counter,
    /// From a wakeup of the host to the next message in the socket.
    pub wakeup_to_socket: Histogram,
    /// Of clients that have gone.
    gone: Traffic,
    clients: Mutex<Vec<Arc<ClientStats>>>,
}

impl ChannelStats {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<ClientStats>>> {
        self.clients.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A client has come.
    pub fn come(&self, client: ClientStats) -> Arc<ClientStats> {
        let client = Arc::new(client);
        self.lock().push(Arc::clone(&client));
        client
    }

    /// A client has gone; the channel keeps its sums.
    pub fn go(&self, client: &Arc<ClientStats>) {
        let mut clients = self.lock();
        clients.retain(|c| !Arc::ptr_eq(c, client));
        self.gone.add(&client.traffic);
    }

    fn json(&self) -> String {
        // Its sums and its list belong together: who goes meanwhile is in one of them.
        let sums = Traffic::default();
        let clients = self.lock();
        sums.add(&self.gone);
        let clients: Vec<Arc<ClientStats>> = clients.clone();
        let told = clients.iter().map(|client| {
            sums.add(&client.traffic);
            let object = Object::default()
                .number("client", client.client)
                .text("peer", &client.peer)
                .truth("tls", client.tls);
            let object = client.traffic.tell(object);
            object
                .number("queued_bytes", client.queued_bytes.get())
                .number("queued_items", client.queued_items.get())
                .end()
        });
        let told = list(told);
        let object = Object::default()
            .text("type", self.kind)
            .number("id", self.id)
            .text("thread_name", &self.thread_name)
            .number("thread", self.thread.load(Ordering::Relaxed))
            .number("turns", self.turns.get())
            .number("bytes_per_second", self.bytes_per_second.get());
        let mut object = sums.tell(object);
        if self.kind == "display" {
            object = object
                .number("commands", self.commands.get())
                .number("bad_commands", self.bad_commands.get())
                .raw("wakeup_to_socket", &times(&self.wakeup_to_socket.look()));
        }
        object.raw("clients", &told).end()
    }
}

/// A histogram in the format.
fn times(times: &Times) -> String {
    let at = |permille| times.permille(permille);
    Object::default()
        .number("count", times.count)
        .number("sum_ns", times.sum_ns)
        .number("max_ns", times.max_ns)
        .number("p50_ns", at(500))
        .number("p90_ns", at(900))
        .number("p99_ns", at(990))
        .number("p999_ns", at(999))
        .list(
            "buckets",
            times.buckets.iter().map(|(longest, count)| format!("[{longest},{count}]")),
        )
        .end()
}

/// All of one server.
#[derive(Debug)]
pub struct ServerStats {
    begun: Instant,
    channels: Mutex<Vec<Arc<ChannelStats>>>,
    /// Connections that were accepted or handed over.
    pub accepted: Counter,
    /// Connections that became a channel.
    pub linked: Counter,
    /// Items that went into the host's mailbox.
    pub posted: Counter,
    /// How often the host's loop was woken for it.
    pub woken: Counter,
    /// From the arrival of an input's bytes to the return of the host's callbacks.
    pub key_to_callback: Histogram,
}

impl Default for ServerStats {
    fn default() -> Self {
        Self {
            begun: Instant::now(),
            channels: Mutex::default(),
            accepted: Counter::default(),
            linked: Counter::default(),
            posted: Counter::default(),
            woken: Counter::default(),
            key_to_callback: Histogram::default(),
        }
    }
}

/// What is known elsewhere at the moment of the question.
#[derive(Debug, Clone, Copy)]
pub struct Outside {
    /// Engine for sockets: "epoll" or "io_uring".
    pub engine: &'static str,
    /// Clients with a session.
    pub clients: usize,
    /// Items in the host's mailbox.
    pub mailbox: usize,
    /// Encode workers.
    pub workers: usize,
    /// Jobs that wait for them.
    pub jobs: usize,
}

impl ServerStats {
    fn lock(&self) -> MutexGuard<'_, Vec<Arc<ChannelStats>>> {
        self.channels.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A channel is about to begin.
    #[must_use]
    pub fn channel(&self, kind: &'static str, id: u8, thread_name: &str) -> Arc<ChannelStats> {
        let channel = Arc::new(ChannelStats {
            kind,
            id,
            thread_name: thread_name.to_owned(),
            thread: AtomicU32::new(0),
            turns: Counter::default(),
            bytes_per_second: Counter::default(),
            commands: Counter::default(),
            bad_commands: Counter::default(),
            wakeup_to_socket: Histogram::default(),
            gone: Traffic::default(),
            clients: Mutex::default(),
        });
        self.lock().push(Arc::clone(&channel));
        channel
    }

    /// A channel has ended.
    pub fn ended(&self, channel: &Arc<ChannelStats>) {
        self.lock().retain(|c| !Arc::ptr_eq(c, channel));
    }

    /// All of it as JSON.
    #[must_use]
    pub fn json(&self, outside: &Outside) -> String {
        let channels: Vec<Arc<ChannelStats>> = self.lock().clone();
        let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
        let uptime = self.begun.elapsed().min(Duration::from_secs(1 << 40));
        let links = Object::default()
            .number("accepted", self.accepted.get())
            .number("linked", self.linked.get());
        let mailbox = Object::default()
            .number("waiting", count(outside.mailbox))
            .number("posted", self.posted.get())
            .number("woken", self.woken.get());
        let pool = Object::default()
            .number("threads", count(outside.workers))
            .number("waiting", count(outside.jobs))
            .raw("codecs", &codecs::json());
        Object::default()
            .number("version", VERSION)
            .text("library", env!("CARGO_PKG_VERSION"))
            .number("uptime_ms", u64::try_from(uptime.as_millis()).unwrap_or(u64::MAX))
            .text("engine", outside.engine)
            .number("clients", count(outside.clients))
            .raw("links", &links.end())
            .raw("mailbox", &mailbox.end())
            .raw("key_to_callback", &times(&self.key_to_callback.look()))
            .raw("process", &pool.end())
            .list("channels", channels.iter().map(|channel| channel.json()))
            .end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    const OUTSIDE: Outside =
        Outside { engine: "epoll", clients: 1, mailbox: 2, workers: 3, jobs: 4 };

    #[test]
    fn a_channel_keeps_the_sums_of_clients_that_have_gone() {
        let stats = ServerStats::default();
        let channel = stats.channel("display", 2, "spice-disp-2");
        let come = |client, bytes| {
            let come = channel.come(ClientStats { client, ..ClientStats::default() });
            come.traffic.bytes_out.add(bytes);
            come.traffic.drops.add(1);
            come
        };
        let (one, _two) = (come(1, 10), come(2, 20));
        channel.go(&one);
        let text = channel.json();
        let (sums, clients) = text.split_once(r#""clients":"#).unwrap();
        assert!(sums.contains(r#""bytes_out":30,"#) && sums.contains(r#""drops":2,"#), "{sums}");
        assert!(clients.starts_with(r#"[{"client":2,"#), "{clients}");
        assert!(clients.contains(r#""bytes_out":20,"#), "{clients}");
        stats.ended(&channel);
        assert!(stats.json(&OUTSIDE).ends_with(r#""channels":[]}"#));
    }

    #[test]
    fn times_are_told_with_their_buckets() {
        let histogram = Histogram::default();
        [5, 100, 100].into_iter().for_each(|us| histogram.record(Duration::from_micros(us)));
        assert_eq!(
            times(&histogram.look()),
            r#"{"count":3,"sum_ns":205000,"max_ns":100000,"p50_ns":100000,"p90_ns":100000,"p99_ns":100000,"#
                .to_owned()
                + r#""p999_ns":100000,"buckets":[[5119,1],[106495,2]]}"#
        );
    }
}
