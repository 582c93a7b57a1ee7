//! Runs: what they do, when they come, what stops them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::time::Duration;

use rustix::process::Signal;
use shoebox::repo::notes::{RunTrigger, ServiceJob, StepOutcome};

use crate::place::{Place, wait};
use crate::support::receiver::Receiver;
use crate::support::{Said, under_clock};

fn jobs(run: &shoebox::repo::notes::RunNote) -> Vec<ServiceJob> {
    run.steps.iter().map(|step| step.job).collect()
}

#[test]
fn a_run_does_what_is_due_and_remembers_it() {
    let place = Place::new();
    place.shoebox(&["run", "--once"]).ends(0);
    let quiet = place.shoebox(&["-q", "run", "--once"]).ends(0);
    assert_eq!((quiet.out.as_str(), quiet.err.as_str()), ("", ""));
    let runs = place.runs();
    assert_eq!(jobs(&runs[0]), [ServiceJob::Backup, ServiceJob::Prune, ServiceJob::Check]);
    assert_eq!(jobs(&runs[1]), [ServiceJob::Backup], "the rest is of today");
    assert_eq!((runs[0].trigger, runs[0].outcome()), (RunTrigger::Once, StepOutcome::Done));
    assert!(runs[0].steps[0].text.starts_with("snapshot 2"), "{:?}", runs[0].steps);
    assert_eq!(place.snapshots(), 2);
}

#[test]
fn rules_forget_and_each_job_has_its_own_frequency() {
    let place = Place::new();
    place.write_settings(
        "forget-every = \"@every 1m\"\ncheck-every = \"never\"\nprune-every = \
            \"never\"\n[forget]\nkeep-last = 1\n",
    );
    place.shoebox(&["run", "--once"]).ends(0);
    assert_eq!(jobs(&place.runs()[0]), [ServiceJob::Backup, ServiceJob::Forget]);
    place.shoebox(&["run", "--once"]).ends(0);
    assert_eq!(jobs(&place.runs()[1]), [ServiceJob::Backup]);
    assert_eq!(place.snapshots(), 2, "a minute is not over");
}

#[test]
fn a_drill_is_part_of_a_run_when_it_is_due() {
    let place = Place::new();
    let text = fs::read_to_string(place.settings()).unwrap();
    fs::write(
        place.settings(),
        text.replace("drill-every = \"never\"", "drill-every = \"@monthly\""),
    )
    .unwrap();
    let said = place.shoebox(&["run", "--once"]);
    let run = &place.runs()[0];
    assert_eq!(jobs(run).last(), Some(&ServiceJob::Drill), "{}", said.err);
    assert!(said.err.contains("drill: drill on 2"), "{}", said.err);
    place.shoebox(&["run", "--once"]);
    assert_eq!(jobs(&place.runs()[1]), [ServiceJob::Backup], "once a month");
}

#[test]
fn after_a_backup_that_failed_nothing_is_forgotten_and_the_rest_is_still_checked() {
    let place = Place::new();
    place.write_settings("check-every = \"@every 1m\"\n[forget]\nkeep-last = 1\n");
    place.shoebox(&["backup"]).ends(0);
    place.shoebox(&["backup"]).ends(0);
    fs::remove_file(place.home.dump_path()).unwrap();
    let said = place.shoebox(&["run", "--once"]).ends(1);
    let run = &place.runs()[0];
    assert_eq!(jobs(run), [ServiceJob::Backup, ServiceJob::Check]);
    assert_eq!(run.outcome(), StepOutcome::Failed);
    let lines: Vec<&str> = said.err.lines().collect();
    assert!(
        lines[0].starts_with("backup: opening the dump") && lines[1].starts_with("backup: hint: "),
        "{}",
        said.err
    );
    assert_eq!(place.snapshots(), 2);
}

