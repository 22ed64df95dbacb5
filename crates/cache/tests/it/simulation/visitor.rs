//! The visitors of a history: what they ask for, and where they are.

use std::sync::Arc;

use cache::engine::{Engine, Fetch, Filling, Place, Serving, Visit, Visited};
use cache::store::{Reader, Ticket};
use exchange::{Request, Response};

use super::Random;

pub(crate) struct Visitor {
    pub(crate) url: usize,
    pub(crate) request: Request,
    pub(crate) visit: Option<Visit>,
    pub(crate) state: State,
    /// When it came, in the order of things.
    pub(crate) arrived_at: u64,
    /// When it asked the origin.
    pub(crate) asked_at: u64,
    /// The lease under which it asks.
    pub(crate) lease_key: Option<Vec<u8>>,
    /// It fetches for the store alone.
    pub(crate) is_background: bool,
}

pub(crate) enum State {
    Waits { ticket: Ticket, since_ms: u64 },
    Fetches { fetch: Box<Fetch>, answer: Option<Box<Response>>, due_ms: u64, asked_ms: u64 },
    Fills { filling: Box<Filling>, body: Vec<u8>, sent: usize, reader: Option<Reader> },
    Reads(Reading),
    Done,
}

impl Visitor {
    pub(crate) fn new(random: &mut Random, urls: usize, arrived_at: u64) -> Self {
        // Some URLs are asked for more than others.
        let url = random.below(urls as u64).min(random.below(urls as u64)) as usize;
        let mut request = Request::default();
        request.set_method(if random.chance(10) { b"HEAD" } else { b"GET" });
        request.set_authority(b"example.org");
        request.set_target(format!("/{url}").as_bytes());
        match random.below(3) {
            0 => {}
            value => request.fields.push(b"Foo", value.to_string().as_bytes()),
        }
        if random.chance(20) {
            let first = random.below(80);
            request.fields.push(b"Range", format!("bytes={first}-{}", first + random.below(80)).as_bytes());
        }
        Self {
            url,
            request,
            visit: None,
            state: State::Done,
            arrived_at,
            asked_at: 0,
            lease_key: None,
            is_background: false,
        }
    }

    pub(crate) fn is_head(&self) -> bool {
        self.request.method == exchange::Method::Head
    }

    /// What it says in the field that variants go by.
    pub(crate) fn foo(&self) -> String {
        String::from_utf8_lossy(self.request.fields.value(b"foo").unwrap_or_default()).into_owned()
    }

    pub(crate) fn leases(&self, key: &[u8]) -> bool {
        self.lease_key.as_deref() == Some(key)
    }

    /// The same request on its way for the store alone.
    pub(crate) fn in_background(&self, engine: &Engine, place: &Place<'_>) -> Self {
        let mut request = self.request.clone();
        let Visited::Visit(visit) = engine.visit(&mut request, place) else { panic!("it was eligible") };
        Self {
            url: self.url,
            request,
            visit: Some(*visit),
            state: State::Done,
            arrived_at: self.arrived_at,
            asked_at: 0,
            lease_key: None,
            is_background: true,
        }
    }
}

/// A body on its way to a visitor.
pub(crate) struct Reading {
    pub(crate) reader: Reader,
    pub(crate) bytes: Vec<u8>,
    first: u64,
    pub(crate) length: Option<u64>,
    pub(crate) version: u64,
    pub(crate) foo: String,
}

impl Reading {
    pub(crate) fn new(serving: &Serving, first: u64, length: Option<u64>) -> Self {
        let value = |name: &str| {
            String::from_utf8_lossy(serving.answer.fields.value(name.as_bytes()).unwrap_or_default())
                .into_owned()
        };
        let length = length.or(match serving.answer.body {
            exchange::BodySize::Length(length) => Some(length),
            exchange::BodySize::None | exchange::BodySize::Unknown => None,
        });
        Self {
            reader: Arc::clone(&serving.object).reader(first).expect("few read at once"),
            bytes: Vec::new(),
            first,
            length,
            version: value("X-Version").parse().expect("the origin writes a number"),
            foo: value("X-Foo"),
        }
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.length.is_some_and(|length| self.bytes.len() as u64 >= length)
    }

    /// Whether what was read is that part of `whole`, and all of it if no part was asked for.
    pub(crate) fn is_of(&self, whole: &[u8]) -> bool {
        let length = self.length.unwrap_or(0) as usize;
        let part = whole.get(self.first as usize..self.first as usize + length);
        part.is_some() && part == self.bytes.get(..length)
    }
}
