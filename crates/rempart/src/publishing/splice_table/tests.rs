//! Tests of the table's making: names that fail, entries that do not fit, one thread and the newest wish.

use std::collections::HashMap;
use std::fs;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::ThreadId;

use splice::limits::ENTRIES_MAX;
use telemetry::sink::Target;
use testkit::folder::Folder;

use super::*;

fn zone(name: &str, origins: &[&str]) -> Wanted {
    let origins = origins.iter().map(|host| ((*host).to_owned(), 443)).collect();
    Wanted { zone: name.to_owned(), hostnames: vec![name.to_owned()], origins, proxy: Proxy::None }
}

/// Name servers that know some names, count what they are asked, and take ten seconds for what they do not
/// know.
#[derive(Default)]
struct Names {
    known: HashMap<&'static str, &'static str>,
    asked: Arc<Mutex<Vec<String>>>,
}

impl Names {
    fn of(known: &[(&'static str, &'static str)]) -> Self {
        Self { known: known.iter().copied().collect(), ..Self::default() }
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().drain(..).collect()
    }

    fn ask(&self, host: &str, port: u16) -> Asked {
        self.asked.lock().unwrap().push(host.to_owned());
        let addresses: Vec<_> =
            self.known.get(host).map(|it| SocketAddr::new(it.parse().unwrap(), port)).into_iter().collect();
        let took = Duration::from_secs(if addresses.is_empty() { 10 } else { 0 });
        Asked { addresses, took }
    }
}

/// What one process knows, and the table on disk.
#[derive(Default)]
struct Process {
    memory: Memory,
    table: Table,
}

impl Process {
    /// Another process, which finds the table of this one.
    fn next(self) -> Self {
        Self { memory: Memory::default(), table: self.table }
    }

    fn write(&mut self, names: &Names, zones: &[Wanted]) -> entries::Made {
        let ask = |host: &str, port: u16| names.ask(host, port);
        let made = self.memory.entries(zones.to_vec(), &ask, || self.table.clone());
        self.table = Table::read(Table::to_bytes(&made.entries).unwrap()).unwrap();
        made
    }

    fn origins(&self, hostname: &str) -> Vec<String> {
        let origins = self.table.find(hostname).map(|entry| entry.origins).unwrap_or_default();
        origins.iter().map(ToString::to_string).collect()
    }
}

const A: &str = "192.0.2.1:443";
const B: &str = "192.0.2.2:443";

fn both() -> Names {
    Names::of(&[("a.origin", "192.0.2.1"), ("b.origin", "192.0.2.2")])
}

#[test]
fn a_name_that_cannot_be_resolved_keeps_its_addresses_of_before() {
    let zones = [zone("a.example", &["a.origin", "b.origin"]), zone("b.example", &["b.origin"])];
    let mut process = Process::default();
    let made = process.write(&both(), &zones);
    assert_eq!((made.left_out, made.unresolved), (None, None));
    let made = process.write(&Names::of(&[("a.origin", "192.0.2.9")]), &zones);
    assert_eq!(process.origins("a.example"), ["192.0.2.9:443", B]);
    assert_eq!(process.origins("b.example"), [B]);
    assert_eq!(made.unresolved.unwrap(), ["b.origin:443"]);
    // Another zone published while all names fail.
    let zones = [zones, [zone("c.example", &["192.0.2.7"]), zone("d.example", &["d.origin"])]].concat();
    let made = process.write(&Names::default(), &zones);
    assert_eq!(process.origins("a.example"), ["192.0.2.9:443", B]);
    assert_eq!(process.origins("b.example"), [B]);
    assert_eq!(process.origins("c.example"), ["192.0.2.7:443"]);
    assert_eq!(made.left_out.unwrap(), [("d.example".to_owned(), LeftOut::NoAddress)]);
}

#[test]
fn the_next_process_goes_on_with_the_addresses_of_the_table_it_finds() {
    let zones = [zone("a.example", &["a.origin", "b.origin"]), zone("b.example", &["b.origin"])];
    let mut process = Process::default();
    process.write(&both(), &zones);
    let mut process = process.next();
    for _ in 0..3 {
        process.write(&Names::default(), &zones);
        assert_eq!(process.origins("a.example"), [A, B]);
        assert_eq!(process.origins("b.example"), [B]);
    }
    process.write(&Names::of(&[("a.origin", "192.0.2.9")]), &zones);
    assert_eq!(process.origins("a.example"), ["192.0.2.9:443", A, B], "which of them was whose is not known");
    process.write(&both(), &zones);
    assert_eq!(process.origins("a.example"), [A, B]);
}

