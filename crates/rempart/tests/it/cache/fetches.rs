//! Many visitors of the same: one fetch, everybody at their own pace, and what happens when it fails.

use testkit::gate::Gate;
use testkit::message::BodyReader;

use super::*;

/// Reads so many bytes of a body, and no more.
fn read(visitor: &mut Visitor, body: &mut BodyReader, bytes: usize) -> Result<Vec<u8>> {
    let mut read = Vec::new();
    while read.len() < bytes {
        read.extend(visitor.body_part(body)?.context("the body has ended")?);
    }
    Ok(read)
}

#[test]
fn fifty_visitors_of_the_same_are_one_fetch_and_all_read_while_it_fills() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        let first = Answer::ok("first half, ").wait(&held).part("second half");
        first.field("Cache-Control", "max-age=60").wait_before_head(&held)
    })?;
    let node = before(&origin, "")?;
    let mut visitors: Vec<Visitor> = (0..50).map(|_| ask(&node, "/a")).collect::<Result<_>>()?;
    origin.wait_until(|counters| counters.requests == 1)?;
    gate.open();
    let mut bodies = Vec::new();
    for visitor in &mut visitors {
        let head = visitor.read_head("GET")?.context("a head")?;
        assert_eq!(head.status, 200);
        let mut body = BodyReader::new(head.framing);
        // All of them have the first half while the second is still with the origin.
        assert_eq!(read(visitor, &mut body, 12)?, b"first half, ");
        bodies.push((body, head.fields.first("cache-status").unwrap_or_default().to_owned()));
    }
    gate.open();
    for (visitor, (body, _)) in visitors.iter_mut().zip(&mut bodies) {
        assert_eq!(read(visitor, body, 11)?, b"second half");
    }
    assert_eq!(origin.counters().requests, 1);
    let (fetched, waited): (Vec<_>, Vec<_>) =
        bodies.iter().map(|(_, said)| said).partition(|said| said.ends_with("; stored"));
    assert_eq!(fetched.len(), 1);
    // One may come so late that it finds what fills.
    let is_one_of_many =
        |said: &&String| said.starts_with("rempart; fwd=uri-miss; ttl=") && said.ends_with("; collapsed");
    assert!(
        waited.iter().all(|said| is_one_of_many(said) || said.starts_with("rempart; hit; ttl=")),
        "{waited:?}"
    );
    assert!(waited.iter().any(is_one_of_many), "{waited:?}");
    assert!(is_hit(&get(&node, "/a")?));
    drop(visitors);
    node.finish_healthy()
}

#[test]
fn a_first_visitor_who_reads_nothing_holds_up_nobody() -> Result<()> {
    // More than memory alone keeps of one body, so that a second fetch would be seen as one.
    const BYTES: u64 = 16 << 20;
    const LAST: u64 = 1 << 20;
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        let most = Answer::new(200).pattern(3, 0, BYTES - LAST).wait(&held);
        most.pattern(3, BYTES - LAST, LAST).field("Cache-Control", "max-age=60")
    })?;
    let node = before(&origin, "")?;
    let slow = ask(&node, "/a")?; // never read
    origin.wait_until(|counters| counters.requests == 1)?;
    let mut second = ask(&node, "/a")?;
    let mut body = BodyReader::new(second.read_head("GET")?.context("a head")?.framing);
    let most = read(&mut second, &mut body, (BYTES - LAST) as usize)?;
    gate.open();
    let received = [most, read(&mut second, &mut body, LAST as usize)?].concat();
    let mut expected = vec![0; BYTES as usize];
    testkit::digest::pattern(3, 0, &mut expected);
    assert!(received == expected, "{} bytes", received.len());
    // The origin has given all of it, although the one who caused it has taken nothing.
    origin.wait_until(|counters| counters.answered == 1)?;
    assert_eq!(origin.counters().requests, 1);
    slow.reset();
    node.finish_healthy()
}

#[test]
fn a_fetch_goes_on_when_its_visitor_leaves() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        Answer::ok("first, ").wait(&held).part("second").field("Cache-Control", "max-age=60")
    })?;
    let node = before(&origin, "")?;
    let mut visitor = ask(&node, "/a")?;
    visitor.read_head("GET")?.context("a head")?;
    visitor.reset();
    node.wait_for_log(|line| line["path"] == "/a")?;
    gate.open_for_good();
    let hit = until(&node, "/a", is_hit)?;
    assert_eq!((hit.text().as_str(), origin.counters().requests), ("first, second", 1));
    node.finish_healthy()
}

