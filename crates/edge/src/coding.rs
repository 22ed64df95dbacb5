//! Phase 7, its end: content codings that answers are given on their way to a visitor.
//!
//! What may be coded, and by what, is the crate `cache`'s to say (`compress/choose.rs`); here it is done. An
//! answer that streams is coded piece by piece as it passes (`coding/coder.rs`); one out of the store has a
//! coded form beside it, made once for all visitors (`cache/coded.rs`). What breaks before the head is out
//! leaves the answer as it was; later it cuts it off. Called by `pipeline.rs` behind what is done to heads.
//! Read next: [`Edge::code_answer`], then `coding/coder.rs`.

mod coder;
mod coders;

use std::rc::Rc;

use cache::compress::{
    Chosen, Coding, CodingRequest, CodingSettings, Effort, Levels, add_vary, choose, choose_among, code_head,
    code_passed_not_modified,
};
use exchange::{BodySize, Phase, Request, Response, Upgrade};
use rules::{Compression, Effect};
use telemetry::metrics::{CodedSource, Trouble};
use wire::Exchange;
use zone::{Algorithm, Zone};

use crate::course::Course;
use crate::fault_points;
use crate::live::Site;
use crate::pipeline::Edge;
use crate::view::Asked;

pub(crate) use coder::{Coder, NoCoder};
pub(crate) use coders::{Coders, Work};

/// What a course knows of codings; only in zones that give answers some.
pub(crate) struct CodingCourse {
    /// What the request says of them, as its visitor sent it: what goes to the origin is another.
    pub(crate) asked: CodingRequest,
    /// What the answer has been given here.
    pub(crate) given: Option<(Coding, CodedSource)>,
    /// Codes the answer's body on its way.
    coder: Option<Box<Coder>>,
}

impl CodingCourse {
    /// For a request as it came.
    pub(crate) fn begin(request: &Request) -> Box<Self> {
        Box::new(Self { asked: CodingRequest::read(request), given: None, coder: None })
    }

    /// The coder of the body that is given now.
    pub(crate) fn take_coder(&mut self) -> Option<Box<Coder>> {
        self.coder.take()
    }
}

/// The policy's settings of a zone as compiled.
pub(crate) fn coding_of(zone: &zone::Compression) -> CodingSettings {
    let types =
        |names: &[String]| -> Vec<Box<[u8]>> { names.iter().map(|name| name.as_bytes().into()).collect() };
    let mut all = zone.types.as_deref().map_or_else(CodingSettings::usual_types, types);
    all.append(&mut types(&zone.more_types));
    let levels = |of: zone::CompressionLevels| Levels { zstd: of.zstd, brotli: of.brotli, gzip: of.gzip };
    CodingSettings {
        is_on: zone.is_on,
        codings: zone.algorithms.iter().copied().map(coding_named).collect(),
        types: all,
        body_bytes_min: zone.body_bytes_min,
        streamed: levels(zone.levels),
        stored: levels(zone.stored_levels),
    }
}

fn coding_named(algorithm: Algorithm) -> Coding {
    match algorithm {
        Algorithm::Zstd => Coding::Zstd,
        Algorithm::Brotli => Coding::Brotli,
        Algorithm::Gzip => Coding::Gzip,
    }
}

/// The codings that a rule names, in its order, each once.
fn ruled_codings(algorithms: &[Compression], settings: &CodingSettings) -> Vec<Coding> {
    let mut codings: Vec<Coding> = Vec::new();
    let own = settings.codings.as_slice();
    for algorithm in algorithms {
        let named: &[Coding] = match algorithm {
            Compression::Zstd => &[Coding::Zstd],
            Compression::Brotli => &[Coding::Brotli],
            Compression::Gzip => &[Coding::Gzip],
            Compression::Auto => own,
            Compression::Default if settings.is_on => own,
            Compression::Default | Compression::None => &[],
        };
        for coding in named {
            if !codings.contains(coding) {
                codings.push(*coding);
            }
        }
    }
    codings
}

/// A coding as metrics name it.
pub(crate) fn label_of(coding: Coding) -> telemetry::metrics::Coding {
    match coding {
        Coding::Zstd => telemetry::metrics::Coding::Zstd,
        Coding::Brotli => telemetry::metrics::Coding::Brotli,
        Coding::Gzip => telemetry::metrics::Coding::Gzip,
    }
}

/// The word of a choice in the trail.
pub(crate) fn word_of(chosen: Chosen) -> &'static str {
    match chosen {
        Chosen::As(Coding::Zstd) => "coded_zstd",
        Chosen::As(Coding::Brotli) => "coded_br",
        Chosen::As(Coding::Gzip) => "coded_gzip",
        Chosen::Uncoded(why) => why.as_str(),
    }
}

impl Edge {
    /// Notes what a request says of codings, before anybody changes it.
    pub(crate) fn begin_coding(&self, exchange: &Exchange, course: &mut Course, site: &Site) {
        // A tunnel has no content to code.
        if site.coding.is_some() && exchange.request.upgrade == Upgrade::No {
            course.coding = Some(CodingCourse::begin(&exchange.request));
        }
    }

