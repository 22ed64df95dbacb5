//! Content codings undone: what a visitor makes of a body that says `Content-Encoding`.
//!
//! The decoders are those that everybody uses, of packages whose encoders the product has; that others read
//! the same is what the scripts of curl and of browsers' libraries are for. Called by tests. Read next:
//! [`decoded`].

use std::io::Read;

use anyhow::{Result, bail, ensure};

/// A whole body undone, by the name in its `Content-Encoding`; none for what is uncoded.
///
/// # Errors
/// When it is another coding, or the body is broken or cut off.
pub fn decoded(coding: Option<&str>, body: &[u8]) -> Result<Vec<u8>> {
    let (bytes, is_whole) = front(coding, body)?;
    ensure!(is_whole, "the body is cut off after {} bytes", bytes.len());
    Ok(bytes)
}

/// What can be read of the front of a body, and whether that is all of it.
///
/// # Errors
/// When it is another coding.
pub fn front(coding: Option<&str>, body: &[u8]) -> Result<(Vec<u8>, bool)> {
    let mut reader: Box<dyn Read + '_> = match coding {
        None => Box::new(body),
        Some("gzip") => Box::new(flate2::read::GzDecoder::new(body)),
        Some("br") => Box::new(brotli::Decompressor::new(body, 4096)),
        Some("zstd") => Box::new(zstd::stream::read::Decoder::new(body)?),
        Some(other) => bail!("the coding {other:?} is unknown"),
    };
    let (mut bytes, mut part) = (Vec::new(), [0; 4096]);
    loop {
        match reader.read(&mut part) {
            Ok(0) => return Ok((bytes, true)),
            Ok(count) => bytes.extend(part.iter().take(count)),
            Err(_) => return Ok((bytes, false)),
        }
    }
}
