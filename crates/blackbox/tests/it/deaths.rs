//! Each way a process dies, done to a child: whom its black box names.
//!
//! The child is this test binary again, with one of the victims below as its only test and the black box as
//! its standard input; started otherwise the victims do nothing.

use std::hint::black_box;
use std::io::{BufRead, BufReader};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Child, Command, Stdio};

use blackbox::{SlotState, Work, Writer, create, culprit, read, suspects};

const GUILTY: u64 = 0xbad;
const INNOCENT: u64 = 0x600d;

fn victim(name: &str) -> (OwnedFd, Child) {
    let memory = create(2).unwrap();
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", &format!("deaths::{name}"), "--ignored", "--nocapture"])
        .stdin(Stdio::from(memory.try_clone().unwrap()))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    (memory, child)
}

fn signal_of(child: &mut Child) -> Option<i32> {
    std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap())
}

/// One thread in the middle of an innocent poll, the calling one in that of a guilty request, which then
/// does `what`.
fn die(what: impl FnOnce()) {
    let Ok(memory) = std::io::stdin().as_fd().try_clone_to_owned() else { return };
    let Ok(writer) = Writer::map(&memory) else { return };
    let (tell, told) = std::sync::mpsc::sync_channel(1);
    std::thread::spawn(move || {
        let slot = writer.claim(0).unwrap();
        slot.enter(&Work { fingerprint: INNOCENT, ..Work::default() });
        tell.send(()).unwrap();
        loop {
            std::thread::park();
        }
    });
    told.recv().unwrap();
    let slot = writer.claim(1).unwrap();
    slot.enter(&Work { fingerprint: GUILTY, phase: 2, ..Work::default() });
    what();
}

fn assert_named(name: &str, first_signal: i32, last_signal: i32) {
    let (memory, mut child) = victim(name);
    assert_eq!(signal_of(&mut child), Some(last_signal));
    let slots = read(&memory).unwrap();
    let culprit = culprit(&slots).unwrap();
    assert_eq!((culprit.fingerprint, culprit.phase), (GUILTY, 2));
    assert_eq!(culprit.death, Some(first_signal));
    assert_eq!(suspects(&slots), [culprit]);
}

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGSEGV: i32 = 11;

#[test]
fn an_abort_names_its_thread() {
    assert_named("aborts", SIGABRT, SIGABRT);
}

/// The standard library reports it and aborts; the fault stays the cause.
#[test]
fn a_stack_overflow_names_its_thread() {
    assert_named("overflows_its_stack", SIGSEGV, SIGABRT);
}

#[test]
fn memory_that_cannot_be_had_names_its_thread() {
    assert_named("asks_for_too_much_memory", SIGABRT, SIGABRT);
}

fn wait_for_entry(child: &mut Child) {
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().ends_with("entered")), "the victim ended before its poll");
}

#[test]
fn after_a_kill_everybody_in_a_poll_is_a_suspect() {
    let (memory, mut child) = victim("waits");
    wait_for_entry(&mut child);
    child.kill().unwrap();
    assert_eq!(signal_of(&mut child), Some(SIGKILL));
    let slots = read(&memory).unwrap();
    assert_eq!(culprit(&slots), None);
    let names: Vec<u64> = suspects(&slots).iter().map(|slot| slot.fingerprint).collect();
    assert_eq!(names, [INNOCENT, GUILTY]);
    assert!(slots.iter().all(|slot| slot.state == SlotState::Busy));
}

/// The kernel gives such a signal to any thread, and that thread has done nothing.
#[test]
fn a_signal_from_outside_blames_nobody_alone() {
    let (memory, mut child) = victim("waits");
    wait_for_entry(&mut child);
    let killed = Command::new("kill").args(["-SEGV", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    assert_eq!(signal_of(&mut child), Some(SIGSEGV));
    let slots = read(&memory).unwrap();
    assert_eq!((culprit(&slots), suspects(&slots).len()), (None, 2));
}

#[test]
#[ignore = "a victim: another test plays it in a process of its own"]
fn aborts() {
    die(|| std::process::abort());
}

#[test]
#[ignore = "a victim: another test plays it in a process of its own"]
fn overflows_its_stack() {
    fn deep(depth: u64, next: &dyn Fn(u64) -> u64) -> u64 {
        let room = black_box([depth; 64]);
        next(depth + 1) + room[3]
    }
    fn deeper(depth: u64) -> u64 {
        deep(depth, &deeper)
    }
    die(|| _ = black_box(deeper(0)));
}

#[test]
#[ignore = "a victim: another test plays it in a process of its own"]
fn asks_for_too_much_memory() {
    die(|| _ = black_box(Vec::<u8>::with_capacity(1 << 46)));
}

#[test]
#[ignore = "a victim: another test plays it in a process of its own"]
fn waits() {
    die(|| {
        println!("entered");
        loop {
            std::thread::park();
        }
    });
}
