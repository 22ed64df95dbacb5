//! Messages of DNS (RFC 1035 §4): writes one question, and reads the answer to it.
//!
//! Pure: bytes in, bytes out. What it does not do: it sends nothing, keeps nothing, follows no reference to
//! another server, and reads no records but the addresses of the name asked for and the aliases on the way to
//! them. Anybody who can forge a packet may write what is read here, so nothing is believed that does not fit
//! the question. Called by `lookup.rs`. Read next: [`read_answer`].

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Largest name in its wire form, lengths and the empty root label included (RFC 1035 §2.3.4).
const NAME_BYTES_MAX: usize = 255;

/// Largest label (RFC 1035 §2.3.4).
const LABEL_BYTES_MAX: usize = 63;

/// Jumps that one compressed name may take. Jumps go backwards only and so end anyway; this bounds the work.
const JUMPS_MAX: usize = 16;

/// Aliases followed from the name asked for; public resolvers give up at 8 to 16.
const ALIASES_MAX: usize = 12;

/// Records of an answer that are looked at: an answer over UDP has at most some 30, and more addresses than
/// this would never be tried.
const RECORDS_MAX: usize = 128;

const HEADER_BYTES: usize = 12;
const IS_ANSWER: u16 = 0x8000;
const IS_TRUNCATED: u16 = 0x0200;
const WANTS_RECURSION: u16 = 0x0100;
const KIND_OF_MESSAGE: u16 = 0x7800;
const CLASS_IN: u16 = 1;
const TYPE_CNAME: u16 = 5;

/// The family of addresses asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// A records (RFC 1035 §3.4.1).
    V4,
    /// AAAA records (RFC 3596 §2.1).
    V6,
}

impl Family {
    fn code(self) -> u16 {
        match self {
            Self::V4 => 1,
            Self::V6 => 28,
        }
    }
}

/// A name in wire form and lower case: labels with their lengths before them, ended by an empty one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DnsName(Vec<u8>);

impl DnsName {
    /// Reads a name as people write it, with or without the last dot. None if a label is empty or longer than
    /// 63 bytes, or the whole is longer than 255: such a name cannot exist. No escapes.
    pub fn of(text: &str) -> Option<Self> {
        let text = text.strip_suffix('.').unwrap_or(text);
        let mut wire = Vec::with_capacity(text.len() + 2);
        for label in text.split('.') {
            if label.is_empty() || label.len() > LABEL_BYTES_MAX {
                return None;
            }
            wire.push(label.len() as u8);
            wire.extend(label.bytes().map(|byte| byte.to_ascii_lowercase()));
        }
        wire.push(0);
        (wire.len() <= NAME_BYTES_MAX).then_some(Self(wire))
    }
}

/// What a server says to a question.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Addresses of the family asked for, in the order of the message, at most 128. Empty with
    /// [`Outcome::Complete`] means that there are none: no such name, or none of this family.
    pub addresses: Vec<IpAddr>,
    /// The lowest TTL on the way to the addresses, aliases included, in seconds; 0 where there are none.
    pub ttl_s: u32,
    /// How much the answer is worth.
    pub outcome: Outcome,
}

/// How much an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is the whole answer.
    Complete,
    /// It did not fit into a datagram and has to be asked for over TCP (RFC 7766 §5).
    Truncated,
    /// The server cannot or will not say (SERVFAIL, REFUSED and the like); another may.
    Failed,
}

/// Why bytes are no answer to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoAnswer {
    /// They answer something else, or are no answer at all: a late or a forged one. The answer may yet come.
    NotToThis,
    /// They answer the question and break the grammar.
    Broken,
}

/// Writes the question for the addresses of a name, 17 to 271 bytes, that asks for recursion.
///
/// Without EDNS: an answer of more than 512 bytes is asked for again over TCP, which every server knows.
pub fn write_question(id: u16, name: &DnsName, family: Family) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + name.0.len() + 4);
    for number in [id, WANTS_RECURSION, 1, 0, 0, 0] {
        out.extend_from_slice(&number.to_be_bytes());
    }
    out.extend_from_slice(&name.0);
    out.extend_from_slice(&family.code().to_be_bytes());
    out.extend_from_slice(&CLASS_IN.to_be_bytes());
    out
}

/// Bytes being read, front to back. Names need the whole message, for they point backwards.
struct Reader<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let taken = self.message.get(self.at..end)?;
        self.at = end;
        Some(taken)
    }

    fn u16(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(self.take(2)?.try_into().ok()?))
    }

    fn u32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    /// A name, compressed or not (RFC 1035 §4.1.4), in lower case. Jumps lead before the part they leave.
    fn name(&mut self) -> Option<DnsName> {
        let mut wire = Vec::new();
        let (mut at, mut part, mut jumps, mut end) = (self.at, self.at, 0, None);
        loop {
            let length = *self.message.get(at)?;
            match length {
                0 => {
                    wire.push(0);
                    self.at = end.unwrap_or(at + 1);
                    return (wire.len() <= NAME_BYTES_MAX).then_some(DnsName(wire));
                }
                1..=0x3f => {
                    let label = self.message.get(at + 1..at + 1 + usize::from(length))?;
                    wire.push(length);
                    wire.extend(label.iter().map(u8::to_ascii_lowercase));
                    if wire.len() > NAME_BYTES_MAX {
                        return None;
                    }
                    at += 1 + label.len();
                }
                0xc0..=0xff => {
                    let low = *self.message.get(at + 1)?;
                    end = end.or(Some(at + 2));
                    at = usize::from(length & 0x3f) << 8 | usize::from(low);
                    jumps += 1;
                    if at >= part || jumps > JUMPS_MAX {
                        return None;
                    }
                    part = at;
                }
                _ => return None, // reserved
            }
        }
    }
}

