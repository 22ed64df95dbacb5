//! The closed sets of label values that are telemetry's own. Those of refusals and faults are given by
//! [`super::LabelLists`].
//!
//! Knows no numbers. Used by [`super::ThreadMetrics`] and the page. Read next: [`Protocol`].

/// Declares an enum whose variants each have one label text, the list of all with what they mean, and their
/// number.
macro_rules! label_set {
    (
        $(#[$about:meta])*
        $name:ident { $($(#[doc = $meaning:literal])+ $variant:ident = $text:literal,)* }
    ) => {
        $(#[$about])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum $name { $($(#[doc = $meaning])+ $variant,)* }

        impl $name {
            /// Every value in the order of the page.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];
            pub(crate) const COUNT: usize = Self::ALL.len();
            pub(crate) const LABELS: [&'static str; Self::COUNT] = [$($text,)*];
            /// What each means, for the reference.
            pub(crate) const MEANINGS: &'static [(&'static str, &'static str)] =
                &[$(($text, concat!($($meaning),+)),)*];

            /// The label's text.
            pub const fn label(self) -> &'static str {
                Self::LABELS[self as usize]
            }
        }
    };
}

label_set! {
    /// Why a body that was to be inspected off the serving threads was not.
    NotInspected {
        /// As many waited as may, and no other zone had more of them waiting, by weight.
        Full = "full",
        /// It waited, and its place went to a zone with fewer waiting.
        GaveUp = "gave_up",
        /// It was not judged in time.
        Late = "late",
    }
}

label_set! {
    /// Which operator of the firewall found nothing because it could not ask.
    Unanswered {
        /// `@rbl`: no list said in time.
        List = "rbl",
        /// `@rx`: macros made what is no pattern.
        Pattern = "rx",
    }
}

label_set! {
    /// What a visitor's connection speaks.
    Protocol {
        /// HTTP/1.0 and HTTP/1.1.
        Http1 = "http1",
        /// HTTP/2.
        Http2 = "http2",
        /// HTTP/3.
        Http3 = "http3",
    }
}

label_set! {
    /// Class of a final status.
    StatusClass {
        /// 1xx: only 101 is final.
        Informational = "1xx",
        /// 2xx.
        Success = "2xx",
        /// 3xx.
        Redirection = "3xx",
        /// 4xx.
        VisitorError = "4xx",
        /// 5xx, and anything beyond.
        ServerError = "5xx",
        /// The visitor left before a head was sent.
        None = "none",
    }
}

impl StatusClass {
    /// Class of a status; `None` when no head was sent.
    pub const fn of(status: Option<u16>) -> Self {
        match status {
            None => Self::None,
            Some(..200) => Self::Informational,
            Some(..300) => Self::Success,
            Some(..400) => Self::Redirection,
            Some(..500) => Self::VisitorError,
            // Above 599 as well: RFC 9110 §15 has them treated so.
            Some(_) => Self::ServerError,
        }
    }
}

label_set! {
    /// TLS version a handshake settled on.
    TlsVersion {
        /// TLS 1.2.
        Tls12 = "1.2",
        /// TLS 1.3, QUIC's included.
        Tls13 = "1.3",
        /// The handshake ended before a version was chosen.
        Unknown = "unknown",
    }
}

label_set! {
    /// How a TLS handshake with a visitor ended.
    HandshakeOutcome {
        /// It led to a connection, resumed by a ticket or not.
        Full = "full",
        /// One side refused, it took too long, or the bytes were no TLS.
        Failed = "failed",
    }
}

label_set! {
    /// How an attempt at an origin ended.
    OriginOutcome {
        /// A response head came, whatever its status.
        Ok = "ok",
        /// None came.
        Fault = "fault",
    }
}

label_set! {
    /// Where an attempt's connection came from.
    OriginConnection {
        /// Opened for it.
        New = "new",
        /// Taken from the pool.
        Reused = "reused",
    }
}

label_set! {
    /// What the cache did for a request of a zone that has one.
    CacheOutcome {
        /// Answered from what is stored.
        Hit = "hit",
        /// The same, stale: while it is fetched anew, or because the origin failed.
        Stale = "stale",
        /// Answered by another request's fetch, which it waited for.
        Collapsed = "collapsed",
        /// Stale, and the origin said that it is still good.
        Revalidated = "revalidated",
        /// Fetched, and stored.
        Miss = "miss",
        /// Fetched, and not stored.
        Passed = "passed",
        /// Past the cache.
        Bypass = "bypass",
    }
}

label_set! {
    /// A content coding that answers are given here.
    Coding {
        /// Zstandard.
        Zstd = "zstd",
        /// Brotli.
        Brotli = "br",
        /// gzip.
        Gzip = "gzip",
    }
}

label_set! {
    /// Where the coded form of an answer came from.
    CodedSource {
        /// Coded for this answer alone.
        Streamed = "streamed",
        /// Of the store, where it is coded once for all visitors.
        Stored = "stored",
    }
}

label_set! {
    /// What a request was worth that was shed since a thread had more to do than it could.
    Worth {
        /// Of a visitor who was served before.
        Known = "known",
        /// Of somebody else.
        Stranger = "stranger",
        /// Of somebody else, and with a body or not safe.
        Costly = "costly",
        /// Of a visitor who asked for more than a person would.
        Heavy = "heavy",
    }
}

label_set! {
    /// How a request's wait for a place at an origin ended.
    OriginWait {
        /// With a place.
        Placed = "placed",
        /// Without one: the time was over, the line full, or its visitor left.
        SentAway = "sent_away",
    }
}

label_set! {
    /// Success or failure of something the node does for itself.
    Outcome {
        /// It worked.
        Ok = "ok",
        /// It did not.
        Failed = "failed",
    }
}

label_set! {
    /// What broke in a phase.
    Trouble {
        /// It panicked.
        Panic = "panic",
        /// What was published does not say what it must.
        Data = "data",
        /// The request cost more work than one request may.
        Fuel = "fuel",
        /// The request asked for more memory than it may hold.
        Memory = "memory",
    }
}

label_set! {
    /// What a zone's limit bounds.
    LimitKind {
        /// How often.
        Rate = "rate",
        /// How many at once.
        Concurrency = "concurrency",
        /// Requests of a kind, in a flood.
        Flood = "flood",
    }
}

label_set! {
    /// What was done with a request over a limit.
    LimitAction {
        /// It was refused.
        Block = "block",
        /// It was asked for a proof.
        Challenge = "challenge",
        /// It was noted.
        Log = "log",
    }
}

label_set! {
    /// Direction of bytes, seen from the node.
    Direction {
        /// From the visitor.
        In = "in",
        /// To the visitor.
        Out = "out",
    }
}

label_set! {
    /// Whose rules cost something.
    RuleWork {
        /// A zone's own.
        ZoneRules = "zone_rules",
        /// Its firewall's, a shadow's among them.
        Firewall = "firewall",
    }
}

label_set! {
    /// What the web application firewall came to.
    WafOutcome {
        /// No rule matched.
        Clean = "clean",
        /// Rules matched, and what they found does not suffice to refuse.
        Matched = "matched",
        /// It would have refused, and the zone only writes what it would do.
        WouldRefuse = "would_refuse",
        /// It refused.
        Refused = "refused",
        /// An exception of the zone or a rule of its own leaves it out.
        Skipped = "skipped",
        /// It broke, and the zone's mode decided.
        Broken = "broken",
    }
}

label_set! {
    /// How far a generated limit is.
    FloodStage {
        /// It only counts what it would refuse.
        Observe = "observe",
        /// It refuses.
        Limit = "limit",
        /// It refuses, and lets less through than at first.
        Tight = "tight",
    }
}

label_set! {
    /// How old a list or a file of `[geo]` is against its horizon.
    FeedStage {
        /// Younger than three quarters of it.
        Fresh = "fresh",
        /// Older than that.
        GettingOld = "getting_old",
        /// Older than its horizon.
        PastHorizon = "past_horizon",
    }
}

label_set! {
    /// Whose bound on held bytes.
    OverLevel {
        /// A visitor's connection's.
        Connection = "connection",
        /// A zone's.
        Zone = "zone",
        /// The node's.
        Node = "node",
    }
}

label_set! {
    /// Where answers are stored.
    Tier {
        /// In memory.
        Memory = "memory",
        /// On disk.
        Disk = "disk",
    }
}
