//! Tests of the command log: torn lines, no room, what is in force after a restart.

use std::fs;
use std::process::Command;

use testkit::folder::Folder;

use super::*;

/// So many seconds after the machine began, with a calendar that says the same.
fn at(second: u64) -> Moment {
    Moment::of(second, second, 1)
}

#[test]
fn a_block_lasts_for_as_long_as_it_was_ordered_whatever_is_done_to_the_calendar() {
    let folder = Folder::new().unwrap();
    let mut log = CommandLog::open(folder.path(), Moment::of(10_000, 500, 1));
    log.block("192.0.2.1", 60, "", Moment::of(10_000, 500, 1)).unwrap();
    for unix_s in [10_010, 13_610, 6_410, 10_000] {
        let now = Moment::of(unix_s, 510, 1);
        for log in [&mut log, &mut CommandLog::open(folder.path(), now)] {
            let [(_, left_s)] = log.ranges(now)[..] else { panic!("one is in force") };
            assert_eq!(left_s, 50, "the calendar says {unix_s}");
            assert_eq!(log.blocks(now)[0].until_unix_s, unix_s + 50);
        }
        let later = Moment::of(unix_s, 560, 1);
        assert_eq!(CommandLog::open(folder.path(), later).ranges(later), []);
    }
    // After the machine was started again there is the calendar alone.
    for (unix_s, left) in [(10_010, Some(50)), (10_060, None), (10, Some(60))] {
        let now = Moment::of(unix_s, 5, 2);
        let ranges = CommandLog::open(folder.path(), now).ranges(now);
        assert_eq!(ranges.first().map(|(_, left_s)| *left_s), left, "the calendar says {unix_s}");
    }
}

#[test]
fn orders_are_in_force_again_after_a_restart_until_their_time() {
    let folder = Folder::new().unwrap();
    let mut log = CommandLog::open(folder.path(), at(100));
    assert_eq!(log.block("192.0.2.1", 50, "scraper", at(100)).unwrap(), 1);
    assert_eq!(log.block("198.51.100.0/24", 500, "", at(100)).unwrap(), 2);
    assert_eq!(log.block("2001:db8::/48", 500, "", at(100)).unwrap(), 3);
    assert_eq!(log.unblock("2001:db8::/48", at(100)).unwrap(), 4);
    let mut again = CommandLog::open(folder.path(), at(120));
    let ranges: Vec<String> = again.blocks(at(120)).iter().map(|block| block.range.clone()).collect();
    assert_eq!(ranges, ["192.0.2.1/32", "198.51.100.0/24"]);
    assert_eq!(again.ranges(at(200)).len(), 1, "the other one's time is over");
    assert_eq!(again.block("192.0.2.7", 1, "", at(200)).unwrap(), 5, "numbers go on");
}

#[test]
fn ten_thousand_ranges_are_blocked_at_most() {
    let folder = Folder::new().unwrap();
    let mut log = CommandLog::open(folder.path(), at(0));
    let one = |number: usize| {
        let range = format!("10.0.{}.{}/32", number / 256, number % 256);
        Order::Block { range, until_unix_s: 1_000, reason: String::new() }
    };
    log.append((0..10_000).map(one).collect(), at(0)).unwrap();
    assert_eq!(log.ranges(at(0)).len(), 10_000);
    let refused = log.block("192.0.2.1", 60, "", at(0)).unwrap_err().to_string();
    assert!(refused.contains("10000 ranges are blocked already"), "{refused}");
    log.block("10.0.0.7", 60, "one that is on it may be ordered anew", at(0)).unwrap();
    log.unblock("10.0.0.8", at(0)).unwrap();
    log.block("192.0.2.1", 60, "", at(0)).unwrap();
    assert_eq!(CommandLog::open(folder.path(), at(1)).ranges(at(1)).len(), 10_000);
    assert_eq!(log.ranges(at(1_000)).len(), 0, "each has an end");
}

