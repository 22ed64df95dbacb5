//! A process killed with `SIGKILL` while it writes: what it said was committed is there.

use std::io::{BufRead, BufReader, Write};
use std::process::{Command, Stdio};

use super::*;

/// Objects the process says it has committed before it is killed, in each of its lives.
const COMMITTED: usize = 150;

#[test]
#[ignore = "the process that is killed: started by the test below, which gives it a folder"]
fn writes_until_it_is_killed() {
    let mut lines = std::io::stdin().lines();
    let mut next = || lines.next().and_then(Result::ok).expect("a line from whoever started it");
    let (folder, life) = (PathBuf::from(next()), next());
    let (store, mut workers) = open(&folder);
    turn(&mut workers);
    let mut out = std::io::stdout();
    for number in 0_u64.. {
        let target = format!("/{life}/{number}");
        put_twice(&store, &target);
        let before = store.counts().disk_writes;
        turn(&mut workers);
        if store.counts().disk_writes > before {
            writeln!(out, "committed {target}").expect("the other end reads");
        }
    }
}

#[test]
fn a_killed_process_leaves_every_object_it_had_committed() {
    let folder = folder_of("killed");
    let mut committed = Vec::new();
    for life in 0..3 {
        let program = std::env::current_exe().expect("this test");
        let mut child = Command::new(program)
            .args(["store::killed::writes_until_it_is_killed", "--exact", "--ignored", "--nocapture"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("this test again");
        let mut to = child.stdin.take().expect("piped");
        writeln!(to, "{}\n{life}", folder.display()).expect("it reads");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines();
        let said = lines
            .map_while(Result::ok)
            .filter_map(|line| line.split_once("committed ").map(|(_, target)| target.to_owned()));
        let said: Vec<String> = said.take(COMMITTED).collect();
        child.kill().expect("it runs");
        child.wait().expect("it was started here");
        assert_eq!(said.len(), COMMITTED, "life {life}");
        committed.extend(said);

        let (store, mut workers) = open(&folder);
        turn(&mut workers);
        for target in &committed {
            let Lookup::Wait(ticket) = store.lookup(&key(target), 0) else { panic!("{target} is missing") };
            turn(&mut workers);
            let Waited::Hit(object) = wait(ticket) else { panic!("{target} is not readable") };
            assert_eq!(object.chunks().expect("whole").concat(), body(target));
        }
        assert_eq!(store.counts().disk_records_damaged + store.counts().disk_emptied, 0);
    }
    std::fs::remove_dir_all(&folder).expect("it is there");
}
