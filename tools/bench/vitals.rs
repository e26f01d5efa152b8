//! What a process takes, as the kernel counts it.

use std::{fs, io};

/// How many of the kernel's ticks make a second for programs: the same on all of Linux' architectures.
const TICKS: f64 = 100.0;

/// Memory, in MiB.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Memory {
    /// All that is resident, the program's own pages too.
    pub resident: f64,
    /// What of it no file is behind: the heap and the stacks.
    pub anonymous: f64,
    /// The most that was resident since [`forget_peak`].
    pub peak: f64,
}

/// How much memory a process has.
pub fn memory(pid: u32) -> io::Result<Memory> {
    parse_status(&fs::read_to_string(format!("/proc/{pid}/status"))?)
}

/// Makes the kernel count the peak anew.
pub fn forget_peak(pid: u32) -> io::Result<()> {
    fs::write(format!("/proc/{pid}/clear_refs"), "5")
}

/// How many seconds of processors a process has used, by itself and in the kernel.
pub fn cpu_seconds(pid: u32) -> io::Result<f64> {
    parse_stat(&fs::read_to_string(format!("/proc/{pid}/stat"))?)
}

fn parse_status(status: &str) -> io::Result<Memory> {
    let mebibytes = |name: &str| {
        let value = status.lines().find_map(|line| line.strip_prefix(name));
        let kibibytes = value.and_then(|value| value.trim().strip_suffix(" kB"));
        let kibibytes = kibibytes.and_then(|number| number.parse::<f64>().ok());
        kibibytes
            .map(|kibibytes| kibibytes / 1024.0)
            .ok_or_else(|| io::Error::other(format!("the kernel does not tell {name}")))
    };
    Ok(Memory {
        resident: mebibytes("VmRSS:")?,
        anonymous: mebibytes("RssAnon:")?,
        peak: mebibytes("VmHWM:")?,
    })
}

fn parse_stat(stat: &str) -> io::Result<f64> {
    // The name is in parentheses and may have any in it. After it, the 12th and 13th fields are the times.
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields);
    let mut times = fields.unwrap_or_default().split(' ').skip(11).take(2);
    let mut next = || times.next()?.parse::<f64>().ok();
    match (next(), next()) {
        (Some(own), Some(kernel)) => Ok((own + kernel) / TICKS),
        _ => Err(io::Error::other("the kernel does not tell the times")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_from_status() {
        let status = "Name:\tx\nVmHWM:\t   20480 kB\nVmRSS:\t   10240 kB\nRssAnon:\t    1536 kB\n";
        let expected = Memory {
            resident: 10.0,
            anonymous: 1.5,
            peak: 20.0,
        };
        assert_eq!(parse_status(status).unwrap(), expected);
        assert!(parse_status("Name:\tkthread\n").is_err());
    }

    #[test]
    fn times_are_read_from_stat_whatever_the_name() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 150 50 0 0 20 0 3 0 100\n";
        assert_eq!(parse_stat(stat).unwrap(), 2.0);
        assert!(parse_stat("7 (a) S 1").is_err());
    }

    #[test]
    fn this_process_has_vitals() {
        let pid = std::process::id();
        forget_peak(pid).unwrap();
        let memory = memory(pid).unwrap();
        assert!(memory.peak >= memory.anonymous && memory.anonymous > 0.0);
        assert!(cpu_seconds(pid).unwrap() >= 0.0);
    }
}
