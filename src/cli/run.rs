//! `shoebox run`

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use clap::builder::BoolishValueParser;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

use super::output::{Output, aside, printable};
use super::settings::ParseStop;
use super::value::duration;
use super::{
    Cli, CommandOutcome, GlobalArgs, ShoeboxCommand, backup, check, drill, forget, prune, signal,
};
use crate::base::{Error, ErrorKind, Monitor, Phase, Problem, Result};
use crate::repo::Repository;
use crate::repo::notes::{ServiceJob, StepOutcome};
use crate::service::notify::NotifyTarget;
use crate::service::{
    Jobs, Schedule, Service, ServicePlan, ServiceStop, StepResult, endpoint, run,
};

/// The flags of one command.
macro_rules! of {
    ($command:ident) => {
        |command| if let ShoeboxCommand::$command(args) = command { Some(args) } else { None }
    };
}

/// Run as a service: every night backup, forget, prune, check and drill as each is due
///
/// What each of them does is configured as for the command of its name: by the settings file or the
/// environment; `shoebox config` shows it. A run that was missed while the machine was off is
/// caught up; without any snapshot the first one starts at once. Nothing is forgotten unless rules
/// are set for `forget`. SIGTERM ends it cleanly, in the middle of a backup too, and the next start
/// continues from there. Messages are configured for `shoebox notify`, limits for `shoebox status`.
#[derive(Debug, Clone, clap::Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct Args {
    /// Schedule: @daily, @weekly, "@every 6h", or cron syntax (minute, hour, day, month, weekday),
    /// in this machine's time zone
    #[arg(long, env = "SHOEBOX_SCHEDULE", value_name = "SCHEDULE", default_value = "0 3 * * *")]
    schedule: Schedule,
    /// Delay each run by a random time up to this
    #[arg(
        long,
        env = "SHOEBOX_JITTER",
        value_name = "TIME",
        default_value = "5m",
        value_parser = duration,
    )]
    jitter: SignedDuration,
    /// End a run that takes longer; it counts as failed, and the next one continues from there
    #[arg(
        long,
        env = "SHOEBOX_TIMEOUT",
        value_name = "TIME",
        default_value = "3d",
        value_parser = duration,
    )]
    timeout: SignedDuration,
    /// Also run at the start
    #[arg(
        long,
        env = "SHOEBOX_ON_START",
        value_name = "BOOL",
        num_args = 0..=1,
        require_equals = true,
        default_value = "false",
        default_missing_value = "true",
        value_parser = BoolishValueParser::new(),
    )]
    on_start: bool,
    /// Run once now and exit: for use with another scheduler
    #[arg(long)]
    once: bool,
    /// How often to forget by the rules that are set
    #[arg(long, env = "SHOEBOX_FORGET_EVERY", value_name = "SCHEDULE", default_value = "@daily")]
    forget_every: Schedule,
    /// How often to prune
    #[arg(long, env = "SHOEBOX_PRUNE_EVERY", value_name = "SCHEDULE", default_value = "@weekly")]
    prune_every: Schedule,
    /// How often to check: for an hour, unless `check` is set otherwise
    #[arg(long, env = "SHOEBOX_CHECK_EVERY", value_name = "SCHEDULE", default_value = "@daily")]
    check_every: Schedule,
    /// How often to rehearse the recovery
    #[arg(long, env = "SHOEBOX_DRILL_EVERY", value_name = "SCHEDULE", default_value = "@monthly")]
    drill_every: Schedule,
    /// Serve /healthz and /metrics at this port
    #[arg(long, env = "SHOEBOX_HEALTHCHECK_PORT", value_name = "PORT")]
    healthcheck_port: Option<u16>,
    /// Listen at this address; 0.0.0.0 lets other machines and containers ask
    #[arg(
        long,
        env = "SHOEBOX_HEALTHCHECK_ADDRESS",
        value_name = "ADDRESS",
        default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST),
    )]
    healthcheck_address: IpAddr,
}

const EXAMPLES: &str = "\
Examples:
  shoebox run                                  the service: see the unit and the compose file that \
  come with shoebox
  shoebox run --once                           one run, for cron or a timer
  SHOEBOX_SCHEDULE='30 2 * * *' SHOEBOX_KEEP_DAILY=7 SHOEBOX_KEEP_MONTHLY=12 shoebox run

Exit codes of --once: 0 all done, 1 something failed, 3 something was left out or found damaged";

