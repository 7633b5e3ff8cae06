//! QR codes: written to a terminal or a picture, and read from a picture.

use std::path::Path;

use image::{GrayImage, Luma};
use qrcode::{Color, EcLevel, QrCode};

use crate::error::{Error, Result};

/// Pixels of one module in a picture.
const SCALE: u32 = 8;

/// Modules of white around the code.
const QUIET: u32 = 4;

/// Draws a text as a QR code for a terminal, with two modules in each character.
///
/// # Errors
/// [`Error::Usage`] if the text is too long.
pub fn for_terminal(text: &str) -> Result<String> {
    let code = code(text)?;
    let size = side(&code);
    let dark = |x: u32, y: u32| is_dark(&code, x, y);
    let mut drawn = String::new();
    // Light on the terminal's dark ground or dark on its light ground: cameras read both, since the quiet zone is drawn.
    for y in (0..size + 2 * QUIET).step_by(2) {
        for x in 0..size + 2 * QUIET {
            drawn.push(match (dark(x, y), dark(x, y + 1)) {
                (false, false) => '█',
                (false, true) => '▀',
                (true, false) => '▄',
                (true, true) => ' ',
            });
        }
        drawn.push('\n');
    }
    Ok(drawn)
}

/// Writes a text as a QR code into a PNG picture.
///
/// # Errors
/// [`Error`].
pub fn write_picture(text: &str, path: &Path) -> Result<()> {
    let code = code(text)?;
    let size = (side(&code) + 2 * QUIET) * SCALE;
    let picture =
        GrayImage::from_fn(size, size, |x, y| Luma([if is_dark(&code, x / SCALE, y / SCALE) { 0 } else { 255 }]));
    let saved = picture.save_with_format(path, image::ImageFormat::Png);
    saved.map_err(|error| Error::File { path: path.to_owned(), source: std::io::Error::other(error) })
}

/// Reads the text of the QR code in a picture: a PNG, or a JPEG as cameras make them.
///
/// # Errors
/// [`Error::File`]; [`Error::NotFound`] if there is no QR code in it that can be read.
pub fn read_picture(path: &Path) -> Result<String> {
    let failed =
        |error: image::ImageError| Error::File { path: path.to_owned(), source: std::io::Error::other(error) };
    let reader = image::ImageReader::open(path).map_err(|source| Error::File { path: path.to_owned(), source })?;
    let reader = reader.with_guessed_format().map_err(|source| Error::File { path: path.to_owned(), source })?;
    let picture = reader.decode().map_err(failed)?.into_luma8();
    let (width, height) = (size(picture.width()), size(picture.height()));
    let pixel = |x: usize, y: usize| {
        let place = (u32::try_from(x), u32::try_from(y));
        if let (Ok(x), Ok(y)) = place { picture.get_pixel(x, y).0[0] } else { 255 }
    };
    let mut prepared = rqrr::PreparedImage::prepare_from_greyscale(width, height, pixel);
    let texts = prepared.detect_grids().into_iter().filter_map(|grid| grid.decode().ok());
    let found = texts.map(|(_, text)| text).next();
    found.ok_or_else(|| {
        Error::NotFound(format!(
            "there is no readable QR code in {}; take the picture straight and sharp",
            path.display()
        ))
    })
}

fn code(text: &str) -> Result<QrCode> {
    let made = QrCode::with_error_correction_level(text, EcLevel::M);
    made.map_err(|_| Error::Usage("this is too long for a QR code".to_owned()))
}

fn side(code: &QrCode) -> u32 {
    u32::try_from(code.width()).unwrap_or(0)
}

fn size(pixels: u32) -> usize {
    usize::try_from(pixels).unwrap_or(0)
}

/// Tells whether a module is dark, counted with the quiet zone.
fn is_dark(code: &QrCode, x: u32, y: u32) -> bool {
    let inside = QUIET..QUIET + side(code);
    inside.contains(&x) && inside.contains(&y) && code[(size(x - QUIET), size(y - QUIET))] == Color::Dark
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_is_read_as_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("code.png");
        let text = "countersign:join?version=1&server=http%3A%2F%2F127.0.0.1%3A8080&organization=6f1c2e5a-0c1d-4e8b-9a53-0e4a7d1f2b3c";
        write_picture(text, &path).unwrap();
        assert_eq!(read_picture(&path).unwrap(), text);
        assert!(matches!(read_picture(&folder.path().join("none.png")), Err(Error::File { .. })));
    }

    #[test]
    fn a_terminal_gets_a_square_with_its_quiet_zone() {
        let drawn = for_terminal("hello").unwrap();
        let lines: Vec<usize> = drawn.lines().map(|line| line.chars().count()).collect();
        assert!(lines.iter().all(|length| *length == 21 + 8));
        assert_eq!(lines.len(), 15);
    }
}
