//! Quarantine and its minimum of evidence, on a clock of their own.

use super::*;

fn visitor(network: u8, host: u8) -> IpAddr {
    IpAddr::from([10, 0, network, host])
}

#[test]
fn one_network_never_switches_a_phase_off() {
    let ward = Ward::default();
    for host in 0..=255 {
        assert!(!ward.broke(Phase::Route, visitor(1, host), 1_000));
    }
    assert!(!ward.is_quarantined(Phase::Route, || 1_000));
}

#[test]
fn many_networks_leave_the_phase_out_for_a_while() {
    let ward = Ward::default();
    let breaks: Vec<bool> = (1..=8).map(|network| ward.broke(Phase::Route, visitor(network, 1), 5)).collect();
    assert_eq!(breaks.iter().position(|is_last| *is_last), Some(QUARANTINE_PREFIXES - 1));
    assert!(ward.is_quarantined(Phase::Route, || 4 + QUARANTINE_MS));
    assert!(!ward.is_quarantined(Phase::Response, || 6), "other phases run on");
    assert!(!ward.is_quarantined(Phase::Route, || 5 + QUARANTINE_MS));
}

#[test]
fn breaks_far_apart_do_not_add_up() {
    let ward = Ward::default();
    for network in 0..100 {
        let at_ms = u64::from(network) * (QUARANTINE_WINDOW_MS / 4);
        assert!(!ward.broke(Phase::Route, visitor(network, 1), at_ms));
    }
}

#[test]
fn after_a_quarantine_evidence_is_gathered_anew() {
    let ward = Ward::default();
    let all = |at_ms| (1..=8).filter(|network| ward.broke(Phase::Route, visitor(*network, 1), at_ms)).count();
    assert_eq!(all(5), 1);
    assert!(!ward.broke(Phase::Route, visitor(9, 1), 5 + QUARANTINE_MS));
}

#[test]
fn addresses_of_one_network_count_once() {
    let v6 = |text: &str| prefix(text.parse().unwrap());
    assert_eq!(v6("2001:db8:1:2::3"), v6("2001:db8:1:ffff::1"));
    assert_ne!(v6("2001:db8:1::"), v6("2001:db8:2::"));
    assert_ne!(v6("::"), prefix(IpAddr::from([0, 0, 0, 0])));
}

#[test]
fn without_a_zone_nothing_fails_open_but_the_record() {
    for phase in Phase::ALL {
        let expected = if phase == Phase::Record { FailMode::Open } else { FailMode::Closed };
        assert_eq!(mode(phase, None), expected, "{phase:?}");
    }
}
