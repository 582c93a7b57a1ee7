//! A mount whose process was killed: what is printed to take it away is what takes it away.

use std::os::unix::fs::PermissionsExt;
use std::process::Command;

/// Each step fails the script; nothing is waited for longer than a minute.
const SCRIPT: &str = r#"
set -eu
export SHOEBOX_REPOSITORY="$1/repository" SHOEBOX_CONFIG=/dev/null HOME="$1"
point="$1/my photo's mount"
mkdir "$point"
"$1/shoebox" -q init
for text in mount doctor; do
    "$1/shoebox" -q mount "$point" & served=$!
    tries=0
    until [ -e "$point/README.txt" ]; do tries=$((tries + 1)); [ $tries -lt 600 ]; sleep 0.1; done
    kill -9 $served
    wait $served || true
    case $text in
        mount) said=$("$1/shoebox" mount "$point" 2>&1 | sed -n 's/^hint: `\(.*\)` unmounts it$/\1/p') ;;
        doctor) said=$("$1/shoebox" doctor 2>&1 | grep -A 1 'ended badly' | sed -n '2s/^ *//p') ;;
    esac
    echo "$text: $said"
    case $said in "$2 "*) ;; *) exit 9 ;; esac
    sh -c "$said"
    ls -A "$point"
done
"#;

/// Runs the script as this user, in a mount namespace where anybody may open /dev/fuse, as on a
/// desktop.
fn printed_command_works(user: &str, program: &str) {
    let dir = tempfile::tempdir().unwrap();
    std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o777)).unwrap();
    std::fs::copy(env!("CARGO_BIN_EXE_shoebox"), dir.path().join("shoebox")).unwrap();
    let prepare = r#"set -e; mknod "$1/fuse" c 10 229; chmod 666 "$1/fuse"; mount --bind "$1/fuse" /dev/fuse
        exec setpriv --reuid="$2" --regid="$2" --clear-groups sh -c "$3" sh "$1" "$4""#;
    let mut command = Command::new("unshare");
    command
        .args(["--mount", "sh", "-c", prepare, "sh"])
        .arg(dir.path())
        .args([user, SCRIPT, program]);
    let output = command.env_remove("SUDO_UID").output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{user}: {said}");
}

#[test]
fn the_command_that_is_printed_for_a_dead_mount_takes_it_away_for_root_and_for_anybody() {
    if !rustix::process::geteuid().is_root() {
        return println!("skipped: needs root to become nobody");
    }
    printed_command_works("0", "umount -l");
    printed_command_works("65534", "fusermount3 -u -z");
}