#[test]
fn a_fetch_that_fails_is_handed_to_the_next_who_waits() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let count = std::sync::atomic::AtomicU64::new(0);
    let origin = OriginSpec::new().scripted(move |exchange| {
        if count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) > 0 {
            return exchange.answer(&Answer::ok("second try").field("Cache-Control", "max-age=60"));
        }
        exchange.wait(&held)?;
        exchange.reset();
        Ok(())
    })?;
    let url = origin.url();
    let toml = zone_with("[cache]\nenabled = true\n", &[&url], "retries = { max = 0 }");
    let node = start(&cleartext().more("[cache]\ndisk_bytes = 0").zone("a", toml))?;
    let mut first = ask(&node, "/a")?;
    origin.wait_until(|counters| counters.requests == 1)?;
    let mut others: Vec<Visitor> = (0..5).map(|_| ask(&node, "/a")).collect::<Result<_>>()?;
    // Each holds some 2 KiB of the node from the moment its head is read.
    node.wait_until("the others' requests", || {
        node.metric("rempart_held_bytes").is_ok_and(|held| held >= Some(6.0 * 2048.0))
    })?;
    gate.open_for_good();
    assert_eq!(first.expect_response("GET")?.status, 502, "no retries were allowed");
    for other in &mut others {
        let answer = other.expect_response("GET")?;
        assert_eq!((answer.status, answer.text().as_str()), (200, "second try"));
    }
    assert_eq!(origin.counters().requests, 2);
    drop((first, others));
    node.finish_healthy()
}

#[test]
fn a_fetch_that_breaks_in_mid_body_ends_all_its_readers_and_leaves_nothing_behind() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        Answer::ok("half")
            .wait(&held)
            .part("never")
            .broken_here()
            .part("nor this")
            .field("Cache-Control", "max-age=60")
    })?;
    let node = before(&origin, "")?;
    let mut visitors: Vec<Visitor> = (0..3).map(|_| ask(&node, "/a")).collect::<Result<_>>()?;
    let mut bodies = Vec::new();
    for visitor in &mut visitors {
        let head = visitor.read_head("GET")?.context("a head")?;
        let mut body = BodyReader::new(head.framing);
        assert_eq!(read(visitor, &mut body, 4)?, b"half");
        bodies.push(body);
    }
    assert_eq!(origin.counters().requests, 1);
    gate.open_for_good();
    for (visitor, body) in visitors.iter_mut().zip(&mut bodies) {
        // Cut short, never ended as if it were whole.
        loop {
            match visitor.body_part(body) {
                Ok(Some(part)) => assert_eq!(part, b"never"),
                Ok(None) => panic!("the answer ended as if it were whole"),
                Err(_) => break,
            }
        }
    }
    drop(visitors);
    let mut again = ask(&node, "/a")?;
    let head = again.read_head("GET")?.context("a head")?;
    assert!(!head.fields.first("cache-status").context("a status")?.contains("hit"));
    drop(again);
    node.finish_healthy()
}

#[test]
fn what_cannot_be_stored_makes_nobody_wait_for_anybody() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new()
        .answering(move |_| Answer::ok("own").wait(&held).part("!").field("Cache-Control", "no-store"))?;
    let node = before(&origin, "")?;
    let mut first = ask(&node, "/a")?;
    // Its head has come: the key is known as one whose answers are each visitor's own.
    first.read_head("GET")?.context("a head")?;
    let mut others: Vec<Visitor> = (0..4).map(|_| ask(&node, "/a")).collect::<Result<_>>()?;
    origin.wait_until(|counters| counters.requests == 5)?;
    for other in &mut others {
        let head = other.read_head("GET")?.context("a head")?;
        assert_eq!(head.status, 200);
    }
    gate.open_for_good();
    drop((first, others));
    node.finish_healthy()
}

#[test]
fn a_key_of_answers_for_one_visitor_each_is_stored_as_soon_as_one_may_be() -> Result<()> {
    let origin = counting(|request, answer| match request.fields.has("cookie") {
        true => answer.field("Cache-Control", "no-store"),
        false => answer.field("Cache-Control", "max-age=60"),
    })?;
    let node = before(&origin, "")?;
    let signed_in = with(&node, "/a", &[("Cookie", "a=1")])?;
    assert_eq!(said(&signed_in), "rempart; fwd=uri-miss; detail=no_store");
    let (first, second) = (get(&node, "/a")?, get(&node, "/a")?);
    assert_eq!(said(&first), "rempart; fwd=uri-miss; fwd-status=200; ttl=60; stored");
    assert!(is_hit(&second) && second.text() == first.text());
    node.finish_healthy()
}

