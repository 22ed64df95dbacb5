//! Fuzz target: any bytes as the table of the last resort, as they are and behind a right header. A table
//! that is read is one we would have written, every entry of it is found, and any name may be asked for.

#![no_main]

use libfuzzer_sys::fuzz_target;
use splice::Table;

/// CRC-64/XZ, bit by bit.
fn checksum(bytes: &[u8]) -> u64 {
    let fold = |sum: u64| (sum >> 1) ^ (0xC96C_5795_D787_0F42 * (sum & 1));
    !bytes.iter().fold(!0, |sum, byte| (0..8).fold(sum ^ u64::from(*byte), |sum, _| fold(sum)))
}

fn sealed(count: u8, body: &[u8]) -> Vec<u8> {
    let mut header = b"RMPSPLIC\0\0\0\x01\0\0\0".to_vec();
    header.push(count);
    header.extend((body.len() as u64).to_be_bytes());
    let sum = checksum(&[&header, body].concat());
    [&header, &sum.to_be_bytes()[..], body].concat()
}

fuzz_target!(|bytes: &[u8]| {
    let _ = Table::read(bytes.to_vec());
    let Some((count, body)) = bytes.split_first() else { return };
    let sealed = sealed(*count, body);
    let Ok(table) = Table::read(sealed.clone()) else { return };
    let entries: Vec<splice::Entry> = table.entries().collect();
    assert_eq!(entries.len(), usize::from(*count));
    assert_eq!(Table::to_bytes(&entries).as_ref(), Ok(&sealed), "not as we would have written it");
    for entry in entries.iter().filter(|entry| !entry.hostname.starts_with('*')) {
        assert_eq!(table.find(&entry.hostname).as_ref(), Some(entry));
    }
    let _ = table.find(&String::from_utf8_lossy(body));
});
