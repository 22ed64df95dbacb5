//! Tests of the counters per zone. Read next: [`super::ZoneTable`].

use super::*;

#[test]
fn counts_by_class_and_direction_over_all_threads() {
    let table = ZoneTable::new();
    let zone = table.zone("id1", "example.org");
    for thread in 0..9 {
        zone.request(thread, Some(200), 1, 10);
    }
    zone.request(0, Some(404), 0, 5);
    zone.request(1, Some(502), 0, 5);
    zone.request(2, None, 0, 0);
    let page = table.render(&[]);
    for line in [
        "rempart_zone_requests_total{zone=\"example.org\"} 12",
        "rempart_zone_visitor_errors_total{zone=\"example.org\"} 1",
        "rempart_zone_server_errors_total{zone=\"example.org\"} 1",
        "rempart_zone_received_bytes_total{zone=\"example.org\"} 9",
        "rempart_zone_sent_bytes_total{zone=\"example.org\"} 100",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

#[test]
fn files_with_a_horizon_are_told_with_their_age() {
    let feed =
        |zone: &str, list: &str| FeedAge { zone: zone.into(), list: list.into(), age_s: 7, horizon_s: 9 };
    let page = ZoneTable::new().render(&[feed("", "[geo] asn"), feed("a", "office")]);
    for line in [
        "rempart_feed_age_seconds{zone=\"\",list=\"[geo] asn\"} 7",
        "rempart_feed_age_seconds{zone=\"a\",list=\"office\"} 7",
        "rempart_feed_horizon_seconds{zone=\"a\",list=\"office\"} 9",
    ] {
        assert!(page.lines().any(|found| found == line), "{line} is not in\n{page}");
    }
}

#[test]
fn the_same_id_keeps_its_counts_under_a_new_name() {
    let table = ZoneTable::new();
    table.zone("id1", "old.example").request(0, Some(200), 0, 0);
    table.zone("id1", "new.example").request(0, Some(200), 0, 0);
    let page = table.render(&[]);
    assert!(page.contains("rempart_zone_requests_total{zone=\"new.example\"} 2"));
    assert!(!page.contains("old.example"));
}

#[test]
fn zones_beyond_the_cap_are_counted_together() {
    let table = ZoneTable::new();
    for number in 0..ZONES_MAX {
        table.zone(&format!("id{number}"), "z");
    }
    table.zone("late1", "late1.example").request(0, Some(200), 0, 0);
    table.zone("late2", "late2.example").request(0, Some(200), 0, 0);
    let page = table.render(&[]);
    assert!(page.contains("rempart_zone_requests_total{zone=\"(other)\"} 2"));
    assert!(!page.contains("late1"));
}

#[test]
fn forgetting_zones_makes_room() {
    let table = ZoneTable::new();
    table.zone("gone", "gone.example");
    table.zone("kept", "kept.example");
    table.retain(|id| id == "kept");
    let page = table.render(&[]);
    assert!(page.contains("kept.example") && !page.contains("gone.example"));
}

#[test]
fn a_name_cannot_break_the_page() {
    let table = ZoneTable::new();
    table.zone("id", "a\"b\\c\nd");
    assert!(table.render(&[]).contains("rempart_zone_requests_total{zone=\"a\\\"b\\\\c\\nd\"} 0"));
}
