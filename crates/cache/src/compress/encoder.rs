//! Encoders: values fed with chunks, one for each coding, that give what is ready.
//!
//! A stream is flushed when its origin pauses, so that what was sent is read; a body that is stored is fed
//! whole and made smaller with more work. Whoever feeds bounds the work by the size of what it feeds:
//! [`STEP_BYTES`].

use std::io::Write;

use super::accept::Coding;

/// Bytes to feed at once on a serving thread.
///
/// Encoders gather what they are fed and work on it in blocks, so one step may cost several others' share:
/// on source text (a noisy machine of 2026) a step took 0.1 ms in the mean and up to 0.3 (gzip 3), 0.6
/// (brotli 2) and 0.7 ms (zstd 3). Smaller steps do not help; what is long and often asked for is coded off
/// the serving threads.
pub const STEP_BYTES: usize = 16 * 1024;

/// How much work a coding is worth.
///
/// On the same text, compressed size and MB/s: gzip 3 0.293 at 110, gzip 6 0.279 at 35; brotli 2 0.292 at
/// 85, brotli 4 0.279 at 27, brotli 7 0.253 at 8; zstd 3 0.287 at 200, zstd 12 0.257 at 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// While the visitor waits: gzip 3, brotli 2, zstd 3. Beyond these the next percent costs twice the time.
    Streaming,
    /// Once for many visitors, off the serving threads: gzip 6, brotli 7, zstd 12.
    Stored,
}

/// Bits of the window an encoder looks back in. 2^18 keeps an encoder near 1 MiB; 2^20 is worth it once for
/// a stored body. Decoders in browsers take up to 2^23 (RFC 8878 §3.1.1.1.2).
fn window_bits(effort: Effort) -> u32 {
    match effort {
        Effort::Streaming => 18,
        Effort::Stored => 20,
    }
}

/// An encoder. Dropped before [`Encoder::finish`], what it gave is cut off and no decoder takes it for whole.
pub struct Encoder(Engine);

enum Engine {
    Gzip(flate2::write::GzEncoder<Vec<u8>>),
    Brotli(Box<brotli::CompressorWriter<Vec<u8>>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl std::fmt::Debug for Encoder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match &self.0 {
            Engine::Gzip(_) => "Encoder(gzip)",
            Engine::Brotli(_) => "Encoder(br)",
            Engine::Zstd(_) => "Encoder(zstd)",
        })
    }
}

/// The encoder could not be made, or went wrong: memory, in practice. The answer is sent uncoded if its
/// head is not out yet, else it ends as broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EncoderFailed;

impl std::fmt::Display for EncoderFailed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the encoder failed: send the answer uncoded")
    }
}

impl std::error::Error for EncoderFailed {}