/// A record that matters here.
enum Record {
    Alias { owner: DnsName, to: DnsName, ttl_s: u32 },
    Address { owner: DnsName, address: IpAddr, ttl_s: u32 },
}

impl Record {
    /// The next record; the outer none if it breaks the grammar, the inner if it is of another kind.
    fn read(reader: &mut Reader<'_>, family: Family) -> Option<Option<Self>> {
        let owner = reader.name()?;
        let (kind, class, ttl_s) = (reader.u16()?, reader.u16()?, reader.u32()?);
        // A TTL with the top bit set counts as 0 (RFC 2181 §8).
        let ttl_s = if ttl_s > i32::MAX as u32 { 0 } else { ttl_s };
        let length = usize::from(reader.u16()?);
        let begin = reader.at;
        let content = reader.take(length)?;
        if class != CLASS_IN {
            return Some(None);
        }
        if kind == TYPE_CNAME {
            let mut inside = Reader { message: reader.message, at: begin };
            let to = inside.name()?;
            return (inside.at == reader.at).then_some(Some(Self::Alias { owner, to, ttl_s }));
        }
        if kind != family.code() {
            return Some(None);
        }
        let address = match family {
            Family::V4 => Ipv4Addr::from(<[u8; 4]>::try_from(content).ok()?).into(),
            Family::V6 => Ipv6Addr::from(<[u8; 16]>::try_from(content).ok()?).into(),
        };
        Some(Some(Self::Address { owner, address, ttl_s }))
    }
}

/// Reads the answer to the question that [`write_question`] wrote with the same arguments.
///
/// Only addresses that belong to the name, directly or by aliases within the message, are taken. A truncated
/// answer may hold some and is read as far as it goes.
///
/// # Errors
///
/// [`NoAnswer::NotToThis`] if id, question or direction differ; [`NoAnswer::Broken`] if what follows cannot
/// be read, or its aliases go round in circles.
pub fn read_answer(message: &[u8], id: u16, name: &DnsName, family: Family) -> Result<Answer, NoAnswer> {
    let (flags, records, mut reader) = head(message, id, name, family).ok_or(NoAnswer::NotToThis)?;
    let is_truncated = flags & IS_TRUNCATED != 0;
    let outcome = match flags & 0xf {
        // No error, and NXDOMAIN (RFC 1035 §4.1.1): there may be aliases before a name that is not.
        0 | 3 if is_truncated => Outcome::Truncated,
        0 | 3 => Outcome::Complete,
        _ => return Ok(Answer { addresses: Vec::new(), ttl_s: 0, outcome: Outcome::Failed }),
    };
    let mut found = Vec::new();
    for _ in 0..records.min(RECORDS_MAX) {
        match Record::read(&mut reader, family) {
            Some(record) => found.extend(record),
            None if is_truncated => break,
            None => return Err(NoAnswer::Broken),
        }
    }
    let (mut at, mut ttl_s, mut aliases) = (name, u32::MAX, 0);
    // Aliases come in any order. Of two for one name the first counts.
    let alias_of = |name: &DnsName| {
        found.iter().find_map(|record| match record {
            Record::Alias { owner, to, ttl_s } if owner == name => Some((to, *ttl_s)),
            _ => None,
        })
    };
    while let Some((to, alias_ttl_s)) = alias_of(at) {
        (at, ttl_s, aliases) = (to, ttl_s.min(alias_ttl_s), aliases + 1);
        if aliases > ALIASES_MAX {
            return Err(NoAnswer::Broken);
        }
    }
    let mut addresses = Vec::new();
    for record in &found {
        match record {
            Record::Address { owner, address, ttl_s: own_ttl_s } if owner == at => {
                addresses.push(*address);
                ttl_s = ttl_s.min(*own_ttl_s);
            }
            _ => {}
        }
    }
    Ok(Answer { ttl_s: if addresses.is_empty() { 0 } else { ttl_s }, addresses, outcome })
}

/// Flags, count of records in the answer section, and a reader at their begin; none if this is not the answer
/// to the question.
fn head<'a>(message: &'a [u8], id: u16, name: &DnsName, family: Family) -> Option<(u16, usize, Reader<'a>)> {
    let mut reader = Reader { message, at: 0 };
    let its_id = reader.u16()?;
    let flags = reader.u16()?;
    let (questions, records) = (reader.u16()?, reader.u16()?);
    reader.take(4)?;
    let is_answer = flags & IS_ANSWER != 0 && flags & KIND_OF_MESSAGE == 0;
    if its_id != id || !is_answer || questions != 1 {
        return None;
    }
    let is_same = reader.name()? == *name && reader.u16()? == family.code() && reader.u16()? == CLASS_IN;
    is_same.then_some((flags, usize::from(records), reader))
}

#[cfg(test)]
mod tests;
