//! Pointer shapes in a form that stock clients draw.
//!
//! They do not implement shapes of 8 and 24 bits and show their own pointer instead; as shapes of
//! 32 bits, whose mask is the same, those look as their guest means them.

use std::sync::Arc;

use crate::qxl::model::CursorShape;

/// `SPICE_CURSOR_TYPE_*`.
const COLOR8: u8 = 3;
const COLOR24: u8 = 5;
const COLOR32: u8 = 6;
/// Bytes of the 256 colours of a shape of 8 bits, each 0x00RRGGBB.
const PALETTE: usize = 256 * 4;

/// The shape as clients are told it.
pub(super) fn for_clients(shape: Arc<CursorShape>) -> Arc<CursorShape> {
    match in_32_bits(&shape) {
        Some(data) => Arc::new(CursorShape {
            kind: COLOR32,
            data,
            unique: shape.unique,
            width: shape.width,
            height: shape.height,
            hot_x: shape.hot_x,
            hot_y: shape.hot_y,
        }),
        None => shape,
    }
}

/// Pixels and mask; `None` if the shape can stay as it is.
fn in_32_bits(shape: &CursorShape) -> Option<Vec<u8>> {
    let pixels = usize::from(shape.width) * usize::from(shape.height);
    let mut data = Vec::with_capacity(pixels * 4 + pixels.div_ceil(8));
    let mask = match shape.kind {
        COLOR8 => {
            let (indices, rest) = shape.data.split_at_checked(pixels)?;
            let (palette, mask) = rest.split_at_checked(PALETTE)?;
            let colours = palette.as_chunks::<4>().0;
            for index in indices {
                // The fourth byte would be taken for the opacity of transparent pixels.
                let [blue, green, red, _] = *colours.get(usize::from(*index))?;
                data.extend([blue, green, red, 0]);
            }
            mask
        }
        COLOR24 => {
            let (colours, mask) = shape.data.split_at_checked(pixels * 3)?;
            for [blue, green, red] in colours.as_chunks::<3>().0 {
                data.extend([*blue, *green, *red, 0]);
            }
            mask
        }
        _ => return None,
    };
    data.extend_from_slice(mask);
    Some(data)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(kind: u8, data: Vec<u8>) -> Arc<CursorShape> {
        let (width, height) = (3, 1);
        Arc::new(CursorShape { unique: 7, kind, width, height, hot_x: 2, hot_y: 1, data })
    }

    #[test]
    fn shapes_of_8_and_24_bits_become_32_with_the_same_mask() {
        let mut palette = vec![0; PALETTE];
        palette[4..8].copy_from_slice(&[1, 2, 3, 0x99]);
        palette[PALETTE - 4..].copy_from_slice(&[4, 5, 6, 0]);
        let indexed = [&[1, 255, 0][..], &palette, &[0xa0]].concat();
        let direct = vec![1, 2, 3, 4, 5, 6, 0, 0, 0, 0xa0];
        let wanted = shape(COLOR32, vec![1, 2, 3, 0, 4, 5, 6, 0, 0, 0, 0, 0, 0xa0]);
        assert_eq!(for_clients(shape(COLOR8, indexed)), wanted);
        assert_eq!(for_clients(shape(COLOR24, direct)), wanted);
    }

    #[test]
    fn other_shapes_stay_as_they_are() {
        for kind in [0, 1, 2, 4, 6] {
            let given = shape(kind, vec![0; 16]);
            assert!(Arc::ptr_eq(&for_clients(Arc::clone(&given)), &given));
        }
    }
}
