//! Problems: all at once, each with its place and, where possible, what to write instead.

use crate::{bundle, bundle_with_defaults, listed, one, problems, problems_of, source, zone_text};

#[test]
fn tells_every_problem_of_every_file_at_once() {
    let first = "name = \"one\"\nhostnames = [\"a.example\", \"b example\"]\n\n[tls]\nminmum = \"1.2\"\n\n\
                 [[pool]]\nname = \"app\"\norigins = [{ url = \"http//10.0.0.1\", weight = 5000 }]\n\n\
                 [[route]]\npath_prefix = \"api\"\npool = \"ap\"\n";
    let second = "name = \"two\"\nhostnames = [\"a.example\"]\nserver_timing = \"yes\"\n\n\
                  [[pool]]\nname = \"app\"\norigins = []\n";
    let broken = "name = \"three\nhostnames = [\"c.example\"]\n";
    let told = listed(&problems(&bundle(&[("1.toml", first), ("2.toml", second), ("3.toml", broken)])));
    for wanted in [
        "1.toml:2:27: `b example` is no hostname: ' ' is not allowed in it",
        "1.toml:5:1: unknown setting `minmum` in [tls] (did you mean `minimum`?)",
        "1.toml:9:20: `http//10.0.0.1` is no origin: the scheme is missing (did you mean \"http:",
        "1.toml:9:47: this must be an integer from 0 to 1000, not `5000`",
        "1.toml:12:15: a path begins with a slash (did you mean \"/api\"?)",
        "1.toml:13:8: there is no pool `ap` in this zone (did you mean \"app\"?)",
        "2.toml:2:14: `a.example` belongs to the zone `one`",
        "2.toml:3:17: this must be true or false, not a string",
        "2.toml:7:11: the pool has no origins",
        "3.toml:1:14: ",
    ] {
        assert!(told.contains(wanted), "missing {wanted:?} in\n{told}");
    }
    assert_eq!(told.lines().count(), 10, "{told}");
}

#[test]
fn suggests_what_was_meant() {
    let told = problems_of(
        "name = \"z\"\nhostname = [\"a.example\"]\nserver-timing = true\n\
         [tls]\ncertficate = \"x\"\nkey = \"y\"\nminimum = \"1.4\"\n\
         [[upstream]]\nname = \"app\"\n[[pool]]\nname = \"app\"\nbalance = \"roundrobin\"\n\
         origins = [{ url = \"htps://h:1\" }, { url = \"10.0.0.1:80\" }]\n",
    );
    for wanted in [
        "`hostname` in the zone (did you mean `hostnames`?)",
        "`server-timing` in the zone (did you mean `server_timing`?)",
        "`certficate` in [tls] (did you mean `certificate`?)",
        "`key` in [tls] (did you mean `private_key`?)",
        "`1.4` is not one of 1.2, 1.3",
        "`upstream` in the zone (did you mean `pool`?)",
        "`roundrobin` is not one of round_robin, least_connections, hash, random (did you mean \"round",
        "(did you mean \"https://h:1\"?)",
        "(did you mean \"http://10.0.0.1:80\"?)",
        "the zone needs `hostnames`",
    ] {
        assert!(told.contains(wanted), "missing {wanted:?} in\n{told}");
    }
}

