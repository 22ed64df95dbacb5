//! The node file.

use zone::{AccessLog, ListenerProtocol, Node, compile_node};

use crate::{listed, source};

fn node(text: &str) -> Node {
    compile_node(&source("/etc/rempart.toml", text))
        .unwrap_or_else(|problems| panic!("{}", listed(&problems)))
}

fn told(text: &str) -> String {
    listed(&compile_node(&source("n.toml", text)).expect_err("this node file has problems"))
}

const ONE: &str = "[[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"http\"\n";

#[test]
fn takes_the_example_of_the_plan() {
    let node = node(
        "[node]\ndata_dir = \"/var/lib/rempart\"\nthreads = 0\nzones = \"zones\"\n\
         [[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"http\"\n\
         [[listener]]\naddress = \"0.0.0.0:443\"\nprotocol = \"https\"\n\
         [admin]\naddress = \"127.0.0.1:9901\"\n[cache]\nmemory_bytes = \"256MiB\"\ndisk_bytes = \"10GiB\"\n\
         [log]\naccess = \"stdout\"\n[zone_defaults]\n",
    );
    assert_eq!((node.data_dir.as_str(), node.zones.as_str()), ("/var/lib/rempart", "/etc/zones"));
    assert_eq!((node.threads, node.drain_ms), (0, 10_000));
    let listeners: Vec<_> = node
        .listeners
        .iter()
        .map(|listener| (listener.address.port(), listener.protocol, listener.http3))
        .collect();
    assert_eq!(listeners, [(80, ListenerProtocol::Http, false), (443, ListenerProtocol::Https, true)]);
    assert_eq!((node.cache_memory_bytes, node.cache_disk_bytes), (256 << 20, 10 << 30));
    assert_eq!(node.access_log, AccessLog::Stdout);
    assert!(node.warnings.is_empty());
}

#[test]
fn takes_every_setting() {
    let node = node(
        "[node]\nuser = \"www\"\ndrain_ms = 0\nname = \"edge-1\"\n\
         trusted_proxies = [\"192.0.2.0/24\", \"2001:db8::1\"]\n\
         [[listener]]\naddress = \"[::]:80\"\nprotocol = \"http\"\nh2c = true\n\
         proxy_protocol = true\ntrusted = [\"10.0.0.0/8\"]\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"https\"\nhttp3 = false\n\
         [log]\naccess = \"log/a.json\"\nredact_query = true\ntruncate_addresses = true\n\
         [cache]\ndisk_bytes = 0\n",
    );
    assert_eq!(node.user.as_deref(), Some("www"));
    assert_eq!((node.drain_ms, node.name.as_str(), node.cache_disk_bytes), (0, "edge-1", 0));
    let is_trusted =
        |address: &str| zone::cidr::any_contains(&node.trusted_proxies, address.parse().expect("an address"));
    assert!(is_trusted("192.0.2.255") && is_trusted("::ffff:192.0.2.1") && is_trusted("2001:db8::1"));
    assert!(!is_trusted("192.0.3.0") && !is_trusted("2001:db8::2"));
    assert!(node.listeners[0].h2c && node.listeners[0].proxy_protocol && !node.listeners[1].http3);
    assert_eq!(node.access_log, AccessLog::File("/etc/log/a.json".to_owned()));
    assert!(node.redact_query && node.truncate_addresses);
    assert_eq!(node.admin, None);
}

#[test]
fn tells_what_is_wrong_with_it() {
    for (text, wanted) in [
        ("", "n.toml:1:1: the node has no listener (write a [[listener]]"),
        ("[[listener]]\naddress = \":80\"\nprotocol = \"http\"", "did you mean \"0.0.0.0:80\"?"),
        ("[[listener]]\naddress = \"localhost:80\"\nprotocol = \"http\"", "did you mean \"127.0.0.1:80\"?"),
        ("[[listener]]\naddress = \"web:80\"\nprotocol = \"http\"", "is no IP address with a port"),
        ("[[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"htp\"", "did you mean \"http\"?"),
        ("[[listener]]\naddress = \"0.0.0.0:80\"", "[[listener]] needs `protocol`"),
        ("[[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"http\"\nhttp3 = true", "HTTP/3 needs"),
        ("[[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"https\"\nh2c = true", "h2c is for cleartext"),
        (
            "[[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"http\"\nproxy_protocol = true",
            "needs senders",
        ),
        (
            "[[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"http\"\ntrusted = [\"::/0\"]",
            "is for the PROXY",
        ),
        (&format!("{ONE}{ONE}"), "0.0.0.0:80 has a listener already"),
        (&format!("{ONE}[admin]\naddress = \"0.0.0.0:80\""), "0.0.0.0:80 has a listener already"),
        (&format!("{ONE}[node]\ntrusted_proxies = [\"10.0.0.1/8\"]"), "did you mean `10.0.0.0/8`?"),
        (&format!("{ONE}[node]\ntrusted_proxies = [\"10.0.0.0/33\"]"), "the prefix must be a number"),
        (&format!("{ONE}[node]\ntrusted_proxies = [\"x/8\"]"), "no IP address before the prefix"),
        (&format!("{ONE}[node]\nlist_servers = [\"192.0.2.53\"]"), "is no IP address with a port"),
        (
            &format!("{ONE}[node]\nlist_servers = [{}]", "\"[::1]:53\", ".repeat(4)),
            "more than 3 name servers",
        ),
        (&format!("{ONE}[node]\nthread = 2"), "did you mean `threads`?"),
        (&format!("{ONE}[cache]\nmemory_bytes = \"5 mb\""), "did you mean \"5MB\"?"),
        (&format!("{ONE}[cache]\nmemory_bytes = \"5 lots\""), "units are"),
        (&format!("{ONE}[admin]\naddress = \"9901\""), "did you mean \"127.0.0.1:9901\"?"),
        ("[listener]\naddress = \"0.0.0.0:80\"\nprotocol = \"http\"", "in double brackets, [[…]]"),
        (&format!("{ONE}[zone_default]\n"), "did you mean `zone_defaults`?"),
        (&format!("{ONE}[node]\nthreads = -1"), "an integer from 0 to 256, not `-1`"),
    ] {
        let told = told(text);
        assert!(told.contains(wanted), "{text}: {told}");
    }
}

#[test]
fn tells_all_its_problems_at_once() {
    let told = told("[node]\nthread = 2\n[[listener]]\naddress = \"x\"\nprotocol = \"y\"\n[lgo]\n");
    assert_eq!(told.lines().count(), 4, "{told}");
}

#[test]
fn warns_of_an_open_admin_address() {
    let node = node(&format!("{ONE}[admin]\naddress = \"0.0.0.0:9901\"\n"));
    assert!(node.warnings[0].to_string().starts_with("/etc/rempart.toml:5:11: warning: the admin address"));
}
