#!/usr/bin/python3
"""Stands in for docker on the machine of the manual's test.

The compose files are read by the real docker-compose, containers are a list of what runs, and what would run in one runs
on this machine: PostgreSQL's clients against a real server, shoebox with the variables of its service and image.
"""
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import yaml

HERE = Path(__file__).resolve().parent
STATE = HERE / "docker.json"


def main(words: list) -> int:
    """Does what `docker WORDS` does; the exit code."""
    state = json.loads(STATE.read_text()) if STATE.exists() else {"containers": {}, "images": []}
    match words:
        case ["ps", *_]:
            print("\n".join(state["containers"]))
        case ["inspect", *_]:
            print(json.dumps([inspected(*item) for item in state["containers"].items()]))
        case ["build", "-f", recipe, "-t", name, context] if Path(recipe).is_file() and Path(context, "src").is_dir():
            state["images"].append(name)
        case ["exec", *rest]:
            return execute(state, rest)
        case ["compose", *rest]:
            compose(state, rest)
        case _:
            fail(f"docker: {words} is not known here")
    STATE.write_text(json.dumps(state))
    return 0


def fail(words: str):
    """Ends with what docker would say."""
    print(words, file=sys.stderr)
    sys.exit(1)


def inspected(name: str, container: dict) -> dict:
    """What `docker inspect` says."""
    mounts = [{"Source": source, "Destination": target} for source, target in container["mounts"]]
    labels = {"com.docker.compose.project.working_dir": container["folder"]}
    config = {"Image": container["image"], "Labels": labels}
    return {"Name": f"/{name}", "State": {"Running": container["running"]}, "Config": config, "Mounts": mounts}


def execute(state: dict, words: list) -> int:
    """`docker exec [-i] [-e NAME[=VALUE]]… CONTAINER COMMAND…`, for the database."""
    given = {}
    while words[0].startswith("-"):
        match words:
            case ["-i", *words]:
                pass
            case ["-e", pair, *words]:
                name, _, value = pair.partition("=")
                given[name] = value if "=" in pair else os.environ[name]
            case _:
                fail(f"unknown flag: {words[0]}")
    name, *command = words
    if not state["containers"].get(name, {}).get("running"):
        fail(f"Error response from daemon: No such container: {name}")
    return subprocess.run(command, env={"PATH": os.environ["PATH"], **server(), **given}, check=False).returncode


def server() -> dict:
    """Where the real server is."""
    return json.loads((HERE / "server.json").read_text())


def psql(database: str, sql: str) -> str:
    """An answer of the real server."""
    command = ["psql", "-XAtq", "-U", "postgres", "-d", database, "-c", sql]
    done = subprocess.run(command, env=os.environ | server(), check=True, capture_output=True, text=True)
    return done.stdout.strip()


def compose(state: dict, words: list) -> None:
    """`docker compose …` in the folder of the compose files."""
    config = subprocess.run(["docker-compose", "config"], check=True, capture_output=True, text=True).stdout
    services = yaml.safe_load(config)["services"]
    match words:
        case ["up", "-d", *names]:
            for name in names or services:
                start(state, services, name)
        case ["stop", *names]:
            for name in names or services:
                if name in services and services[name]["container_name"] in state["containers"]:
                    state["containers"][services[name]["container_name"]]["running"] = False
        case ["run", "--rm", "shoebox", *arguments]:
            shoebox(state, services["shoebox"], arguments)
        case ["exec", "shoebox", "shoebox", *arguments] if state["containers"]["immich_shoebox"]["running"]:
            shoebox(state, services["shoebox"], arguments)
        case _:
            fail(f"docker compose: {words} is not known here")


def start(state: dict, services: dict, name: str) -> None:
    """Starts a service and those that it needs, and what it does at its start."""
    service = services.get(name) or fail(f"no such service: {name}")
    for needed in service.get("depends_on", []):
        start(state, services, needed)
    mounts = places(service)
    folder = {target: Path(source) for source, target in mounts}
    if name == "database" and not (data := folder["/var/lib/postgresql/data"]).is_dir():
        data.mkdir(parents=True)
        psql("postgres", "DROP DATABASE IF EXISTS immich WITH (FORCE)")
        psql("postgres", "CREATE DATABASE immich TEMPLATE template0 ENCODING 'UTF8'")
    if name == "immich-server":
        for each in ("backups", "encoded-video", "library", "profile", "thumbs", "upload"):
            if not (folder["/data"] / each / ".immich").exists():
                fail(f"Failed to read <UPLOAD_LOCATION>/{each}/.immich")
        if psql("immich", "SELECT count(*) FROM information_schema.tables WHERE table_name = 'asset'") == "0":
            fail("Immich was started on an empty database")
    state["containers"][service["container_name"]] = {
        "image": service["image"], "folder": os.getcwd(), "mounts": mounts, "running": True}


def places(service: dict) -> list:
    """Which folder of the machine is which of the container, as docker-compose 1 or 2 says it."""
    short = lambda volume: volume.split(":")[:2] if isinstance(volume, str) else [volume["source"], volume["target"]]
    return [short(volume) for volume in service.get("volumes", [])]


def shoebox(state: dict, service: dict, arguments: list) -> None:
    """Runs shoebox as its image does: as the service's user, with the variables of both and nothing else."""
    if service["image"].removesuffix(":latest") not in state["images"]:
        fail(f"Unable to find image '{service['image']}' locally")
    recipe = (HERE / "Dockerfile").read_text()
    inside = dict(re.findall(r"(SHOEBOX_\w+)=(\S+)", recipe)) | {key: str(value) for key, value in service["environment"].items()}
    # Its folders are where they are on this machine; the name of the database is that of the real server.
    where = {target: source for source, target in places(service)}
    inside = {key: where.get(value, value) for key, value in inside.items()} | server()
    user, group = service["user"].split(":")
    command = ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups", str(HERE / "package/shoebox"), *arguments]
    sys.exit(subprocess.run(command, env={"PATH": os.environ["PATH"]} | inside, cwd="/", check=False).returncode)


sys.exit(main(sys.argv[1:]))