/// What is written by habit in other servers' files, and what to write here.
#[test]
fn says_what_to_write_in_place_of_other_servers_ways() {
    for (rest, wanted) in [
        ("[http]\nheader_ms = \"10s\"\n", "it is in milliseconds: write 10000"),
        ("[http]\nheader_ms = \"10\"\n", "write 10, without quotes"),
        ("[http]\nmax_body_bytes = \"10m\"\n", "did you mean \"10MiB\"?"),
        ("[http]\nwebsocket = \"on\"\n", "write true, without quotes"),
        ("[http]\nwebsocket = on\n", "write true, without quotes"),
        ("[cache]\nenabled = False\n", "write false, without quotes"),
        ("[flood]\nmode = \"block\"\n", "did you mean \"limit\"?"),
        ("[[listener]]\nport = 80\n", "it belongs in the node file, rempart.toml"),
        ("[overload]\ndelay_ms = 1\n", "it belongs in the node file, rempart.toml"),
        ("[tls]\nhsts = true\n", "not true or false (write { max_age_s = … })"),
        ("[tls]\nredirect_port = \"443\"\n", "write 443, without quotes"),
        ("[tls]\nssl_certificate_key = \"a\"\n", "did you mean `private_key`?"),
        ("[tls]\nminimum = \"TLSv1.2\"\n", "did you mean \"1.2\"?"),
        ("[compression]\nalgorithms = [\"br\"]\n", "did you mean \"brotli\"?"),
        (
            "[[rate_limit]]\nname = \"a\"\nrequests = 1\nperiod_s = \"1m\"\n",
            "the number alone, without quotes",
        ),
        ("[[rule]]\nname = \"a\"\nexpression = 'true'\naction = \"deny\"\n", "did you mean \"block\"?"),
        ("[pool]\nname = \"b\"\n", "this must be an array, not a table (write its header in double brackets"),
        ("[[pool]]\nname = \"b\"\norigins = [\"http://h\"]\n", "write { url = \"http://h\" }"),
        ("[[pool]]\nname = \"b\"\norigins = \"http://h\"\n", "not a string (write [\"http://h\"])"),
        ("[[pool]]\nname = \"b\"\norigins = [{ url = \"unix:/s:\" }]\n", "did you mean \"unix:/s\"?"),
        ("[[pool]]\nname = \"b\"\norigins = [{ url = \"http://unix:/s:\" }]\n", "did you mean \"unix:/s\"?"),
    ] {
        // A zone with a pool of its own may not have another kind of pool.
        let told = problems_of(&match rest.contains("pool]") {
            true => format!("name = \"z\"\nhostnames = [\"a.example\"]\n[[route]]\nanswer = {{}}\n{rest}"),
            false => zone_text("z", "[\"a.example\"]", rest),
        });
        assert!(told.contains(wanted), "{rest}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn says_what_stands_in_a_zone_s_file_and_not_in_the_node_s() {
    let node =
        "[[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"http\"\n[flood]\n[tls]\n[[rate_limit]]\n";
    let told = listed(&zone::compile_node(&source("rempart.toml", node)).expect_err("they are the zone's"));
    for name in ["flood", "tls", "rate_limit"] {
        let wanted =
            format!("unknown setting `{name}` in the node file (it belongs in a zone's file, zones/*.toml)");
        assert!(told.contains(&wanted), "{told}");
    }
    assert_eq!(told.lines().count(), 3, "{told}");
}

#[test]
fn proposes_a_name_and_all_below_it_for_one_with_a_dot_before_it() {
    let told = problems_of(&zone_text("z", "[\".example.org\"]", ""));
    assert!(told.contains("(did you mean [\"example.org\", \"*.example.org\"]?)"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn a_list_with_a_problem_is_not_missed_by_rules() {
    let told = problems_of(&zone_text(
        "z",
        "[\"a.example\"]",
        "[[list]]\nname = \"l\"\nkind = \"ip\"\nentries = [\"192.0.2.300\"]\n\
         [[rule]]\nname = \"r\"\nexpression = 'ip.src in $l'\naction = \"block\"\n",
    ));
    assert!(told.contains("`192.0.2.300` is not an address"), "{told}");
    assert_eq!(told.lines().count(), 1, "{told}");
}

#[test]
fn lists_what_is_known_where_nothing_is_near() {
    let told = problems_of(&zone_text("z", "[\"a.example\"]", "[tls]\nquetzalcoatl = 1\n"));
    assert!(
        told.contains("unknown setting `quetzalcoatl` in [tls] (known are: automatic, certificate,"),
        "{told}"
    );
}

#[test]
fn says_nothing_doubtful_behind_a_syntax_error() {
    let told = problems_of("nme = \"z\"\nhostnames = [\"a.example\"]\n[tls\nminimum = \"1.2\"\n[[pool]]\n");
    assert_eq!(told.lines().count(), 2, "{told}");
    assert!(told.contains("a.toml:1:1: unknown setting `nme`"), "{told}");
    assert!(told.contains("a.toml:3:"), "{told}");
}

#[test]
fn counts_columns_in_characters() {
    let told =
        problems_of("name = \"zoé\"\nhostnames = [\"ünïcode.example\", \"x:80\"]\n[[route]]\nanswer = {}\n");
    assert!(
        told.contains("a.toml:2:14: `ünïcode.example` is no hostname: international names are written in")
    );
    assert!(told.contains("a.toml:2:33: `x:80` is no hostname: a hostname has no port"), "{told}");
}

#[test]
fn refuses_a_file_that_is_no_utf8_at_its_place() {
    let mut text = zone_text("z", "[\"a.example\"]", "").into_bytes();
    text.splice(11..11, [0xFF]);
    let source = zone::Source { name: "a.toml".to_owned(), bytes: text };
    let told = listed(&problems(&zone::Bundle::new(vec![source], None, Default::default())));
    assert_eq!(told, "a.toml:2:1: the file is not UTF-8 from here on (save the file as UTF-8)\n");
}

#[test]
fn refuses_two_zones_of_one_name_or_id() {
    let id = "id = \"00112233445566778899aabbccddeeff\"";
    let a = zone_text("same", "[\"a.example\"]", "");
    let b = zone_text("same", "[\"b.example\"]", "");
    let c = zone_text("c", "[\"c.example\"]", id);
    let d = zone_text("d", "[\"d.example\"]", id);
    let told = listed(&problems(&bundle(&[("a", &a), ("b", &b), ("c", &c), ("d", &d)])));
    assert!(told.contains("b:1:8: another zone is named `same` too (the first is in a)"), "{told}");
    assert!(told.contains("d:3:6: another zone has the id 00112233445566778899aabbccddeeff too"), "{told}");
    assert_eq!(told.lines().count(), 2, "{told}");
}

#[test]
fn tells_a_problem_of_the_defaults_once_whatever_the_number_of_zones() {
    let texts: Vec<(String, String)> = (0..50)
        .map(|n| (format!("{n}.toml"), zone_text(&format!("z{n}"), &format!("[\"{n}.example\"]"), "")))
        .collect();
    let specs: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let node = "[node]\nthreads = 2\n\n\
                [zone_defaults.tls]\nminimun = \"1.2\"\n\n[zone_defaults.http]\nheader_ms = 0\n";
    let told = listed(&problems(&bundle_with_defaults(&specs, node)));
    assert_eq!(
        told,
        "rempart.toml:5:1: unknown setting `minimun` in [tls] (did you mean `minimum`?)\n\
         rempart.toml:8:13: this must be an integer from 1 to 86400000, not `0`\n"
    );
}

#[test]
fn tells_problems_of_the_defaults_without_any_zone() {
    let told = listed(&problems(&bundle_with_defaults(&[], "[zone_defaults]\nname = \"x\"\nfoo = 1\n")));
    assert!(told.contains("rempart.toml:2:8: `name` is each zone's own and has no default"), "{told}");
    assert!(told.contains("rempart.toml:3:1: unknown setting `foo`"), "{told}");
}

#[test]
fn bounds_the_number_of_problems() {
    let keys: String = (0..3_000).map(|n| format!("zzz{n} = 1\n")).collect();
    let told = problems(&bundle(&[("a.toml", &keys)]));
    assert_eq!(told.len(), zone::limits::PROBLEMS_MAX - zone::limits::WARNINGS_MAX + 1);
    assert!(told.last().is_some_and(|last| last.message.ends_with("more problems are not shown")));
}

#[test]
fn lets_no_crowd_of_warnings_hide_an_error() {
    let mut texts: Vec<(String, String)> = (0..2_000)
        .map(|n| {
            let hostnames = format!("[\"{n}.example\"]");
            let rule = "[[rule]]\nexpression = \"true\"\naction = \"challenge\"\n";
            (format!("{n:04}"), zone_text(&format!("z{n}"), &hostnames, rule))
        })
        .collect();
    texts.push(("9999".to_owned(), zone_text("last", "[\"0.example\"]", "")));
    let specs: Vec<(&str, &str)> = texts.iter().map(|(name, text)| (name.as_str(), text.as_str())).collect();
    let told = problems(&bundle(&specs));
    assert_eq!(told.len(), zone::limits::WARNINGS_MAX + 2);
    assert!(told.iter().any(|problem| problem.is_error() && problem.file == "9999"));
}

#[test]
fn reads_numbers_and_sizes_in_all_their_forms() {
    let text = "[http]\nheader_ms = 10_001\nkeepalive_ms = 0x10\nmax_body_bytes = \"1_0MB\"\n";
    let told = problems_of(&zone_text("z", "[\"a.example\"]", text));
    assert_eq!(told.lines().count(), 1, "{told}");
    assert!(told.contains("`1_0MB` is no size"), "{told}");
    let snapshot = one(&zone_text("z", "[\"a.example\"]", &text.replace("1_0MB", "10 MB")));
    let http = &snapshot.zones()[0].http;
    assert_eq!((http.header_ms, http.keepalive_ms, http.max_body_bytes), (10_001, 16, Some(10_000_000)));
}

#[test]
fn refuses_what_is_not_there_yet_and_would_be_relied_on() {
    let told = problems_of(&zone_text("z", "[\"a.example\"]", "[tls]\nautomatic = true\n"));
    assert!(
        told.contains("certificates by ACME are not there yet (name certificate and private_key)"),
        "{told}"
    );
    assert_eq!(told.lines().count(), 1, "{told}");
    one(&zone_text(
        "z",
        "[\"a.example\"]",
        "[waf]\nmode = \"off\"\nrules = [\"/crs\"]\n[cache]\nenabled = false\n",
    ));
}

#[test]
fn refuses_hostnames_that_are_none() {
    for (hostname, why) in [
        ("", "this must not be empty"),
        ("https://a.example", "only the name is wanted"),
        ("a.example/x", "only the name is wanted"),
        ("a.*.example", "a wildcard is"),
        ("*a.example", "a wildcard is"),
        ("a..example", "each part has"),
        ("-a.example", "each part has"),
        ("a b", "' ' is not allowed"),
    ] {
        let told = problems_of(&zone_text("z", &format!("[{hostname:?}]"), ""));
        assert!(told.contains(why), "{hostname}: {told}");
    }
    let long = format!("{}example", "a.".repeat(130));
    assert!(problems_of(&zone_text("z", &format!("[{long:?}]"), "")).contains("longer than 253"));
    let label = "a".repeat(64);
    assert!(problems_of(&zone_text("z", &format!("[{label:?}]"), "")).contains("1 to 63"));
    assert!(problems_of(&zone_text("z", "[\"a.example\", \"A.example.\"]", "")).contains("is named twice"));
    assert!(problems_of(&zone_text("z", "[]", "")).contains("the zone has no hostnames"));
}
