//! The drills of `rempart drill`, compressed and without times: counts and states alone.

use std::process::{Command, Output, Stdio};

use serde_json::Value;
use testkit::folder::Folder;

fn run(arguments: &[&str], path: Option<&str>) -> Output {
    let folder = Folder::new().expect("it can be told");
    let mut command = Command::new(env!("CARGO_BIN_EXE_rempart"));
    command.arg("drill").args(arguments).arg("--data-dir").arg(folder.path()).stdin(Stdio::null());
    if let Some(path) = path {
        command.env("PATH", path);
    }
    command.output().expect("it can be told")
}

/// Runs one drill, which must pass; the error names each mark that does not hold.
fn passes(id: &str, more: &[&str]) {
    let arguments = [&[id, "--json", "--untimed"], more].concat();
    let output = run(&arguments, None);
    let told: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", String::from_utf8_lossy(&output.stderr)));
    let drill = &told[0];
    let broken: Vec<&Value> =
        drill["checks"].as_array().into_iter().flatten().filter(|check| check["holds"] != true).collect();
    assert_eq!((&drill["id"], &drill["verdict"]), (&id.into(), &"pass".into()), "{broken:#?}\n{drill:#}");
    assert!(!drill["checks"].as_array().expect("it can be told").is_empty());
    assert_eq!(output.status.code(), Some(0));
}

#[test]
fn each_process_may_be_killed_under_load() {
    passes("D36", &[]);
}

#[test]
fn poisoned_files_leave_what_serves_alone() {
    passes("D1", &[]);
}

#[test]
fn good_and_bad_in_turn_change_nothing() {
    passes("D2", &["--seconds", "5"]);
}

#[test]
fn a_node_starts_from_its_disk_alone() {
    passes("D8", &[]);
}

#[test]
fn a_change_that_would_empty_is_refused() {
    passes("D15", &[]);
}

#[test]
fn requests_that_are_made_to_cost_keep_to_their_budgets_and_harm_nobody() {
    passes("D10", &[]);
    if let Some(crs) = testkit::crs::folder() {
        passes("D10", &["--rules", &crs.display().to_string()]);
    }
}

#[test]
fn who_abuses_a_protocol_is_ended_and_harms_nobody() {
    passes("D12", &[]);
}

#[test]
fn few_descriptors_little_memory_and_a_full_disk_end_no_process() {
    passes("D16", &[]);
}

#[test]
fn what_a_dry_run_shows_is_what_happens() {
    passes("D19", &["--edits", "10"]);
}

#[test]
fn rules_that_are_disabled_in_whatever_way_do_nothing() {
    passes("D4", &[]);
}

#[test]
fn a_node_serves_and_starts_without_what_publishes_and_gives_it_back() {
    passes("D9", &["--seconds", "2"]);
}

#[test]
fn orders_that_say_nothing_are_refused_and_one_command_brings_back() {
    passes("D26", &[]);
}

#[test]
fn what_is_read_of_a_node_and_written_back_is_what_it_was() {
    passes("D25", &[]);
}

#[test]
fn a_thousand_at_the_local_socket_keep_no_order_and_no_visitor_out() {
    passes("D13", &["--seconds", "2"]);
}

#[test]
fn a_list_that_is_not_made_anew_is_told_of_before_it_is_too_old() {
    passes("D18", &[]);
}

#[test]
fn a_flood_of_a_zone_is_limited_and_its_own_visitors_notice_nothing() {
    passes("F1", &[]);
}

#[test]
fn what_a_node_depends_on_fails_as_declared_and_harms_no_neighbour() {
    passes("D23", &[]);
}

#[test]
fn nodes_behind_nodes_give_the_same_bytes_and_stand_in_for_each_other() {
    passes("D31", &[]);
}

#[test]
fn readers_that_do_not_read_hold_up_no_request() {
    passes("D32", &[]);
}

#[test]
fn what_is_stored_is_served_when_every_origin_is_gone() {
    passes("D20", &[]);
}

#[test]
fn the_local_socket_works_when_nothing_else_does() {
    passes("D21", &[]);
}

