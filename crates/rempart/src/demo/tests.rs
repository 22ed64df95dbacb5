//! Tests of what the demo writes and prints.

use testkit::folder::Folder;

use super::*;
use crate::addresses::ListenerAddress;
use crate::configuration::{gather, read_node_file};

fn wanted(folder: &Folder) -> Demo {
    Demo { data_dir: folder.path().into(), http_port: 0, https_port: 0, admin_port: 0, threads: 2 }
}

#[test]
fn the_files_it_writes_are_in_order() {
    let folder = Folder::new().unwrap();
    let files = Files::write(folder.path(), &wanted(&folder)).unwrap();
    let file = read_node_file(&files.node_file).unwrap();
    let protocols: Vec<bool> = file.node.listeners.iter().map(|listener| listener.http3).collect();
    assert!(protocols.contains(&true) && protocols.contains(&false));
    assert_eq!(file.node.threads, 2);
    let snapshot = gather(&file).compile(1, None).unwrap();
    assert_eq!(snapshot.zones().len(), 1);
    assert!(snapshot.warnings.is_empty() && file.node.warnings.is_empty());
    assert!(snapshot.zones()[0].tls.certificate.is_some());
}

#[test]
fn ports_are_those_asked_for() {
    let folder = Folder::new().unwrap();
    let wanted = Demo { http_port: 8001, https_port: 8002, admin_port: 8003, ..wanted(&folder) };
    let text = node_file(&wanted, Some("me"), true);
    for part in
        ["\"127.0.0.1:8001\"", "\"[::1]:8001\"", "\"127.0.0.1:8002\"", "\"[::1]:8002\"", "\"127.0.0.1:8003\""]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(!node_file(&wanted, None, false).contains("::1"));
}

#[test]
fn a_zone_file_changed_by_hand_stays_and_one_of_a_moved_folder_does_not() {
    let folder = Folder::new().unwrap();
    let files = Files::write(folder.path(), &wanted(&folder)).unwrap();
    let changed = fs::read_to_string(&files.zone_file).unwrap() + "# mine\n";
    put(&files.zone_file, &changed).unwrap();
    Files::write(folder.path(), &wanted(&folder)).unwrap();
    assert_eq!(fs::read_to_string(&files.zone_file).unwrap(), changed);
    put(&files.zone_file, &changed.replace("site.sock", "moved.sock")).unwrap();
    Files::write(folder.path(), &wanted(&folder)).unwrap();
    assert!(!fs::read_to_string(&files.zone_file).unwrap().contains("# mine"));
}

#[test]
fn the_announcement_names_the_real_ports_and_commands_that_exist() {
    let folder = Folder::new().unwrap();
    let files = Files::write(folder.path(), &wanted(&folder)).unwrap();
    let listener = |protocol, port| ListenerAddress { protocol, address: ([127, 0, 0, 1], port).into() };
    let addresses = Addresses {
        pid: 1,
        listeners: vec![listener("http", 4001), listener("https", 4002)],
        admin: Some(([127, 0, 0, 1], 4003).into()),
        socket: folder.path().join("rempart.sock"),
    };
    let text = files.announcement(&addresses, "target/demo/rempart");
    for part in
        ["http://127.0.0.1:4001/", "https://localhost:4002/", "http://127.0.0.1:4003/readyz", "--cacert"]
    {
        assert!(text.contains(part), "{part} is missing in {text}");
    }
    assert!(text.contains("\n  target/demo/rempart purge") && !text.contains("drill"));
}

#[test]
fn texts_are_quoted_for_toml_and_paths_for_the_shell() {
    assert_eq!(quoted("a\"b\\c\u{7f}"), "\"a\\\"b\\\\c\\u007f\"");
    assert_eq!(shell(Path::new("/a/b.toml")), "/a/b.toml");
    assert_eq!(shell(Path::new("/a b/it's")), "'/a b/it'\\''s'");
}
