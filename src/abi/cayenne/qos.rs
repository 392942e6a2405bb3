//! Quality of service of channel types.

use std::ffi::c_int;
use std::num::NonZeroU64;
use std::ptr;

use crate::channel::qos::{LEAST_RATE, Qos};
use crate::protocol::caps::ChannelType;
use crate::sys::thread::{Policy, Scheduling};

use super::super::guard::guard;
use super::super::handles::with;
use super::super::types::server::SpiceServer;

/// Threads run as they did when they began: as the thread of the host's that started them.
pub const CAYENNE_SCHED_INHERIT: u32 = 0;
/// SCHED_OTHER with the nice value `nice`.
pub const CAYENNE_SCHED_OTHER: u32 = 1;
/// SCHED_FIFO with the priority `priority`.
pub const CAYENNE_SCHED_FIFO: u32 = 2;
/// SCHED_RR with the priority `priority`.
pub const CAYENNE_SCHED_RR: u32 = 3;
/// Stands for the encode workers (`spice-enc-K`) where a channel type is asked for. They are one set for the process.
pub const CAYENNE_QOS_ENCODERS: c_int = 0x100;
/// Smallest `bytes_per_second` that is not 0.
pub const CAYENNE_QOS_LEAST_RATE: u64 = 65536;
const _: () = assert!(CAYENNE_QOS_LEAST_RATE == LEAST_RATE);

/// Most words of a set of processors: those of 8,192.
const MAX_WORDS: u32 = 128;

/// How the threads of a channel type run, and what its clients are sent.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct CayenneQos {
    /// `sizeof(CayenneQos)`.
    pub size: u32,
    /// `CAYENNE_SCHED_*`.
    pub scheduling: u32,
    /// For CAYENNE_SCHED_OTHER: -20 to 19. Below what the process has takes CAP_SYS_NICE or RLIMIT_NICE.
    pub nice: i32,
    /// For CAYENNE_SCHED_FIFO and CAYENNE_SCHED_RR: 1 to 99. Takes CAP_SYS_NICE or RLIMIT_RTPRIO.
    pub priority: u32,
    /// Bytes that each client of the channel is sent in a second, at most, with TLS and the like; at least
    /// CAYENNE_QOS_LEAST_RATE. 0: no bound.
    pub bytes_per_second: u64,
    /// A bit for each processor that the threads may run on, lowest first. NULL: those that they began with.
    pub processors: *const u64,
    /// Number of words in `processors`, at most 128.
    pub num_processor_words: u32,
    /// 0.
    pub reserved: u32,
}
layout!(CayenneQos, 40, {
    size: 0, scheduling: 4, nice: 8, priority: 12, bytes_per_second: 16, processors: 24,
    num_processor_words: 32, reserved: 36,
});

symver!(cayenne_set_channel_qos, node "CAYENNE_1");
/// Says how the threads of a channel type are scheduled, on which processors, and how many bytes a second each of its
/// clients is sent.
///
/// `channel_type` is a `SPICE_CHANNEL_*` number, or CAYENNE_QOS_ENCODERS for the threads that encode images, of all
/// servers of the process. `qos` says everything anew; NULL is the state without any call. May be called at any time on
/// any thread of the host's, before there are channels and with clients connected. Each thread takes it over by itself,
/// at once; what the system refuses then (no right, a processor that is not there) costs a line in the log and
/// leaves the thread as it was.
///
/// A bound on bytes acts as a slower network: in any time t no more than bytes_per_second x (t + 50 ms) go out, and
/// all of that if there is so much. A display sends newer pictures then, not more of them later; sound that is late is
/// dropped; all else waits. Reading is not bounded. A bound on main bounds its net test as well: clients that come then
/// count as on a slow link.
///
/// Returns 0, or -1 with the reason in the log, and nothing changed: no such channel type, numbers out of their ranges,
/// an empty set of processors, a bound on bytes for encoders.
///
/// # Safety
/// - `server` is NULL or came from `spice_server_new` and was not destroyed.
/// - `qos` is NULL or points to a structure whose `processors` are NULL or point to `num_processor_words` words.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn cayenne_set_channel_qos(
    server: *mut SpiceServer,
    channel_type: c_int,
    qos: *const CayenneQos,
) -> c_int {
    const NAME: &str = "cayenne_set_channel_qos";
    guard(NAME, -1, || {
        with(NAME, server, -1, |s| {
            // SAFETY: the caller vouches for the structure.
            let wanted = unsafe { read(qos) };
            match wanted.and_then(|qos| Ok((target(channel_type)?, qos))) {
                Ok((Some(channel), qos)) => s.core.set_channel_qos(channel, qos),
                Ok((None, qos)) if qos.bytes_per_second.is_none() => {
                    s.core.set_encoder_scheduling(qos.scheduling);
                }
                Ok((None, _)) => {
                    tracing::error!("{NAME}: encoders send nothing, so there is no bound for them");
                    return -1;
                }
                Err(why) => {
                    tracing::error!("{NAME}: {why}");
                    return -1;
                }
            }
            0
        })
    })
}

/// Whom it is for; `None`: the encoders.
fn target(channel_type: c_int) -> Result<Option<ChannelType>, String> {
    if channel_type == CAYENNE_QOS_ENCODERS {
        return Ok(None);
    }
    let channel = u8::try_from(channel_type).map(ChannelType);
    match channel {
        Ok(channel) if channel.name() != "unknown" => Ok(Some(channel)),
        _ => Err(format!("there is no channel type {channel_type}")),
    }
}

