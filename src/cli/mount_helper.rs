//! `mount.fuse.shoebox`: what mount(8) runs for a line of /etc/fstab. The program under that name
//! (a symlink) reads what mount says, and is `shoebox mount --background` from there on.
//!
//! `mount.fuse.shoebox REPOSITORY MOUNTPOINT [-sfnv] [-N NAMESPACE] [-o OPTIONS] [-t TYPE]`
//! (mount(8), "External helpers"). It ends when the mount answers. Options of its own have names
//! that mount(8) has no use for: `user` would be "any user may mount this".

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use crate::base::{Error, ErrorKind, Result};

/// Options that become flags of `shoebox mount`: with a value or without.
const OWN: [(&str, &str, bool); 7] = [
    ("allow_other", "--allow-other", false),
    ("uid", "--uid", true),
    ("gid", "--gid", true),
    ("idle", "--idle", true),
    ("show_user", "--user", true),
    ("show_locked", "--locked", false),
    ("xattrs", "--xattrs", false),
];

/// Options that mean nothing here: they are for mount(8) and systemd, or true of each mount of ours
/// anyway. `rw` is what mount says when nobody said anything.
const IGNORED: [&str; 34] = [
    "rw",
    "ro",
    "defaults",
    "auto",
    "noauto",
    "user",
    "nouser",
    "users",
    "owner",
    "group",
    "nofail",
    "_netdev",
    "dev",
    "nodev",
    "suid",
    "nosuid",
    "exec",
    "noexec",
    "atime",
    "noatime",
    "diratime",
    "nodiratime",
    "relatime",
    "norelatime",
    "strictatime",
    "nostrictatime",
    "lazytime",
    "nolazytime",
    "sync",
    "async",
    "dirsync",
    "silent",
    "loud",
    "default_permissions",
];

/// mount(8)'s exit codes.
pub(super) const USAGE: u8 = 1;
pub(super) const FAILED: u8 = 32;

/// True when the program was started as a helper of mount(8).
pub(super) fn is_meant(name: &OsStr) -> bool {
    Path::new(name).file_name().is_some_and(|name| name.as_bytes().starts_with(b"mount."))
}

/// The command line of shoebox that `arguments` of mount(8) mean; `None` when mount only pretends.
pub(super) fn translate(arguments: &[OsString]) -> Result<Option<Vec<OsString>>> {
    let said = MountRequest::read(arguments.get(1..).unwrap_or_default())?;
    let [repository, point] = said.places.as_slice() else {
        return Err(Error::invalid("mount.fuse.shoebox wants a repository and a mount point")
            .hint(
                "mount(8) runs this program for a line of /etc/fstab: /mnt/usb/photos /mnt/photos \
                fuse.shoebox noauto,user 0 0",
            ));
    };
    let mut command: Vec<OsString> = ["shoebox", "-q", "-r"].map(OsString::from).to_vec();
    command.push(repository.clone());
    command.extend(["mount", "--background", "--source"].map(OsString::from));
    command.push(repository.clone());
    for option in &said.options {
        command.extend(flag(option, said.sloppy)?);
    }
    command.push("--".into());
    command.push(point.clone());
    Ok((!said.fake).then_some(command))
}

/// What mount(8) said.
#[derive(Debug, Default)]
struct MountRequest {
    places: Vec<OsString>,
    options: Vec<Vec<u8>>,
    sloppy: bool,
    fake: bool,
}

impl MountRequest {
    fn read(arguments: &[OsString]) -> Result<MountRequest> {
        let mut said = MountRequest::default();
        let mut rest = arguments.iter();
        while let Some(argument) = rest.next() {
            let bytes = argument.as_bytes();
            match bytes {
                [b'-', flags @ ..] if !flags.is_empty() => {
                    for (index, letter) in flags.iter().enumerate() {
                        let mut value = || match &flags[index + 1..] {
                            [] => rest.next().map(|next| next.as_bytes().to_vec()),
                            glued => Some(glued.to_vec()),
                        };
                        match letter {
                            b's' => said.sloppy = true,
                            b'f' => said.fake = true,
                            b'n' | b'v' | b'r' | b'w' => {}
                            b'o' => said.options.extend(split(&value().unwrap_or_default())),
                            b't' | b'N' => drop(value()),
                            _ => return Err(unknown(&argument.to_string_lossy())),
                        }
                        if matches!(letter, b'o' | b't' | b'N') {
                            break;
                        }
                    }
                }
                _ => said.places.push(argument.clone()),
            }
        }
        Ok(said)
    }
}

