//! Phase 4: is it stored, may it be served, and who asks the origin if not.
//!
//! The engine (crate `cache`) decides and stores; what is here drives it: looks up, waits, sends visitors to
//! the origin or past the cache. An answer that may be stored is fetched by a task of its own on the same
//! thread (`fetch.rs`), and every visitor, the first included, reads it from the store at its own pace
//! (`give.rs`); one that may not be stored is handed to the visitor who waits for it, and streams as if there
//! were no cache. Called by `pipeline.rs`. Read next: [`Edge::look_up`], `fetch.rs`, `tier.rs`.

mod coded;
mod disk_watch;
mod fetch;
mod give;
mod hints;
mod pour;
mod sites;
mod slices;
mod spellings;
mod tier;
mod wait;

use std::rc::Rc;
use std::sync::Arc;

use ::cache::engine::{Now, Place, Step, Visit, Visited};
use ::cache::hints::PageId;
use ::cache::policy::{Bypass, CacheStatus, Forward, VisitorFacts};
use exchange::{Phase, Refusal, Request, Response};
use telemetry::metrics::{CacheOutcome, Trouble};
use wire::Exchange;
use zone::{Pool, Zone};

use crate::course::Course;
use crate::fault_points;
use crate::live::Site;
use crate::pipeline::Edge;
use crate::refuse::{fail, refuse};
use crate::relay::{Answered, Failed};

pub(crate) use give::Stored;
pub(crate) use hints::are_told as hints_are_told;
pub(crate) use sites::{ChosenCaches, SiteCache};
pub use tier::{CacheSetup, CacheStanding, DiskPurges, DiskSetup, DiskStanding, Purge, Purged};
pub(crate) use tier::{Tier, named};

use fetch::Errand;
use slices::Slice;

/// Where a request goes when it is not answered from the store.
#[derive(Clone)]
pub(crate) struct Aim {
    /// The pool the route chose, or its backup.
    pub(crate) pool: Arc<Pool>,
    /// Bytes of the path's front that the origin does not see.
    pub(crate) strip: Option<usize>,
    /// Whether the origin gets Cloudflare's fields.
    pub(crate) is_cloudflare: bool,
}

/// What a course knows of the cache; nothing without one. Boxed, since most of what a thread serves has none.
#[derive(Debug, Default)]
pub(crate) struct CacheCourse(Option<Box<Said>>);

#[derive(Debug, Default)]
struct Said {
    status: Option<CacheStatus<'static>>,
    age_s: Option<u64>,
    chosen: Option<Arc<SiteCache>>,
    hinted: Option<PageId>,
}

impl CacheCourse {
    /// Says this, of an answer of this age if it is a stored one.
    pub(crate) fn say(&mut self, status: CacheStatus<'static>, age_s: Option<u64>) {
        let said = self.0.get_or_insert_default();
        (said.status, said.age_s) = (Some(status), age_s);
    }

    /// From now on the zone's cache is as rules have chosen it for this request.
    pub(crate) fn choose(&mut self, chosen: Arc<SiteCache>) {
        self.0.get_or_insert_default().chosen = Some(chosen);
    }

    /// The zone's cache as rules have chosen it; none for as it is.
    pub(crate) fn chosen(&self) -> Option<Arc<SiteCache>> {
        self.0.as_ref().and_then(|said| said.chosen.clone())
    }

    /// What the answer's links are to be learned for, unless it comes out of the store.
    pub(crate) fn hints_for(&mut self, page: PageId) {
        self.0.get_or_insert_default().hinted = Some(page);
    }

    /// The page whose links are to be learned.
    pub(crate) fn hinted(&self) -> Option<PageId> {
        self.0.as_ref().and_then(|said| said.hinted)
    }

