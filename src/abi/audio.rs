//! Sound from and to the guest (`spice-audio.h` of the original).
//!
//! Called by the host under its lock, from any of its threads; no call waits for a client, a codec or a socket.
//! Instances are looked up by address, so one that was never added, or was removed, is an error and not a crash.

use std::ptr::{self, NonNull};
use std::slice;
use std::sync::Arc;

use super::buffers;
use super::guard::guard;
use super::handles::{self, Kind};
use super::types::audio::{SpicePlaybackInstance, SpiceRecordInstance};
use crate::server::sound::{PlaybackLine, RecordLine};
use crate::sound::capture::RING;
use crate::sound::{FRAME_SAMPLES, Volume};

/// Opus works at this rate, in Hz, and every client can play it.
const BEST_RATE: u32 = 48000;

/// The interface behind a playback instance; `None`, without a word, if it is not added or not served.
fn playback(sin: *mut SpicePlaybackInstance) -> Option<Arc<PlaybackLine>> {
    match handles::instance(sin)?.kind {
        Kind::Playback(playback) => Some(playback),
        _ => None,
    }
}

/// The interface behind a record instance, likewise.
fn record(sin: *mut SpiceRecordInstance) -> Option<Arc<RecordLine>> {
    match handles::instance(sin)?.kind {
        Kind::Record(record) => Some(record),
        _ => None,
    }
}

/// A copy of the host's volume; `None` for NULL with channels.
///
/// # Safety
/// - `volume` is NULL or points to `channels` numbers.
unsafe fn copied_volume(channels: u8, volume: *const u16) -> Option<Volume> {
    match (channels, volume.is_null()) {
        (0, _) => Some(Volume::new()),
        (_, true) => None,
        // SAFETY: not NULL, so the caller vouches for that many numbers; copied before anybody else runs.
        (count, false) => Some(unsafe { slice::from_raw_parts(volume, count.into()) }.to_vec()),
    }
}

symver!(spice_server_playback_start, "0.6.0");
/// The guest starts to play. Ignored if it plays already.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_start(sin: *mut SpicePlaybackInstance) {
    guard("spice_server_playback_start", (), || {
        if let Some(playback) = playback(sin) {
            playback.set_active(true);
        }
    })
}

symver!(spice_server_playback_stop, "0.6.0");
/// The guest stops playing. Ignored if it does not play.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_stop(sin: *mut SpicePlaybackInstance) {
    guard("spice_server_playback_stop", (), || {
        if let Some(playback) = playback(sin) {
            playback.set_active(false);
        }
    })
}

symver!(spice_server_playback_get_buffer, "0.6.0");
/// Hands out a buffer for 480 samples of sound; one sample holds both channels, 16 bits each.
///
/// Writes NULL and 0 when nobody listens, the guest does not play, or the host has three buffers already. A buffer is
/// the host's until it gives it back, also when its client has gone and when the instance was removed.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
/// - Each of `samples`, `num_samples`: is NULL or can be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_get_buffer(
    sin: *mut SpicePlaybackInstance,
    samples: *mut *mut u32,
    num_samples: *mut u32,
) {
    guard("spice_server_playback_get_buffer", (), || {
        let lent =
            if samples.is_null() { None } else { playback(sin).and_then(|p| buffers::lend(&p)) };
        if !num_samples.is_null() {
            let count = lent.map_or(0, |_| u32::try_from(FRAME_SAMPLES).unwrap_or(0));
            // SAFETY: not NULL, so the caller vouches that it can be written.
            unsafe { num_samples.write(count) };
        }
        if !samples.is_null() {
            // SAFETY: as above.
            unsafe { samples.write(lent.map_or(ptr::null_mut(), NonNull::as_ptr)) };
        }
    })
}