#[test]
fn what_streams_past_the_store_comes_piece_by_piece() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        Answer::new(200).chunked().part("one").wait(&held).part("two").field("Cache-Control", "no-store")
    })?;
    let node = before(&origin, "")?;
    let mut visitor = ask(&node, "/events")?;
    let head = visitor.read_head("GET")?.context("a head")?;
    let mut body = BodyReader::new(head.framing);
    assert_eq!(read(&mut visitor, &mut body, 3)?, b"one");
    gate.open();
    assert_eq!(read(&mut visitor, &mut body, 3)?, b"two");
    drop(visitor);
    node.finish_healthy()
}

#[test]
fn a_body_of_unknown_length_that_grows_too_large_reaches_its_visitor_whole() -> Result<()> {
    // Memory of 8 MiB keeps objects of 1 MiB at most.
    const BYTES: u64 = 5 << 20;
    let origin = OriginSpec::new().answering(|_| {
        Answer::new(200).chunked().pattern(5, 0, BYTES).field("Cache-Control", "max-age=60")
    })?;
    let node = start(
        &cleartext().more("[cache]\nmemory_bytes = \"8MiB\"\ndisk_bytes = 0").zone("a", zone(&origin, "")),
    )?;
    let mut expected = vec![0; BYTES as usize];
    testkit::digest::pattern(5, 0, &mut expected);
    for asked in 1..3 {
        let answer = get(&node, "/a")?;
        assert!(answer.body == expected && !is_hit(&answer), "{}", said(&answer));
        assert_eq!(origin.counters().requests, asked);
    }
    node.finish_healthy()
}

#[test]
fn who_waits_longer_than_the_zone_says_goes_to_the_origin_one_a_second() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let count = std::sync::atomic::AtomicU64::new(0);
    let origin = OriginSpec::new().answering(move |_| {
        let answer = Answer::ok("a").field("Cache-Control", "max-age=60");
        match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => answer.wait_before_head(&held),
            _ => answer,
        }
    })?;
    let node = before(&origin, "wait_ms = 100")?;
    let mut first = ask(&node, "/a")?;
    origin.wait_until(|counters| counters.requests == 1)?;
    let mut second = ask(&node, "/a")?;
    assert_eq!(second.expect_response("GET")?.text(), "a");
    assert_eq!(origin.counters().requests, 2);
    gate.open_for_good();
    assert_eq!(first.expect_response("GET")?.text(), "a");
    drop((first, second));
    node.finish_healthy()
}

#[test]
fn when_a_fetch_hangs_the_answer_of_the_first_who_loses_patience_is_everybodys() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let count = std::sync::atomic::AtomicU64::new(0);
    let origin = OriginSpec::new().answering(move |_| {
        let answer = |body: &'static str| {
            Answer::ok(body).field("Cache-Control", "max-age=60").field("Vary", "Accept-Encoding")
        };
        match count.fetch_add(1, std::sync::atomic::Ordering::Relaxed) {
            0 => answer("late").wait_before_head(&held),
            _ => answer("soon"),
        }
    })?;
    // So long between two turns that a second one would be seen.
    let node = before(&origin, "wait_ms = 100\nwait_interval_ms = 3600000")?;
    let mut first = ask(&node, "/a")?;
    origin.wait_until(|counters| counters.requests == 1)?;
    let mut others: Vec<Visitor> = (0..10).map(|_| ask(&node, "/a")).collect::<Result<_>>()?;
    let mut said = Vec::new();
    for other in &mut others {
        let answer = other.expect_response("GET")?;
        assert_eq!(answer.text(), "soon");
        said.push(answer.fields.first("cache-status").context("a status")?.to_owned());
    }
    said.sort();
    assert!(said[0].contains("; stored; collapsed=?0"), "{said:?}");
    let is_served = |said: &String| said.ends_with("; collapsed") || said.starts_with("rempart; hit; ttl=");
    assert!(said[1..].iter().all(is_served), "{said:?}");
    assert_eq!(origin.counters().requests, 2);
    assert!(is_hit(&get(&node, "/a")?));
    gate.open_for_good();
    assert_eq!(first.expect_response("GET")?.text(), "late", "it had asked before");
    assert_eq!(get(&node, "/a")?.text(), "soon");
    drop((first, others));
    node.finish_healthy()
}

