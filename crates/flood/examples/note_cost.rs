//! What noting a request costs a serving thread: to be counted, not timed.
//!
//! `valgrind --tool=callgrind target/release/examples/note_cost COUNT` with two counts: their difference by
//! the difference of the counts is what one request takes, from its hashes to its end. With `keys` behind the
//! count only the hashes are made, with `none` nothing is.

use std::hint::black_box;
use std::net::{IpAddr, Ipv4Addr};

use flood::{Asked, Keys, Sample, Second, Secret, Settings, Size, Watch};

const AGENT: &[u8] = b"Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) \
                       Chrome/138.0.0.0 Safari/537.36";

const NOW_S: u64 = 1_000;

fn main() {
    let mut words = std::env::args().skip(1);
    let count: u32 = words.next().and_then(|count| count.parse().ok()).unwrap_or(100_000);
    let what = words.next().unwrap_or_default();
    let settings = Settings { refuses: true, from_per_s: 20, limits_max: 8, expires_s: 300, warm_up_s: 600 };
    let (secret, mut watch, mut sample) =
        (Secret::new(7), Watch::new(settings, Size::Large, 1), Sample::new(1));
    // From here on its memory has windows of this second.
    watch.second(Second::default(), NOW_S);
    let memory = watch.memory();
    let mut sum = 0_u64;
    for number in 0..count {
        // A second of 500 requests.
        if number % 500 == 0 {
            Second::default().merge(&mut sample);
        }
        let asked = Asked {
            address: IpAddr::V4(Ipv4Addr::from(0x5000_0000 + number % 10_000)),
            network: Some(3_320),
            country: Some(*b"DE"),
            ja4: Some(b"t13d1516h2_8daaf6152771_02713d6af862"),
            path: b"/articles/2026/11/what-noting-costs",
            query: (number % 8 == 0).then_some(b"page=2&sort=new"),
            agent: AGENT,
            is_safe: true,
        };
        if what == "none" {
            sum = sum.wrapping_add(black_box(&asked).path.len() as u64);
            continue;
        }
        let keys = Keys::of(black_box(&asked), &secret);
        sum = sum.wrapping_add(keys.visitor());
        if what != "keys" {
            sample.note(&keys, None);
            sample.ended(false, Some(30_000));
            memory.served(Keys::visitor_of(asked.address, &secret), NOW_S);
        }
    }
    println!("{sum}");
}