symver!(spice_server_playback_put_samples, "0.6.0");
/// Gives a filled buffer back, exactly once, at any time.
///
/// It is played at once, or dropped if its client has gone or the guest has stopped. An address that is no buffer in the
/// host's hands is ignored.
///
/// # Safety
/// - `samples` is any address. If it is a buffer in the host's hands, the host does not touch it any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_put_samples(
    sin: *mut SpicePlaybackInstance,
    samples: *mut u32,
) {
    guard("spice_server_playback_put_samples", (), || {
        // The buffer knows where it belongs; so it does when the instance is gone.
        let _ = sin;
        buffers::give_back(samples);
    })
}

symver!(spice_server_playback_set_volume, "0.10.0");
/// Sets the volume the clients play with, one number for each channel.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
/// - `volume` is NULL or points to `nchannels` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_set_volume(
    sin: *mut SpicePlaybackInstance,
    nchannels: u8,
    volume: *mut u16,
) {
    guard("spice_server_playback_set_volume", (), || {
        let Some(playback) = playback(sin) else { return };
        // SAFETY: the same promise as ours.
        if let Some(volume) = unsafe { copied_volume(nchannels, volume) } {
            playback.set_volume(volume);
        }
    })
}

symver!(spice_server_playback_set_mute, "0.10.0");
/// Mutes (1) the clients or not (0).
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_set_mute(sin: *mut SpicePlaybackInstance, mute: u8) {
    guard("spice_server_playback_set_mute", (), || {
        if let Some(playback) = playback(sin) {
            playback.set_mute(mute);
        }
    })
}

symver!(spice_server_record_start, "0.6.0");
/// The guest starts to record. Ignored if it records already.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_start(sin: *mut SpiceRecordInstance) {
    guard("spice_server_record_start", (), || {
        if let Some(record) = record(sin) {
            record.set_active(true);
        }
    })
}

symver!(spice_server_record_stop, "0.6.0");
/// The guest stops recording. Ignored if it does not record.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_stop(sin: *mut SpiceRecordInstance) {
    guard("spice_server_record_stop", (), || {
        if let Some(record) = record(sin) {
            record.set_active(false);
        }
    })
}

symver!(spice_server_record_get_samples, "0.6.0");
/// Takes recorded sound, at most `bufsize` samples; returns how many.
///
/// 0 while the guest does not record, while nobody is there to be recorded, and until 4,096 samples have come since the
/// start.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
/// - `samples` is NULL or has room for `bufsize` samples.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_get_samples(
    sin: *mut SpiceRecordInstance,
    samples: *mut u32,
    bufsize: u32,
) -> u32 {
    guard("spice_server_record_get_samples", 0, || {
        let Some(record) = record(sin) else { return 0 };
        if samples.is_null() {
            return 0;
        }
        // More than the ring holds never comes, so no more of the host's memory is looked at.
        let room = usize::try_from(bufsize).unwrap_or(0).min(RING);
        // SAFETY: not NULL, and the caller vouches for `bufsize` samples, which nobody else uses during the call. Whatever
        // they hold is a number.
        let out = unsafe { slice::from_raw_parts_mut(samples, room) };
        u32::try_from(record.read(out)).unwrap_or(0)
    })
}

symver!(spice_server_record_set_volume, "0.10.0");
/// Sets the volume the clients record with, one number for each channel.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
/// - `volume` is NULL or points to `nchannels` numbers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_set_volume(
    sin: *mut SpiceRecordInstance,
    nchannels: u8,
    volume: *mut u16,
) {
    guard("spice_server_record_set_volume", (), || {
        let Some(record) = record(sin) else { return };
        // SAFETY: the same promise as ours.
        if let Some(volume) = unsafe { copied_volume(nchannels, volume) } {
            record.set_volume(volume);
        }
    })
}

symver!(spice_server_record_set_mute, "0.10.0");
/// Mutes (1) the clients' microphones or not (0).
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_set_mute(sin: *mut SpiceRecordInstance, mute: u8) {
    guard("spice_server_record_set_mute", (), || {
        if let Some(record) = record(sin) {
            record.set_mute(mute);
        }
    })
}

