//! A stand-in for docker, which knows `docker exec`, which runs the command on this machine,
//! `docker run`, which starts nothing, and tells of containers what it is given.

use std::ffi::OsString;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use tempfile::TempDir;

/// What docker 28 prints and how it ends is printed here too, so that real words are tested.
const SCRIPT: &str = r#"#!/bin/bash
# Stands in for `docker exec [-i] [-e NAME[=VALUE]]… CONTAINER COMMAND…`, and for `docker run --name NAME … IMAGE`.
folder=$(dirname "$0")
echo "$@" >> "$folder/calls"
inspected="$folder/inspected"
case "$1" in
  version) echo 28.5.1; exit ;;
  rm) for name in "$@"; do rm -f "$folder/containers/$name"; done; exit ;;
  run)
    for word in "$@"; do
      [ "$before" != --name ] || name=$word
      image=$folder/images/${word//[\/:@]/_}
      [ ! -e "$image" ] || { cp "$image" "$folder/containers/$name"; exit; }
      case "$word" in */*:*) missing=$word ;; esac
      before=$word
    done
    echo "Unable to find image '$missing' locally" >&2
    echo "docker: Error response from daemon: Get \"https://ghcr.io/v2/\": dial tcp: lookup ghcr.io: no such host" >&2
    exit 125 ;;
  ps) [ ! -e "$inspected" ] || echo 6f1c0a9e5f2b; exit ;;
  inspect) [ "$2" != --format ] || { echo true; exit; }; exec cat "$inspected" ;;
esac
[ "$1" = exec ] || { echo "docker: '$1' is not a docker command." >&2; exit 1; }
shift
given=()
while :; do
  case "$1" in
    -i|--interactive) shift ;;
    -e|--env) case "$2" in *=*) given+=("$2") ;; *) given+=("$2=${!2}") ;; esac; shift 2 ;;
    -*) echo "unknown flag: $1" >&2; exit 125 ;;
    *) break ;;
  esac
done
container=$1; shift
here="$(dirname "$0")/containers/$container"
if [ ! -e "$here" ]; then
  echo "Error response from daemon: No such container: $container" >&2; exit 1
elif [ ! -s "$here" ]; then
  echo "Error response from daemon: container 6f1c0a9e5f2b8d7c4e3a is not running" >&2; exit 1
fi
mapfile -d '' -t inside < "$here"
exec env -i "PATH=$PATH" "${inside[@]}" "${given[@]}" "$@"
"#;

/// A folder with a program `docker` and the containers that it knows.
pub struct Docker(TempDir);

impl Docker {
    /// A docker without containers.
    pub fn new() -> Docker {
        let folder = tempfile::tempdir().expect("a temporary folder");
        fs::create_dir(folder.path().join("containers")).expect("own folder");
        let docker = Docker(folder);
        docker.write(SCRIPT);
        docker
    }

    /// A docker that only says `words` and fails, as one without its daemon does.
    pub fn saying(words: &str) -> Docker {
        let docker = Docker::new();
        docker.write(&format!("#!/bin/sh\ncat >&2 <<'WORDS'\n{words}\nWORDS\nexit 1\n"));
        docker
    }

    fn write(&self, script: &str) {
        let program = self.folder().join("docker");
        fs::write(&program, script).expect("own folder");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("own file");
    }

    /// Adds a running container with this environment inside.
    pub fn container(self, name: &str, inside: &[(&str, &str)]) -> Docker {
        let lines: String = inside.iter().map(|(key, value)| format!("{key}={value}\0")).collect();
        fs::write(self.folder().join("containers").join(name), lines + "CONTAINER=yes\0")
            .expect("own folder");
        self
    }

    /// Adds an image on this machine, in whose containers this environment leads to a server.
    pub fn image(self, name: &str, inside: &[(&str, &str)]) -> Docker {
        let docker = self.container("image", inside);
        let images = docker.folder().join("images");
        fs::create_dir_all(&images).expect("own folder");
        let file = images.join(name.replace(['/', ':', '@'], "_"));
        fs::rename(docker.folder().join("containers/image"), file).expect("own folder");
        docker
    }

    /// Adds a container that does not run.
    pub fn stopped(self, name: &str) -> Docker {
        fs::write(self.folder().join("containers").join(name), "").expect("own folder");
        self
    }

    /// What `docker inspect` says of all containers.
    pub fn inspected(self, containers: &serde_json::Value) -> Docker {
        fs::write(self.folder().join("inspected"), containers.to_string()).expect("own folder");
        self
    }

    /// The program to run in docker's place.
    pub fn program(&self) -> OsString {
        self.folder().join("docker").into()
    }

    /// The folder to put on PATH.
    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// The command lines it was called with.
    pub fn calls(&self) -> String {
        fs::read_to_string(self.folder().join("calls")).unwrap_or_default()
    }
}