impl Encoder {
    /// An encoder for one body. `body_bytes` is its length if it is known: a small body gets a small window.
    ///
    /// # Errors
    ///
    /// [`EncoderFailed`] when there is no memory for it.
    pub fn new(coding: Coding, effort: Effort, body_bytes: Option<u64>) -> Result<Self, EncoderFailed> {
        let is_stored = effort == Effort::Stored;
        let fits = body_bytes.map_or(window_bits(effort), |bytes| 64 - bytes.max(1024).leading_zeros());
        let bits = window_bits(effort).min(fits);
        Ok(Self(match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(if is_stored { 6 } else { 3 });
                Engine::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            Coding::Brotli => {
                let quality = if is_stored { 7 } else { 2 };
                let writer = brotli::CompressorWriter::new(Vec::new(), 4096, quality, bits);
                Engine::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let level = if is_stored { 12 } else { 3 };
                let mut encoder =
                    zstd::stream::write::Encoder::new(Vec::new(), level).map_err(|_| EncoderFailed)?;
                encoder.window_log(bits).map_err(|_| EncoderFailed)?;
                if let Some(bytes) = body_bytes {
                    encoder.set_pledged_src_size(Some(bytes)).map_err(|_| EncoderFailed)?;
                }
                Engine::Zstd(encoder)
            }
        }))
    }

    /// Feeds a chunk and appends what is ready to `out`; often nothing.
    ///
    /// # Errors
    ///
    /// [`EncoderFailed`]; also when more than the announced length is fed.
    pub fn push(&mut self, chunk: &[u8], out: &mut Vec<u8>) -> Result<(), EncoderFailed> {
        let fed = match &mut self.0 {
            Engine::Gzip(encoder) => encoder.write_all(chunk),
            Engine::Brotli(encoder) => encoder.write_all(chunk),
            Engine::Zstd(encoder) => encoder.write_all(chunk),
        };
        fed.map_err(|_| EncoderFailed)?;
        self.take(out);
        Ok(())
    }

    /// Appends everything that was fed so far in a form that decodes: when the origin pauses. It costs some
    /// bytes.
    ///
    /// # Errors
    ///
    /// [`EncoderFailed`].
    pub fn flush(&mut self, out: &mut Vec<u8>) -> Result<(), EncoderFailed> {
        let flushed = match &mut self.0 {
            Engine::Gzip(encoder) => encoder.flush(),
            Engine::Brotli(encoder) => encoder.flush(),
            Engine::Zstd(encoder) => encoder.flush(),
        };
        flushed.map_err(|_| EncoderFailed)?;
        self.take(out);
        Ok(())
    }

    /// Appends the rest; the body is whole.
    ///
    /// # Errors
    ///
    /// [`EncoderFailed`]; also when less than the announced length was fed.
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), EncoderFailed> {
        let rest = match self.0 {
            Engine::Gzip(encoder) => encoder.finish().map_err(|_| EncoderFailed)?,
            Engine::Brotli(encoder) => encoder.into_inner(),
            Engine::Zstd(encoder) => encoder.finish().map_err(|_| EncoderFailed)?,
        };
        out.extend_from_slice(&rest);
        Ok(())
    }

    /// Moves what is ready; the encoder's own buffer keeps its room.
    fn take(&mut self, out: &mut Vec<u8>) {
        let ready = match &mut self.0 {
            Engine::Gzip(encoder) => encoder.get_mut(),
            Engine::Brotli(encoder) => encoder.get_mut(),
            Engine::Zstd(encoder) => encoder.get_mut(),
        };
        out.append(ready);
    }
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use proptest::prelude::*;

    use super::*;

    fn decoded(coding: Coding, coded: &[u8]) -> std::io::Result<Vec<u8>> {
        let mut body = Vec::new();
        match coding {
            Coding::Gzip => flate2::read::GzDecoder::new(coded).read_to_end(&mut body)?,
            Coding::Brotli => brotli::Decompressor::new(coded, 4096).read_to_end(&mut body)?,
            Coding::Zstd => zstd::stream::read::Decoder::new(coded)?.read_to_end(&mut body)?,
        };
        Ok(body)
    }

    fn coded(coding: Coding, effort: Effort, chunks: &[&[u8]], length: Option<u64>) -> Vec<u8> {
        let mut encoder = Encoder::new(coding, effort, length).expect("there is memory");
        let mut out = Vec::new();
        for chunk in chunks {
            encoder.push(chunk, &mut out).expect("it takes everything");
        }
        encoder.finish(&mut out).expect("it ends");
        out
    }

    #[test]
    fn text_becomes_smaller_and_comes_back() {
        let text = "Where the origin thinks, the visitor waits. ".repeat(2000);
        for coding in Coding::ALL {
            for effort in [Effort::Streaming, Effort::Stored] {
                let length = Some(text.len() as u64);
                let small = coded(coding, effort, &[text.as_bytes()], length);
                assert!(small.len() < text.len() / 50, "{coding:?} {effort:?}: {}", small.len());
                assert_eq!(decoded(coding, &small).expect("it decodes"), text.as_bytes());
            }
        }
    }

    #[test]
    fn what_was_flushed_can_be_read_before_the_end() {
        for coding in Coding::ALL {
            let mut encoder = Encoder::new(coding, Effort::Streaming, None).expect("there is memory");
            let mut out = Vec::new();
            encoder.push(b"data: 1\n\n", &mut out).expect("it takes everything");
            encoder.flush(&mut out).expect("it flushes");
            let mut head = [0; 9];
            let read = match coding {
                Coding::Gzip => flate2::read::GzDecoder::new(&*out).read_exact(&mut head),
                Coding::Brotli => brotli::Decompressor::new(&*out, 4096).read_exact(&mut head),
                Coding::Zstd => {
                    zstd::stream::read::Decoder::new(&*out).and_then(|mut d| d.read_exact(&mut head))
                }
            };
            read.expect("nine bytes are there");
            assert_eq!(&head, b"data: 1\n\n", "{coding:?}");
        }
    }

    #[test]
    fn a_body_cut_off_is_not_taken_for_whole() {
        let text = b"some text that ends too early".repeat(100);
        for coding in Coding::ALL {
            let whole = coded(coding, Effort::Streaming, &[&text], None);
            assert!(decoded(coding, &whole[..whole.len() - 1]).is_err(), "{coding:?}");
        }
    }

    #[test]
    fn an_empty_body_is_a_whole_one() {
        for coding in Coding::ALL {
            let nothing = coded(coding, Effort::Streaming, &[], None);
            assert_eq!(decoded(coding, &nothing).expect("it decodes"), b"");
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_body_in_any_chunks_comes_back(
            chunks in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..3000), 0..5),
            place in 0usize..3, is_stored in any::<bool>(), is_announced in any::<bool>(),
        ) {
            let coding = Coding::ALL[place];
            let effort = if is_stored { Effort::Stored } else { Effort::Streaming };
            let whole = chunks.concat();
            let pieces: Vec<&[u8]> = chunks.iter().map(Vec::as_slice).collect();
            let length = is_announced.then_some(whole.len() as u64);
            let small = coded(coding, effort, &pieces, length);
            prop_assert_eq!(decoded(coding, &small).expect("it decodes"), whole);
        }
    }
}
