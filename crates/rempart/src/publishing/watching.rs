//! After the swap: watches a change until it is the last good one, or takes it back.
//!
//! The figures' judgement is [`super::health`]'s, what is remembered on disk [`super::soak`]'s and
//! [`super::rejected`]'s. Read next: [`Publisher::look_at_soak`].

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use telemetry::events::Value;
use zone::Bundle;

use super::health::{Figures, Judgement};
use super::publisher::Publisher;
use super::rejected::Rejection;
use super::soak::{Mark, Soak};
use super::{hex, is_last_good, keep, tell_lost, trial};
use crate::clock;
use crate::configuration::{Lost, compile_kept};
use crate::control::{FromEdge, Killed};
use crate::generations::Generation;
use crate::messages::Answer;

impl Publisher {
    /// Begins to watch a change that is live.
    pub(super) fn watch_change(
        &mut self,
        number: u64,
        hash: String,
        previous: u64,
        confirm_within_s: Option<u64>,
        before: Figures,
    ) {
        let now = clock::now();
        let soak = Duration::from_millis(self.setup.running.stages.soak_ms);
        let confirm = confirm_within_s.map(Duration::from_secs);
        if soak.is_zero() && confirm.is_none() {
            return self.make_good(number);
        }
        let soak = soak.max(confirm.unwrap_or_default());
        let millis = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let mark = Mark {
            number,
            hash,
            previous,
            began: clock::Moment::now(),
            for_ms: millis(soak),
            confirm_within_ms: confirm.map(millis),
        };
        if let Err(error) = mark.write(&self.setup.data_dir) {
            self.not_kept(&error);
        }
        self.recent.restart(now, self.figures());
        let confirm_until = confirm.map(|within| now + within);
        self.soak = Some(Soak { mark, until: now + soak, confirm_until, before });
    }

    /// Makes what serves the last good one.
    pub(super) fn make_good(&mut self, number: u64) {
        self.soak = None;
        Mark::remove(&self.setup.data_dir);
        let made = self
            .setup
            .generations
            .numbered(number)
            .map_or(Ok(()), |generation| self.setup.generations.set_last_good(&generation));
        match made {
            Ok(()) => {
                let message = FromEdge::Published { number, is_good: true };
                let _ = self.setup.supervisor.send(&message, &[], false);
                self.end_watch(&Answer { ok: true, number: Some(number), ..Answer::default() });
            }
            Err(error) => self.not_kept(&error),
        }
        self.show_idle();
    }

    pub(super) fn look_at_soak(&mut self, now: Instant) {
        let figures = self.figures();
        self.recent.note(now, figures);
        let requests_min = self.setup.running.stages.requests_min;
        let Some(soak) = &self.soak else { return };
        let number = soak.mark.number;
        if soak.confirm_until.is_some_and(|until| until <= now) {
            return self.withdraw("it was not confirmed in time");
        }
        if soak.before.requests > 0
            && let Judgement::Worse(why) = soak.judge(&self.recent, requests_min)
        {
            return self.withdraw(&format!("visitors fare worse than before it: {why}"));
        }
        if soak.until <= now {
            self.setup.events.info("last_good", &[("snapshot", number.into())]);
            self.make_good(number);
        }
    }

    /// Names the zones whose requests killed edges before this one, and sets back one whose requests keep
    /// killing. Says so when it is done: an edge that dies before is followed by one that does it.
    pub(super) fn take_killed(&mut self, killed: &[Killed]) {
        for killed in killed {
            let live = self.setup.node.live();
            let place = live.snapshot.zones().iter().position(|zone| zone.id.0.starts_with(&killed.zone));
            let zone = place.and_then(|place| live.snapshot.zones().get(place));
            let name = zone.map_or("", |zone| zone.name.as_str());
            let request = format!("{:016x}", killed.fingerprint);
            let fields: [(&'static str, Value<'_>); 5] = [
                ("fingerprint", (&request).into()),
                ("zone", name.into()),
                ("phase", killed.phase.as_str().into()),
                ("certain", killed.is_certain.into()),
                ("kills", u64::from(killed.kills).into()),
            ];
            self.setup.events.error("edge_died_of", &fields);
            if let Some(place) = place.filter(|_| killed.sets_back) {
                match self.set_back(place) {
                    Ok(number) => {
                        let fields: [(&'static str, Value<'_>); 2] =
                            [("zone", name.into()), ("snapshot", number.into())];
                        self.setup.events.error("zone_set_back", &fields);
                    }
                    Err(error) => {
                        let cause = format!("{error:#}");
                        let remedy = "its requests are refused one by one; mend the zone and publish";
                        let fields: [(&'static str, Value<'_>); 3] =
                            [("zone", name.into()), ("cause", (&cause).into()), ("remedy", remedy.into())];
                        self.setup.events.error("zone_not_set_back", &fields);
                    }
                }
            }
        }
        let killed = killed.iter().map(|killed| (killed.fingerprint, killed.kills)).collect();
        // With no supervisor nobody starts another.
        let _ = self.setup.supervisor.send(&FromEdge::Heard { killed }, &[], false);
    }