#[test]
fn what_would_block_everybody_or_for_ever_is_refused() {
    let folder = Folder::new().unwrap();
    let mut log = CommandLog::open(folder.path(), at(0));
    for (range, for_s) in [
        ("0.0.0.0/0", 60),
        ("::/0", 60),
        ("10.0.0.0/7", 60),
        ("192.0.2.1", 0),
        ("192.0.2.1", BLOCK_S_MAX + 1),
        ("x", 1),
    ] {
        assert!(log.block(range, for_s, "", at(0)).is_err(), "{range} for {for_s}");
    }
    assert!(log.unblock("192.0.2.1", at(0)).is_err());
    assert_eq!(log.blocks(at(0)), []);
}

#[test]
fn damaged_lines_are_passed_over() {
    let folder = Folder::new().unwrap();
    CommandLog::open(folder.path(), at(0)).block("192.0.2.1", 60, "", at(0)).unwrap();
    let path = folder.path().join("commands");
    let text = fs::read_to_string(&path).unwrap();
    fs::write(&path, format!("nonsense\n{{\"order\":\"block\"}}\n{text}{{\"numb")).unwrap();
    assert_eq!(CommandLog::open(folder.path(), at(0)).blocks(at(0)).len(), 1);
}

#[test]
fn a_long_log_is_written_anew_with_what_is_in_force() {
    let folder = Folder::new().unwrap();
    let mut log = CommandLog::open(folder.path(), at(0));
    log.block("192.0.2.1", 60, "kept", at(0)).unwrap();
    log.lines = LINES_MAX;
    log.block("192.0.2.2", 60, "", at(0)).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("commands")).unwrap().lines().count(), 2);
    let mut again = CommandLog::open(folder.path(), at(0));
    assert_eq!((again.blocks(at(0)).len(), again.number), (2, 2));
}

fn in_force(folder: &Folder) -> Vec<String> {
    let mut log = CommandLog::open(folder.path(), at(0));
    log.blocks(at(0)).iter().map(|block| block.range.clone()).collect()
}

#[test]
fn a_line_that_was_cut_off_by_a_kill_does_not_take_the_next_order_with_it() {
    let folder = Folder::new().unwrap();
    let path = folder.path().join("commands");
    let mut log = CommandLog::open(folder.path(), at(0));
    log.block("192.0.2.1", 60, "", at(0)).unwrap();
    let first = fs::read(&path).unwrap();
    log.block("192.0.2.2", 60, "", at(0)).unwrap();
    let both = fs::read(&path).unwrap();
    // As it is after any number of bytes of the second order, the whole line without its end included.
    for end in first.len() + 1..both.len() {
        fs::write(&path, &both[..end]).unwrap();
        assert_eq!(in_force(&folder), ["192.0.2.1/32"], "after {end} bytes");
        let mut log = CommandLog::open(folder.path(), at(0));
        assert_eq!(log.block("192.0.2.3", 60, "", at(0)).unwrap(), 2, "after {end} bytes");
        assert_eq!(in_force(&folder), ["192.0.2.1/32", "192.0.2.3/32"], "after {end} bytes");
        assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 2, "after {end} bytes");
    }
    fs::write(&path, "no line at all").unwrap();
    CommandLog::open(folder.path(), at(0)).block("192.0.2.4", 60, "", at(0)).unwrap();
    assert_eq!(in_force(&folder), ["192.0.2.4/32"]);
}

#[test]
fn looking_at_the_log_changes_nothing_since_another_process_may_be_writing_it() {
    let folder = Folder::new().unwrap();
    let path = folder.write("commands", "{\"numb").unwrap();
    drop(CommandLog::open(folder.path(), at(0)));
    assert_eq!(fs::read_to_string(path).unwrap(), "{\"numb");
}

#[test]
fn an_order_is_taken_when_the_log_cannot_be_written_anew() {
    let folder = Folder::new().unwrap();
    let mut log = CommandLog::open(folder.path(), at(0));
    log.block("192.0.2.1", 60, "", at(0)).unwrap();
    // What the new log would be written to first is taken.
    folder.write(".commands.new/inside", "").unwrap();
    log.lines = LINES_MAX;
    assert_eq!(log.block("192.0.2.2", 60, "", at(0)).unwrap(), 2);
    assert_eq!(log.blocks(at(0)).len(), 2);
    assert_eq!(in_force(&folder), ["192.0.2.1/32", "192.0.2.2/32"]);
}