#[test]
fn who_waits_too_long_for_a_slice_asks_in_turns_and_what_comes_is_everybodys() -> Result<()> {
    const SLICE: u64 = 1 << 20;
    let gate = Gate::new();
    let held = gate.clone();
    let count = std::sync::atomic::AtomicU64::new(0);
    let origin = OriginSpec::new().answering(move |request| {
        let number = count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let range = request.fields.first("range").unwrap_or_default();
        let first = if range.starts_with("bytes=0-") { 0 } else { SLICE };
        let answer = Answer::new(206)
            .pattern(7, first, SLICE)
            .field("Content-Range", format!("bytes {first}-{}/{}", first + SLICE - 1, 4 * SLICE))
            .field("Cache-Control", "max-age=60")
            .field("ETag", "\"film\"");
        // The second slice hangs when it is asked for first.
        if number == 1 { answer.wait_before_head(&held) } else { answer }
    })?;
    let node = before(&origin, "wait_ms = 100\nwait_interval_ms = 3600000")?;
    with(&node, "/film", &[("Range", "bytes=0-1")])?;
    let wanted = Fields::of(&[("Range", &format!("bytes={SLICE}-{}", SLICE + 3))]);
    let ask = || {
        let mut visitor = visitor(&node)?;
        visitor.send_head("GET", "/film", HOST, &wanted)?;
        Ok::<_, anyhow::Error>(visitor)
    };
    let mut first = ask()?;
    origin.wait_until(|counters| counters.requests == 2)?;
    let mut others: Vec<Visitor> = (0..10).map(|_| ask()).collect::<Result<_>>()?;
    let mut expected = [0; 4];
    testkit::digest::pattern(7, SLICE, &mut expected);
    for other in &mut others {
        let answer = other.expect_response("GET")?;
        assert_eq!((answer.status, &answer.body[..]), (206, &expected[..]));
    }
    assert_eq!(origin.counters().requests, 3, "one of ten");
    gate.open_for_good();
    assert_eq!(first.expect_response("GET")?.body, expected);
    drop((first, others));
    node.finish_healthy()
}

#[test]
fn visitors_of_one_expired_answer_are_one_question_to_the_origin() -> Result<()> {
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |request| match request.fields.has("if-none-match") {
        false => Answer::ok("old").field("Cache-Control", "max-age=1000").field("ETag", "\"a\""),
        true => Answer::new(304)
            .field("Cache-Control", "max-age=1000")
            .field("ETag", "\"a\"")
            .wait_before_head(&held),
    })?;
    let node = before(&origin, "")?;
    get(&node, "/a")?;
    // As if its time were over, without waiting for it.
    assert!(node.command(&["purge", "--soft", "--zone", "a"])?.status.success());
    let mut visitors: Vec<Visitor> = (0..40).map(|_| ask(&node, "/a")).collect::<Result<_>>()?;
    node.wait_until("all their requests", || {
        node.metric("rempart_held_bytes").is_ok_and(|held| held >= Some(40.0 * 2048.0))
    })?;
    gate.open_for_good();
    for visitor in &mut visitors {
        let answer = visitor.expect_response("GET")?;
        assert_eq!((answer.status, answer.text().as_str()), (200, "old"));
    }
    assert_eq!(origin.counters().requests, 2);
    drop(visitors);
    node.finish_healthy()
}

#[test]
fn a_visitor_who_leaves_takes_along_a_fetch_that_nobody_else_waits_for() -> Result<()> {
    let (asked, gone) = (Gate::new(), Gate::new());
    let (asks, goes) = (asked.clone(), gone.clone());
    let origin = OriginSpec::new().scripted(move |exchange| {
        asks.open();
        exchange.wait_until_gone()?;
        goes.open();
        Ok(())
    })?;
    let node = before(&origin, "")?;
    for method in ["GET", "HEAD"] {
        let mut visitor = visitor(&node)?;
        visitor.send_head(method, "/a", HOST, &Fields::new())?;
        asked.pass()?;
        visitor.reset();
        gone.pass()?;
    }
    node.finish_healthy()
}

#[test]
fn a_large_answer_that_nobody_reads_any_more_is_given_up() -> Result<()> {
    const BYTES: u64 = 30 << 20;
    let gate = Gate::new();
    let held = gate.clone();
    let origin = OriginSpec::new().answering(move |_| {
        Answer::ok("begun").wait(&held).pattern(1, 0, BYTES).field("Cache-Control", "max-age=60")
    })?;
    let node = before(&origin, "")?;
    let mut visitor = ask(&node, "/a")?;
    visitor.read_head("GET")?.context("a head")?;
    visitor.reset();
    node.wait_for_log(|line| line["path"] == "/a")?;
    gate.open_for_good();
    let counters = origin.wait_until(|counters| counters.aborted == 1)?;
    assert!(counters.bytes_out < BYTES, "{counters:?}");
    node.finish_healthy()
}
