//! The process's own resources, from the text of files under `/proc` (proc(5)).
//!
//! Reading the files and understanding them are two functions, so that the second is tested on text. Called
//! by the binary at each scrape. Read next: [`Process::parse`].

use std::fs;

/// Microseconds per clock tick of `/proc`: the kernel's interface counts 100 ticks a second on every
/// architecture Rempart runs on, whatever the kernel's own timer does.
const TICK_US: u64 = 10_000;

/// What one process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Process {
    /// CPU time, user and system, in microseconds; a multiple of 10 ms.
    pub cpu_us: u64,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open descriptors.
    pub open_descriptors: u64,
}

impl Process {
    /// Reads the calling process's files; `None` where there is no `/proc`.
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        // Listing the folder takes one descriptor itself.
        let open_descriptors = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1) as u64;
        Self::parse(&stat, &status, open_descriptors)
    }

    /// Understands `/proc/PID/stat` and `/proc/PID/status`; `None` when a number is not where it should be.
    pub fn parse(stat: &str, status: &str, open_descriptors: u64) -> Option<Self> {
        // The second field is the program's name in brackets and may hold blanks and brackets itself.
        let after_name = stat.rsplit_once(')')?.1;
        let field = |number: usize| after_name.split_ascii_whitespace().nth(number - 3)?.parse::<u64>().ok();
        let (user, system, threads) = (field(14)?, field(15)?, field(20)?);
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        let resident_kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
        Some(Self {
            cpu_us: user.checked_add(system)?.checked_mul(TICK_US)?,
            resident_bytes: resident_kib.checked_mul(1024)?,
            threads,
            open_descriptors,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAT: &str = "4242 (re) mp (art) S 1 4242 4242 0 -1 4194560 1000 0 0 0 250 50 0 0 20 0 7 0 123456 \
                        104857600 2560 18446744073709551615 1 1 0 0 0 0 0 4096 0 0 0 0 17 1 0 0 0 0 0\n";
    const STATUS: &str = "Name:\trempart\nVmPeak:\t  120000 kB\nVmRSS:\t   10240 kB\nThreads:\t7\n";

    #[test]
    fn reads_the_fields_behind_a_name_with_brackets() {
        let process = Process::parse(STAT, STATUS, 12).unwrap();
        let expected =
            Process { cpu_us: 3_000_000, resident_bytes: 10_485_760, threads: 7, open_descriptors: 12 };
        assert_eq!(process, expected);
    }

    #[test]
    fn text_that_is_not_as_expected_gives_nothing() {
        assert_eq!(Process::parse("", STATUS, 0), None);
        assert_eq!(Process::parse("1 (x) S 1 2", STATUS, 0), None);
        assert_eq!(Process::parse(STAT, "Name:\tx\n", 0), None);
        assert_eq!(Process::parse(STAT, "VmRSS:\t many kB\n", 0), None);
    }

    #[test]
    fn this_process_can_be_read() {
        let process = Process::read().unwrap();
        assert!(process.resident_bytes > 0 && process.threads > 0 && process.open_descriptors > 0);
    }
}
