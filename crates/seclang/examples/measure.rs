//! Measures the engine over OWASP CRS: loading, memory, and microseconds per request.
//!
//! `cargo run --release -p seclang --example measure -- FOLDER [LEVEL [NAME [MS]]]`: the folder of CRS with
//! `rules/` and `crs-setup.conf.example`, and the paranoia level (1), one request by its name, and
//! milliseconds for each (400). Each line is the median of many runs on one core, phases 1 to 5, with the
//! memory of verdicts as a serving thread has it and without. Figures compare within one run; machines
//! differ.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use fuel::Fuel;
use seclang::{Connection, Files, Loader, Options, Phase, RuleSet, Transaction, Workspace};

struct Disk(PathBuf);

impl Files for Disk {
    fn read(&self, path: &str) -> Result<Vec<u8>, String> {
        std::fs::read(self.0.join(path)).map_err(|error| error.to_string())
    }

    fn list(&self, folder: &str) -> Vec<String> {
        let entries = std::fs::read_dir(self.0.join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| format!("{folder}/{}", entry.file_name().to_string_lossy())).collect()
    }
}

struct Request {
    name: &'static str,
    method: &'static str,
    target: String,
    headers: Vec<(&'static str, String)>,
    body: Vec<u8>,
}

const SETUP: &str = r#"
SecRuleEngine DetectionOnly
SecResponseBodyAccess On
SecRule REQUEST_HEADERS:Content-Type "^application/json" \
  "id:200001,phase:1,t:none,t:lowercase,pass,nolog,ctl:requestBodyProcessor=JSON"
"#;

const WORDS: &str = "The quick brown fox jumps over the lazy dog, and nobody who watches it minds; \
    then they order two coffees and talk about the weather, prices and the last train home. ";

fn requests() -> Vec<Request> {
    let browser = |more: &[(&'static str, String)]| {
        let mut headers: Vec<(&'static str, String)> = [
            ("Host", "shop.example.org"),
            ("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0"),
            (
                "Accept",
                "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8",
            ),
            ("Accept-Language", "en-GB,en;q=0.7,de;q=0.3"),
            ("Accept-Encoding", "gzip, deflate, br, zstd"),
            ("Referer", "https://shop.example.org/catalogue/lamps?page=2"),
            ("Cookie", "session=8f14e45fceea167a5a36dedd4bea2543; theme=dark; basket=17"),
            ("Sec-Fetch-Dest", "document"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Upgrade-Insecure-Requests", "1"),
        ]
        .map(|(name, value)| (name, value.to_owned()))
        .to_vec();
        headers.extend_from_slice(more);
        headers
    };
    let post = |name, kind: &str, body: String| Request {
        name,
        method: "POST",
        target: "/checkout/address".to_owned(),
        headers: browser(&[("Content-Type", kind.to_owned()), ("Content-Length", body.len().to_string())]),
        body: body.into_bytes(),
    };
    let form = "application/x-www-form-urlencoded";
    let object = |number: usize| {
        format!(
            "{{\"id\":{number},\"name\":\"Lamp {number}\",\"tags\":[\"desk\",\"warm light\"],\
             \"price\":49.90,\"note\":\"Fits E27.\"}}"
        )
    };
    let json = |bytes: usize| {
        let mut items = Vec::new();
        while items.iter().map(String::len).sum::<usize>() < bytes {
            items.push(object(items.len()));
        }
        format!(r#"{{"order":[{}]}}"#, items.join(","))
    };
    vec![
        Request {
            name: "GET",
            method: "GET",
            target: "/catalogue/lamps?page=3&sort=price&q=desk+lamp".to_owned(),
            headers: browser(&[]),
            body: Vec::new(),
        },
        post(
            "form POST",
            form,
            "name=Ada+Lovelace&street=12+St+James%27s+Square&city=London&zip=SW1Y+4JH\
             &phone=%2B44+20+7946+0000\
             &note=Please+ring+twice"
                .to_owned(),
        ),
        post("JSON 2 KiB", "application/json", json(2_000)),
        post(
            "attack",
            form,
            "id=1%27+UNION+SELECT+user%2Cpassword+FROM+users--+-\
             &q=%3Cscript%3Ealert(1)%3C%2Fscript%3E"
                .to_owned(),
        ),
        post("form 64 KiB", form, format!("text={}", WORDS.repeat(65_536 / WORDS.len()).replace(' ', "+"))),
        post("JSON 64 KiB", "application/json", json(65_000)),
    ]
}

fn run(set: &Arc<RuleSet>, request: &Request, level: &str, work: &mut Workspace) -> (usize, u64) {
    let connection = Connection {
        client: IpAddr::V4(Ipv4Addr::new(192, 0, 2, 7)),
        client_port: 50_000,
        server: IpAddr::V4(Ipv4Addr::LOCALHOST),
        server_port: 443,
        unique_id: "4a5b6c7d8e9f",
        now_s: 1_790_000_000,
    };
    let mut fuel = Fuel::new(seclang::limits::FUEL_STEPS);
    let mut transaction = Transaction::new(Arc::clone(set), &connection, &Options::default());
    transaction.preset("blocking_paranoia_level", level.as_bytes());
    transaction.request_line(request.method.as_bytes(), request.target.as_bytes(), b"HTTP/1.1");
    for (name, value) in &request.headers {
        transaction.request_header(name.as_bytes(), value.as_bytes());
    }
    let mut phase = |transaction: &mut Transaction, phase, fuel: &mut Fuel| {
        transaction.inspect_whole(phase, work, fuel).expect("fuel suffices");
    };
    phase(&mut transaction, Phase::RequestHead, &mut fuel);
    if !request.body.is_empty() {
        transaction.request_body(&request.body, &mut fuel).expect("fuel suffices");
    }
    phase(&mut transaction, Phase::RequestBody, &mut fuel);
    transaction.response_line(200, b"HTTP/1.1");
    transaction.response_header(b"Content-Type", b"image/webp");
    transaction.response_header(b"Content-Length", b"18211");
    phase(&mut transaction, Phase::ResponseHead, &mut fuel);
    phase(&mut transaction, Phase::ResponseBody, &mut fuel);
    phase(&mut transaction, Phase::Logging, &mut fuel);
    (transaction.matches().len(), fuel.used())
}

#[expect(clippy::disallowed_methods, reason = "a measurement reads the clock")]
fn timed<T>(work: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = work();
    (start.elapsed(), result)
}

fn median(ms: u64, mut work: impl FnMut()) -> f64 {
    let (once, ()) = timed(&mut work);
    let runs = (Duration::from_millis(ms).as_nanos() / once.as_nanos().max(1)).clamp(9, 100_000);
    let mut all: Vec<Duration> = (0..runs).map(|_| timed(&mut work).0).collect();
    all.sort_unstable();
    all.get(all.len() / 2).map_or(0.0, |median| median.as_nanos() as f64 / 1_000.0)
}

fn resident_kib() -> usize {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    text.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok()).map_or(0, |pages| pages * 4)
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let Some(folder) = arguments.next() else {
        eprintln!("usage: measure FOLDER [LEVEL [NAME [MS]]]");
        return;
    };
    let level = arguments.next().unwrap_or_else(|| "1".to_owned());
    let only = arguments.next();
    let ms = arguments.next().and_then(|text| text.parse().ok()).unwrap_or(400);
    let disk = Disk(PathBuf::from(folder));
    let before = resident_kib();
    let (load, set) = timed(|| {
        let mut loader = Loader::new(&disk);
        loader.text("setup.conf", SETUP).file("crs-setup.conf.example").file("rules/*.conf");
        loader.finish()
    });
    let set = match set {
        Ok(set) => Arc::new(set),
        Err(error) => {
            eprintln!("{error}");
            return;
        }
    };
    let (slots, automaton) = set.prefiltered();
    println!(
        "load {load:.1?}, {} rules, {slots} prefiltered, automaton {} KiB, memory {} KiB",
        set.rules_count(),
        automaton / 1024,
        resident_kib() - before
    );
    println!("paranoia level {level}; µs, median; warm: with the memory of verdicts of a serving thread");
    for request in requests().into_iter().filter(|one| only.as_deref().is_none_or(|only| only == one.name)) {
        let mut work = Workspace::default();
        let (matches, used) = run(&set, &request, &level, &mut work);
        let warm = median(ms, || {
            run(&set, &request, &level, &mut work);
        });
        let cold = median(ms, || {
            let mut fresh = Workspace::default();
            run(&set, &request, &level, &mut fresh);
        });
        println!("{:12} warm {warm:9.1}  fresh {cold:9.1}  matches {matches:3}  fuel {used}", request.name);
    }
    println!("memory after {} KiB", resident_kib() - before);
}