symver!(spice_server_get_best_playback_rate, "0.12.5");
/// The sample rate in Hz that fits the clients best; hosts ask with NULL, too.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_best_playback_rate(
    sin: *mut SpicePlaybackInstance,
) -> u32 {
    guard("spice_server_get_best_playback_rate", BEST_RATE, || {
        let _ = sin;
        BEST_RATE
    })
}

symver!(spice_server_set_playback_rate, "0.12.5");
/// Sets the sample rate in Hz of what the guest plays, 48,000 without this call. Only at the rates of Opus is sound
/// compressed.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_playback_rate(
    sin: *mut SpicePlaybackInstance,
    frequency: u32,
) {
    guard("spice_server_set_playback_rate", (), || {
        if let Some(playback) = playback(sin) {
            playback.set_rate(frequency);
        }
    })
}

symver!(spice_server_get_best_record_rate, "0.12.5");
/// The sample rate in Hz that fits the clients best; hosts ask with NULL, too.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_get_best_record_rate(sin: *mut SpiceRecordInstance) -> u32 {
    guard("spice_server_get_best_record_rate", BEST_RATE, || {
        let _ = sin;
        BEST_RATE
    })
}

symver!(spice_server_set_record_rate, "0.12.5");
/// Sets the sample rate in Hz that the guest records with.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_record_rate(
    sin: *mut SpiceRecordInstance,
    frequency: u32,
) {
    guard("spice_server_set_record_rate", (), || {
        if let Some(record) = record(sin) {
            record.set_rate(frequency);
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_rate_is_known_without_an_instance() {
        // SAFETY: NULL is allowed; QEMU asks so.
        assert_eq!(unsafe { spice_server_get_best_playback_rate(ptr::null_mut()) }, 48000);
        // SAFETY: as above.
        assert_eq!(unsafe { spice_server_get_best_record_rate(ptr::null_mut()) }, 48000);
    }

    #[test]
    fn a_buffer_is_refused_by_null_and_zero_never_left_unset() {
        let mut samples = ptr::dangling_mut();
        let mut count = 77;
        // SAFETY: both results can be written, and no instance is allowed.
        unsafe {
            spice_server_playback_get_buffer(ptr::null_mut(), &raw mut samples, &raw mut count);
        }
        assert!(samples.is_null());
        assert_eq!(count, 0);
    }

    #[test]
    fn what_is_not_added_is_not_touched() {
        let playback = ptr::dangling_mut::<SpicePlaybackInstance>();
        let record = ptr::dangling_mut::<SpiceRecordInstance>();
        let mut samples = [5u32; 4];
        macro_rules! call {
            ($call:expr) => {
                // SAFETY: instances and buffers are looked up by address before anything is read; the rest is valid.
                unsafe { $call }
            };
        }
        call!(spice_server_playback_start(playback));
        call!(spice_server_playback_put_samples(playback, samples.as_mut_ptr()));
        call!(spice_server_playback_put_samples(playback, ptr::null_mut()));
        call!(spice_server_playback_set_volume(playback, 2, ptr::null_mut()));
        call!(spice_server_set_playback_rate(playback, 48_000));
        call!(spice_server_playback_stop(playback));
        call!(spice_server_record_start(record));
        assert_eq!(call!(spice_server_record_get_samples(record, samples.as_mut_ptr(), 4)), 0);
        call!(spice_server_record_stop(record));
        assert_eq!(samples, [5; 4]);
    }

    #[test]
    fn a_volume_is_copied_and_null_is_none() {
        let volume = [3u16, 4];
        // SAFETY: two numbers.
        assert_eq!(unsafe { copied_volume(2, volume.as_ptr()) }, Some(vec![3, 4]));
        // SAFETY: NULL is allowed.
        assert_eq!(unsafe { copied_volume(2, ptr::null()) }, None);
        // SAFETY: as above.
        assert_eq!(unsafe { copied_volume(0, ptr::null()) }, Some(Vec::new()));
    }
}
