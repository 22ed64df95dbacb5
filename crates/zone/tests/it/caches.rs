//! `[cache]` of zones and of the node: what is accepted, what runs, and what a person is told.

use zone::{
    BrowserLifetime, CacheLifetime, CacheQuery, ControlField, ErrorsWord, LifetimeWord, SetCookieWord,
};

use super::{one, problems_of, source, zone_text};

fn cache(text: &str) -> std::sync::Arc<zone::Cache> {
    let snapshot = one(&zone_text("z", "[\"a.example\"]", text));
    assert_eq!(snapshot.warnings.len(), 0, "{:?}", snapshot.warnings);
    snapshot.zones()[0].cache.clone().expect("it is on")
}

fn told(text: &str) -> String {
    problems_of(&zone_text("z", "[\"a.example\"]", text))
}

#[test]
fn is_off_until_the_zone_says_so() {
    for text in ["", "[cache]\nenabled = false\nalways_online = true\n"] {
        assert!(one(&zone_text("z", "[\"a.example\"]", text)).zones()[0].cache.is_none());
    }
    let plain = cache("[cache]\nenabled = true\n");
    assert_eq!(plain.control, [ControlField::CdnCacheControl, ControlField::SurrogateControl]);
    assert_eq!((plain.key.query.clone(), plain.key.headers.len()), (CacheQuery::All, 0));
    assert!(!plain.respects_request && plain.guards_extensions && !plain.always_online);
    assert_eq!((plain.stale_if_error_s, plain.stale_while_revalidate_s), (86_400, 0));
    assert_eq!((plain.set_cookie, plain.errors), (SetCookieWord::NotStored, ErrorsWord::WhereTold));
    assert_eq!((plain.heuristic, plain.browser_s, plain.slice_bytes), (None, None, Some(1 << 20)));
}

#[test]
fn every_choice_of_the_zone_is_run() {
    let chosen = cache(
        "[cache]\nenabled = true\ncontrol = [\"surrogate_control\"]\nrespect_request = true\nbrowser_s = 0\n\
         heuristic = { percent = 20 }\nstale_while_revalidate_s = 7\nstale_if_error_s = 8\n\
         always_online = true\nset_cookie = \"stripped\"\nerrors = \"never\"\n\
         bypass_cookies = [\"session*\"]\nmax_object_bytes = \"1MiB\"\nslice_bytes = 0\n\
         guard_extensions = false\nearly_hints = true\nmax_variants = 3\nwait_ms = 1000\n\
         wait_interval_ms = 50\n\
         key = { query_except = [\"utm_*\"], sort_query = true, headers = [\"X-Tenant\"], \
         cookies = [\"plan\"], device = true, country = true }\n\
         [[cache.lifetime]]\nstatus = [404, \"5xx\"]\nseconds = 10\n\
         [[cache.lifetime]]\nstatus = 200\nseconds = 60\nmode = \"always\"\n\
         [[cache.lifetime]]\nstatus = 302\nmode = \"never\"\n\
         [[cache.lifetime]]\nstatus = [\"2xx\", 301]\nbrowser_s = 30\n",
    );
    assert_eq!(chosen.control, [ControlField::SurrogateControl]);
    assert_eq!(chosen.key.query, CacheQuery::AllBut(vec!["utm_*".to_owned()]));
    assert!(chosen.key.sorts_query && chosen.key.device && chosen.key.country);
    assert_eq!((chosen.key.headers[0].as_str(), chosen.key.cookies[0].as_str()), ("x-tenant", "plan"));
    assert_eq!((chosen.browser_s, chosen.heuristic), (Some(0), Some((20, 86_400))));
    assert_eq!((chosen.stale_while_revalidate_s, chosen.stale_if_error_s), (7, 8));
    assert_eq!((chosen.object_bytes_max, chosen.slice_bytes), (1 << 20, None));
    assert_eq!((chosen.variants_max, chosen.wait_ms, chosen.wait_interval_ms), (3, 1000, 50));
    assert!(
        chosen.respects_request && chosen.always_online && chosen.early_hints && !chosen.guards_extensions
    );
    assert_eq!((chosen.set_cookie, chosen.errors), (SetCookieWord::Stripped, ErrorsWord::Never));
    let lifetime = |first, last, seconds, mode| CacheLifetime { first, last, seconds, mode };
    assert_eq!(
        chosen.lifetimes,
        [
            lifetime(404, 404, 10, LifetimeWord::Default),
            lifetime(500, 599, 10, LifetimeWord::Default),
            lifetime(200, 200, 60, LifetimeWord::Always),
            lifetime(302, 302, 0, LifetimeWord::Never),
        ]
    );
    let told = |first, last| BrowserLifetime { first, last, seconds: 30 };
    assert_eq!(chosen.browser, [told(200, 299), told(301, 301)]);
}