#[test]
fn a_log_of_many_long_lines_is_written_anew_before_it_is_too_long_to_be_read() {
    let folder = Folder::new().unwrap();
    let mut log = CommandLog::open(folder.path(), at(0));
    log.block("192.0.2.1", 60, "", at(0)).unwrap();
    let path = folder.path().join("commands");
    let line = fs::read(&path).unwrap();
    let long = [&line[..line.len() - 1], &vec![b' '; 16_384], b"\n"].concat();
    fs::write(&path, long.repeat(BYTES_MAX / long.len())).unwrap();
    let mut log = CommandLog::open(folder.path(), at(0));
    for last in 2..=200 {
        log.block(&format!("192.0.2.{last}"), 60, &"\u{1}".repeat(256), at(0)).unwrap();
    }
    assert_eq!(in_force(&folder).len(), 200);
}

#[test]
fn a_log_that_cannot_be_read_is_put_aside_so_that_new_orders_are_known_after_a_restart() {
    let folder = Folder::new().unwrap();
    let file = File::create(folder.path().join("commands")).unwrap();
    file.set_len(BYTES_MAX as u64 + 1).unwrap();
    CommandLog::open(folder.path(), at(0)).block("192.0.2.1", 60, "", at(0)).unwrap();
    assert_eq!(in_force(&folder), ["192.0.2.1/32"]);
    assert!(folder.path().join("commands.unreadable").exists(), "nothing is thrown away");
}

#[test]
fn numbers_go_on_after_a_log_is_written_anew_with_nothing_in_force() {
    let folder = Folder::new().unwrap();
    let mut log = CommandLog::open(folder.path(), at(0));
    log.block("192.0.2.1", 60, "", at(0)).unwrap();
    log.lines = LINES_MAX;
    assert_eq!(log.unblock("192.0.2.1", at(0)).unwrap(), 2);
    assert_eq!(CommandLog::open(folder.path(), at(0)).block("192.0.2.1", 1, "", at(0)).unwrap(), 3);
}

#[test]
fn what_is_damaged_or_unreadable_is_told_with_what_follows() {
    let told = |text: &[u8]| {
        let folder = Folder::new().unwrap();
        folder.write("commands", text).unwrap();
        let to = File::create(folder.path().join("events")).unwrap();
        let target = telemetry::sink::Target::Descriptor(to.into());
        let events = Events::start(target, || 0).unwrap();
        let mut log = CommandLog::open(folder.path(), at(0)).telling(&events);
        log.block("192.0.2.1", 60, "", at(0)).unwrap();
        drop(log);
        assert!(events.close(std::time::Duration::from_secs(60)));
        fs::read_to_string(folder.path().join("events")).unwrap()
    };
    assert_eq!(told(b""), "");
    let torn = told(b"nonsense\n\n{\"numb");
    assert_eq!(torn.matches("\"event\":\"command_log_damaged\"").count(), 1, "{torn}");
    assert!(torn.contains("\"lines\":1,\"torn_bytes\":6"), "{torn}");
    assert_eq!(torn.matches("\"event\":\"command_log_cut\"").count(), 1, "{torn}");
    let unreadable = told(&vec![b'\n'; BYTES_MAX + 1]);
    assert_eq!(unreadable.matches("\"event\":\"command_log_unreadable\"").count(), 1, "{unreadable}");
}