#[test]
fn an_alarm_is_a_warning_and_freezes_forgetting() {
    let place = Place::new();
    place.write_settings("forget-every = \"@every 1m\"\n[forget]\nkeep-last = 1\n");
    let more: Vec<_> = (0..10)
        .map(|number| place.home.write(format!("upload/{number}.jpg"), b"another"))
        .collect();
    place.shoebox(&["backup"]).ends(0);
    more.iter().for_each(|path| fs::remove_file(path).unwrap());
    let said = place.shoebox(&["run", "--once"]).ends(3);
    assert!(said.err.contains("backup: problem: alarm: 5 files where"), "{}", said.err);
    assert!(
        said.err.contains("forget: nothing is forgotten while a snapshot has an alarm"),
        "{}",
        said.err
    );
    assert_eq!(place.snapshots(), 2);
    let status = place.shoebox(&["status", "--json"]).ends(3).json().remove(0);
    assert!(
        status["findings"][0]["what"].as_str().unwrap().starts_with("alarm of snapshot"),
        "{status}"
    );
}

#[test]
fn the_first_run_comes_at_once_and_systemd_is_told() {
    let place = Place::new();
    let socket = place.home.dir.path().join("notify");
    let systemd = UnixDatagram::bind(&socket).unwrap();
    systemd.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let mut command = place.command(&["run"]);
    command.env("NOTIFY_SOCKET", &socket).env("WATCHDOG_USEC", "300000");
    let serving = crate::place::Serving::start(&mut command);
    serving.says("the next run is due", 1);
    assert_eq!(place.runs()[0].trigger, RunTrigger::Start);
    let said = serving.stop();
    assert!(said.ends_with("stopped\n"), "{said}");
    let mut told = Vec::new();
    let mut buffer = [0; 4096];
    while !told.iter().any(|line: &String| line == "STOPPING=1") {
        let filled = systemd.recv(&mut buffer).unwrap();
        told.extend(String::from_utf8_lossy(&buffer[..filled]).lines().map(str::to_owned));
    }
    let at = |line: &str| {
        told.iter()
            .position(|it| it.starts_with(line))
            .unwrap_or_else(|| panic!("no {line}: {told:?}"))
    };
    assert!(at("READY=1") < at("STATUS=reading the database"), "{told:?}");
    assert!(at("STATUS=reading files") < at("STATUS=the next run is due"), "{told:?}");
    at("WATCHDOG=1");
}

#[test]
fn runs_come_by_the_schedule_again_and_again() {
    let place = Place::new();
    let serving = place.serve(&["--schedule", "* * * * * *"]);
    serving.says("backup: snapshot", 4);
    serving.stop();
    let triggers: Vec<RunTrigger> = place.runs().iter().map(|run| run.trigger).collect();
    assert_eq!(triggers[..3], [RunTrigger::Start, RunTrigger::Schedule, RunTrigger::Schedule]);
    let began: Vec<i64> = place.runs().iter().map(|run| run.began.as_second()).collect();
    assert!(
        began.windows(2).all(|pair| pair[0] < pair[1]),
        "never two in one second of the schedule: {began:?}"
    );
}

#[test]
fn a_run_that_was_missed_is_made_up_once_and_one_that_was_not_is_not() {
    let place = Place::new();
    place.shoebox(&["run", "--once"]).ends(0);
    let far = place.serve(&["--schedule", "0 0 1 1 *"]);
    far.says("the next run is due", 1);
    far.stop();
    assert_eq!(place.runs().len(), 1, "nothing was missed");
    std::thread::sleep(Duration::from_millis(2100));
    let serving = place.serve(&["--schedule", "*/2 * * * * *"]);
    serving.says("backup: snapshot", 1);
    serving.stop();
    assert_eq!(place.runs()[1].trigger, RunTrigger::Missed);
}

#[test]
fn who_made_the_first_backup_by_hand_misses_no_night_either() {
    let place = Place::new();
    place.shoebox(&["backup"]).ends(0);
    std::thread::sleep(Duration::from_millis(2100));
    let serving = place.serve(&["--schedule", "*/2 * * * * *"]);
    serving.says("backup: snapshot", 1);
    serving.stop();
    assert_eq!(place.runs()[0].trigger, RunTrigger::Missed);
    let never = place.shoebox(&["run", "--schedule", "0 0 3 1 1 * 2020"]).ends(2);
    assert!(never.err.contains("no run is ever due"), "{}", never.err);
}