    /// What `Cache-Status` says.
    pub(crate) fn status(&self) -> Option<&CacheStatus<'static>> {
        self.0.as_ref().and_then(|said| said.status.as_ref())
    }

    /// Age of the stored answer in seconds.
    pub(crate) fn age_s(&self) -> Option<u64> {
        self.0.as_ref().and_then(|said| said.age_s)
    }

    /// The token of RFC 9211 that the access log has.
    pub(crate) fn token(&self) -> Option<&'static str> {
        self.status().map(|status| status.forward.unwrap_or("hit"))
    }

    /// What it is counted as.
    pub(crate) fn outcome(&self) -> Option<CacheOutcome> {
        let status = self.status()?;
        // Fresh is what has time left.
        let is_stale = status.ttl_s.is_some_and(|ttl_s| ttl_s <= 0);
        Some(match status.forward {
            _ if status.is_collapsed == Some(true) => CacheOutcome::Collapsed,
            None if is_stale => CacheOutcome::Stale,
            None => CacheOutcome::Hit,
            Some("bypass" | "method") => CacheOutcome::Bypass,
            Some(_) if status.detail.is_some() => CacheOutcome::Passed,
            Some(_) if status.forward_status == Some(304) => CacheOutcome::Revalidated,
            // An answer out of the store although the origin was asked: it failed.
            Some(_) if is_stale && !matches!(status.forward_status, Some(200..=499)) => CacheOutcome::Stale,
            Some(_) => CacheOutcome::Miss,
        })
    }
}

/// A request that may be answered from the store, and what to do next.
pub(crate) struct Visiting {
    visit: Box<Visit>,
    step: Step,
}

/// What the phase came to.
pub(crate) enum Looked {
    /// Past the cache, and why.
    Past(Bypass),
    /// As the step says.
    Visit(Visiting),
}

/// What became of a visit.
pub(crate) enum Came {
    /// An answer out of the store.
    Stored(Box<Stored>),
    /// An answer that passes, its body still with the origin.
    Passed(Box<(Answered, Response)>),
    /// The request goes past the cache after all.
    Past,
    /// What was found is of another version than the origin has: look again.
    Outdated,
    /// The visitor has its answer, or has left.
    Ended,
}

fn device_of(request: &Request) -> ::cache::policy::Device {
    use ::cache::policy::Device;
    let agent = request.fields.known(exchange::Known::UserAgent).unwrap_or_default();
    let has = |word: &[u8]| memchr::memmem::find(agent, word).is_some();
    // What the makers of browsers ask for: tablets say so, or are Androids without `Mobile`.
    if has(b"iPad") || has(b"Tablet") || has(b"Android") && !has(b"Mobile") {
        Device::Tablet
    } else if has(b"Mobi") || has(b"iPhone") {
        Device::Mobile
    } else {
        Device::Desktop
    }
}

/// The place of a request in the cache of its zone.
fn place_of<'a>(cache: &'a SiteCache, zone: &Zone, course: &Course, request: &Request) -> Place<'a> {
    let device = cache.settings.key.device.then(|| device_of(request));
    Place {
        zone: u128::from_be_bytes(zone.id.0),
        snapshot: course.snapshot,
        settings: &cache.settings,
        facts: VisitorFacts { device, country: course.whereabouts.country },
        is_peer_trusted: course.is_peer_trusted,
    }
}

impl Edge {
    /// The present, as the engine wants it.
    fn cache_now(&self) -> Now {
        let now_us = self.clock.now_us();
        Now {
            unix_ms: (self.node.steady().ahead_us() + now_us) / 1000,
            mono_ms: now_us / 1000,
            seed: self.draw(),
        }
    }

