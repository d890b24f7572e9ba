//! The settings of a host that matter to Ringmail: one table.

use crate::Profile;
use std::fmt;

/// What a value must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// A number, at least this.
    AtLeast(u64),
    /// Three numbers (minimum, default, maximum of a socket's buffer), the last at most this.
    MaximumAtMost(&'static str, u64),
    /// Two numbers, at least so far apart.
    Span(&'static str, u64),
    /// One of these words, the first being the best.
    OneOf(&'static [&'static str]),
}

impl Want {
    /// Whether a value will do.
    pub fn holds(self, found: &str) -> bool {
        let numbers: Vec<u64> = found.split_whitespace().filter_map(|n| n.parse().ok()).collect();
        match self {
            Want::AtLeast(least) => numbers.first().is_some_and(|number| *number >= least),
            Want::MaximumAtMost(_, most) => numbers.last().is_some_and(|number| *number <= most),
            Want::Span(_, least) => match numbers[..] {
                [first, last] => last.saturating_sub(first) >= least,
                _ => false,
            },
            Want::OneOf(words) => words.contains(&found),
        }
    }

    /// A value that will do.
    pub fn value(self) -> String {
        match self {
            Want::AtLeast(least) => least.to_string(),
            Want::MaximumAtMost(value, _) | Want::Span(value, _) => value.to_owned(),
            Want::OneOf(words) => words[0].to_owned(),
        }
    }
}

impl fmt::Display for Want {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Want::AtLeast(least) => write!(f, "at least {least}"),
            Want::MaximumAtMost(_, most) => write!(f, "maximum at most {most}"),
            Want::Span(_, least) => write!(f, "at least {least} ports"),
            Want::OneOf(words) => f.write_str(&words.join(" or ")),
        }
    }
}

/// One setting of a host.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Its name, as sysctl knows it where it does.
    pub name: &'static str,
    /// The file that shows it.
    pub path: &'static str,
    /// What a wrong value costs.
    pub cost: &'static str,
    /// What `Profile::Server` and `Profile::Million` want.
    wants: [Want; 2],
}

impl Setting {
    /// What a profile wants.
    pub fn want(&self, profile: Profile) -> Want {
        match profile {
            Profile::Server => self.wants[0],
            Profile::Million => self.wants[1],
        }
    }

    /// Whether sysctl sets it.
    pub fn is_sysctl(&self) -> bool {
        self.path.starts_with("/proc/sys/")
    }

    /// The value in the text of the setting's file: of a choice, the word in brackets.
    pub(crate) fn value_in(&self, text: &str) -> String {
        let chosen = text.split_once('[').and_then(|(_, rest)| rest.split_once(']'));
        let value = chosen.map_or(text, |(word, _)| word);
        value.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    /// The command that sets it.
    pub(crate) fn command(&self, want: Want) -> String {
        let value = want.value();
        if self.is_sysctl() {
            format!("sysctl -w {}='{value}'", self.name)
        } else if self.path.contains("/cpu0/") {
            format!(
                "for f in {}; do echo {value} > $f; done",
                self.path.replace("/cpu0/", "/cpu*/")
            )
        } else {
            format!("echo {value} > {}", self.path)
        }
    }
}

macro_rules! sysctl {
    ($path:literal, $name:literal, $server:expr, $million:expr, $cost:literal) => {
        Setting {
            name: $name,
            path: concat!("/proc/sys/", $path),
            cost: $cost,
            wants: [$server, $million],
        }
    };
}

use Want::{AtLeast, MaximumAtMost, OneOf, Span};

/// All settings, those that stop a server first.
pub const SETTINGS: &[Setting] = &[
    sysctl!(
        "kernel/io_uring_disabled",
        "kernel.io_uring_disabled",
        OneOf(&["0"]),
        OneOf(&["0"]),
        "the server does not start"
    ),
    sysctl!(
        "fs/file-max",
        "fs.file-max",
        AtLeast(262_144),
        AtLeast(2_400_000),
        "connections are refused once all processes together have so many files open"
    ),
    sysctl!(
        "fs/nr_open",
        "fs.nr_open",
        AtLeast(262_144),
        AtLeast(2_000_000),
        "no process can be allowed more open files, so limits.connections_max stays below it"
    ),
    sysctl!(
        "net/core/somaxconn",
        "net.core.somaxconn",
        AtLeast(4_096),
        AtLeast(65_535),
        "when all clients come back at once, connections are dropped and come a second later"
    ),
    sysctl!(
        "net/ipv4/tcp_max_syn_backlog",
        "net.ipv4.tcp_max_syn_backlog",
        AtLeast(2_048),
        AtLeast(65_535),
        "when all clients come back at once, handshakes fall back to SYN cookies"
    ),
    sysctl!(
        "net/ipv4/ip_local_port_range",
        "net.ipv4.ip_local_port_range",
        Span("32768 60999", 28_000),
        Span("1024 65535", 60_000),
        "a load generator on this host has fewer connections per address pair"
    ),
    sysctl!(
        "net/ipv4/tcp_rmem",
        "net.ipv4.tcp_rmem",
        MaximumAtMost("4096 131072 6291456", 33_554_432),
        MaximumAtMost("4096 16384 262144", 262_144),
        "a peer that sends faster than it is read holds so much kernel memory"
    ),
    sysctl!(
        "net/ipv4/tcp_wmem",
        "net.ipv4.tcp_wmem",
        MaximumAtMost("4096 16384 4194304", 33_554_432),
        MaximumAtMost("4096 16384 262144", 262_144),
        "a peer that does not read holds so much kernel memory"
    ),
    sysctl!(
        "net/ipv4/tcp_congestion_control",
        "net.ipv4.tcp_congestion_control",
        OneOf(&["bbr", "cubic"]),
        OneOf(&["bbr", "cubic"]),
        "phones on lossy networks get their backlog slowly"
    ),
    Setting {
        name: "transparent huge pages",
        path: "/sys/kernel/mm/transparent_hugepage/enabled",
        cost: "resident memory grows beyond what is used, and the ledger's check misleads",
        wants: [OneOf(&["madvise", "never"]), OneOf(&["madvise", "never"])],
    },
    Setting {
        name: "processor governor",
        path: "/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor",
        cost: "a core that just slept answers late, and measurements are not repeatable",
        wants: [OneOf(&["performance", "schedutil"]), OneOf(&["performance"])],
    },
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_choice_is_read_from_its_brackets() {
        let setting = SETTINGS.last().unwrap();
        assert_eq!(setting.value_in("always [madvise] never\n"), "madvise");
        assert_eq!(setting.value_in("4096\t131072\t6291456\n"), "4096 131072 6291456");
    }

    #[test]
    fn every_suggested_value_will_do() {
        for setting in SETTINGS {
            for want in setting.wants {
                assert!(want.holds(&want.value()), "{}: {want}", setting.name);
            }
        }
    }

    #[test]
    fn a_narrow_range_of_ports_and_no_number_will_not() {
        assert!(!Span("", 28_000).holds("60000 60999"));
        assert!(!AtLeast(1).holds("none"));
    }
}