#[test]
fn a_start_makes_a_run_if_it_is_told_to() {
    let place = Place::new();
    place.shoebox(&["run", "--once"]).ends(0);
    let serving = place.serve(&["--on-start", "--schedule", "0 0 1 1 *"]);
    serving.says("the next run is due", 1);
    serving.stop();
    assert_eq!(place.runs()[1].trigger, RunTrigger::Start);
}

#[test]
fn one_service_and_one_run_at_a_time() {
    let place = Place::new();
    let client = hanging_client(&place);
    let text = fs::read_to_string(place.settings()).unwrap();
    fs::write(
        place.settings(),
        text.replace("dump = ", "database-url = \"postgresql://ann@localhost/immich\" # "),
    )
    .unwrap();
    let mut command = place.command(&["run"]);
    let serving = crate::place::Serving::start(command.env("PATH", &client));
    wait("the client", || client.join("called").exists(), || serving.said());
    let second = place.shoebox(&["run"]).ends(1);
    assert!(second.err.contains("a service runs already"), "{}", second.err);
    let once = place.shoebox(&["run", "--once"]).ends(1);
    assert!(once.err.contains("the repository is in use by `run`"), "{}", once.err);
    assert!(place.shoebox(&["status", "--json"]).json()[0]["served"].as_bool().unwrap());
    // A client that says nothing for hours keeps nobody from stopping.
    serving.stop();
    assert_eq!(place.runs()[0].outcome(), StepOutcome::Interrupted);
    assert!(!place.shoebox(&["status", "--json"]).json()[0]["served"].as_bool().unwrap());
}

#[test]
fn a_run_that_was_interrupted_is_made_up_at_the_next_start() {
    let place = Place::new();
    place.shoebox(&["run", "--once"]).ends(0);
    std::thread::sleep(Duration::from_millis(2100));
    let (client, url) = (hanging_client(&place), "postgresql://ann@localhost/immich");
    let text = fs::read_to_string(place.settings()).unwrap();
    fs::write(place.settings(), text.replace("dump = ", &format!("database-url = {url:?} # ")))
        .unwrap();
    let mut command = place.command(&["run", "--schedule", "*/2 * * * * *"]);
    let serving = crate::place::Serving::start(command.env("PATH", &client));
    wait("the client", || client.join("called").exists(), || serving.said());
    serving.stop();
    fs::write(place.settings(), text).unwrap();
    let again = place.serve(&["--schedule", "*/2 * * * * *"]);
    again.says("backup: snapshot", 1);
    again.stop();
    let (triggers, outcomes): (Vec<_>, Vec<_>) =
        place.runs().iter().map(|run| (run.trigger, run.outcome())).unzip();
    assert_eq!(triggers[..3], [RunTrigger::Once, RunTrigger::Missed, RunTrigger::Missed]);
    assert_eq!(outcomes[..3], [StepOutcome::Done, StepOutcome::Interrupted, StepOutcome::Done]);
}

#[test]
fn a_repository_that_is_not_there_is_one_failure_and_the_service_goes_on() {
    let place = Place::new();
    place.shoebox(&["run", "--once"]).ends(0);
    let away = place.home.dir.path().join("away");
    let serving = place.serve(&["--schedule", "* * * * * *"]);
    serving.says("backup: snapshot", 1);
    fs::rename(place.home.repo_path(), &away).unwrap();
    serving.says("backup: no repository found in", 1);
    serving.says("backup: hint: is the disk mounted?", 1);
    assert!(!serving.said().contains("check: there is"), "{}", serving.said());
    fs::rename(&away, place.home.repo_path()).unwrap();
    let before = serving.said().matches("backup: snapshot").count();
    serving.says("backup: snapshot", before + 1);
    serving.stop();
}

