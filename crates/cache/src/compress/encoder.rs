//! Encoders: values fed with chunks, one for each coding, that give what is ready.
//!
//! A stream is flushed when its origin pauses, so that what was sent is read; a body that is stored is fed
//! whole and made smaller with more work. Whoever feeds bounds the work by the size of what it feeds:
//! [`STEP_BYTES`].

use std::io::Write;

use zstd::zstd_safe::CParameter;

use super::accept::Coding;

/// Bytes to feed at once on a serving thread.
///
/// Encoders gather what they are fed and work on it in blocks, so one step may cost several others' share:
/// on source text (a noisy machine of 2026) a step took 0.1 ms in the mean and up to 0.3 (gzip 3), 0.6
/// (brotli 2) and 0.7 ms (zstd 3). Smaller steps do not help; what is long and often asked for is coded off
/// the serving threads.
pub const STEP_BYTES: usize = 16 * 1024;

/// For whom a body is coded: how far back an encoder looks, and by [`Levels`] how hard it works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effort {
    /// For one visitor, who waits.
    Streaming,
    /// Once for many visitors, off the serving threads.
    Stored,
}

/// A level for each coding.
///
/// The defaults, on source text, with compressed size and MB/s: while a visitor waits gzip 3 (0.293 at 110),
/// brotli 2 (0.292 at 85), zstd 3 (0.287 at 200), beyond which the next percent costs twice the time; for
/// what is stored gzip 6 (0.279 at 35), brotli 5 and zstd 9, beyond which memory and time double for one
/// percent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Levels {
    /// 1 to 19.
    pub zstd: u8,
    /// 0 to 11.
    pub brotli: u8,
    /// 1 to 9.
    pub gzip: u8,
}

impl Levels {
    /// The usual ones.
    pub fn of(effort: Effort) -> Self {
        match effort {
            Effort::Streaming => Self { zstd: 3, brotli: 2, gzip: 3 },
            Effort::Stored => Self { zstd: 9, brotli: 5, gzip: 6 },
        }
    }

    /// That of a coding.
    pub fn level(&self, coding: Coding) -> u8 {
        match coding {
            Coding::Zstd => self.zstd,
            Coding::Brotli => self.brotli,
            Coding::Gzip => self.gzip,
        }
    }
}

/// Bits of the window an encoder looks back in: 2^18 keeps an encoder for one visitor near 1 MiB; 2^20 is
/// worth it once for a stored body that is known to fill it. Decoders in browsers take up to 2^23 (RFC 8878
/// §3.1.1.1.2).
fn window_bits(effort: Effort, body_bytes: Option<u64>) -> u32 {
    let bits_max = match (effort, body_bytes) {
        (Effort::Stored, Some(_)) => 20,
        (Effort::Streaming, _) | (Effort::Stored, None) => 18,
    };
    body_bytes.map_or(bits_max, |bytes| bits_max.min(64 - bytes.max(1024).leading_zeros()))
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
    /// An encoder for one body, at a level of the coding's own. `body_bytes` is its length if it is known: a
    /// small body gets a small window.
    ///
    /// # Errors
    ///
    /// [`EncoderFailed`] when there is no memory for it.
    pub fn new(
        coding: Coding,
        effort: Effort,
        level: u8,
        body_bytes: Option<u64>,
    ) -> Result<Self, EncoderFailed> {
        let bits = window_bits(effort, body_bytes);
        Ok(Self(match coding {
            Coding::Gzip => {
                let level = flate2::Compression::new(u32::from(level.min(9)));
                Engine::Gzip(flate2::write::GzEncoder::new(Vec::new(), level))
            }
            Coding::Brotli => {
                let quality = u32::from(level.min(11));
                let writer = brotli::CompressorWriter::new(Vec::new(), 4096, quality, bits);
                Engine::Brotli(Box::new(writer))
            }
            Coding::Zstd => {
                let level = i32::from(level.clamp(1, 19));
                let mut encoder =
                    zstd::stream::write::Encoder::new(Vec::new(), level).map_err(|_| EncoderFailed)?;
                encoder.window_log(bits).map_err(|_| EncoderFailed)?;
                match body_bytes {
                    Some(bytes) => encoder.set_pledged_src_size(Some(bytes)),
                    // Of a body of no known length it makes tables as for the longest: 48 MiB at level 12.
                    None if level >= 5 => encoder
                        .set_parameter(CParameter::HashLog(bits + 1))
                        .and_then(|()| encoder.set_parameter(CParameter::ChainLog(bits))),
                    None => Ok(()),
                }
                .map_err(|_| EncoderFailed)?;
                Engine::Zstd(encoder)
            }
        }))
    }

    /// About the bytes that an encoder holds while it works, to charge it by; rounded up from what was
    /// measured (`--example encoders`).
    pub fn memory_bytes(coding: Coding, effort: Effort, level: u8, body_bytes: Option<u64>) -> u64 {
        const KIB: u64 = 1024;
        let bits = window_bits(effort, body_bytes);
        match coding {
            Coding::Gzip => 512 * KIB,
            Coding::Brotli => {
                let tables = match level {
                    0..=3 => 512,
                    4 => 2304,
                    5 => 3072,
                    6..=7 => 11 * KIB,
                    8..=9 => 37 * KIB,
                    _ => 24 * KIB,
                };
                tables * KIB + (4 << bits)
            }
            // Two tables of at most twice the window's places, the window itself, and two buffers.
            Coding::Zstd => {
                let tables = if level < 5 { 1024 * KIB } else { 16 << bits };
                tables.min(16 << bits) + (1 << bits) + 384 * KIB
            }
        }
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
        let level = Levels::of(effort).level(coding);
        let mut encoder = Encoder::new(coding, effort, level, length).expect("there is memory");
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
            let mut encoder = Encoder::new(coding, Effort::Streaming, 3, None).expect("there is memory");
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