/// Takes `options` apart at commas that are not between quotes.
fn split(options: &[u8]) -> Vec<Vec<u8>> {
    let mut parts = vec![Vec::new()];
    let mut quoted = false;
    for &byte in options {
        match byte {
            b'"' => quoted = !quoted,
            b',' if !quoted => parts.push(Vec::new()),
            _ => parts.iter_mut().last().into_iter().for_each(|part| part.push(byte)),
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

/// The flag that `option` means, if any.
fn flag(option: &[u8], sloppy: bool) -> Result<Option<OsString>> {
    let cut = option.iter().position(|&byte| byte == b'=');
    let (name, value) = match cut {
        Some(at) => (&option[..at], Some(&option[at + 1..])),
        None => (option, None),
    };
    let ours =
        OWN.iter().find(|(known, _, takes)| known.as_bytes() == name && *takes == value.is_some());
    if let Some((_, flag, _)) = ours {
        let bytes = match value {
            Some(value) => [flag.as_bytes(), b"=", value].concat(),
            None => flag.as_bytes().to_vec(),
        };
        return Ok(Some(OsStr::from_bytes(&bytes).to_owned()));
    }
    let ignored = IGNORED.iter().any(|known| known.as_bytes() == name)
        || [&b"x-"[..], b"X-"].iter().any(|start| name.starts_with(start))
        || name == b"comment";
    if ignored || sloppy { Ok(None) } else { Err(unknown(&String::from_utf8_lossy(option))) }
}

fn unknown(option: &str) -> Error {
    let known =
        OWN.map(|(name, _, takes)| if takes { format!("{name}=…") } else { name.to_owned() });
    Error::new(
        ErrorKind::Invalid,
        format_args!("mount.fuse.shoebox does not know the option `{option}`"),
    )
    .hint(format_args!("it knows {}", known.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn translated(arguments: &[&str]) -> Result<Option<Vec<String>>> {
        let arguments: Vec<OsString> = arguments.iter().map(OsString::from).collect();
        let text = |words: Vec<OsString>| {
            words.into_iter().map(|word| word.into_string().unwrap()).collect()
        };
        Ok(translate(&arguments)?.map(text))
    }

    #[test]
    fn options_of_ours_become_flags_and_those_of_mount_are_left_to_mount() {
        let options =
            r#"rw,nosuid,user,uid=1000,idle=30m,"show_user=Lee, Ann",x-systemd.automount"#;
        let command = translated(&[
            "/sbin/mount.fuse.shoebox",
            "/repo",
            "/mnt",
            "-o",
            options,
            "-t",
            "fuse.shoebox",
        ]);
        let expected =
            "shoebox -q -r /repo mount --background --source /repo --uid=1000 --idle=30m";
        let command = command.unwrap().unwrap();
        assert_eq!(command[..10].join(" "), expected);
        assert_eq!(command[10..], ["--user=Lee, Ann", "--", "/mnt"]);
    }

    #[test]
    fn an_unknown_option_is_refused_unless_mount_is_to_be_tolerant() {
        let error =
            translated(&["mount.fuse.shoebox", "/repo", "/mnt", "-o", "shiny"]).unwrap_err();
        assert!(
            error.to_string().contains("`shiny`")
                && error.next_step().unwrap().contains("show_user=…")
        );
        assert!(
            translated(&["mount.fuse.shoebox", "/repo", "/mnt", "-s", "-oshiny"])
                .unwrap()
                .is_some()
        );
        assert!(translated(&["mount.fuse.shoebox", "/repo", "/mnt", "-fv"]).unwrap().is_none());
        assert!(translated(&["mount.fuse.shoebox", "/repo"]).is_err());
    }

    #[test]
    fn only_the_helpers_name_makes_the_program_one() {
        assert!(is_meant(OsStr::new("/usr/sbin/mount.fuse.shoebox")));
        assert!(!is_meant(OsStr::new("/mount.d/shoebox")) && !is_meant(OsStr::new("mount")));
    }
}