#[test]
fn a_change_that_locks_out_is_taken_back() {
    passes("D30", &[]);
}

#[test]
fn zones_that_agreed_are_passed_through_when_no_edge_can_start() {
    passes("D34", &[]);
}

#[test]
fn a_full_disk_of_the_cache_costs_no_visitor_anything() {
    passes("C1", &[]);
}

#[test]
fn flipped_bits_of_stored_answers_are_misses() {
    passes("C3", &[]);
}

#[test]
fn an_edge_killed_while_it_stores_leaves_what_was_committed_and_no_half() {
    passes("C4", &[]);
}

#[test]
fn a_folder_of_the_cache_that_is_spoiled_costs_what_it_held() {
    passes("C5", &[]);
}

#[test]
fn a_thousand_visitors_on_one_expired_page_make_one_fetch() {
    passes("C6", &[]);
}

#[test]
fn a_spike_of_strangers_harms_no_known_visitor() {
    passes("D29", &["--seconds", "4"]);
}

#[test]
fn a_storm_of_purges_shows_nobody_a_purged_byte() {
    passes("C7", &["--seconds", "2"]);
}

#[cfg(feature = "fault-injection")]
mod with_fault_points {
    use super::passes;

    #[test]
    fn a_zone_that_wants_everything_takes_nothing_from_another() {
        passes("D29b", &[]);
    }

    #[test]
    fn a_stalled_disk_of_the_cache_keeps_nobody_waiting() {
        passes("C2", &[]);
    }

    #[test]
    fn a_phase_breaks_as_declared() {
        passes("D3", &[]);
    }

    #[test]
    fn a_bad_change_reaches_a_share_of_the_first_of_many_nodes() {
        passes("D5", &[]);
    }

    #[test]
    fn a_change_that_crashes_late_is_walked_back_from() {
        passes("D6", &[]);
    }

    #[test]
    fn a_zone_that_panics_takes_no_other_along() {
        passes("D7", &[]);
    }

    #[test]
    fn a_request_without_end_costs_its_thread_alone() {
        passes("D11", &[]);
    }

    #[test]
    fn a_clock_that_is_set_ends_nothing_that_lasts() {
        passes("D22", &[]);
    }

    #[test]
    fn a_request_that_kills_is_refused_after_the_second_time() {
        passes("D35", &[]);
    }
}

#[test]
fn a_drill_that_is_not_there_and_a_peer_that_is_not_installed_are_told() {
    let unknown = run(&["D0"], None);
    let said = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(1));
    assert!(said.contains("there is no drill `D0`") && said.contains("--list"), "{said}");
    for peer in ["nginx", "haproxy", "caddy"] {
        let absent = run(&["--against", peer], Some("/nowhere"));
        let said = String::from_utf8_lossy(&absent.stderr).into_owned();
        assert_eq!(absent.status.code(), Some(1));
        assert!(said.contains(peer) && said.contains("not installed"), "{said}");
    }
}

#[test]
fn a_folder_that_somebody_put_in_the_way_is_neither_used_nor_removed() {
    let temporary = Folder::new().expect("it can be told");
    // The shell's number is the program's, since it becomes the program.
    let script = "place=$TMPDIR/rempart-drill-$$; /bin/mkdir -m 777 $place && : >$place/theirs && \
                  exec \"$0\" drill --against caddy";
    let mut command = Command::new("/bin/sh");
    command.args(["-c", script, env!("CARGO_BIN_EXE_rempart")]).stdin(Stdio::null());
    let output =
        command.env("TMPDIR", temporary.path()).env("PATH", "/nowhere").output().expect("it can be told");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(said.contains("caddy is not installed"), "{said}");
    let left: Vec<_> = std::fs::read_dir(temporary.path()).expect("it can be told").flatten().collect();
    assert_eq!(left.len(), 1, "theirs stays, ours goes: {left:?}");
    assert!(left[0].path().join("theirs").exists());
}

#[test]
fn the_list_says_what_needs_fault_points() {
    let output = run(&["--list"], None);
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("D36") && said.contains("D35"), "{said}");
    assert_eq!(said.contains("needs a build with fault points"), !cfg!(feature = "fault-injection"));
}
