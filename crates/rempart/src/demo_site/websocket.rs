//! WebSocket for the demo's site: the handshake and an echo (RFC 6455).
//!
//! Each frame goes back as it came, fragments too. No extensions, no subprotocols, no UTF-8 check: the
//! visitor gets its own bytes. Called by [`super`].

use std::io;

use aws_lc_rs::digest::{SHA1_FOR_LEGACY_USE_ONLY, digest};
use http1::RequestHead;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

use super::{READ_BYTES, asks_for_websocket, field};

/// Payload of one frame: it is held whole to be sent back.
const FRAME_BYTES_MAX: u64 = 1024 * 1024;

/// Payload of a control frame (RFC 6455 §5.5).
const CONTROL_BYTES_MAX: u64 = 125;

const PING: u8 = 0x9;
const PONG: u8 = 0xa;
const CLOSE: u8 = 0x8;

/// Close codes (RFC 6455 §7.4.1).
const PROTOCOL_ERROR: u16 = 1002;
const TOO_BIG: u16 = 1009;

/// Gives the value of `Sec-WebSocket-Accept` (RFC 6455 §4.2.2); `None` when the request is no handshake.
pub(super) fn accept(head: &RequestHead, text: &[u8]) -> Option<String> {
    let key = field(head, text, b"sec-websocket-key")?;
    let is_version = field(head, text, b"sec-websocket-version")? == b"13";
    // 16 bytes in base64 are 24 characters.
    (asks_for_websocket(head, text) && is_version && key.len() == 24).then(|| accept_value(key))
}

fn accept_value(key: &[u8]) -> String {
    let joined = [key, b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"].concat();
    base64(digest(&SHA1_FOR_LEGACY_USE_ONLY, &joined).as_ref())
}

/// Writes bytes in base64 with padding (RFC 4648 §4).
fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let byte = |index: usize| u32::from(group.get(index).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            // Six bits index 64 letters.
            let letter = LETTERS[(bits >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= group.len() { char::from(letter) } else { '=' });
        }
    }
    text
}

/// One frame's head.
struct Frame {
    first: u8,
    mask: [u8; 4],
    length: u64,
}

/// Echoes frames until one side closes. `buffer` holds bytes that came with the handshake.
pub(super) async fn echo<Stream>(mut stream: Stream, mut buffer: Vec<u8>) -> io::Result<()>
where
    Stream: AsyncRead + AsyncWrite + Unpin,
{
    loop {
        let (frame, start) = loop {
            match parse(&buffer) {
                Ok(Some(found)) => break found,
                Ok(None) => {}
                Err(code) => return close(&mut stream, code).await,
            }
            if read_more(&mut stream, &mut buffer).await? == 0 {
                return Ok(());
            }
        };
        // At most FRAME_BYTES_MAX, checked by `parse`.
        let end = start + frame.length as usize;
        while buffer.len() < end {
            if read_more(&mut stream, &mut buffer).await? == 0 {
                return Ok(());
            }
        }
        let mut payload: Vec<u8> = buffer.drain(..end).skip(start).collect();
        payload.iter_mut().zip(frame.mask.iter().cycle()).for_each(|(byte, mask)| *byte ^= mask);
        match frame.first & 0xf {
            PING => send(&mut stream, 0x80 | PONG, &payload).await?,
            PONG => {}
            CLOSE => {
                send(&mut stream, 0x80 | CLOSE, &payload).await?;
                return stream.shutdown().await;
            }
            _ => send(&mut stream, frame.first, &payload).await?,
        }
    }
}

async fn read_more(stream: &mut (impl AsyncRead + Unpin), buffer: &mut Vec<u8>) -> io::Result<usize> {
    buffer.reserve(READ_BYTES);
    stream.read_buf(buffer).await
}