/// Runs itself in a process whose files may have 1 KiB: there the kernel takes the first bytes of a line and
/// refuses the rest, as it does when a disk fills up.
#[test]
fn an_order_for_which_there_is_no_room_is_refused_and_leaves_the_log_as_it_was() {
    use rustix::process::{Resource, getrlimit};
    if getrlimit(Resource::Fsize).current.is_none() {
        let itself = std::thread::current().name().unwrap().to_owned();
        let output = Command::new("/bin/bash")
            .args(["-c", "trap '' XFSZ; ulimit -f 1; exec \"$0\" --exact \"$1\""])
            .arg(std::env::current_exe().unwrap())
            .arg(itself)
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && said.contains("1 passed"), "{said}");
        return;
    }
    let folder = Folder::new().unwrap();
    let path = folder.path().join("commands");
    let mut log = CommandLog::open(folder.path(), at(0));
    let mut taken = 0;
    let (before, refused) = loop {
        let before = fs::read(&path).unwrap_or_default();
        match log.block(&format!("192.0.2.{taken}"), 60, "", at(0)) {
            Ok(_) => taken += 1,
            Err(error) => break (before, format!("{error:#}")),
        }
    };
    assert!((2..20).contains(&taken), "{taken}");
    assert!(before.len() < 1024, "a part of the line had room: {}", before.len());
    assert!(refused.contains("is not taken") && refused.contains("room"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);
    assert_eq!(log.blocks(at(0)).len(), taken, "what is refused is not in force");
    assert_eq!(in_force(&folder).len(), taken);
    fs::write(&path, "").unwrap();
    let number = u64::try_from(taken).unwrap() + 1;
    assert_eq!(log.block("192.0.2.200", 60, "", at(0)).unwrap(), number, "once there is room again");
    assert_eq!(in_force(&folder), ["192.0.2.200/32"]);
}

#[test]
fn a_log_that_can_be_read_again_is_in_force_again_with_the_next_order() {
    let folder = Folder::new().unwrap();
    CommandLog::open(folder.path(), at(0)).block("192.0.2.1", 60, "", at(0)).unwrap();
    let path = folder.path().join("commands");
    fs::rename(&path, folder.path().join("away")).unwrap();
    fs::create_dir(&path).unwrap();
    let mut log = CommandLog::open(folder.path(), at(0));
    assert_eq!(log.blocks(at(0)), []);
    fs::remove_dir(&path).unwrap();
    fs::rename(folder.path().join("away"), &path).unwrap();
    assert_eq!(log.block("192.0.2.2", 60, "", at(0)).unwrap(), 2);
    assert_eq!(log.blocks(at(0)).len(), 2);
    assert_eq!(in_force(&folder), ["192.0.2.1/32", "192.0.2.2/32"]);
}

fn tag(tag: &str) -> Purging {
    let (zone, tag) = (Some("0".repeat(32)), Some(tag.to_owned()));
    Purging { zone, host: None, target: None, is_prefix: false, tag, is_soft: true }
}

#[test]
fn purges_are_there_after_a_restart_and_after_the_log_was_written_anew() {
    let folder = Folder::new().unwrap();
    let mut log = CommandLog::open(folder.path(), at(0));
    assert_eq!(log.purge(vec![tag("a")], at(0)).unwrap(), 1);
    assert_eq!(log.block("192.0.2.1", 60, "", at(0)).unwrap(), 2);
    log.purges.forget_to(0);
    log.lines = LINES_MAX;
    assert_eq!(log.purge(vec![tag("b")], at(0)).unwrap(), 3);
    let mut again = CommandLog::open(folder.path(), at(0));
    assert_eq!(again.purges().kept, [(1, tag("a")), (3, tag("b"))]);
    assert_eq!((again.purges().forgotten_to, again.number, again.blocks(at(0)).len()), (0, 3, 1));
    again.purges.forget_to(1);
    again.lines = LINES_MAX;
    again.purge(vec![tag("c")], at(0)).unwrap();
    assert_eq!(
        CommandLog::open(folder.path(), at(0)).purges().forgotten_to,
        1,
        "what is missing stays known"
    );
}

#[test]
fn purges_that_come_together_have_numbers_in_a_row_and_are_all_there_after_a_restart() {
    let folder = Folder::new().unwrap();
    let mut log = CommandLog::open(folder.path(), at(0));
    assert_eq!(log.purge(vec![tag("a"), tag("b"), tag("c")], at(0)).unwrap(), 1);
    assert_eq!(log.purge(vec![tag("d")], at(0)).unwrap(), 4);
    let again = CommandLog::open(folder.path(), at(0));
    assert_eq!(again.purges().kept, [(1, tag("a")), (2, tag("b")), (3, tag("c")), (4, tag("d"))]);
    assert_eq!((again.number, again.lines), (4, 4));
}
