//! Ringmail's host profiles: what a host should be set to, what it is set to, and what the
//! difference costs. Reads, never applies.

#![forbid(unsafe_code)]

mod profile;
mod settings;

pub use profile::Profile;
pub use settings::{SETTINGS, Setting, Want};

/// One setting beside what the host has.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Row {
    /// Its name, as sysctl knows it where it does.
    pub name: &'static str,
    /// Whether the host's value will do.
    pub ok: bool,
    /// The host's value; empty where the host has no such setting.
    pub found: String,
    /// What the profile wants.
    pub wanted: String,
    /// What the host's value costs, where it is not ok.
    pub cost: &'static str,
    /// The command that sets it, where it is not ok.
    pub command: String,
}

/// Compares a host with a profile. `read` gives the text of a file of the host, if it has it.
pub fn compare(profile: Profile, read: impl Fn(&str) -> Option<String>) -> Vec<Row> {
    let compare_one = |setting: &Setting| {
        let found = read(setting.path).map(|text| setting.value_in(&text));
        let want = setting.want(profile);
        // What a host does not have cannot be wrong: a virtual machine shows no governor.
        let ok = found.as_deref().is_none_or(|found| want.holds(found));
        Row {
            name: setting.name,
            ok,
            wanted: want.to_string(),
            cost: if ok { "" } else { setting.cost },
            command: if ok { String::new() } else { setting.command(want) },
            found: found.unwrap_or_default(),
        }
    };
    SETTINGS.iter().map(compare_one).collect()
}

/// The profile as a file for `/etc/sysctl.d`.
pub fn sysctl_file(profile: Profile) -> String {
    let mut text = format!("# Ringmail, profile {profile}. Apply with: sysctl --system\n");
    for setting in SETTINGS.iter().filter(|setting| setting.is_sysctl()) {
        text += &format!("\n# Otherwise: {}.\n", setting.cost);
        text += &format!("{} = {}\n", setting.name, setting.want(profile).value());
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_without_any_setting_is_not_wrong() {
        assert!(compare(Profile::Server, |_| None).iter().all(|row| row.ok));
    }

    #[test]
    fn a_small_queue_tells_its_cost_and_its_command() {
        let read = |path: &str| path.ends_with("somaxconn").then(|| "128\n".to_owned());
        let rows = compare(Profile::Server, read);
        let wrong: Vec<_> = rows.iter().filter(|row| !row.ok).collect();
        assert_eq!(wrong.len(), 1);
        assert_eq!((wrong[0].name, wrong[0].found.as_str()), ("net.core.somaxconn", "128"));
        assert_eq!(wrong[0].command, "sysctl -w net.core.somaxconn='4096'");
        assert!(!wrong[0].cost.is_empty());
    }

    #[test]
    fn a_host_that_is_set_to_its_profile_passes_it() {
        for profile in [Profile::Server, Profile::Million] {
            let file = sysctl_file(profile);
            let read = |path: &str| {
                let name = path.strip_prefix("/proc/sys/")?.replace('/', ".");
                let line = file.lines().find(|line| line.starts_with(&format!("{name} = ")))?;
                Some(line.split_once(" = ")?.1.replace(' ', "\t") + "\n")
            };
            let rows = compare(profile, read);
            assert!(rows.iter().all(|row| row.ok), "{rows:?}");
            assert!(rows.iter().filter(|row| !row.found.is_empty()).count() >= 8);
        }
    }
}
