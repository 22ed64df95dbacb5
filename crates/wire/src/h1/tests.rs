//! What an idle HTTP/1 connection may weigh.

use super::*;
use crate::thread::silent::Silent;

#[test]
fn an_idle_connection_is_a_small_future_and_little_else() {
    assert!(size_of::<Visitor<Silent>>() <= 128, "{}", size_of::<Visitor<Silent>>());
    assert!(size_of::<Connection>() <= 96, "{}", size_of::<Connection>());
}