    /// Looks a request up. Takes out of it what strangers may not say on a request that may be stored.
    ///
    /// # Errors
    /// The phase broke, and its mode is closed.
    pub(crate) fn look_up(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        (site, cache): (&Site, &SiteCache),
        pool: &Pool,
    ) -> Result<Looked, Trouble> {
        let mut looked = None;
        // A draining edge hears of no purge any more: the next one does.
        let tier = self.node.cache().filter(|_| !self.node.is_draining());
        let Some(tier) = tier else { return Ok(Looked::Past(Bypass::Off)) };
        let now = self.cache_now();
        self.change(Phase::Cache, course, |course| {
            fault_points::at(Phase::Cache, &exchange.request)?;
            fault_points::deciding(Phase::Cache, &site.zone)?;
            let request = &mut exchange.request;
            let scope = cache.scope(&site.zone, pool, course, request);
            let place = place_of(cache, &site.zone, course, request);
            // The key is of the scheme that the visitor came by, behind trusted proxies.
            let scheme = std::mem::replace(&mut request.scheme, course.scheme);
            let visited = tier.engine().visit_within(request, &place, &scope);
            request.scheme = scheme;
            looked = Some(match visited {
                Visited::Bypass(why) => Looked::Past(why),
                Visited::Visit(mut visit) => {
                    let step = visit.look(request, now);
                    Looked::Visit(Visiting { visit, step })
                }
            });
            Ok(())
        })?;
        if let Some(Looked::Past(why)) = &looked {
            self.goes_past(course, *why);
        }
        // It broke, and is open.
        Ok(looked.unwrap_or(Looked::Past(Bypass::Off)))
    }

    /// Notes that a request goes past the cache.
    pub(crate) fn goes_past(&self, course: &mut Course, why: Bypass) {
        course.cache.say(CacheStatus::bypass(why), None);
        course.note(Phase::Cache, why.as_str(), 0, self.clock.now_us());
    }

    /// Takes a request that may be answered from the store to its answer. True: nothing was given, and it
    /// goes on past the cache.
    pub(crate) async fn through_cache(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        zone: &Zone,
        visiting: Visiting,
        aim: &Aim,
    ) -> bool {
        // The thread's own: it lives for as long as anything is served.
        let Some(edge) = self.shared() else { return true };
        match edge.visit(exchange, course, visiting, aim).await {
            Came::Stored(stored) => edge.give_dressed(exchange, course, zone, *stored, aim).await,
            Came::Passed(passed) => {
                let (answered, mut response) = *passed;
                edge.give_answered(exchange, course, zone, answered, &mut response).await;
            }
            Came::Past => return true,
            Came::Outdated => {
                self.goes_past(course, Bypass::Busy);
                return true;
            }
            Came::Ended => {}
        }
        false
    }

    /// Phases 7 and 8 for an answer out of the store.
    async fn give_dressed(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        course: &mut Course,
        zone: &Zone,
        mut stored: Stored,
        aim: &Aim,
    ) {
        let mut response = stored.take_head();
        match self.dress(exchange, course, zone, None, &mut response) {
            Ok(None) => {}
            Ok(Some(instead)) => {
                drop(stored);
                return Box::pin(self.give_instead(exchange, course, *instead, &response)).await;
            }
            Err(trouble) => return self.close(exchange, course, trouble).await,
        }
        if course.coding.is_some() {
            match self.code_stored(exchange, course, zone, &mut stored, &mut response).await {
                Ok(Ok(())) => {}
                Ok(Err(trouble)) => return self.close(exchange, course, trouble).await,
                Err(_) => {
                    course.is_visitor_gone = true;
                    return exchange.abort();
                }
            }
        }
        self.give_stored(exchange, course, stored, &response, aim).await;
        course.note(Phase::Delivery, "ended", 0, self.clock.now_us());
    }