/// A folder with a `pg_dump` that says nothing until it is ended.
fn hanging_client(place: &Place) -> std::path::PathBuf {
    let folder = place.home.dir.path().join("bin");
    fs::create_dir(&folder).unwrap();
    let program = folder.join("pg_dump");
    fs::write(
        &program,
        format!("#!/bin/sh\n: > {}/called\nexec /bin/sleep 1000\n", folder.display()),
    )
    .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

#[test]
fn a_stop_in_the_middle_of_a_backup_is_clean_and_the_next_start_goes_on() {
    let place = Place::new();
    for number in 0..400u32 {
        place.home.write(format!("upload/{number}.jpg"), &number.to_le_bytes().repeat(20_000));
    }
    let serving = place.serve(&["--schedule", "0 0 1 1 *"]);
    wait(
        "some of an archive",
        || fs::read_dir(place.home.repo_path().join("tmp")).unwrap().count() > 3,
        || serving.said(),
    );
    serving.signal(Signal::TERM);
    let said = serving.ends(0);
    if place.snapshots() == 0 {
        assert!(said.contains("backup: stopped"), "{said}");
        assert_eq!(place.runs()[0].outcome(), StepOutcome::Interrupted);
    }
    let again = place.serve(&["--schedule", "0 0 1 1 *", "--on-start"]);
    again.says("the next run is due", 1);
    again.stop();
    assert!(place.snapshots() > 0);
    place.shoebox(&["check", "--read-data"]).ends(0);
}

/// A stand-in for a program of the database that says nothing: its folder for PATH, and the file
/// that gets its child's id.
fn silent(place: &Place, name: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let folder = place.home.dir.path().join("bin");
    fs::create_dir_all(&folder).unwrap();
    let (program, child) = (folder.join(name), folder.join("child"));
    fs::write(&program, format!("#!/bin/sh\nsleep 1000 & echo $! > {}; wait\n", child.display()))
        .unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    (folder, child)
}

#[test]
fn a_run_that_hangs_is_ended_with_its_children_and_counts_as_failed() {
    // The first stops when it is asked to. The second does not, and the whole process is ended.
    for (program, more) in [("pg_dump", ""), ("psql", "cluster = true\n")] {
        let (place, receiver) = (Place::new(), Receiver::start());
        place.shoebox(&["run", "--once"]).ends(0);
        let (folder, child) = silent(&place, program);
        let settings = fs::read_to_string(place.settings()).unwrap();
        let settings = settings.lines().map(|line| {
            if line.starts_with("dump = ") {
                format!("database-url = \"postgresql://localhost/immich\"\n{more}")
            } else {
                line.to_owned() + "\n"
            }
        });
        let settings = settings.collect::<String>()
            + "timeout = \"1s\"\ncheck-every = \"never\"\nprune-every = \"never\"\n";
        let hook = format!("[notify]\nwebhook-url = {:?}\n", receiver.url("hook"));
        fs::write(place.settings(), settings + &hook).unwrap();
        let mut path = vec![folder];
        path.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap()));
        let path = std::env::join_paths(path).unwrap();
        let said = Said::of(place.command(&["run", "--once"]).env("PATH", path)).ends(1);
        assert!(said.err.contains("the run took longer than"), "{}", said.err);
        let id = fs::read_to_string(child).unwrap();
        let stat = format!("/proc/{}/stat", id.trim());
        let is_ended = || fs::read_to_string(&stat).map_or(true, |stat| stat.contains(") Z "));
        wait("the end of the children", is_ended, || id.clone());
        let run = place.runs().pop().unwrap();
        assert_eq!((run.outcome(), jobs(&run)), (StepOutcome::Failed, vec![ServiceJob::Backup]));
        let told = receiver.to("/hook").remove(0).json();
        assert!(told["message"].as_str().unwrap().contains("the run took longer than"), "{told}");
        let status = place.shoebox(&["status"]).ends(3);
        assert!(status.out.contains("RED   the last run failed: backup"), "{}", status.out);
    }
}

