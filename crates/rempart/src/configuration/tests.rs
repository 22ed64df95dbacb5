//! Tests of reading configuration from a folder.

use testkit::folder::Folder;

use super::*;

const NODE: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n";

fn zone(name: &str) -> String {
    format!(
        "name = \"{name}\"\nhostnames = [\"{name}\"]\n[[pool]]\nname = \"app\"\n\
         origins = [{{ url = \"http://127.0.0.1:1\" }}]\n"
    )
}

fn node(folder: &Folder) -> NodeFile {
    let path = folder.write("rempart.toml", NODE).unwrap();
    read_node_file(&path).unwrap()
}

#[test]
fn zone_files_are_compiled_and_other_files_passed_over() {
    let folder = Folder::new().unwrap();
    folder.write("zones/b.toml", zone("b.example")).unwrap();
    folder.write("zones/a.toml", zone("a.example")).unwrap();
    folder.write("zones/.c.toml", "broken").unwrap();
    folder.write("zones/a.toml~", "broken").unwrap();
    folder.write("zones/more/d.toml", "broken").unwrap();
    let snapshot = gather(&node(&folder)).compile(3, None).unwrap();
    let names: Vec<_> = snapshot.zones().iter().map(|zone| zone.name.as_str()).collect();
    assert_eq!((snapshot.number, names), (3, vec!["a.example", "b.example"]));
}

#[test]
fn a_missing_node_file_says_how_to_name_one() {
    let folder = Folder::new().unwrap();
    let problems = read_node_file(&folder.path().join("none.toml")).unwrap_err();
    assert!(problems.lines().contains("--config"), "{}", problems.lines());
    assert_eq!(problems.errors(), 1);
}

#[test]
fn a_missing_zones_folder_is_a_problem_and_not_an_empty_node() {
    let folder = Folder::new().unwrap();
    let problems = gather(&node(&folder)).compile(1, None).unwrap_err();
    assert!(problems.lines().contains("zones folder"), "{}", problems.lines());
}

#[test]
fn problems_of_reading_and_of_meaning_come_together_each_with_its_place_and_once() {
    let folder = Folder::new().unwrap();
    let tls = "[tls]\ncertificate = \"missing.pem\"\nprivate_key = \"missing.key\"\n";
    folder.write("zones/a.toml", format!("{}{tls}", zone("a.example"))).unwrap();
    folder.write("zones/b.toml", format!("colour = 1\n{}", zone("b.example"))).unwrap();
    let problems = gather(&node(&folder)).compile(1, None).unwrap_err();
    let lines = problems.lines();
    assert_eq!(lines.lines().count(), 3, "{lines}");
    assert!(lines.contains("zones/a.toml:7:15: the file"), "{lines}");
    assert!(lines.contains("missing.key cannot be read"), "{lines}");
    assert!(lines.contains("zones/b.toml:1:1"), "{lines}");
    assert!(lines.contains("relative to the file that names them"), "{lines}");
}

#[test]
fn a_zone_file_that_is_a_pipe_or_a_folder_does_not_hang_the_reading() {
    let folder = Folder::new().unwrap();
    fs::create_dir_all(folder.path().join("zones/x.toml")).unwrap();
    let problems = gather(&node(&folder)).compile(1, None).unwrap_err();
    assert!(problems.lines().contains("x.toml:1:1: the zone file cannot be read"), "{}", problems.lines());
}

#[test]
fn a_file_over_its_limit_is_told_the_limit_that_holds() {
    let folder = Folder::new().unwrap();
    let list = "[[list]]\nname = \"long\"\nkind = \"ip\"\nfile = \"long.txt\"\n";
    folder.write("zones/a.toml", format!("{}{list}", zone("a.example"))).unwrap();
    folder.write("zones/long.txt", vec![b'#'; FILE_BYTES_MAX]).unwrap();
    gather(&node(&folder)).compile(1, None).unwrap();
    folder.write("zones/long.txt", vec![b'#'; FILE_BYTES_MAX + 1]).unwrap();
    let problems = gather(&node(&folder)).compile(1, None).unwrap_err();
    assert!(problems.lines().contains("regular file of at most 32 MiB"), "{}", problems.lines());
}

#[test]
fn when_a_list_was_changed_counts_only_if_it_has_a_horizon_and_does_not_say_when_it_was_made() {
    let folder = Folder::new().unwrap();
    let list = |name: &str, more: &str| {
        format!("[[list]]\nname = \"{name}\"\nkind = \"ip\"\nfile = \"{name}.txt\"\n{more}\n")
    };
    let lists = [list("plain", ""), list("said", "horizon_s = 60"), list("dated", "horizon_s = 60")].concat();
    folder.write("zones/a.toml", format!("{}{lists}", zone("a.example"))).unwrap();
    folder.write("zones/plain.txt", "192.0.2.1\n").unwrap();
    folder.write("zones/said.txt", "# made: 2026-11-26T12:00:00Z\n192.0.2.1\n").unwrap();
    let path = folder.write("zones/dated.txt", "192.0.2.1\n").unwrap();
    let file = fs::File::options().write(true).open(path).unwrap();
    file.set_modified(std::time::UNIX_EPOCH + std::time::Duration::from_secs(1_700_000_000)).unwrap();
    let gathered = gather(&node(&folder));
    let changed: Vec<_> = gathered.bundle.changed().iter().collect();
    assert!(matches!(changed[..], [(path, 1_700_000_000)] if path.ends_with("dated.txt")), "{changed:?}");
    let snapshot = gathered.compile(1, None).unwrap();
    let made: Vec<u64> = snapshot.feeds().map(|(_, feed)| feed.made_unix_s).collect();
    assert_eq!(made, [1_795_694_400, 1_700_000_000]);
}

#[test]
fn a_stamp_changes_with_the_file_and_a_missing_file_has_none() {
    let folder = Folder::new().unwrap();
    let path = folder.write("a", "1").unwrap();
    let name = path.to_str().unwrap();
    let before = Stamp::of(name);
    assert_eq!(before, Stamp::of(name));
    crate::files::write_whole(&path, b"2", 0o600).unwrap();
    assert_ne!(before, Stamp::of(name), "the same size in another file");
    fs::remove_file(&path).unwrap();
    assert_eq!(Stamp::of(name), Stamp::default());
}

#[test]
fn settings_that_wait_for_the_next_start_are_named() {
    let folder = Folder::new().unwrap();
    let running = node(&folder).node;
    let waits = |node_file: &str| {
        let path = folder.write("rempart.toml", node_file).unwrap();
        waits_for_start(&running, &read_node_file(&path).unwrap().node)
    };
    let other = NODE.replace("127.0.0.1:0", "127.0.0.1:1") + "[node]\nname = \"other\"\nzones = \"else\"\n";
    assert_eq!(waits(&other), ["name", "[[listener]]"]);
    for (table, setting, name) in [
        ("node", "linger_ms = 1", "linger_ms"),
        ("node", "spare = false", "spare"),
        ("node", "memory_budget_bytes = \"64MiB\"", "memory_budget_bytes"),
        ("overload", "delay_ms = 1", "[overload]"),
        ("overload", "zone = [{ name = \"a.example\", weight = 2 }]", "[overload]"),
        ("publish", "soak_ms = 1", "[publish]"),
    ] {
        assert_eq!(waits(&format!("{NODE}[{table}]\n{setting}\n")), [name], "{setting}");
    }
    assert!(waits_for_start(&running, &running).is_empty());
}
