//! The origin of a history: URLs of different kinds, versions that change, and failures.
//!
//! What a body must be is a function of URL, variant and version, so that any byte out of place shows.

use exchange::{BodySize, Fields, Response};

use super::Random;

/// What a URL's answers say.
#[derive(Clone, Debug)]
struct Kind {
    lifetime_s: u64,
    while_revalidate_s: Option<u64>,
    if_error_s: Option<u64>,
    has_tag: bool,
    varies: bool,
    is_stored: bool,
    has_length: bool,
    must_revalidate: bool,
}

impl Kind {
    fn new(random: &mut Random) -> Self {
        let (swr, sie) = (random.below(10), random.below(10));
        Self {
            lifetime_s: random.below(12),
            while_revalidate_s: random.chance(40).then_some(swr),
            if_error_s: random.chance(40).then_some(sie),
            has_tag: random.chance(70),
            varies: random.chance(40),
            is_stored: random.chance(85),
            has_length: random.chance(50),
            must_revalidate: random.chance(10),
        }
    }
}

pub(crate) struct Origin {
    kinds: Vec<Kind>,
    versions: Vec<u64>,
    pub(crate) is_down: bool,
}

impl Origin {
    pub(crate) fn new(random: &mut Random, urls: usize) -> Self {
        Self {
            kinds: (0..urls).map(|_| Kind::new(random)).collect(),
            versions: vec![1; urls],
            is_down: false,
        }
    }

    /// One URL has another version from now on.
    pub(crate) fn change(&mut self, random: &mut Random) {
        let url = random.below(self.versions.len() as u64) as usize;
        self.versions[url] += 1;
    }

    /// Seconds that a URL's answers may be served stale: while they are revalidated, and on errors.
    pub(crate) fn allowances(&self, url: usize) -> (u64, u64) {
        let kind = &self.kinds[url];
        if kind.must_revalidate {
            return (0, 0);
        }
        // The zone's default of the world is 20 s for errors and none besides.
        (kind.while_revalidate_s.unwrap_or(0), kind.if_error_s.unwrap_or(20))
    }

    /// The answer to a request with these fields; none for a failure. `at` is its place in the order of
    /// things.
    pub(crate) fn asked(
        &mut self,
        random: &mut Random,
        url: usize,
        fields: &Fields,
        is_head: bool,
        at: u64,
    ) -> Option<Response> {
        if self.is_down && random.chance(80) || random.chance(3) {
            return None;
        }
        let mut answer = Response { status: 200, ..Response::default() };
        let mut say = |name: &str, value: &str| answer.fields.push(name.as_bytes(), value.as_bytes());
        if random.chance(4) {
            say("X-Url", &url.to_string());
            answer.status = 503;
            return Some(answer);
        }
        let (kind, version) = (&self.kinds[url], self.versions[url]);
        let variant = match fields.value(b"foo") {
            Some(value) if kind.varies => String::from_utf8_lossy(value).into_owned(),
            _ => String::new(),
        };
        let mut control = format!("max-age={}", kind.lifetime_s);
        for (name, seconds) in
            [("stale-while-revalidate", kind.while_revalidate_s), ("stale-if-error", kind.if_error_s)]
        {
            if let Some(seconds) = seconds {
                control += &format!(", {name}={seconds}");
            }
        }
        if kind.must_revalidate {
            control += ", must-revalidate";
        }
        if !kind.is_stored {
            control = "no-store".to_owned();
        }
        say("Cache-Control", &control);
        let tag = format!("\"{url}-{variant}-{version}\"");
        if kind.has_tag {
            say("ETag", &tag);
            if fields.value(b"if-none-match") == Some(tag.as_bytes()) {
                answer.status = 304;
                return Some(answer);
            }
        }
        say("X-Url", &url.to_string());
        say("X-Asked", &at.to_string());
        say("X-Version", &version.to_string());
        say("X-Foo", &variant);
        say("Cache-Tag", &format!("tag{}, all", url % 3));
        if kind.varies {
            say("Vary", "Foo");
        }
        let length = body_of(url, &variant, version).len() as u64;
        if is_head {
            answer.declared_length = Some(length);
        } else if kind.has_length {
            answer.body = BodySize::Length(length);
        } else {
            answer.body = BodySize::Unknown;
        }
        Some(answer)
    }

    /// The body that belongs to an answer.
    pub(crate) fn body(&self, answer: &Response) -> Vec<u8> {
        let value = |name: &str| {
            String::from_utf8_lossy(answer.fields.value(name.as_bytes()).unwrap_or_default()).into_owned()
        };
        body_of(
            value("X-Url").parse().expect("it is a number"),
            &value("X-Foo"),
            value("X-Version").parse().expect("it is a number"),
        )
    }
}

pub(crate) fn body_of(url: usize, variant: &str, version: u64) -> Vec<u8> {
    format!("<{url}|{variant}|{version}>").repeat(20 + url * 3 + version as usize % 5).into_bytes()
}
