//! Tells of a panic in the midst of an exchange: which zone's, in which phase.
//!
//! The panic itself is contained by `wire`, which ends the exchange, and its place in the code is told by the
//! process's panic hook; this is what only the exchange knows. Called by `pipeline.rs`.

use telemetry::events::Events;

use crate::course::Course;

/// Lends an exchange's course while it is served; dropped by an unwinding panic it writes an event.
pub(crate) struct PanicWatch<'a> {
    events: &'a Events,
    pub(crate) course: &'a mut Course,
}

impl<'a> PanicWatch<'a> {
    pub(crate) fn new(events: &'a Events, course: &'a mut Course) -> Self {
        Self { events, course }
    }
}

impl Drop for PanicWatch<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let id = self.course.id.hex();
        let zone = self.course.site.as_ref().map_or("", |site| site.zone.name.as_str());
        let fields = [
            ("zone", zone.into()),
            ("phase", self.course.phase.as_str().into()),
            ("request_id", id.as_slice().into()),
        ];
        self.events.error("exchange_panicked", &fields);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Arc;
    use std::time::Duration;

    use arc_swap::ArcSwapOption;
    use exchange::{IdSource, Phase};
    use telemetry::metrics::zones::ZoneTable;
    use telemetry::sink::Target;
    use zone::{Bundle, Source};

    use super::*;
    use crate::live::Site;

    fn course() -> Course {
        let text = "name = \"shop\"\nhostnames = [\"a.example\"]\n[[pool]]\nname = \"app\"\n\
                    origins = [{ url = \"http://10.0.0.1\" }]\n";
        let source = Source { name: "zones/shop.toml".to_owned(), bytes: text.into() };
        let bundle = Bundle::new(vec![source], None, BTreeMap::new());
        let snapshot = zone::compile(&bundle, 1, &|_| None).expect("a zone");
        let site = Site {
            zone: Arc::clone(&snapshot.zones()[0]),
            tls: ArcSwapOption::empty(),
            certificate: ArcSwapOption::empty(),
            counters: ZoneTable::new().zone("0", "shop"),
            account: None,
        };
        let visitor = "192.0.2.1:4000".parse().expect("an address");
        let mut course = Course::begin(IdSource::new([1, 2]).next_id(), 0, visitor, exchange::Scheme::Http);
        course.site = Some(Arc::new(site));
        course
    }

    #[test]
    fn a_panic_is_told_with_zone_and_phase_and_anything_else_is_not() {
        let folder = testkit::folder::Folder::new().expect("a folder");
        let path = folder.path().join("events");
        let events = Events::start(Target::File(path.clone()), || 0).expect("a file");
        let mut course = course();
        course.phase = Phase::Origin;
        drop(PanicWatch::new(&events, &mut course));
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let watch = PanicWatch::new(&events, &mut course);
            watch.course.phase = Phase::Delivery;
            panic!("as tests do");
        }));
        assert!(panicked.is_err());
        assert!(events.close(Duration::from_secs(10)));
        let told = std::fs::read_to_string(path).expect("what was told");
        assert_eq!(told.lines().count(), 1, "{told}");
        for part in ["\"event\":\"exchange_panicked\"", "\"zone\":\"shop\"", "\"phase\":\"delivery\""] {
            assert!(told.contains(part), "{part} in {told}");
        }
    }
}
