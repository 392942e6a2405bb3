//! Numbers without gaps, and references that no client has to wait for.

use super::*;
use crate::pool::{GlzWindow, decode_glz};
use crate::qxl::model::BitmapFormat;

const SIDE: u32 = 24;

/// Pixels of `seed`'s own that compress badly.
fn picture_of(seed: u32, high: u8) -> Bitmap {
    let mut state = seed.wrapping_mul(2_654_435_761) | 1;
    let mut data = Vec::new();
    for _ in 0..SIDE * SIDE {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let [_, a, b, c] = state.to_le_bytes();
        data.extend([a, b, c, high]);
    }
    Bitmap {
        format: BitmapFormat::Bit32,
        top_down: true,
        width: SIDE,
        height: SIDE,
        stride: SIDE * 4,
        palette: None,
        data: data.into(),
    }
}

/// The stream of an image of message `stamp`.
fn stream(member: &mut Member, bitmap: &Bitmap, stamp: u64) -> Vec<u8> {
    let work = member.work(bitmap, LzPixels::Rgb32, 0, false, stamp).unwrap();
    let payload = work.run(&mut Scratch::default());
    assert_eq!((payload.image_type, payload.flags), (TYPE_GLZ_RGB, 0));
    let data = payload.data.unwrap().as_slice().to_vec();
    assert_eq!(payload.fields, u32::try_from(data.len()).unwrap().to_le_bytes());
    data
}

fn none(member: &mut Member, bitmap: &Bitmap, stamp: u64) {
    assert!(member.work(bitmap, LzPixels::Rgb32, 0, false, stamp).is_none());
}

/// The number of an image that a client decodes to the pixels of `bitmap`.
fn decoded(window: &mut GlzWindow, stream: &[u8], bitmap: &Bitmap) -> u64 {
    let image = decode_glz(window, stream).unwrap();
    assert!(image.pixels.as_flattened() == bitmap.data.as_slice());
    image.header.id
}

#[test]
fn two_channels_share_numbers_without_gaps_and_a_window_with_a_bound() {
    let dictionaries = Dictionaries::default();
    let pixels = SIDE * SIDE;
    let mut members = [0, 1].map(|_| dictionaries.join(7, 1, pixels * 4 + 5));
    let mut window = GlzWindow::default();
    for round in 0..200u32 {
        let which = (round * 7 / 3 % 2) as usize;
        let bitmap = picture_of(round % 9, 0);
        let number = decoded(
            &mut window,
            &stream(&mut members[which], &bitmap, u64::from(round) + 2),
            &bitmap,
        );
        assert_eq!(number, u64::from(round));
        assert!(window.pixels() <= u64::from(pixels) * 4 + 5 && window.len() <= 4);
        if round % 3 == 0 {
            members[which].progress(u64::from(round));
        }
    }
    assert_eq!(window.len(), 4);
}

#[test]
fn what_others_have_not_acknowledged_is_not_referred_to() {
    let dictionaries = Dictionaries::default();
    let mut one = dictionaries.join(7, 1, 1 << 20);
    let mut other = dictionaries.join(7, 1, 1 << 20);
    let bitmap = picture_of(1, 0);
    let first = stream(&mut one, &bitmap, 12);
    let raw = bitmap.data.len() / 4 * 3;
    assert!(first.len() >= raw);
    assert!(stream(&mut one, &bitmap, 13).len() < 100, "it is the same channel");
    assert!(stream(&mut other, &bitmap, 5).len() >= raw);
    let bitmap = picture_of(2, 0);
    let _ = stream(&mut one, &bitmap, 14);
    one.progress(13);
    assert!(stream(&mut other, &bitmap, 6).len() >= raw, "13 did not bring it");
    let bitmap = picture_of(3, 0);
    let _ = stream(&mut one, &bitmap, 15);
    one.progress(15);
    assert!(stream(&mut other, &bitmap, 7).len() < 100);
}