#[test]
fn what_makes_no_sense_is_told_also_while_it_is_off() {
    for (text, problem) in [
        ("enabld = true", "did you mean `enabled`?"),
        ("key = { headers = [\"Cookie\"] }", "name single cookies in `cookies`"),
        ("key = { headers = [\"Authorization\"] }", "`authorization` cannot be keyed"),
        ("key = { query_only = [\"a\"], query_except = [\"b\"] }", "exclude each other"),
        ("key = { query = \"none\", query_only = [\"a\"] }", "leaves nothing"),
        ("key = { cookies = [\"*\"] }", "`*` alone would stand for every name"),
        ("slice_bytes = 1", "this must be 0, or from 64KiB to 16MiB"),
        ("control = [\"cdn_cache_control\", \"cdn_cache_control\"]", "named twice"),
        ("set_cookie = \"drop\"", "not_stored"),
        ("wait_ms = 1", "from 100"),
        ("max_variants = 0", "from 1 to 1000"),
        ("weight = 0", "from 1 to 1000"),
        ("[[cache.lifetime]]\nseconds = 1", "[[cache.lifetime]] needs `status`"),
        ("[[cache.lifetime]]\nstatus = 200\nseconds = 1\nmode = \"never\"", "has no lifetime"),
        ("[[cache.lifetime]]\nstatus = 200", "this says nothing of such answers"),
    ] {
        let told = told(&format!("[cache]\nenabled = false\n{text}\n"));
        assert!(told.contains(problem), "{text}: {told}");
        assert_eq!(told.lines().count(), 1, "{told}");
    }
}

#[test]
fn lists_are_bounded() {
    let names = |count: usize| (0..count).map(|n| format!("\"n{n}\"")).collect::<Vec<_>>().join(",");
    for (text, problem) in [
        (format!("key = {{ headers = [{}] }}", names(17)), "more than 16 header fields"),
        (format!("bypass_cookies = [{}]", names(129)), "more than 128 names"),
        ("[[cache.lifetime]]\nstatus = 200\n".repeat(65), "more than 64 lifetimes"),
    ] {
        let told = told(&format!("[cache]\n{text}\n"));
        assert!(told.contains(problem), "{told}");
    }
}

#[test]
fn the_nodes_share_is_all_or_nothing_or_enough() {
    let node = |cache: &str| {
        let text = format!("[[listener]]\naddress = \"0.0.0.0:80\"\nprotocol = \"http\"\n[cache]\n{cache}\n");
        zone::compile_node(&source("/etc/rempart/rempart.toml", &text))
    };
    let default = node("").expect("it is well");
    assert_eq!((default.cache_memory_bytes, default.cache_disk_bytes), (256 << 20, 10 << 30));
    assert_eq!(default.cache_disk_folder, "/etc/rempart/./rempart-data/cache");
    let own = node("memory_bytes = 0\ndisk_bytes = 0\ndisk_folder = \"../c\"").expect("it is well");
    assert_eq!((own.cache_memory_bytes, own.cache_disk_bytes), (0, 0));
    assert_eq!(own.cache_disk_folder, "/etc/rempart/../c");
    for (cache, least) in [("memory_bytes = 1000", "8MiB"), ("disk_bytes = \"1MiB\"", "64MiB")] {
        let told = node(cache).expect_err("it is too little");
        assert!(told[0].to_string().contains(&format!("at least {least}")), "{told:?}");
    }
}
