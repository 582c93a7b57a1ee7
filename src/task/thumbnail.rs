//! A thumbnail: a small PNG made from a JPEG or WebP file, as file managers keep them.
//!
//! The bytes may be a stranger's: sides and memory are bounded before anything is decoded. The PNG
//! is written here, since it needs text of its own ("Thumbnail Managing Standard", freedesktop.org,
//! section 4) and nothing else that an encoder offers.

use std::io::{Cursor, Write};

use flate2::write::ZlibEncoder;
use flate2::{Compression, Crc};
use image::{DynamicImage, ImageDecoder, ImageFormat, ImageReader, Limits};

use crate::base::{Error, ErrorKind, Result};

/// The longest side that is decoded, pixels.
const LONGEST: u32 = 16_384;

/// Bytes that decoding may take at most: a picture of 60 megapixels.
const MEMORY: u64 = 192 << 20;

/// The largest thumbnail that any file manager asks for.
const LARGEST: u32 = 2048;

/// The PNG of `picture` (JPEG or WebP), no side longer than `edge`, upright, with `texts` in it;
/// never larger than the picture. `Unsupported` when it is of another kind or too large.
pub fn draw(picture: &[u8], edge: u32, texts: &[(&str, &str)]) -> Result<Vec<u8>> {
    let image = decode(picture)?;
    let edge = edge.clamp(1, LARGEST);
    let small =
        if image.width().max(image.height()) > edge { image.thumbnail(edge, edge) } else { image };
    png(&small, texts).map_err(|error| Error::io("writing a thumbnail", error))
}

fn decode(picture: &[u8]) -> Result<DynamicImage> {
    let mut reader = ImageReader::new(Cursor::new(picture))
        .with_guessed_format()
        .map_err(|error| Error::io("reading a picture", error))?;
    if !matches!(reader.format(), Some(ImageFormat::Jpeg | ImageFormat::WebP)) {
        return Err(Error::new(ErrorKind::Unsupported, "the picture is neither JPEG nor WebP"));
    }
    let mut limits = Limits::default();
    limits.max_image_width = Some(LONGEST);
    limits.max_image_height = Some(LONGEST);
    limits.max_alloc = Some(MEMORY);
    reader.limits(limits);
    let decoded = reader.into_decoder().and_then(|mut decoder| {
        let orientation = decoder.orientation()?;
        let mut image = DynamicImage::from_decoder(decoder)?;
        image.apply_orientation(orientation);
        Ok(image)
    });
    decoded.map_err(|error| {
        Error::new(ErrorKind::Unsupported, "the picture cannot be decoded").caused_by(error)
    })
}

/// `image` as PNG (W3C, "Portable Network Graphics", sections 5 and 11).
fn png(image: &DynamicImage, texts: &[(&str, &str)]) -> std::io::Result<Vec<u8>> {
    let (channels, colour, pixels) = if image.color().has_alpha() {
        (4, 6, image.to_rgba8().into_raw())
    } else {
        (3, 2, image.to_rgb8().into_raw())
    };
    let mut out = b"\x89PNG\r\n\x1a\n".to_vec();
    // Eight bits a channel; the only compression, filtering, and no interlacing.
    let head =
        [&image.width().to_be_bytes()[..], &image.height().to_be_bytes(), &[8, colour, 0, 0, 0]]
            .concat();
    chunk(&mut out, b"IHDR", &head);
    for (key, text) in texts {
        chunk(&mut out, b"tEXt", &[key.as_bytes(), b"\0", text.as_bytes()].concat());
    }
    chunk(&mut out, b"IDAT", &filtered(&pixels, image.width() as usize * channels, channels)?);
    chunk(&mut out, b"IEND", b"");
    Ok(out)
}

/// Rows of pixels, each as the differences from its neighbour on the left (filter 1), compressed.
fn filtered(pixels: &[u8], row: usize, channels: usize) -> std::io::Result<Vec<u8>> {
    let mut out = ZlibEncoder::new(Vec::new(), Compression::fast());
    let mut line = Vec::with_capacity(row + 1);
    for row in pixels.chunks(row.max(1)) {
        line.clear();
        line.push(1);
        line.extend(row.iter().enumerate().map(|(at, byte)| match at.checked_sub(channels) {
            Some(left) => byte.wrapping_sub(row[left]),
            None => *byte,
        }));
        out.write_all(&line)?;
    }
    out.finish()
}

fn chunk(out: &mut Vec<u8>, kind: &[u8; 4], bytes: &[u8]) {
    let mut check = Crc::new();
    check.update(kind);
    check.update(bytes);
    out.extend((bytes.len() as u32).to_be_bytes());
    out.extend(kind);
    out.extend(bytes);
    out.extend(check.sum().to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use image::{ExtendedColorType, ImageEncoder, RgbImage};

    fn jpeg(width: u32, height: u32) -> Vec<u8> {
        let image =
            RgbImage::from_fn(width, height, |x, y| image::Rgb([(x * 3) as u8, (y * 5) as u8, 90]));
        let mut out = Vec::new();
        image::codecs::jpeg::JpegEncoder::new_with_quality(&mut out, 90)
            .write_image(image.as_raw(), width, height, ExtendedColorType::Rgb8)
            .unwrap();
        out
    }

    fn size(png: &[u8]) -> (u32, u32) {
        let number = |at: usize| u32::from_be_bytes(png[at..at + 4].try_into().unwrap());
        (number(16), number(20))
    }

    #[test]
    fn a_thumbnail_fits_and_is_never_larger_than_its_picture() {
        assert_eq!(size(&draw(&jpeg(400, 200), 128, &[]).unwrap()), (128, 64));
        assert_eq!(size(&draw(&jpeg(40, 20), 128, &[]).unwrap()), (40, 20));
    }

    #[test]
    fn what_is_no_picture_or_claims_to_be_huge_is_refused() {
        for bytes in [&b""[..], b"RIFF", b"\xff\xd8\xff\xe0 no more", b"\x89PNG\r\n\x1a\n"] {
            assert_eq!(draw(bytes, 128, &[]).unwrap_err().kind(), ErrorKind::Unsupported);
        }
        let mut huge = jpeg(40, 20);
        let frame = huge.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
        huge[frame + 5..frame + 9].copy_from_slice(&[0xff, 0xff, 0xff, 0xff]);
        assert_eq!(draw(&huge, 128, &[]).unwrap_err().kind(), ErrorKind::Unsupported);
        let cut = jpeg(400, 200);
        for end in (0..cut.len()).step_by(97) {
            let _ = draw(&cut[..end], 128, &[]);
        }
    }
}