#[test]
fn clients_are_asked_for_the_sake_of_other_channels_once_for_each_message() {
    let dictionaries = Dictionaries::default();
    let bitmap = picture_of(1, 0);
    let mut alone = dictionaries.join(1, 1, 1 << 20);
    let _ = stream(&mut alone, &bitmap, 4);
    assert!(!alone.asks());
    let mut other = dictionaries.join(1, 1, 1 << 20);
    assert!(!other.asks(), "it sent nothing");
    let _ = stream(&mut alone, &bitmap, 5);
    assert!(alone.asks() && !alone.asks());
    let _ = stream(&mut alone, &bitmap, 6);
    alone.progress(6);
    assert!(!alone.asks());
}

#[test]
fn what_waits_to_be_acknowledged_is_bounded() {
    let dictionaries = Dictionaries::default();
    let mut member = dictionaries.join(1, 1, 1 << 20);
    let mut bitmap = picture_of(1, 0);
    (bitmap.width, bitmap.height) = (5, 1);
    for stamp in 0..MAX_WAITING as u64 + 10 {
        let _ = stream(&mut member, &bitmap, stamp + 2);
    }
    assert_eq!(member.waiting.len(), MAX_WAITING);
    assert_eq!(member.waiting.front(), Some(&(12, 10)));
    member.progress(u64::MAX);
    assert!(member.waiting.is_empty());
}

#[test]
fn a_channel_that_ends_breaks_the_dictionary_for_the_rest_of_its_clients_life() {
    let dictionaries = Dictionaries::default();
    let bitmap = picture_of(1, 0);
    let join = |client, id| dictionaries.join(client, id, 1 << 20);
    let (mut one, mut two, idle) = (join(7, 1), join(7, 1), join(7, 1));
    let mut others = [join(7, 2), join(8, 1)];
    let _ = stream(&mut one, &bitmap, 2);
    drop(idle);
    let _ = stream(&mut two, &bitmap, 2);
    drop(one);
    none(&mut two, &bitmap, 3);
    drop(two);
    none(&mut join(7, 1), &bitmap, 2);
    others.iter_mut().for_each(|other| drop(stream(other, &bitmap, 2)));
    // Its memory is gone, its name is not: until many more are gone.
    assert!(dictionaries.list.lock().unwrap()[0].1.lock().dictionary.is_none());
    for client in 100..200 + u32::try_from(MAX_ENDED).unwrap() {
        let _ = stream(&mut join(client, 1), &bitmap, 2);
    }
    let known = dictionaries.list.lock().unwrap().len();
    assert!(known <= MAX_ENDED + 4, "{known}");
    others.iter_mut().for_each(|other| drop(stream(other, &bitmap, 3)));
}

#[test]
fn an_image_that_is_lost_breaks_the_dictionary() {
    let dictionaries = Dictionaries::default();
    let bitmap = picture_of(1, 0);
    let mut member = dictionaries.join(1, 1, 1 << 20);
    let _ = stream(&mut member, &bitmap, 2);
    // A message without a number may be discarded.
    member.discard(3);
    let _ = stream(&mut member, &bitmap, 4);
    member.discard(4);
    none(&mut member, &bitmap, 5);

    let mut member = dictionaries.join(2, 1, 1 << 20);
    let kept = member.work(&bitmap, LzPixels::Rgb32, 0, false, 2).unwrap();
    drop(member.work(&bitmap, LzPixels::Rgb32, 0, false, 3));
    none(&mut member, &bitmap, 4);
    // What has its number goes all the same, on any thread, after its channel as well.
    drop(member);
    let work = std::thread::spawn(move || kept.run(&mut Scratch::default()));
    let payload = work.join().unwrap();
    decoded(&mut GlzWindow::default(), payload.data.unwrap().as_slice(), &bitmap);
}

