//! The node's care for its process, tried on a script that stands for the binary.

use super::*;

const PRETEND: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/pretend-node.sh");

fn message_is(expected: &'static str) -> impl Fn(&Value) -> bool {
    move |event| event.get("message").and_then(Value::as_str) == Some(expected)
}

#[test]
fn waits_until_ready_and_ends_in_good_health() {
    let node =
        Node::start(PRETEND, &NodeSpec::new().site("a", &["a.example"], &["http://127.0.0.1:9"])).unwrap();
    assert_eq!(node.address("http").unwrap(), "127.0.0.1:1".parse().unwrap());
    assert!(node.address("https").is_err());
    assert_eq!(node.addresses().pid, u64::from(node.pid()));
    let line = node.wait_for_log(|line| line.get("status").is_some()).unwrap();
    assert_eq!(line.get("path").and_then(Value::as_str), Some("/a"));
    node.reload().unwrap();
    node.wait_for_event(message_is("reloaded")).unwrap();
    let published = node.publish().unwrap();
    assert!(String::from_utf8_lossy(&published.stdout).starts_with("publish --config "));
    node.finish_healthy().unwrap();
}

#[test]
fn reports_a_node_that_ends_at_once_with_its_output() {
    let error = Node::start(PRETEND, &NodeSpec::new().environment("PRETEND", "fails")).err().unwrap();
    assert!(error.to_string().contains("exit status: 3"), "{error}");
    assert!(error.to_string().contains(r#""message":"no""#), "{error}");
}

#[test]
fn a_warning_or_a_process_left_behind_is_not_healthy() {
    for (kind, expected) in [("warns", "careful"), ("leaves", "left processes behind")] {
        let node = Node::start(PRETEND, &NodeSpec::new().environment("PRETEND", kind)).unwrap();
        let error = node.finish_healthy().unwrap_err();
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn dropping_it_ends_the_whole_group() {
    let node = Node::start(PRETEND, &NodeSpec::new().environment("PRETEND", "leaves")).unwrap();
    let group = node.group;
    drop(node);
    assert!(look_until(|| Ok((!is_alive(group)).then_some(()))).unwrap().is_some());
}

#[test]
fn writes_the_node_file_as_the_plan_has_it() {
    let toml = NodeSpec::new()
        .listener("http")
        .listener_at("https", "[::1]:0", "proxy_protocol = true")
        .more("[zone_defaults]")
        .toml(Path::new("/f"));
    assert_eq!(
        toml,
        "[node]\ndata_dir = \"/f/data\"\nzones = \"/f/zones\"\nthreads = 2\nspare = false\n\n\
         [publish]\ncompare_ms = 0\ncanary_percent = 0\nsoak_ms = 0\n\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n\n\n\
         [[listener]]\naddress = \"[::1]:0\"\nprotocol = \"https\"\nproxy_protocol = true\n\n\
         [admin]\naddress = \"127.0.0.1:0\"\n\n\
         [log]\naccess = \"/f/access.log\"\n\n[zone_defaults]\n"
    );
    let zone = zone_toml("a", &["a.example"], &["http://o:1", "http://o:2"]);
    assert!(zone.contains("origins = [{ url = \"http://o:1\" }, { url = \"http://o:2\" }]"), "{zone}");
}

#[test]
fn sums_the_series_of_a_metric() {
    let text = "# TYPE a counter\na{x=\"1\"} 2\na{x=\"2\"} 3\nab 9\n";
    assert_eq!(metric_in(text, "a"), Some(5.0));
    assert_eq!(metric_in(text, "a{x=\"2\"}"), Some(3.0));
    assert_eq!(metric_in(text, "b"), None);
}
