//! Tests of the start: files, last good generation, older ones, nothing.

use std::fs;
use std::os::fd::OwnedFd;

use telemetry::sink::Target;
use testkit::folder::Folder;

use super::*;

const NODE: &str = "[[listener]]\naddress = \"127.0.0.1:0\"\nprotocol = \"http\"\n";

fn zone(name: &str) -> String {
    format!(
        "name = \"{name}\"\nhostnames = [\"{name}\"]\n[[pool]]\nname = \"app\"\n\
         origins = [{{ url = \"http://127.0.0.1:1\" }}]\n"
    )
}

/// A folder with a node file, and a log to read after closing.
struct Site {
    folder: Folder,
    events: Events,
}

impl Site {
    fn new() -> Self {
        let folder = Folder::new().unwrap();
        folder.write("rempart.toml", NODE).unwrap();
        let log = fs::File::create(folder.path().join("events")).unwrap();
        let events = Events::start(Target::Descriptor(OwnedFd::from(log)), || 0).unwrap();
        Self { folder, events }
    }

    fn zone(&self, name: &str) -> &Self {
        self.folder.write("zones/a.toml", zone(name)).unwrap();
        self
    }

    fn breaks(&self) -> &Self {
        self.folder.write("zones/a.toml", "name = ").unwrap();
        self
    }

    /// The zone with a certificate, and another that has none.
    fn zone_with_pair(&self, name: &str) -> &Self {
        let tls = "[tls]\ncertificate = \"a.pem\"\nprivate_key = \"a.key\"\n";
        self.folder.write("zones/a.toml", zone(name) + tls).unwrap();
        self.folder.write("zones/b.toml", zone("other.example")).unwrap();
        let pair = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
        self.folder.write("zones/a.pem", pair.cert.pem()).unwrap();
        self.folder.write("zones/a.key", pair.signing_key.serialize_pem()).unwrap();
        self
    }

    fn begun(&self, begin: Begin) -> Result<Start, Problems> {
        start_kept(begin, &self.generations(), None, &Keyring::default(), &self.events)
    }

    fn start(&self) -> Result<Start, Problems> {
        let config = self.folder.path().join("rempart.toml");
        let keyring = Keyring::default();
        start(&config, Begin::Files, &self.generations(), &self.rejected(), &keyring, &self.events)
    }

    fn rejected(&self) -> Rejected {
        Rejected::open(self.folder.path())
    }

    fn generations(&self) -> Generations {
        Generations::open(&self.folder.path().join("state")).unwrap()
    }

    fn events(&self) -> String {
        assert!(self.events.close(Duration::from_secs(60)));
        fs::read_to_string(self.folder.path().join("events")).unwrap()
    }
}

fn name(start: &Start) -> &str {
    &start.snapshot.zones()[0].name
}

#[test]
fn a_start_keeps_what_it_began_with_and_the_same_files_again_are_the_same_generation() {
    let site = Site::new();
    let first = site.zone("a.example").start().unwrap();
    assert_eq!((name(&first), first.snapshot.number, &first.kept), ("a.example", 1, &None));
    let again = site.start().unwrap();
    assert_eq!(again.snapshot.number, 1);
    assert_eq!(site.generations().kept().unwrap().len(), 1);
    let other = site.zone("b.example").start().unwrap();
    assert_eq!((name(&other), other.snapshot.number), ("b.example", 2));
    assert_eq!(site.events(), "", "a good start tells nothing");
}

#[test]
fn broken_files_start_the_last_good_generation_and_name_every_problem() {
    let site = Site::new();
    site.zone("a.example").start().unwrap();
    let kept = site.breaks().start().unwrap();
    assert_eq!((name(&kept), kept.snapshot.number), ("a.example", 1));
    assert!(kept.kept.is_some() && kept.stamps.is_empty());
    let events = site.events();
    assert!(
        events.contains("started_from_kept_generation") && events.contains("zones/a.toml:1:"),
        "{events}"
    );
}