impl Args {
    pub fn run(self, global: &GlobalArgs, output: &Output) -> Result<CommandOutcome> {
        let zone = TimeZone::system();
        if !self.once && self.schedule.next(Timestamp::now(), &zone).is_none() {
            return Err(Error::invalid(format_args!(
                "no run is ever due by the schedule `{}`",
                self.schedule
            ))
            .hint("use --once, or give a schedule: --schedule @daily"));
        }
        let patience = global.patience()?;
        // Somebody who backs up by hand does not fail the night.
        let global =
            &GlobalArgs { retry_lock: global.retry_lock.or(Some(1.hour())), ..global.clone() };
        let work = ServiceJobs::new(global, &self)?;
        let plan = ServicePlan {
            schedule: self.schedule.clone(),
            jitter: self.jitter,
            limit: self.timeout.unsigned_abs(),
            on_start: self.on_start,
            zone: zone.clone(),
            targets: targets(global)?,
            repository: global.repository_path()?.display().to_string(),
            patience,
        };
        let next = Arc::new(Mutex::new(None));
        let stop = Arc::new(ServiceStop::default());
        let asked = stop.clone();
        signal::on_stop_ask(move || asked.ask())?;
        // Who wants it quiet hears of a run that did not go well, and then all of it.
        let kept = Mutex::new(Vec::new());
        let say = |line: &str| {
            if !output.is_quiet() {
                aside(printable(line));
            } else if self.once {
                kept.lock().unwrap_or_else(PoisonError::into_inner).push(printable(line));
            }
        };
        let service = Service { jobs: &work, plan, stop, say: &say, next: next.clone() };
        if self.once {
            let done = done(service.once()?);
            if done != CommandOutcome::Whole {
                kept.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(aside);
            }
            return Ok(done);
        }
        self.answer(global, next)?;
        service.serve().map(|()| CommandOutcome::Whole)
    }

    /// Answers those who ask how it is.
    fn answer(&self, global: &GlobalArgs, next: Arc<Mutex<Option<Timestamp>>>) -> Result<()> {
        let Some(port) = self.healthcheck_port else { return Ok(()) };
        let limits = limits(global)?;
        let folder = global.repository_path()?.clone();
        let ask = move || {
            let next = *next.lock().unwrap_or_else(PoisonError::into_inner);
            let opened = Repository::open(&folder);
            (
                opened.and_then(|repository| {
                    crate::task::status::status(&repository, limits, Timestamp::now())
                }),
                next,
            )
        };
        let address =
            endpoint::serve(SocketAddr::new(self.healthcheck_address, port), Arc::new(ask))?;
        aside(format_args!("listening on http://{address}/healthz"));
        Ok(())
    }
}

/// How old things may be, as the settings have it.
pub(super) fn limits(global: &GlobalArgs) -> Result<crate::task::status::AgeLimits> {
    Ok(settings(global, "status", of!(Status))?.limits())
}

/// The flags of `backup` as the settings have them.
pub(super) fn backup_settings(global: &GlobalArgs) -> Result<backup::Args> {
    settings(global, "backup", |it| {
        if let ShoeboxCommand::Backup(args) = it { Some(*args) } else { None }
    })
}

/// Who is told of runs, as the settings have it.
pub(super) fn targets(global: &GlobalArgs) -> Result<Vec<Box<dyn NotifyTarget>>> {
    let notify = settings(global, "notify", |it| {
        if let ShoeboxCommand::Notify(args) = it { Some(*args) } else { None }
    })?;
    notify.targets(global)
}

/// When the next run is due by the settings, jitter aside.
pub(super) fn next(
    global: &GlobalArgs,
    last: Option<Timestamp>,
    now: Timestamp,
) -> Option<Timestamp> {
    let args = settings(global, "run", of!(Run)).ok()?;
    let after = last.filter(|last| *last <= now).unwrap_or(now);
    args.schedule.next(after, &TimeZone::system()).map(|next| next.max(now))
}

fn done(outcome: StepOutcome) -> CommandOutcome {
    match outcome {
        StepOutcome::Done => CommandOutcome::Whole,
        StepOutcome::Partly => CommandOutcome::Partly,
        StepOutcome::Interrupted => CommandOutcome::Stopped,
        StepOutcome::Failed => CommandOutcome::Failed,
    }
}