    /// Chooses a coding for an answer whose body is still with the origin, and makes its head that of the
    /// coded form.
    ///
    /// # Errors
    /// The phase broke, and its mode is closed.
    pub(crate) fn code_answer(
        &self,
        exchange: &Exchange,
        course: &mut Course,
        zone: &Zone,
        response: &mut Response,
    ) -> Result<(), Trouble> {
        let Some(site) = course.site.clone() else { return Ok(()) };
        let (Some(settings), Some(asked)) = (&site.coding, course.coding.as_ref().map(|coding| coding.asked))
        else {
            return Ok(());
        };
        let request = &exchange.request;
        self.change(Phase::Response, course, |course| {
            if response.status == 304 {
                code_passed_not_modified(response, &request.fields);
                return Ok(());
            }
            let chosen = self.choose_coding(exchange, course, zone, (&asked, response, settings))?;
            if chosen.is_varying() {
                add_vary(response);
            }
            let Chosen::As(coding) = chosen else {
                self.note_coding(course, word_of(chosen));
                return Ok(());
            };
            let mut coder = None;
            if response.body != BodySize::None {
                let length = match response.body {
                    BodySize::Length(length) => Some(length),
                    _ => None,
                };
                let fault = fault_points::encoder(request);
                match self.coder(&site, settings, (coding, Effort::Streaming), length, fault) {
                    Ok(made) => coder = Some(made),
                    Err(why) => {
                        self.note_coding(course, why.as_str());
                        return Ok(());
                    }
                }
            }
            code_head(response, coding, None);
            if let Some(course) = &mut course.coding {
                course.coder = coder;
                course.given = Some((coding, CodedSource::Streamed));
            }
            self.note_coding(course, word_of(chosen));
            Ok(())
        })
    }

    /// Chooses a coding as rules say, or as the zone does where none fits.
    ///
    /// # Errors
    /// The request spent its budget.
    pub(crate) fn choose_coding(
        &self,
        exchange: &Exchange,
        course: &mut Course,
        zone: &Zone,
        (asked, response, settings): (&CodingRequest, &Response, &CodingSettings),
    ) -> Result<Chosen, Trouble> {
        let rules = zone.rules.as_deref();
        let Some(rules) = rules.and_then(|rules| Some((rules, rules.compression.as_ref()?))) else {
            return Ok(choose(asked, response, settings));
        };
        let connection = Rc::clone(&exchange.connection);
        let unix_us = self.unix_offset_us.get() + course.began_us;
        let facts = Asked::of(course, &connection, &zone.name, unix_us, self.clock.now_us());
        let effects = self.ask_about_answer(rules, &exchange.request, response, &facts, course)?.effects;
        // Of two rules the later counts.
        let ruled = effects.iter().rev().find_map(|effect| match effect {
            Effect::Compress(algorithms) => Some(algorithms),
            _ => None,
        });
        Ok(match ruled {
            Some(algorithms) => choose_among(&ruled_codings(algorithms, settings), asked, response, settings),
            None => choose(asked, response, settings),
        })
    }

    /// A line of the trail.
    pub(crate) fn note_coding(&self, course: &mut Course, word: &'static str) {
        course.note(Phase::Response, word, 0, self.clock.now_us());
    }

    /// A coder for one body, its memory charged to the zone and the node.
    pub(crate) fn coder(
        &self,
        site: &Site,
        settings: &CodingSettings,
        (coding, effort): (Coding, Effort),
        body_bytes: Option<u64>,
        fault: Option<fault_points::EncoderFault>,
    ) -> Result<Box<Coder>, NoCoder> {
        let level = settings.level(coding, effort);
        let accounts = (self.node.memory(), &site.memory);
        let made = Coder::new((coding, effort, level), body_bytes, accounts, fault);
        if matches!(made, Err(NoCoder::Failed)) {
            self.metrics.coding_failed();
        }
        made
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rule_names_codings_in_its_own_order_and_may_name_the_zones() {
        let on = CodingSettings { codings: vec![Coding::Brotli, Coding::Gzip], ..CodingSettings::default() };
        let off = CodingSettings { is_on: false, ..on.clone() };
        for (algorithms, when_on, when_off) in [
            (&[Compression::Gzip, Compression::Zstd][..], &[Coding::Gzip, Coding::Zstd][..], None),
            (&[Compression::Auto], &[Coding::Brotli, Coding::Gzip], None),
            (&[Compression::Gzip, Compression::Auto], &[Coding::Gzip, Coding::Brotli], None),
            (&[Compression::Default], &[Coding::Brotli, Coding::Gzip], Some(&[][..])),
            (
                &[Compression::Zstd, Compression::Default],
                &[Coding::Zstd, Coding::Brotli, Coding::Gzip],
                Some(&[Coding::Zstd][..]),
            ),
            (&[Compression::None], &[], None),
        ] {
            assert_eq!(ruled_codings(algorithms, &on), when_on, "{algorithms:?}");
            assert_eq!(ruled_codings(algorithms, &off), when_off.unwrap_or(when_on), "{algorithms:?}");
        }
    }
}