#[test]
fn an_emptied_folder_starts_the_last_good_generation_and_one_that_never_had_a_zone_starts_empty() {
    let site = Site::new();
    site.zone("a.example").start().unwrap();
    fs::remove_file(site.folder.path().join("zones/a.toml")).unwrap();
    for _ in 0..2 {
        let kept = site.start().unwrap();
        assert_eq!((name(&kept), kept.snapshot.number), ("a.example", 1));
    }
    let events = site.events();
    assert!(events.contains("started_from_kept_generation") && events.contains("no zone file"), "{events}");
    let empty = Site::new();
    fs::create_dir_all(empty.folder.path().join("zones")).unwrap();
    for _ in 0..2 {
        assert!(empty.start().unwrap().snapshot.zones().is_empty());
    }
    assert_eq!(empty.events(), "");
}

#[test]
fn a_broken_node_file_starts_the_last_good_generation_too() {
    let site = Site::new();
    site.zone("a.example").start().unwrap();
    site.folder.write("rempart.toml", "[nodes]\n").unwrap();
    assert_eq!(name(&site.start().unwrap()), "a.example");
}

#[test]
fn damaged_generations_are_passed_over_and_told() {
    let site = Site::new();
    for zone in ["a.example", "b.example", "c.example"] {
        site.zone(zone).start().unwrap();
    }
    let generations = site.generations();
    let kept = generations.kept().unwrap();
    fs::write(generations.path(&kept[0]), "no bundle").unwrap();
    let mut bytes = fs::read(generations.path(&kept[1])).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(generations.path(&kept[1]), bytes).unwrap();
    let start = site.breaks().start().unwrap();
    assert_eq!((name(&start), start.snapshot.number), ("a.example", 1));
    assert_eq!(site.events().matches("kept_generation_unusable").count(), 2);
}

#[test]
fn with_nothing_usable_the_problems_of_the_files_are_the_answer() {
    let site = Site::new();
    let problems = site.breaks().start().unwrap_err();
    assert!(problems.errors() > 0);
    assert!(problems.lines().contains("zones/a.toml:1:"), "{}", problems.lines());
}

#[test]
fn a_disk_that_takes_no_generation_does_not_keep_the_node_from_serving() {
    let site = Site::new();
    site.zone("a.example");
    let hash = hex(&gather(&read_node_file(&site.folder.path().join("rempart.toml")).unwrap()).bundle.hash());
    // A folder in the place of the temporary file makes the write fail, for root too.
    let beside = format!("state/generations/.0000000001-{}.bundle.new/x", &hash[..16]);
    fs::create_dir_all(site.folder.path().join(beside)).unwrap();
    assert_eq!(name(&site.start().unwrap()), "a.example");
    assert!(site.events().contains("generation_not_kept"));
}

#[test]
fn files_that_were_withdrawn_are_not_begun_with_again() {
    let site = Site::new();
    site.zone("a.example").start().unwrap();
    let bad = site.zone("b.example").start().unwrap();
    site.generations().discard(&site.generations().numbered(2).unwrap()).unwrap();
    let (hash, why) = (hex(&bad.snapshot.hash), "it crashed".to_owned());
    site.rejected().add(Rejection { hash, number: 2, unix_us: 0, why }).unwrap();
    let start = site.start().unwrap();
    assert_eq!((name(&start), start.snapshot.number), ("a.example", 1));
    let events = site.events();
    assert!(events.contains("withdrawn before: it crashed"), "{events}");
    // `rempart check` finds nothing wrong with them.
    assert!(events.contains("`rempart publish --again`") && !events.contains("rempart check"), "{events}");
}