/// The flags of the command `name` as the settings have them.
fn settings<A>(
    global: &GlobalArgs,
    name: &str,
    args: fn(ShoeboxCommand) -> Option<A>,
) -> Result<A> {
    // The same file, or none where there was none.
    let file = global.settings.file.clone().unwrap_or_else(|| "/dev/null".into());
    let arguments = ["shoebox".into(), "--config".into(), file.into(), name.into()];
    let Cli { command, .. } = super::settings::parse(&arguments).map_err(|error| match error {
        ParseStop::Settings(error) => error,
        ParseStop::Usage(error) => {
            Error::invalid(format_args!("the settings of `{name}` are wrong")).caused_by(error)
        }
    })?;
    args(command)
        .ok_or_else(|| Error::new(ErrorKind::Invalid, format_args!("`{name}` is another command")))
}

/// What the commands do, for the service.
struct ServiceJobs<'a> {
    global: &'a GlobalArgs,
    backup: backup::Args,
    forget: forget::Args,
    prune: prune::Args,
    check: check::Args,
    drill: drill::Args,
    forget_every: Schedule,
    prune_every: Schedule,
    check_every: Schedule,
    drill_every: Schedule,
}

impl<'a> ServiceJobs<'a> {
    fn new(global: &'a GlobalArgs, args: &Args) -> Result<ServiceJobs<'a>> {
        let backup = backup_settings(global)?.for_a_night();
        backup.refuse_input()?;
        // What is wrong with the settings is told now, and not in the night. A file that is not
        // there may come.
        if let Err(error) = backup.clone().options(global)
            && error.kind() == ErrorKind::Invalid
        {
            return Err(error);
        }
        let forget = settings(global, "forget", |it| {
            if let ShoeboxCommand::Forget(args) = it { Some(*args) } else { None }
        })?;
        let never = || "never".parse();
        Ok(ServiceJobs {
            global,
            backup,
            prune: settings(global, "prune", of!(Prune))?,
            check: settings(global, "check", of!(Check))?.for_a_night(),
            drill: settings(global, "drill", of!(Drill))?,
            forget_every: if forget.has_rules() { args.forget_every.clone() } else { never()? },
            forget,
            prune_every: args.prune_every.clone(),
            check_every: args.check_every.clone(),
            drill_every: args.drill_every.clone(),
        })
    }
}

impl Jobs for ServiceJobs<'_> {
    fn repository(&self) -> Result<Repository> {
        self.global.open()
    }

    fn schedule(&self, job: ServiceJob) -> &Schedule {
        match job {
            ServiceJob::Forget => &self.forget_every,
            ServiceJob::Prune => &self.prune_every,
            // A backup is what a run is for; it is not asked.
            ServiceJob::Backup | ServiceJob::Check => &self.check_every,
            ServiceJob::Drill => &self.drill_every,
        }
    }

    fn perform(&self, job: ServiceJob, monitor: &dyn Monitor) -> Result<StepResult> {
        let heard = JobMonitor { monitor, problems: Mutex::default() };
        let (global, monitor) = (self.global, &heard);
        let told = match job {
            ServiceJob::Backup => self.backup.clone().perform(global, monitor),
            ServiceJob::Forget => self.forget.clone().perform(global, monitor),
            ServiceJob::Prune => self.prune.clone().perform(global, monitor),
            ServiceJob::Check => self.check.clone().perform(global, monitor),
            ServiceJob::Drill => self.drill.clone().perform(global, monitor),
        }?;
        let mut problems = heard.problems.into_inner().unwrap_or_else(PoisonError::into_inner);
        problems.extend(told.problems);
        let outcome = match (told.done, problems.is_empty()) {
            (CommandOutcome::Failed, _) => StepOutcome::Failed,
            (CommandOutcome::Stopped, _) => StepOutcome::Interrupted,
            (CommandOutcome::Whole, true) => StepOutcome::Done,
            (CommandOutcome::Whole | CommandOutcome::Partly, _) => StepOutcome::Partly,
        };
        let lines = problems.iter().map(run::line).chain(told.notes).collect();
        Ok(StepResult { outcome, text: told.text, lines })
    }
}

/// Keeps the problems of a job, and passes on the rest.
struct JobMonitor<'a> {
    monitor: &'a dyn Monitor,
    problems: Mutex<Vec<Problem>>,
}

impl Monitor for JobMonitor<'_> {
    fn begin(&self, phase: Phase, files: Option<u64>, bytes: Option<u64>) {
        self.monitor.begin(phase, files, bytes);
    }

    fn advance(&self, files: u64, bytes: u64) {
        self.monitor.advance(files, bytes);
    }

    fn problem(&self, problem: Problem) {
        self.problems.lock().unwrap_or_else(PoisonError::into_inner).push(problem);
    }

    fn stopped(&self) -> bool {
        self.monitor.stopped()
    }
}