#[test]
fn an_origin_that_the_owner_left_is_used_only_when_nothing_else_is_known() {
    let mut process = Process::default();
    process.write(&both(), &[zone("a.example", &["a.origin", "b.origin"])]);
    process
        .write(&Names::of(&[("a.origin", "192.0.2.1")]), &[zone("a.example", &["a.origin", "new.origin"])]);
    assert_eq!(process.origins("a.example"), [A]);
    process.write(&Names::default(), &[zone("a.example", &["newer.origin"])]);
    assert_eq!(process.origins("a.example"), [A]);
}

#[test]
fn a_host_name_that_moved_to_another_zone_gets_none_of_the_addresses_of_the_one_before() {
    let mut process = Process::default();
    process.write(&both(), &[zone("a.example", &["a.origin"])]);
    let moved = Wanted { zone: "another".to_owned(), ..zone("a.example", &["new.origin"]) };
    let made = process.write(&both(), &[moved]);
    assert_eq!(made.left_out.unwrap(), [("a.example".to_owned(), LeftOut::NoAddress)]);
    assert!(process.table.is_empty());
}

#[test]
fn a_zone_that_does_not_agree_any_more_is_gone_from_the_table() {
    let mut process = Process::default();
    process.write(&both(), &[zone("a.example", &["a.origin"])]);
    process.write(&Names::default(), &[]);
    assert!(process.table.is_empty());
}

#[test]
fn what_no_table_can_hold_is_left_out_alone() {
    let mut process = Process::default();
    let zones = [
        zone("[::1]", &["192.0.2.1"]),
        zone("a.example", &["192.0.2.1"]),
        Wanted { zone: "other".to_owned(), ..zone("a.example", &["192.0.2.2"]) },
    ];
    let made = process.write(&Names::default(), &zones);
    assert_eq!(process.origins("a.example"), [A]);
    let does_not_fit = |name: &str| (name.to_owned(), LeftOut::DoesNotFit);
    assert_eq!(made.left_out.unwrap(), [does_not_fit("[::1]"), does_not_fit("a.example")]);
    assert_eq!(process.write(&Names::default(), &zones).left_out, None, "the same again is no news");
}

#[test]
fn a_full_table_leaves_out_the_rest_and_names_it() {
    let mut many = zone("a.example", &["192.0.2.1"]);
    many.hostnames = (0..ENTRIES_MAX + 2).map(|number| format!("n{number}.example")).collect();
    let mut process = Process::default();
    let left_out = process.write(&Names::default(), &[many]).left_out.unwrap();
    assert_eq!(process.table.len(), ENTRIES_MAX);
    assert_eq!(left_out.len(), 2);
    assert_eq!(left_out[1], (format!("n{}.example", ENTRIES_MAX + 1), LeftOut::TooMany));
}

#[test]
fn each_name_is_asked_for_once_and_few_when_none_answers() {
    let silent: Vec<String> = (0..30).map(|number| format!("{number}.origin")).collect();
    let mut zones: Vec<Wanted> =
        silent.iter().map(|origin| zone(origin, &[origin, "shared.origin"])).collect();
    zones.push(zone("good.example", &["a.origin"]));
    let mut process = Process::default();
    let names = both();
    process.write(&names, &zones);
    assert_eq!(names.asked(), ["0.origin", "shared.origin", "1.origin"], "three times ten seconds");
    // Those that gave nothing wait until the others were asked, and so the good one has its turn.
    for _ in 0..10 {
        process.write(&names, &zones);
        assert!(names.asked().len() <= 6, "three in a row, on either side of the good one");
    }
    assert_eq!(process.origins("good.example"), [A]);
}

#[test]
fn names_that_do_not_answer_between_good_ones_do_not_stop_the_asking_before_two_minutes_are_lost() {
    let zones: Vec<Wanted> =
        (0..30).map(|number| zone(&format!("z{number}.example"), &[&format!("{number}.origin")])).collect();
    let known: Vec<String> = (0..30).step_by(2).map(|number| format!("{number}.origin")).collect();
    let ask = |host: &str, port: u16| match known.iter().any(|name| name == host) {
        true => Asked { addresses: vec![([192, 0, 2, 1], port).into()], took: Duration::ZERO },
        false => Asked { addresses: Vec::new(), took: Duration::from_secs(10) },
    };
    let mut memory = Memory::default();
    let made = memory.entries(zones.clone(), &ask, Table::default);
    assert_eq!(made.entries.len(), 12, "as many as came before the twelfth that does not answer");
    assert_eq!(memory.entries(zones, &ask, Table::default).entries.len(), 15);
}

/// A table whose name server waits to be let go, and tells by which thread it is asked.
struct Slow {
    folder: Folder,
    table: SpliceTable,
    asked: Receiver<(String, ThreadId)>,
    go: SyncSender<()>,
}