    /// Takes a visit to its answer.
    async fn visit(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        course: &mut Course,
        visiting: Visiting,
        aim: &Aim,
    ) -> Came {
        let Visiting { mut visit, mut step } = visiting;
        loop {
            step = match step {
                Step::Serve(serving) => {
                    let stored = Stored { serving, reader: None, first: None };
                    match self.serves(exchange, course, stored, aim).await {
                        // Its slices are of another version by now, and its head is gone.
                        Came::Outdated => visit.look(&exchange.request, self.cache_now()),
                        came => return came,
                    }
                }
                Step::ServeAndRevalidate(serving, fetch) => {
                    let errand = Errand::new(exchange, course, aim, visit, fetch);
                    self.send_errand(errand, None);
                    let stored = Stored { serving, reader: None, first: None };
                    return self.serves(exchange, course, stored, aim).await;
                }
                Step::OnlyIfCached => {
                    let reason = "the request takes only what is stored";
                    refuse(exchange, course, Refusal::OnlyIfCached, reason).await;
                    return Came::Ended;
                }
                Step::Bypass(why) => {
                    self.goes_past(course, why);
                    return Came::Past;
                }
                Step::Wait(ticket) => match self.wait(exchange, course, &mut visit, ticket).await {
                    Some(step) => step,
                    None => return self.gone(exchange, course),
                },
                Step::Fetch(fetch) if course.shed.is_some() => {
                    // What may be served when the origin fails may be served when it is not asked.
                    let stale = visit.unasked(*fetch, self.cache_now());
                    let Some(serving) = stale else { return Came::Past };
                    let stored = Stored { serving, reader: None, first: None };
                    return self.serves(exchange, course, stored, aim).await;
                }
                Step::Fetch(fetch) => {
                    if hints_are_told(course) {
                        self.hint(exchange, course, fetch.stored_head()).await;
                    }
                    let errand = Errand::new(exchange, course, aim, visit, fetch);
                    return self.await_errand(exchange, course, errand, aim).await;
                }
            };
        }
    }

    /// Notes an answer out of the store, and takes the first slice in hand where its body lies in slices.
    async fn serves(
        self: &Rc<Self>,
        exchange: &mut Exchange,
        course: &mut Course,
        mut stored: Stored,
        aim: &Aim,
    ) -> Came {
        let serving = &mut stored.serving;
        match self.first_slice(exchange, course, serving, aim).await {
            None => {}
            Some(Ok((_, Slice::OtherVersion))) => return Came::Outdated,
            Some(Ok((_, Slice::Unasked))) => return Came::Past,
            Some(Ok((_, Slice::KeptBack))) => {
                let _is_kept_back = self.keep_back(exchange, course).await;
                return Came::Ended;
            }
            Some(Ok((_, Slice::Failed(fault))) | Err(Failed::Fault(fault))) => {
                return self.fails(exchange, course, fault, None).await;
            }
            Some(Err(_)) => return self.gone(exchange, course),
            Some(Ok(first)) => stored.first = Some(first),
        }
        let serving = &stored.serving;
        let age = serving.answer.fields.value(b"age").and_then(|age| std::str::from_utf8(age).ok());
        let age_s = age.and_then(|age| age.parse().ok());
        course.cache.say(serving.status, age_s);
        let word = course.cache.outcome().map_or("hit", |outcome| outcome.label());
        course.note(Phase::Cache, word, u32::from(serving.answer.status), self.clock.now_us());
        Came::Stored(Box::new(stored))
    }

    fn gone(&self, exchange: &mut Exchange, course: &mut Course) -> Came {
        course.is_visitor_gone = true;
        exchange.abort();
        Came::Ended
    }

    /// A fault, where nothing stored may stand in for the origin.
    async fn fails(
        &self,
        exchange: &mut Exchange,
        course: &mut Course,
        fault: exchange::Fault,
        forward: Option<Forward>,
    ) -> Came {
        if let Some(forward) = forward {
            let forward = Some(forward.as_str());
            course.cache.say(CacheStatus { forward, ..CacheStatus::default() }, None);
        }
        fail(exchange, course, fault, self.node.name()).await;
        Came::Ended
    }

    /// Makes unusable what an unsafe request's answer says has changed (RFC 9111 §4.4). `target` is the
    /// request's before a route took something away.
    pub(crate) fn invalidate(
        &self,
        exchange: &mut Exchange,
        course: &Course,
        site: &Site,
        target: &[u8],
        response: &Response,
    ) {
        let Some(tier) = self.node.cache() else { return };
        exchange.request.rewrite_target(target);
        // References in the answer are on the visitor's side of trusted proxies.
        exchange.request.scheme = course.scheme;
        let zone = u128::from_be_bytes(site.zone.id.0);
        let spellings = tier.spellings(site.zone.id);
        let urls = tier.engine().invalidate(&exchange.request, response, zone, &spellings);
        if let Some(on_changed) = &self.node.setup().on_changed {
            urls.into_iter().for_each(|url| on_changed(site.zone.id, url));
        }
    }
}
