//! Writes small MMDB files (MaxMind DB format 2.0): what is known of addresses, for tests.
//!
//! A search tree of 24-bit records over 128 bits, IPv4 below `::/96`, and each entry's value behind it. It
//! joins nothing and points at nothing twice, so it is for dozens of entries, not for the world. Read next:
//! [`Mmdb`].

use std::net::IpAddr;

/// A value of the format.
#[derive(Clone, Debug)]
pub enum Value {
    /// A string of at most 284 bytes.
    Text(String),
    /// An unsigned integer of 32 bits.
    Number(u32),
    /// True or false.
    Bool(bool),
    /// A number of 64 bits with a fraction.
    Double(f64),
    /// Values; at most 28.
    List(Vec<Value>),
    /// Names and values; at most 28.
    Map(Vec<(String, Value)>),
}

impl Value {
    /// A string.
    pub fn text(text: &str) -> Value {
        Value::Text(text.to_owned())
    }

    /// Names and values.
    pub fn map<const N: usize>(pairs: [(&str, Value); N]) -> Value {
        Value::Map(pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect())
    }
}

/// A file in the making.
#[derive(Clone, Debug, Default)]
pub struct Mmdb {
    entries: Vec<(String, Value)>,
}

/// Where one side of a node leads.
#[derive(Clone, Copy)]
enum Side {
    Nowhere,
    Node(usize),
    Data(usize),
}

impl Mmdb {
    /// A file that knows nothing.
    pub fn new() -> Mmdb {
        Mmdb::default()
    }

    /// Adds what is known of a range, as `192.0.2.0/24`; ranges inside one another are not for this writer.
    #[must_use]
    pub fn entry(mut self, range: &str, value: Value) -> Mmdb {
        self.entries.push((range.to_owned(), value));
        self
    }

    /// The file.
    ///
    /// # Panics
    /// When a range cannot be read, or lies in or around another.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut nodes = vec![[Side::Nowhere; 2]];
        let mut data = Vec::new();
        for (range, value) in &self.entries {
            let (bits, length) = bits(range);
            let mut at = 0;
            for depth in 0..length {
                let side = usize::from(bits >> (127 - depth) & 1 == 1);
                let is_last = depth + 1 == length;
                match nodes[at][side] {
                    Side::Nowhere if is_last => nodes[at][side] = Side::Data(data.len()),
                    Side::Nowhere => {
                        nodes.push([Side::Nowhere; 2]);
                        nodes[at][side] = Side::Node(nodes.len() - 1);
                        at = nodes.len() - 1;
                    }
                    Side::Node(next) if !is_last => at = next,
                    _ => panic!("{range} lies in or around another range"),
                }
            }
            write(value, &mut data);
        }
        let mut file = Vec::new();
        for side in nodes.iter().flatten() {
            let record = match side {
                Side::Nowhere => nodes.len(),
                Side::Node(node) => *node,
                Side::Data(offset) => nodes.len() + 16 + offset,
            };
            file.extend_from_slice(&u32::try_from(record).expect("a small file").to_be_bytes()[1..]);
        }
        file.extend_from_slice(&[0; 16]);
        file.extend_from_slice(&data);
        file.extend_from_slice(b"\xAB\xCD\xEFMaxMind.com");
        metadata(nodes.len(), &mut file);
        file
    }
}

/// An address's 128 bits, and how many of them a range has.
fn bits(range: &str) -> (u128, u32) {
    let (address, length) = range.split_once('/').expect("a range has a length");
    let length: u32 = length.parse().expect("a length");
    match address.parse().expect("an address") {
        IpAddr::V4(v4) => (u128::from(v4.to_bits()), length + 96),
        IpAddr::V6(v6) => (v6.to_bits(), length),
    }
}

fn control(kind: u8, size: usize, out: &mut Vec<u8>) {
    let (size, more) = match size {
        ..29 => (size, None),
        _ => (29, Some(size - 29)),
    };
    let size = u8::try_from(size).expect("at most 29");
    match kind {
        ..8 => out.push(kind << 5 | size),
        _ => out.extend_from_slice(&[size, kind - 7]),
    }
    out.extend(more.map(|more| u8::try_from(more).expect("a short value")));
}

fn write(value: &Value, out: &mut Vec<u8>) {
    // What is left, the next last: a map's pairs follow its head, in order.
    let mut left: Vec<(Option<&str>, &Value)> = vec![(None, value)];
    while let Some((name, value)) = left.pop() {
        name.into_iter().for_each(|name| string(name, out));
        match value {
            Value::Text(text) => string(text, out),
            Value::Number(number) => {
                control(6, 4, out);
                out.extend_from_slice(&number.to_be_bytes());
            }
            Value::Bool(value) => control(14, usize::from(*value), out),
            Value::Double(value) => {
                control(3, 8, out);
                out.extend_from_slice(&value.to_be_bytes());
            }
            Value::List(values) => {
                control(11, values.len(), out);
                left.extend(values.iter().rev().map(|value| (None, value)));
            }
            Value::Map(pairs) => {
                control(7, pairs.len(), out);
                left.extend(pairs.iter().rev().map(|(name, value)| (Some(name.as_str()), value)));
            }
        }
    }
}

fn string(text: &str, out: &mut Vec<u8>) {
    control(2, text.len(), out);
    out.extend_from_slice(text.as_bytes());
}

fn metadata(node_count: usize, out: &mut Vec<u8>) {
    control(7, 9, out);
    let mut number = |name: &str, kind: u8, bytes: &[u8]| {
        string(name, out);
        control(kind, bytes.len(), out);
        out.extend_from_slice(bytes);
    };
    number("binary_format_major_version", 5, &2_u16.to_be_bytes());
    number("binary_format_minor_version", 5, &0_u16.to_be_bytes());
    number("build_epoch", 9, &1_700_000_000_u64.to_be_bytes());
    number("ip_version", 5, &6_u16.to_be_bytes());
    number("node_count", 6, &u32::try_from(node_count).expect("a small file").to_be_bytes());
    number("record_size", 5, &24_u16.to_be_bytes());
    string("database_type", out);
    string("Test", out);
    string("description", out);
    control(7, 1, out);
    string("en", out);
    string("Made for a test", out);
    string("languages", out);
    control(11, 0, out);
}
