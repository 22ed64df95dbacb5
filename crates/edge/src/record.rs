//! Phase 9: log, counters, trail; always, whatever the outcome. Called by `pipeline.rs`.

use std::sync::Arc;

use exchange::Method;
use telemetry::access::{Privacy, Record};
use telemetry::metrics::{Direction, RuleWork};
use wire::Exchange;

use crate::coding::label_of;
use crate::course::Course;
use crate::pipeline::{Edge, protocol_label};
use crate::trails::Kept;
use crate::waf::{Standing, Told};

impl Edge {
    /// Phase 9: log, counters, trail.
    pub(crate) fn record(&self, exchange: &Exchange, course: &mut Course) {
        let now_us = self.clock.now_us();
        let duration_us = now_us.saturating_sub(course.began_us);
        let unix_us = self.unix_offset_us.get() + course.began_us;
        let (bytes_in, bytes_out) = (exchange.bytes_in(), exchange.bytes_out());
        self.metrics.request(protocol_label(exchange.protocol()), course.status, duration_us);
        self.metrics.visitor_bytes(Direction::In, bytes_in);
        self.metrics.visitor_bytes(Direction::Out, bytes_out);
        if let Some(refusal) = course.refusal {
            self.metrics.refusal(refusal as usize);
        }
        if let Some(fault) = course.fault {
            self.metrics.fault(fault as usize);
        }
        let steps = course.rules.fuel().used();
        if steps > 0 {
            self.metrics.rule_steps(RuleWork::ZoneRules, steps);
        }
        if let Some(outcome) = course.cache.outcome() {
            self.metrics.cache(outcome);
        }
        let coded = course.coding.as_ref().and_then(|coding| coding.given);
        if let Some((coding, source)) = coded.filter(|_| exchange.request.method != Method::Head) {
            self.metrics.coded_answer(label_of(coding), source);
        }
        if let Some(site) = &course.site {
            site.counters.request(self.number, course.status, bytes_in, bytes_out);
        }
        self.note_served(course, now_us);
        self.note_end(course, now_us);
        let request = &exchange.request;
        let target = request.sent_target();
        let path_end = memchr::memchr(b'?', target).unwrap_or(target.len());
        let (path, query) = target.split_at(path_end);
        let settings = self.node.settings();
        let privacy =
            Privacy { redact_query: settings.redact_query, truncate_addresses: settings.truncate_addresses };
        let id = course.id.hex();
        let tls = exchange.connection.tls.as_ref();
        let origin = course.origin.as_ref().and_then(|pool| pool.origins.get(course.origin_index));
        let (none, waf) = (Told::default(), std::mem::take(&mut course.waf));
        let waf = if let Standing::Over(told) = &waf { &**told } else { &none };
        let matched = course.rules.matched.iter().map(|id| &**id);
        let rules: Vec<&str> = matched.chain(waf.ids.iter().map(|id| &**id)).collect();
        let added = course.logged.take();
        let record = Record {
            time_us: unix_us,
            node: self.node.name(),
            request_id: std::str::from_utf8(&id).unwrap_or_default(),
            connection_id: exchange.connection.id,
            snapshot: course.snapshot,
            account: course.site.as_ref().and_then(|site| site.account.as_deref()),
            zone: course.site.as_ref().map(|site| site.zone.name.as_str()),
            visitor_ip: course.visitor.ip(),
            visitor_port: course.visitor.port(),
            country: course.whereabouts.country(),
            protocol: request.version.as_str(),
            tls: tls.map(|tls| tls.version.as_str()),
            sni: tls.and_then(|tls| tls.sni.as_deref()),
            ja4: tls.and_then(|tls| tls.ja4.as_deref()),
            method: request.method_token(),
            host: request.host(),
            path,
            query: query.get(1..),
            status: course.status,
            bytes_in,
            bytes_out,
            duration_us,
            ttfb_us: course.ttfb_us,
            origin: origin.map(|origin| origin.url.as_str()),
            origin_us: course.origin_us,
            retries: course.retries,
            cache: course.cache.token(),
            cache_age: course.cache.age_s(),
            fault: course.fault.map(|fault| fault.as_str()),
            verdict: course.refusal.map_or("pass", |refusal| refusal.as_str()),
            rules: &rules,
            score: waf.score,
            user_agent: request.fields.known(exchange::Known::UserAgent),
            referer: request.fields.known(exchange::Known::Referer),
            waf: waf.outcome.map(|outcome| outcome.label()),
            waf_uninspected: Some(waf.uninspected_bytes).filter(|bytes| *bytes > 0),
            waf_shadow: waf.shadow.map(|outcome| outcome.label()),
            coding: coded.map(|(coding, _)| coding.as_str()),
            fields: added.as_deref().unwrap_or_default(),
        };
        if course.rules.config().access_log != Some(false) {
            self.batch.borrow_mut().record(&record, privacy);
        }
        let is_trouble = course.refusal.is_some() || course.fault.is_some();
        let outcome = course.outcome();
        self.node.trails(self.number).put(
            Kept {
                id: course.id,
                unix_us,
                duration_us,
                zone: course.site.as_ref().map(|site| Arc::clone(&site.zone)),
                snapshot: course.snapshot,
                status: course.status.unwrap_or(0),
                outcome,
                reason: course.reason,
                trail: std::mem::take(&mut course.trail),
                rules: std::mem::take(&mut course.rules.matched),
                waf: waf.text.clone(),
            },
            is_trouble,
        );
    }
}
