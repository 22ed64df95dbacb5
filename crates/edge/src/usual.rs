//! What is usual for the watched zones, as bytes that outlive the process.
//!
//! A line that names the form, the number of zones, then each zone's id and what its watch keeps, and a sum
//! over all that. Whoever writes the bytes down and reads them is the binary. Bytes that are damaged are
//! refused as a whole; what does not fit one zone is passed over, and that zone learns anew. Read next:
//! `flood`'s `kept.rs`.

use flood::Unusable;

use crate::node::Node;

const FORM: &[u8] = b"rempart usual 1\n";

/// Most bytes of it: 64 zones with some 260 KiB each, or 256 with an eighth.
pub const USUAL_BYTES_MAX: usize = 24 * 1024 * 1024;

/// Seconds after which that time begins anew, 34 years: limits count in 70. What is kept is forgotten then.
const ERA_S: u64 = 1 << 30;

/// What came of taking it over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Adopted {
    /// Zones that know from now on what is usual.
    pub zones: usize,
    /// Zones that do not, though it was kept of them, and why the first of these does not.
    pub passed_over: usize,
    /// See [`Adopted::passed_over`].
    pub why: Option<&'static str>,
}

/// FNV-1a: finds what a disk damages, and is no proof of who wrote it.
fn sum(bytes: &[u8]) -> u64 {
    let step = |sum: u64, byte: &u8| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, step)
}

/// Takes bytes off the front.
fn split<'a>(from: &mut &'a [u8], count: usize) -> Option<&'a [u8]> {
    let (front, rest) = from.split_at_checked(count)?;
    *from = rest;
    Some(front)
}

fn number(from: &mut &[u8]) -> Option<usize> {
    let bytes = split(from, 4)?.first_chunk()?;
    usize::try_from(u32::from_le_bytes(*bytes)).ok()
}

/// The zones' ids and what was kept of each; none if it is damaged.
fn parse(bytes: &[u8]) -> Option<Vec<([u8; 16], &[u8])>> {
    let (whole, told) = bytes.split_last_chunk::<8>()?;
    let mut from = whole.strip_prefix(FORM)?;
    if sum(whole) != u64::from_le_bytes(*told) {
        return None;
    }
    let count = number(&mut from)?;
    let mut zones = Vec::new();
    for _ in 0..count {
        let id = *split(&mut from, 16)?.first_chunk()?;
        let length = number(&mut from)?;
        zones.push((id, split(&mut from, length)?));
    }
    from.is_empty().then_some(zones)
}

impl Node {
    /// The time that floods are watched by, in milliseconds: by the calendar as it was when the process
    /// began, and never stepping, so that what is kept means the same to the next process.
    /// `now_us` is of the node's clock.
    pub(crate) fn flood_ms(&self, now_us: u64) -> u64 {
        let began_s = self.started_unix_us() / 1_000_000 % ERA_S;
        began_s.saturating_mul(1_000).saturating_add(now_us / 1_000)
    }

    /// The same at this moment, in seconds.
    pub(crate) fn flood_s(&self) -> u64 {
        self.flood_ms(self.clock().now_us()) / 1_000
    }

    /// What is usual for the zones that are watched and known, to be given to a later process
    /// ([`Node::adopt_usual`]), and how many these are; no bytes where there is none. At most
    /// [`USUAL_BYTES_MAX`].
    #[must_use]
    pub fn keep_usual(&self) -> (Vec<u8>, usize) {
        let (live, now_s) = (self.live(), self.flood_s());
        let (mut zones, mut count) = (Vec::new(), 0_u32);
        for site in &live.sites {
            let Some(flood) = &site.flood else { continue };
            let kept = flood.keep(now_s);
            if !kept.is_empty() {
                count += 1;
                zones.extend(site.zone.id.0);
                zones.extend(u32::try_from(kept.len()).unwrap_or(0).to_le_bytes());
                zones.extend(kept);
            }
        }
        if count == 0 {
            return (Vec::new(), 0);
        }
        let mut whole = [FORM, &count.to_le_bytes(), &zones].concat();
        whole.extend(sum(&whole).to_le_bytes());
        (whole, count as usize)
    }

    /// Takes over what an earlier process kept, for the zones that are not known yet. None where the bytes
    /// are damaged, or none that [`Node::keep_usual`] gives; then nothing is taken over.
    pub fn adopt_usual(&self, bytes: &[u8]) -> Option<Adopted> {
        let kept = parse(bytes)?;
        let (live, now_s) = (self.live(), self.flood_s());
        let mut adopted = Adopted::default();
        for (id, kept) in kept {
            let site = live.sites.iter().find(|site| site.zone.id.0 == id);
            let Some(flood) = site.and_then(|site| site.flood.as_ref()) else { continue };
            match flood.adopt(kept, now_s) {
                Ok(is_new) => adopted.zones += usize::from(is_new),
                Err(why) => {
                    adopted.passed_over += 1;
                    adopted.why.get_or_insert(Unusable::as_str(why));
                }
            }
        }
        Some(adopted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn whole(zones: &[(u8, &[u8])]) -> Vec<u8> {
        let mut whole = [FORM, &(zones.len() as u32).to_le_bytes()].concat();
        for (id, kept) in zones {
            whole.extend([*id; 16]);
            whole.extend((kept.len() as u32).to_le_bytes());
            whole.extend(*kept);
        }
        let sum = sum(&whole);
        whole.extend(sum.to_le_bytes());
        whole
    }

    #[test]
    fn zones_come_back_as_they_were_written() {
        let bytes = whole(&[(1, b"one"), (2, b"")]);
        assert_eq!(parse(&bytes), Some(vec![([1; 16], &b"one"[..]), ([2; 16], &b""[..])]));
        assert_eq!(parse(&whole(&[])), Some(vec![]));
    }

    #[test]
    fn what_is_damaged_cut_short_or_something_else_is_refused() {
        let bytes = whole(&[(1, b"one"), (2, b"two")]);
        for length in 0..bytes.len() {
            assert_eq!(parse(&bytes[..length]), None, "{length}");
        }
        for at in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert_eq!(parse(&damaged), None, "{at}");
        }
        let mut lying = [FORM, &u32::MAX.to_le_bytes()].concat();
        lying.extend(sum(&lying.clone()).to_le_bytes());
        assert_eq!(parse(&lying), None, "more zones than there are");
    }
}