/// What a caller wants.
///
/// # Safety
/// - `qos` is NULL or points to a structure whose `processors` are NULL or point to `num_processor_words` words.
unsafe fn read(qos: *const CayenneQos) -> Result<Qos, String> {
    if qos.is_null() {
        return Ok(Qos::default());
    }
    // SAFETY: the caller vouches for the structure, whose first member is its size.
    let size = unsafe { ptr::read(qos.cast::<u32>()) };
    if size as usize != size_of::<CayenneQos>() {
        return Err(format!("a structure of {size} bytes, need {}", size_of::<CayenneQos>()));
    }
    // SAFETY: the caller vouches for the structure.
    let qos = unsafe { qos.read() };
    let rate = qos.bytes_per_second;
    if rate != 0 && rate < LEAST_RATE {
        return Err(format!("{rate} bytes a second, need 0 or {LEAST_RATE} at least"));
    }
    let policy = policy(&qos)?;
    // SAFETY: the caller vouches for the words.
    let processors = unsafe { processors(&qos) }?;
    let scheduling = Scheduling { policy, processors };
    Ok(Qos { scheduling, bytes_per_second: NonZeroU64::new(rate) })
}

fn policy(qos: &CayenneQos) -> Result<Option<Policy>, String> {
    let priority = || match qos.priority {
        priority @ 1..=99 => Ok(priority),
        priority => Err(format!("a priority of {priority}, need 1 to 99")),
    };
    match (qos.scheduling, qos.nice) {
        (CAYENNE_SCHED_INHERIT, _) => Ok(None),
        (CAYENNE_SCHED_OTHER, nice @ -20..=19) => Ok(Some(Policy::Other(nice))),
        (CAYENNE_SCHED_OTHER, nice) => Err(format!("a nice value of {nice}, need -20 to 19")),
        (CAYENNE_SCHED_FIFO, _) => Ok(Some(Policy::Fifo(priority()?))),
        (CAYENNE_SCHED_RR, _) => Ok(Some(Policy::RoundRobin(priority()?))),
        (other, _) => Err(format!("there is no way of scheduling {other}")),
    }
}

/// The set of processors, if there is one.
///
/// # Safety
/// - `qos.processors` is NULL or points to `num_processor_words` words.
unsafe fn processors(qos: &CayenneQos) -> Result<Option<Vec<u64>>, String> {
    if qos.processors.is_null() {
        return Ok(None);
    }
    let count = qos.num_processor_words;
    if count > MAX_WORDS {
        return Err(format!("{count} words of processors, need {MAX_WORDS} at most"));
    }
    let mut words = Vec::new();
    for at in 0..count as usize {
        // SAFETY: the caller vouches for so many words.
        let word = unsafe { qos.processors.add(at) };
        // SAFETY: as above.
        words.push(unsafe { word.read() });
    }
    if words.iter().all(|word| *word == 0) {
        return Err("a set without a processor".to_owned());
    }
    Ok(Some(words))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qos() -> CayenneQos {
        CayenneQos {
            size: 40,
            scheduling: CAYENNE_SCHED_OTHER,
            nice: 5,
            priority: 0,
            bytes_per_second: 0,
            processors: ptr::null(),
            num_processor_words: 0,
            reserved: 0,
        }
    }

    fn read(qos: CayenneQos) -> Result<Qos, String> {
        // SAFETY: the structure is valid, and so are the words that a test gives.
        unsafe { super::read(&raw const qos) }
    }

    #[test]
    fn what_is_out_of_its_range_is_refused_with_the_number() {
        static NONE: [u64; 2] = [0; 2];
        let wrong: [(CayenneQos, &str); 8] = [
            (CayenneQos { size: 48, ..qos() }, "48 bytes"),
            (CayenneQos { nice: -21, ..qos() }, "-21"),
            (CayenneQos { nice: 20, ..qos() }, "20"),
            (CayenneQos { scheduling: 9, ..qos() }, "9"),
            (CayenneQos { scheduling: CAYENNE_SCHED_FIFO, ..qos() }, "priority of 0"),
            (
                CayenneQos { scheduling: CAYENNE_SCHED_RR, priority: 100, ..qos() },
                "priority of 100",
            ),
            (CayenneQos { bytes_per_second: 65_535, ..qos() }, "65535"),
            (CayenneQos { processors: NONE.as_ptr(), num_processor_words: 2, ..qos() }, "without"),
        ];
        for (qos, says) in wrong {
            let why = read(qos).unwrap_err();
            assert!(why.contains(says), "{why}");
        }
        let many = CayenneQos { processors: NONE.as_ptr(), num_processor_words: 129, ..qos() };
        assert!(read(many).unwrap_err().contains("129"));
        for channel in [-1, 0, 12, 255, 256 + 1, i32::MAX] {
            assert!(target(channel).is_err(), "{channel}");
        }
    }

    #[test]
    fn what_is_in_range_is_taken_as_it_is() {
        let words = [0u64, 2];
        let all = CayenneQos {
            scheduling: CAYENNE_SCHED_RR,
            priority: 99,
            bytes_per_second: 1_000_000,
            processors: words.as_ptr(),
            num_processor_words: 2,
            ..qos()
        };
        let scheduling =
            Scheduling { policy: Some(Policy::RoundRobin(99)), processors: Some(vec![0, 2]) };
        let wanted = Qos { scheduling, bytes_per_second: NonZeroU64::new(1_000_000) };
        assert_eq!(read(all), Ok(wanted));
        assert_eq!(read(qos()).unwrap().scheduling.policy, Some(Policy::Other(5)));
        assert_eq!(target(CAYENNE_QOS_ENCODERS), Ok(None));
        assert_eq!(target(2), Ok(Some(ChannelType::DISPLAY)));
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { super::read(ptr::null()) }, Ok(Qos::default()));
    }
}
