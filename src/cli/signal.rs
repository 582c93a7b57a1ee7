//! Signals: Ctrl-C and `kill` end work cleanly; a closed pipe ends output quietly.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::base::{Context, Result};

/// A flag that the first signal raises. A second one ends the program at once.
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register_conditional_shutdown(
            signal,
            super::exit::STOPPED.into(),
            flag.clone(),
        )
        .and_then(|_| signal_hook::flag::register(signal, flag.clone()))
        .context(|| "listening for signals")?;
    }
    Ok(flag)
}

/// From now on signals that ask to end wait for [`on_stop`].
pub(super) fn listen() -> Result<Signals> {
    Signals::new([SIGINT, SIGTERM, SIGHUP]).context(|| "listening for signals")
}

/// Calls `act` with each of `signals`, on a thread of its own.
pub(super) fn on_stop(
    mut signals: Signals,
    mut act: impl FnMut(i32) + Send + 'static,
) -> Result<()> {
    std::thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || signals.forever().for_each(&mut act))
        .context(|| "listening for signals")?;
    Ok(())
}

/// Calls `ask` at the first signal that asks to end; the second one ends the program at once.
pub(super) fn on_stop_ask(ask: impl Fn() + Send + 'static) -> Result<()> {
    let mut asked = false;
    on_stop(listen()?, move |signal| {
        if std::mem::replace(&mut asked, true) {
            let _ = signal_hook::low_level::emulate_default_handler(signal);
        }
        ask();
    })
}

/// `shoebox ls | head` ends like every other program, by SIGPIPE. Only answers do that: Rust
/// ignores the signal, and who reads no problems and no progress stops neither a backup nor a
/// mount.
pub(super) fn end_of_pipe() {
    // SAFETY: SIG_DFL is a valid disposition of SIGPIPE, and both calls may be made from any thread
    // at any time.
    unsafe {
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
        libc::raise(libc::SIGPIPE);
    }
}