#[test]
fn a_walk_back_begins_so_many_places_behind_the_last_good_one() {
    let site = Site::new();
    for zone in ["a.example", "b.example", "c.example"] {
        site.zone(zone).start().unwrap();
    }
    let generations = site.generations();
    generations.set_last_good(&generations.numbered(2).unwrap()).unwrap();
    let begun = |begin| {
        start_kept(begin, &generations, None, &Keyring::default(), &site.events)
            .ok()
            .map(|start| start.snapshot.number)
    };
    assert_eq!(begun(Begin::Newest), Some(3));
    let walked: Vec<_> = (0..4).map(|skip| begun(Begin::Kept { skip })).collect();
    assert_eq!(walked, [Some(2), Some(3), Some(1), None]);
}

#[test]
fn a_change_that_was_put_back_is_a_new_generation_with_the_old_content() {
    let site = Site::new();
    for (zone, number) in [("a.example", 1), ("b.example", 2), ("a.example", 3)] {
        assert_eq!(site.zone(zone).start().unwrap().snapshot.number, number);
    }
}

#[test]
fn a_zone_that_is_put_back_has_its_list_with_the_time_that_it_was_changed_at() {
    let spec = |name: &str, more: &str| zone::Source {
        name: format!("/z/{name}.toml"),
        bytes: format!("{}{more}", zone(name)).into_bytes(),
    };
    let list = "[[list]]\nname = \"l\"\nkind = \"ip\"\nfile = \"l.txt\"\nhorizon_s = 60\n";
    let files = || BTreeMap::from([("/z/l.txt".to_owned(), b"192.0.2.1\n".to_vec())]);
    let changed = |unix_s| BTreeMap::from([("/z/l.txt".to_owned(), unix_s)]);
    let old = Bundle::new(vec![spec("a", list)], None, files()).with_changed(changed(7));
    let broken = Bundle::new(vec![spec("a", "x = "), spec("b", "")], None, BTreeMap::new());
    let back = ["/z/a.toml".to_owned()].into_iter().collect();
    let bundle = trial::with_put_back(&broken, &old, &back, trial::Files::AsTheyServe);
    assert_eq!((bundle.specs().len(), bundle.changed()), (2, &changed(7)));
    let renewed = Bundle::new(vec![spec("a", list)], None, files()).with_changed(changed(8));
    let bundle = trial::with_put_back(&renewed, &old, &back, trial::Files::AsTheyAre);
    assert_eq!(bundle.changed(), &changed(8));
}

#[test]
fn a_node_whose_every_pair_is_unreadable_is_not_started_and_goes_on_with_all_else_after_a_death() {
    let site = Site::new();
    site.zone_with_pair("a.example").start().unwrap();
    let key = site.folder.path().join("zones/a.key");
    fs::remove_file(&key).unwrap();
    let told = site.start().unwrap_err().lines();
    assert!(told.contains("a.key cannot be read"), "{told}");
    // What is wrong with the files is one thing, and the lost pair another.
    site.folder.write("zones/b.toml", "name = ").unwrap();
    fs::write(&key, "").unwrap();
    let told = site.start().unwrap_err().lines();
    assert!(told.contains("zones/b.toml:1:") && told.matches("zones/a.toml:").count() == 1, "{told}");
    // Nobody is there after a death.
    let begun = site.begun(Begin::Newest).unwrap();
    assert!(begun.lacks_pairs && begun.snapshot.zones().len() == 2);
    begun.tell_lost(&site.events);
    let events = site.events();
    assert!(events.contains("configuration_warnings") && events.contains("until the pair is mended"));
    assert!(!events.contains("kept_generation_unusable"), "{events}");
}

#[test]
fn a_pair_that_is_lost_is_no_reason_to_begin_with_what_was_before() {
    let site = Site::new();
    site.zone("a.example").start().unwrap();
    site.zone_with_pair("b.example").start().unwrap();
    site.folder.write("zones/a.key", "").unwrap();
    let begun = site.begun(Begin::Newest).unwrap();
    assert_eq!((begun.snapshot.number, begun.lacks_pairs), (2, true));
}

#[test]
fn hex_is_two_digits_a_byte() {
    assert_eq!(hex(&[0, 10, 255]), "000aff");
}