    /// Serves one zone as an earlier generation has it, and everything else as it is. Gives the number.
    fn set_back(&mut self, place: usize) -> Result<u64> {
        let generations = &self.setup.generations;
        let live = self.setup.node.live();
        let number = live.snapshot.number;
        let read = |generation: &Generation| {
            Ok::<_, anyhow::Error>(Bundle::from_bytes(&generations.read(generation)?)?)
        };
        let now = read(&generations.numbered(number).context("what serves is not on disk")?)?;
        // Zones stand in the order of their files.
        let file = now.specs().get(place).context("the zone has no file")?;
        let differs = |bundle: &Bundle| {
            bundle.specs().iter().any(|spec| spec.name == file.name && spec.bytes != file.bytes)
        };
        let earlier = generations.kept()?.into_iter().filter(|kept| kept.number < number);
        let earlier = earlier.filter_map(|kept| read(&kept).ok()).find(differs);
        let earlier = earlier.context("no kept generation has another spec of it")?;
        let bundle = trial::with_put_back(
            &now,
            &earlier,
            &BTreeSet::from([file.name.clone()]),
            trial::Files::AsTheyServe,
        );
        let number = self.next_number(number);
        let keyring = &self.setup.keyring;
        let kept = compile_kept(&bundle, number, Some(&live.snapshot), keyring, Lost::LeftOut)
            .map_err(|problems| anyhow::anyhow!("{}", problems.lines()))?;
        tell_lost(&kept.snapshot, kept.lacks_pairs, &self.setup.events);
        keep(&self.setup.generations, number, &hex(&bundle.hash()), &bundle.to_bytes(), &self.setup.events);
        self.take(kept.snapshot, &BTreeMap::new());
        self.make_good(number);
        Ok(number)
    }

    /// Takes the change that is watched back, and remembers it, whatever it was taken back for: the same
    /// files would be live again at the next start, without a deadline.
    fn withdraw(&mut self, why: &str) {
        let Some(soak) = self.soak.take() else { return };
        Mark::remove(&self.setup.data_dir);
        self.reject(soak.mark.hash.clone(), soak.mark.number, why);
        match self.restore(soak.mark.previous) {
            Ok(number) => {
                // What was stored meanwhile is as bad as what made it.
                self.setup.node.forget_stored_under(soak.mark.number);
                self.tell_withdrawn(soak.mark.number, number, why);
                let last_good = self.setup.generations.last_good().map_or(0, |generation| generation.number);
                if number > last_good {
                    // It was watched itself when the withdrawn change came.
                    let hash = hex(&self.setup.node.live().snapshot.hash);
                    self.watch_change(number, hash, last_good, None, Figures::default());
                }
                if let Some(generation) = self.setup.generations.numbered(soak.mark.number)
                    && let Err(error) = self.setup.generations.discard(&generation)
                {
                    self.not_kept(&error);
                }
                // While the withdrawn one was on disk, it was the newest.
                self.have_spare_refreshed(number);
            }
            Err(error) => {
                let cause = format!("{error:#}");
                let remedy = "what serves stays; mend the files and publish";
                let fields: [(&'static str, Value<'_>); 3] =
                    [("cause", (&cause).into()), ("why", why.into()), ("remedy", remedy.into())];
                self.setup.events.error("not_withdrawn", &fields);
            }
        }
        self.end_watch(&Answer::refused(format!("withdrawn: {why}")));
        self.show_idle();
    }

    /// Serves a kept generation; the last good one when it is not there any more. Gives its number.
    fn restore(&mut self, number: u64) -> Result<u64> {
        let generations = &self.setup.generations;
        let generation = generations
            .numbered(number)
            .or_else(|| generations.last_good())
            .context("no earlier generation is kept")?;
        let bundle = Bundle::from_bytes(&generations.read(&generation)?)?;
        let live = self.setup.node.live();
        let (number, keyring) = (generation.number, &self.setup.keyring);
        let kept = compile_kept(&bundle, number, Some(&live.snapshot), keyring, Lost::LeftOut)
            .map_err(|problems| anyhow::anyhow!("{}", problems.lines()))?;
        tell_lost(&kept.snapshot, kept.lacks_pairs, &self.setup.events);
        self.take(kept.snapshot, &BTreeMap::new());
        Ok(generation.number)
    }

    pub(super) fn confirm(&mut self) -> Answer {
        match &mut self.soak {
            Some(soak) if soak.confirm_until.is_some() => {
                soak.confirm_until = None;
                soak.mark.confirm_within_ms = None;
                let (number, mark) = (soak.mark.number, soak.mark.clone());
                if let Err(error) = mark.write(&self.setup.data_dir) {
                    self.not_kept(&error);
                }
                self.setup.events.info("confirmed", &[("snapshot", number.into())]);
                self.show_idle();
                Answer { ok: true, number: Some(number), ..Answer::default() }
            }
            _ => Answer::refused("nothing waits to be confirmed"),
        }
    }

    pub(super) fn withdraw_by_hand(&mut self) -> Answer {
        if self.soak.is_none() {
            return Answer::refused(
                "no change is being watched: put the files back as they were and publish them",
            );
        }
        self.withdraw("by hand");
        Answer { ok: true, number: Some(self.setup.node.live().snapshot.number), ..Answer::default() }
    }

    pub(super) fn reject(&mut self, hash: String, number: u64, why: &str) {
        // What is last good may have been published again: it is what is gone back to.
        if hash.is_empty() || is_last_good(&self.setup.generations, &hash) {
            return;
        }
        let rejection = Rejection { hash, number, unix_us: clock::unix_us(), why: why.to_owned() };
        if let Err(error) = self.rejected.add(rejection) {
            self.not_kept(&error);
        }
    }

    pub(super) fn tell_withdrawn(&self, number: u64, serves: u64, why: &str) {
        let remedy = "mend the files and publish again; `rempart publish --again` takes them as they are";
        let fields: [(&'static str, Value<'_>); 4] = [
            ("snapshot", number.into()),
            ("serves", serves.into()),
            ("cause", why.into()),
            ("remedy", remedy.into()),
        ];
        self.setup.events.error("withdrawn", &fields);
    }

    fn end_watch(&mut self, answer: &Answer) {
        for watcher in self.watchers.drain(..) {
            let _ = watcher.try_send(answer.copy());
        }
    }
}
