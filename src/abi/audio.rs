//! Sound from and to the guest (`spice-audio.h` of the original).

use std::ptr;

use super::guard::{guard, not_yet};
use super::types::audio::{SpicePlaybackInstance, SpiceRecordInstance};

/// Opus works at this rate, in Hz, and every client can play it.
const BEST_RATE: u32 = 48000;

symver!(spice_server_playback_start, "0.6.0");
/// The guest starts to play. Ignored if it plays already.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_start(sin: *mut SpicePlaybackInstance) {
    guard("spice_server_playback_start", (), || not_yet!("spice_server_playback_start", (), sin))
}

symver!(spice_server_playback_stop, "0.6.0");
/// The guest stops playing. Ignored if it does not play.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_stop(sin: *mut SpicePlaybackInstance) {
    guard("spice_server_playback_stop", (), || not_yet!("spice_server_playback_stop", (), sin))
}

symver!(spice_server_playback_get_buffer, "0.6.0");
/// Hands out a buffer for sound; one sample holds both channels.
///
/// Writes NULL and 0 when nobody listens or no buffer is free.
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
        if !samples.is_null() {
            // SAFETY: not NULL, so the caller vouches that it can be written.
            unsafe { samples.write(ptr::null_mut()) };
        }
        if !num_samples.is_null() {
            // SAFETY: not NULL, so the caller vouches that it can be written.
            unsafe { num_samples.write(0) };
        }
        not_yet!("spice_server_playback_get_buffer", (), sin)
    })
}

symver!(spice_server_playback_put_samples, "0.6.0");
/// Gives a filled buffer back, exactly once, at any time.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
/// - `samples` came from `spice_server_playback_get_buffer` of this instance and was not given
///   back.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_playback_put_samples(
    sin: *mut SpicePlaybackInstance,
    samples: *mut u32,
) {
    guard("spice_server_playback_put_samples", (), || {
        not_yet!("spice_server_playback_put_samples", (), sin, samples)
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
        not_yet!("spice_server_playback_set_volume", (), sin, nchannels, volume)
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
        not_yet!("spice_server_playback_set_mute", (), sin, mute)
    })
}

symver!(spice_server_record_start, "0.6.0");
/// The guest starts to record. Ignored if it records already.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_start(sin: *mut SpiceRecordInstance) {
    guard("spice_server_record_start", (), || not_yet!("spice_server_record_start", (), sin))
}

symver!(spice_server_record_stop, "0.6.0");
/// The guest stops recording. Ignored if it does not record.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_record_stop(sin: *mut SpiceRecordInstance) {
    guard("spice_server_record_stop", (), || not_yet!("spice_server_record_stop", (), sin))
}

symver!(spice_server_record_get_samples, "0.6.0");
/// Takes recorded sound, at most `bufsize` samples; returns how many.
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
        not_yet!("spice_server_record_get_samples", 0, sin, samples, bufsize)
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
        not_yet!("spice_server_record_set_volume", (), sin, nchannels, volume)
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
        not_yet!("spice_server_record_set_mute", (), sin, mute)
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
/// Sets the sample rate in Hz of what the guest plays.
///
/// # Safety
/// - `sin` is NULL or valid; if it was added, it was not removed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn spice_server_set_playback_rate(
    sin: *mut SpicePlaybackInstance,
    frequency: u32,
) {
    guard("spice_server_set_playback_rate", (), || {
        not_yet!("spice_server_set_playback_rate", (), sin, frequency)
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
        not_yet!("spice_server_set_record_rate", (), sin, frequency)
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
}
