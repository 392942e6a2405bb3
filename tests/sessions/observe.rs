//! What a server counts, and quality of service, in a whole session.

use std::fs;
use std::io::Write;
use std::num::NonZeroU64;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use spice_server::channel::qos::Qos;
use spice_server::protocol::caps::ChannelType;
use spice_server::sys::thread::{Policy, Scheduling};

use super::Session;
use super::client::{INPUTS, message, receive};

/// The statistics, read.
fn stats(session: &Session) -> serde_json::Value {
    serde_json::from_str(&session.core.stats_json()).expect("it is JSON")
}

fn channel(session: &Session, kind: &str) -> serde_json::Value {
    let all = stats(session);
    let channels = all["channels"].as_array().expect("a list");
    channels.iter().find(|c| c["type"] == kind).cloned().unwrap_or_default()
}

/// The nice value of a channel's thread.
fn nice(session: &Session, kind: &str) -> Option<i64> {
    let thread = channel(session, kind)["thread"].as_u64().filter(|number| *number > 0)?;
    let stat = fs::read_to_string(format!("/proc/self/task/{thread}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(16)?.parse().ok()
}

fn nicer(nice: i32) -> Qos {
    let scheduling = Scheduling { policy: Some(Policy::Other(nice)), processors: None };
    Qos { scheduling, bytes_per_second: None }
}

#[test]
fn each_key_is_counted_and_timed() {
    let session = Session::new();
    let (_main, id) = session.main();
    let (_, mut inputs) = session.link((id, INPUTS, 0), b"");
    for code in [0x1eu32, 0x9e].repeat(25) {
        inputs.write_all(&message(101, &code.to_le_bytes())).expect("sent");
    }
    session.run_until("the keys arrive", || session.host.keys.load(Ordering::SeqCst) == 50);
    let all = stats(&session);
    assert_eq!((&all["clients"], &all["links"]["linked"]), (&1.into(), &2.into()));
    let keys = &all["key_to_callback"];
    assert_eq!(keys["count"], 50);
    assert!(
        keys["p50_ns"].as_u64() <= keys["max_ns"].as_u64() && keys["max_ns"].as_u64() > Some(0)
    );
    let counted = channel(&session, "inputs");
    let client = &counted["clients"][0];
    assert_eq!((&client["client"], &client["messages_in"]), (&id.into(), &50.into()));
    assert_eq!((&client["bytes_in"], &counted["bytes_in"]), (&500.into(), &500.into()));
    drop(inputs);
    session.run_until("it is gone", || {
        channel(&session, "inputs")["clients"] == serde_json::json!([])
    });
    assert_eq!(channel(&session, "inputs")["bytes_in"], 500, "the channel keeps the sum");
}

#[test]
fn threads_run_as_they_are_told_before_and_after_they_began() {
    let session = Session::new();
    session.core.set_channel_qos(ChannelType::MAIN, nicer(11));
    assert_eq!(channel(&session, "main"), serde_json::Value::Null, "no thread before a socket");
    let (_main, _) = session.main();
    session.run_until("main was told before", || nice(&session, "main") == Some(11));
    session.core.set_channel_qos(ChannelType::INPUTS, nicer(12));
    session.run_until("inputs is told now", || nice(&session, "inputs") == Some(12));
    assert_eq!(nice(&session, "main"), Some(11));
}

#[test]
fn a_bounded_channel_still_says_everything() {
    let session = Session::new();
    let (_main, id) = session.main();
    let rate = 65_536;
    let bound = Qos { bytes_per_second: NonZeroU64::new(rate), ..Qos::default() };
    session.core.set_channel_qos(ChannelType::INPUTS, bound);
    let (_, mut inputs) = session.link((id, INPUTS, 0), b"");
    session.run_until("it is known", || channel(&session, "inputs")["bytes_per_second"] == rate);
    // Each bunch of four movements is answered with six bytes; so many of them take a second and a half.
    const BUNCHES: usize = 16_384;
    let begin = Instant::now();
    let mut writer = inputs.try_clone().expect("a descriptor");
    let sender = std::thread::spawn(move || {
        let bunch = message(111, &[0; 10]).repeat(4 * 64);
        (0..BUNCHES / 64).for_each(|_| writer.write_all(&bunch).expect("sent"));
    });
    session.meanwhile(move || {
        let mut answers = 0;
        while answers < BUNCHES {
            answers += usize::from(receive(&mut inputs).expect("the client stays").0 == 111);
        }
    });
    sender.join().expect("all was taken");
    let most = Duration::from_secs_f64((BUNCHES * 6) as f64 / rate as f64 - 0.06);
    assert!(begin.elapsed() >= most, "{:?}", begin.elapsed());
}