#[test]
fn a_run_that_is_under_way_is_seen_and_one_that_takes_far_longer_than_ever_is_a_finding() {
    let place = Place::new();
    place.shoebox(&["run", "--once"]).ends(0);
    let repository = place.home.repository();
    assert!(!place.shoebox(&["status"]).ends(0).out.contains("running"));
    let lock = shoebox::service::journal::lock_run(&repository).unwrap();
    let path = repository.run_lock_path();
    let now = place.shoebox(&["status"]).ends(0);
    assert!(
        now.out.contains("\nrunning        since ") && !now.out.contains("longer than ever"),
        "{}",
        now.out
    );
    let mut holder: serde_json::Value =
        serde_json::from_str(&fs::read_to_string(&path).unwrap()).unwrap();
    holder["since"] = "2026-01-01T03:00:00Z".into();
    fs::write(&path, holder.to_string()).unwrap();
    let long = place.shoebox(&["status"]).ends(0);
    let finding = "note  a backup is under way since 2026-01-01 03:00 UTC, longer than ever before \
        (0 minutes at most)";
    assert!(long.out.contains(finding), "{}", long.out);
    let json = place.shoebox(&["status", "--json"]).ends(0).json().remove(0);
    assert_eq!(json["running_since"], "2026-01-01T03:00:00Z");
    drop(lock);
    let after = place.shoebox(&["status"]).ends(0);
    assert!(
        !after.out.contains("running  ") && !after.out.contains("longer than ever"),
        "{}",
        after.out
    );
}

#[test]
fn the_doctor_looks_at_the_service_its_last_run_and_who_is_told() {
    let place = Place::new();
    let says = |what: &str| {
        let said = Said::of(&mut place.command(&["doctor"]));
        assert!(said.out.lines().any(|line| line.starts_with(what)), "no `{what}`: {}", said.out);
        said.out
    };
    place.shoebox(&["backup"]).ends(0);
    let none = says("! no service makes backups every night");
    assert!(none.contains("shoebox run --once") && !none.contains("nobody is notified"), "{none}");
    place.shoebox(&["run", "--once"]).ends(0);
    says("✓ backups are made by a scheduler, the last one 0 minutes ago");
    says("! nobody is notified when a backup fails");
    let serving = place.serve(&["--schedule", "0 0 1 1 *"]);
    serving.says("the next run is due", 1);
    says("✓ the service runs; the next run is due 20");
    serving.stop();
    place.write_settings("[notify]\nntfy-url = \"http://127.0.0.1:1/photos\"\n");
    assert!(!says("✓ backups are made").contains("nobody is notified"));
    fs::remove_file(place.home.dump_path()).unwrap();
    place.shoebox(&["run", "--once"]).ends(1);
    says("✗ the last run of the service failed");
}

#[test]
fn rot_in_a_file_that_nobody_touched_is_found_by_the_service_within_its_cycle() {
    let place = Place::new();
    place.write_settings("check-every = \"never\"\nprune-every = \"never\"\n");
    // What Immich recorded of "a photo".
    let recorded = "f3cd736ccd6fe2ed3ae72e7546678919ab519b8d";
    let dump = (1..=2).fold(crate::backup_library::dump(3, 0), |dump, it| {
        dump.replace(&format!("{it:040x}"), recorded)
    });
    place.home.write_dump(&dump);
    let on_day = |day: &str| {
        let command = place.command(&["run", "--once"]);
        Said::of(&mut under_clock(day, &command))
    };
    // A disk that forgets moves no time of the file; here the kernel's times are older than the
    // backup's.
    on_day("+1d").ends(0);
    let photo = place.home.upload().join(format!("upload/{}/1.jpg", crate::backup_library::ANN));
    let file = fs::File::options().write(true).open(&photo).unwrap();
    let time = file.metadata().unwrap().modified().unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, b"A", 0).unwrap();
    file.set_modified(time).unwrap();
    assert!(!on_day("+1d").err.contains("rotten"), "a share is read once a day");
    let said = on_day("+31d").ends(3);
    assert!(said.err.contains("IMG_1.jpg: rotten on the disk"), "{}", said.err);
}