/// Reads a frame's head (RFC 6455 §5.2) and where its payload starts; `None` needs more bytes, an error is
/// the code to close with.
fn parse(buffer: &[u8]) -> Result<Option<(Frame, usize)>, u16> {
    let Some((&[first, second], rest)) = buffer.split_first_chunk::<2>() else { return Ok(None) };
    let is_reserved = first & 0x70 != 0 || matches!(first & 0xf, 0x3..=0x7 | 0xb..=0xf);
    if is_reserved || second & 0x80 == 0 {
        return Err(PROTOCOL_ERROR);
    }
    let (length, rest) = match second & 0x7f {
        126 => match rest.split_first_chunk::<2>() {
            Some((bytes, rest)) => (u64::from(u16::from_be_bytes(*bytes)), rest),
            None => return Ok(None),
        },
        127 => match rest.split_first_chunk::<8>() {
            Some((bytes, rest)) => (u64::from_be_bytes(*bytes), rest),
            None => return Ok(None),
        },
        short => (u64::from(short), rest),
    };
    let is_control = first & 0x8 != 0;
    if is_control && (length > CONTROL_BYTES_MAX || first & 0x80 == 0) {
        return Err(PROTOCOL_ERROR);
    }
    if length > FRAME_BYTES_MAX {
        return Err(TOO_BIG);
    }
    let Some((mask, rest)) = rest.split_first_chunk::<4>() else { return Ok(None) };
    Ok(Some((Frame { first, mask: *mask, length }, buffer.len() - rest.len())))
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), first: u8, payload: &[u8]) -> io::Result<()> {
    let mut out = Vec::with_capacity(payload.len() + 10);
    out.push(first);
    match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
        (Ok(short), _) if short < 126 => out.push(short),
        (_, Ok(middle)) => {
            out.push(126);
            out.extend_from_slice(&middle.to_be_bytes());
        }
        _ => {
            out.push(127);
            out.extend_from_slice(&(payload.len() as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(payload);
    stream.write_all(&out).await
}

async fn close(stream: &mut (impl AsyncWrite + Unpin), code: u16) -> io::Result<()> {
    send(stream, 0x80 | CLOSE, &code.to_be_bytes()).await?;
    stream.shutdown().await
}

#[cfg(test)]
mod tests {
    use tokio::io::duplex;

    use super::*;

    fn masked(first: u8, payload: &[u8]) -> Vec<u8> {
        let mask = [1, 2, 3, 4];
        let mut frame = vec![first];
        if payload.len() < 126 {
            frame.push(0x80 | payload.len() as u8);
        } else {
            frame.push(0x80 | 126);
            frame.extend((payload.len() as u16).to_be_bytes());
        }
        frame.extend(mask);
        frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
        frame
    }

    /// Sends bytes, ends, and gives all that came back.
    async fn exchange(sent: Vec<u8>) -> Vec<u8> {
        let (mut visitor, site) = duplex(1 << 20);
        visitor.write_all(&sent).await.unwrap();
        visitor.shutdown().await.unwrap();
        echo(site, Vec::new()).await.unwrap();
        let mut back = Vec::new();
        visitor.read_to_end(&mut back).await.unwrap();
        back
    }

    #[test]
    fn the_accept_value_is_that_of_the_rfc() {
        // RFC 6455 §1.3.
        assert_eq!(accept_value(b"dGhlIHNhbXBsZSBub25jZQ=="), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn base64_pads_as_in_the_rfc() {
        // RFC 4648 §10.
        for (bytes, text) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
            ("fooba", "Zm9vYmE="),
        ] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[tokio::test(flavor = "current_thread")]
    async fn frames_come_back_unmasked_and_pings_as_pongs() {
        let long = vec![b'x'; 300];
        let mut sent = masked(0x81, b"hello");
        sent.extend(masked(0x89, b"p"));
        sent.extend(masked(0x82, &long));
        let mut expected = vec![0x81, 5];
        expected.extend(b"hello");
        expected.extend([0x8a, 1, b'p', 0x82, 126, 1, 44]);
        expected.extend(&long);
        assert_eq!(exchange(sent).await, expected);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn a_close_is_answered_and_ends_the_echo() {
        let mut sent = masked(0x88, &1000u16.to_be_bytes());
        sent.extend(masked(0x81, b"too late"));
        assert_eq!(exchange(sent).await, [0x88, 2, 3, 232]);
    }

    #[tokio::test(flavor = "current_thread")]
    async fn hostile_frames_are_closed_with_their_code() {
        let unmasked = vec![0x81, 1, b'x'];
        let reserved = masked(0xc1, b"x");
        let long_ping = masked(0x89, &[0; 126]);
        for sent in [unmasked, reserved, long_ping] {
            assert_eq!(exchange(sent).await, [0x88, 2, 3, 234]);
        }
        let mut huge = vec![0x82, 0xff];
        huge.extend(u64::MAX.to_be_bytes());
        assert_eq!(exchange(huge).await, [0x88, 2, 3, 241]);
    }
}