impl Slow {
    fn new() -> Self {
        let folder = Folder::new().unwrap();
        let log = fs::File::create(folder.path().join("events")).unwrap();
        let events = Events::start(Target::Descriptor(log.into()), || 0).unwrap();
        let (tell, asked) = sync_channel(100);
        let (go, wait) = sync_channel(100);
        let wait = Mutex::new(wait);
        let ask = move |host: &str, port: u16| {
            let _ = tell.send((host.to_owned(), thread::current().id()));
            let _ = wait.lock().unwrap().recv();
            assert!(host != "panic.origin", "as asked");
            Asked { addresses: vec![SocketAddr::from(([192, 0, 2, 1], port))], took: Duration::ZERO }
        };
        let path = folder.path().join("splice.table");
        let writer = Writer { path, events, ask: Arc::new(ask), slot: Arc::default() };
        Self { folder, table: SpliceTable { writer }, asked, go }
    }

    fn hostnames(&self) -> Vec<String> {
        let table = Table::load(&self.folder.path().join("splice.table")).unwrap_or_default();
        table.entries().map(|entry| entry.hostname).collect()
    }
}

#[test]
fn one_thread_writes_all_tables_and_a_newer_wish_takes_the_place_of_those_that_wait() {
    let slow = Slow::new();
    slow.table.wish(vec![zone("first.example", &["first.origin"])]);
    let (first, by) = slow.asked.recv().unwrap();
    assert_eq!(first, "first.origin");
    for number in 0..50 {
        slow.table.wish(vec![zone(&format!("{number}.example"), &[&format!("{number}.origin")])]);
    }
    slow.go.send(()).unwrap();
    assert_eq!(slow.asked.recv().unwrap(), ("49.origin".to_owned(), by));
    assert_eq!(slow.hostnames(), ["first.example"], "a publish that comes does not keep one from the disk");
    slow.go.send(()).unwrap();
    slow.table.wish(vec![zone("last.example", &["last.origin"])]);
    assert_eq!(slow.asked.recv().unwrap(), ("last.origin".to_owned(), by));
    assert_eq!(slow.hostnames(), ["49.example"]);
    slow.go.send(()).unwrap();
}

#[test]
fn nothing_is_written_once_another_edge_does() {
    let slow = Slow::new();
    slow.table.wish(vec![zone("first.example", &["first.origin"])]);
    slow.asked.recv().unwrap();
    let Slow { folder, table, asked, go } = slow;
    drop(table);
    go.send(()).unwrap();
    // The thread has the other end until it is gone.
    assert!(asked.recv().is_err(), "no other name is asked for");
    assert!(!folder.path().join("splice.table").exists());
}

#[test]
fn a_panic_while_a_table_is_made_costs_that_table_alone() {
    let slow = Slow::new();
    slow.table.wish(vec![zone("bad.example", &["panic.origin"])]);
    let (_, by) = slow.asked.recv().unwrap();
    slow.go.send(()).unwrap();
    // Until the thread is gone.
    while slow.table.writer.slot().has_thread {
        thread::yield_now();
    }
    slow.table.wish(vec![zone("good.example", &["good.origin"])]);
    assert_ne!(slow.asked.recv().unwrap().1, by);
    slow.go.send(()).unwrap();
    slow.table.wish(vec![zone("next.example", &["next.origin"])]);
    slow.asked.recv().unwrap();
    assert_eq!(slow.hostnames(), ["good.example"]);
    slow.go.send(()).unwrap();
}

#[test]
fn host_names_that_are_left_out_and_origins_that_do_not_resolve_are_told() {
    let folder = Folder::new().unwrap();
    let log = fs::File::create(folder.path().join("events")).unwrap();
    let events = Events::start(Target::Descriptor(log.into()), || 0).unwrap();
    let ask = |_: &str, _: u16| Asked { addresses: Vec::new(), took: Duration::ZERO };
    let path = folder.path().join("splice.table");
    let writer = Writer { path, events: events.clone(), ask: Arc::new(ask), slot: Arc::default() };
    let mut memory = Memory::default();
    let zones = vec![zone("[::1]", &["192.0.2.1"]), zone("a.example", &["gone.origin"])];
    writer.write(&mut memory, zones.clone());
    writer.write(&mut memory, zones);
    assert!(events.close(Duration::from_secs(60)));
    let told = fs::read_to_string(folder.path().join("events")).unwrap();
    assert_eq!(told.lines().count(), 3, "{told}");
    let has = |words: &[&str]| told.lines().any(|line| words.iter().all(|word| line.contains(word)));
    assert!(has(&["splice_table_unresolved", "gone.origin:443"]), "{told}");
    assert!(has(&["splice_table_left_out", "\"hostnames\":\"a.example\"", "can be resolved"]), "{told}");
    assert!(has(&["splice_table_left_out", "\"hostnames\":\"[::1]\"", "TLS hello"]), "{told}");
}