#[test]
fn what_can_have_no_number_breaks_nothing() {
    let dictionaries = Dictionaries::default();
    let bitmap = picture_of(1, 0);
    none(&mut dictionaries.join(1, 1, 0), &bitmap, 2);
    none(&mut dictionaries.join(1, 1, 1 << 20), &bitmap, 2);
    none(&mut dictionaries.join(2, 1, SIDE * SIDE), &bitmap, 2);
    let mut member = dictionaries.join(3, 1, SIDE * SIDE + 1);
    let mut bad = [picture_of(1, 0), picture_of(1, 0), picture_of(1, 0), picture_of(1, 0)];
    bad[0].data = bitmap.data[1..].to_vec().into();
    bad[1].format = BitmapFormat::Bit24;
    bad[2].width = 0;
    bad[3].stride = u32::MAX;
    bad.iter().for_each(|bitmap| none(&mut member, bitmap, 2));
    assert!(member.work(&bitmap, LzPixels::Plt8, 0, false, 2).is_none());
    let number = decoded(&mut GlzWindow::default(), &stream(&mut member, &bitmap, 3), &bitmap);
    assert_eq!(number, 0);
}

#[test]
fn only_pixels_that_get_high_bits_refer_to_pixels_that_got_them() {
    let dictionaries = Dictionaries::default();
    let mut member = dictionaries.join(1, 1, 1 << 20);
    let mut size = |high, seed, stamp| {
        let flags = if high == 255 { HIGH_BITS_SET } else { 0 };
        let bitmap = picture_of(seed, high);
        let work = member.work(&bitmap, LzPixels::Rgb32, flags, false, stamp).unwrap();
        let payload = work.run(&mut Scratch::default());
        assert_eq!(payload.flags, flags);
        payload.data.unwrap().as_slice().len()
    };
    assert!(size(255, 1, 2) > 1000);
    assert!(size(255, 1, 3) < 100);
    assert!(size(0, 1, 4) > 1000, "clients would copy the bits along");
    assert!(size(0, 1, 5) < 100);
    assert!(size(255, 1, 6) < 100);
}

#[test]
fn a_stream_is_wrapped_when_asked_for_and_when_that_is_shorter() {
    let dictionaries = Dictionaries::default();
    let mut member = dictionaries.join(1, 1, 1 << 20);
    let noise = picture_of(1, 0);
    let mut lines = picture_of(2, 0);
    let row: Vec<u8> = (0..SIDE).flat_map(|x| [(x * 5).to_le_bytes()[0], 9, 0, 0]).collect();
    let rows = (0..SIDE).flat_map(|y| {
        row.iter()
            .enumerate()
            .map(move |(at, byte)| if at % 4 == 1 { y.to_le_bytes()[0] } else { *byte })
    });
    lines.data = rows.collect::<Vec<u8>>().into();
    let mut window = GlzWindow::default();
    for (bitmap, zlib, wrapped) in
        [(&lines, true, true), (&noise, true, false), (&noise, true, false), (&lines, false, false)]
    {
        let work = member.work(bitmap, LzPixels::Rgb32, 0, zlib, 2).unwrap();
        let payload = work.run(&mut Scratch::default());
        let data = payload.data.unwrap().as_slice().to_vec();
        let size = u32::try_from(data.len()).unwrap().to_le_bytes();
        assert_eq!(payload.image_type, if wrapped { TYPE_ZLIB_GLZ_RGB } else { TYPE_GLZ_RGB });
        let data = if wrapped {
            let mut out = Vec::new();
            let mut inflate = flate2::read::ZlibDecoder::new(data.as_slice());
            std::io::Read::read_to_end(&mut inflate, &mut out).unwrap();
            assert!(out.len() > data.len());
            let whole = u32::try_from(out.len()).unwrap().to_le_bytes();
            assert_eq!(payload.fields, [whole, size].concat());
            out
        } else {
            assert_eq!(payload.fields, size);
            data
        };
        decoded(&mut window, &data, bitmap);
    }
}
