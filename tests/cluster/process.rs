//! A child process: its log, its signals, its end. Killed on drop, and by the watchdog when there is no drop.

use std::fs::File;
use std::io::Write;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

pub use rustix::process::Signal;
use rustix::process::{Pid, kill_process};
use tokio::net::TcpSocket;

use super::error::Error;
use super::wait::eventually;
use super::watchdog;

/// How many lines of a log an error message shows.
const TAIL: usize = 30;

/// A running child process. Its standard output and error go to one log file.
pub struct Process {
    name: String,
    pid: u32,
    log: PathBuf,
    child: Mutex<Child>,
    reaped: Mutex<Option<ExitStatus>>,
}

impl Process {
    /// Starts `command`, whose output goes to `log`. `name` stands in messages.
    pub fn start(name: &str, log: PathBuf, command: &mut Command) -> Result<Self, Error> {
        // Appended, because a process that is started again carries on in the same log.
        let output = File::options().create(true).append(true).open(&log).map_err(Error::io(format!("open {}", log.display())))?;
        let errors = output.try_clone().map_err(Error::io(format!("open {}", log.display())))?;
        let child = command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            // Ctrl-C is for the test process alone: what it started ends by its drops and by the watchdog.
            .process_group(0)
            .spawn()
            .map_err(Error::io(format!("start {name} ({})", command.get_program().display())))?;
        let process = Self { name: name.to_owned(), pid: child.id(), log, child: Mutex::new(child), reaped: Mutex::new(None) };
        watchdog::watch(process.pid)?;
        Ok(process)
    }

    /// The process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Everything it has written so far.
    pub fn log(&self) -> String {
        std::fs::read(&self.log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default()
    }

    /// The last lines of the log.
    pub fn log_tail(&self) -> String {
        let log = self.log();
        let skipped = log.lines().count().saturating_sub(TAIL);
        log.lines().skip(skipped).collect::<Vec<_>>().join("\n")
    }

    /// Waits until the log contains `text`; fails at once when the process ends first.
    pub async fn wait_for_log(&self, text: &str, deadline: Duration) -> Result<(), Error> {
        let what = format!("{} logs {text:?}", self.name);
        self.wait_for(&what, deadline, async || if self.log().contains(text) { Ok(()) } else { Err("no such line") }).await
    }

    /// Waits until `url` answers 200; fails at once when the process ends first.
    pub async fn wait_for_http_ok(&self, client: &reqwest::Client, url: &str, deadline: Duration) -> Result<(), Error> {
        let what = format!("{} answers 200 at {url}", self.name);
        self.wait_for(&what, deadline, async || match client.get(url).send().await {
            Ok(response) if response.status() == reqwest::StatusCode::OK => Ok(()),
            Ok(response) => Err(format!("{}", response.status())),
            Err(error) => Err(format!("{error:?}")),
        })
        .await
    }

    /// Waits for a condition that only the running process can fulfil: the errors hold the end of its log.
    pub async fn wait_for<T, S: std::fmt::Display>(
        &self,
        what: &str,
        deadline: Duration,
        mut condition: impl AsyncFnMut() -> Result<T, S>,
    ) -> Result<T, Error> {
        let seen = eventually(deadline, what, async || match condition().await {
            Ok(value) => Ok(Ok(value)),
            Err(state) => match self.exited() {
                // Its last deed may have come between the look and the end.
                Some(status) => Ok(condition().await.map_err(|_| status)),
                None => Err(state.to_string()),
            },
        })
        .await;
        match seen {
            Ok(Ok(value)) => Ok(value),
            Ok(Err(status)) => Err(Error::Ended { process: self.name.clone(), status, what: what.to_owned(), log: self.log_tail() }),
            Err(Error::Deadline { deadline, what, last_seen }) => {
                let last_seen = format!("{last_seen}; the log of {} ends with:\n{}", self.name, self.log_tail());
                Err(Error::Deadline { deadline, what, last_seen })
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a signal. A process that has ended takes none, and that is no error.
    pub fn signal(&self, signal: Signal) -> Result<(), Error> {
        // Held, so that the process cannot be reaped, and its id given to another, between the look and the signal.
        let reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(pid) = i32::try_from(self.pid).ok().and_then(Pid::from_raw) else { return Ok(()) };
        if reaped.is_some() {
            return Ok(());
        }
        kill_process(pid, signal).map_err(|error| Error::io(format!("signal {}", self.name))(error.into()))
    }

    /// SIGTERM: please end.
    pub fn terminate(&self) -> Result<(), Error> {
        self.signal(Signal::TERM)
    }

    /// SIGSTOP: frozen until `resume`, its sockets stay open.
    pub fn stop(&self) -> Result<(), Error> {
        self.signal(Signal::STOP)
    }

    /// SIGCONT.
    pub fn resume(&self) -> Result<(), Error> {
        self.signal(Signal::CONT)
    }

    /// SIGKILL, and waits for the end, which takes no time worth an `await`.
    pub fn kill(&self) -> Result<(), Error> {
        self.signal(Signal::KILL)?;
        let mut reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if reaped.is_none() {
            let status = self.child.lock().unwrap_or_else(PoisonError::into_inner).wait();
            *reaped = Some(status.map_err(Error::io(format!("wait for {}", self.name)))?);
            watchdog::forget(self.pid)?;
        }
        Ok(())
    }

    /// Whether it has not ended. A stopped process runs.
    pub fn is_running(&self) -> bool {
        self.exited().is_none()
    }

    /// Waits for the end: how it ended.
    pub async fn exit(&self, deadline: Duration) -> Result<ExitStatus, Error> {
        eventually(deadline, &format!("{} ends", self.name), async || {
            self.exited().ok_or_else(|| format!("running; its log ends with:\n{}", self.log_tail()))
        })
        .await
    }

    fn exited(&self) -> Option<ExitStatus> {
        let mut reaped = self.reaped.lock().unwrap_or_else(PoisonError::into_inner);
        if reaped.is_none() {
            *reaped = self.child.lock().unwrap_or_else(PoisonError::into_inner).try_wait().ok().flatten();
            if reaped.is_some() {
                // Nothing to do about a watchdog that is gone.
                let _ = watchdog::forget(self.pid);
            }
        }
        *reaped
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // A drop cannot fail, and the watchdog is the second try.
        let _ = self.kill();
    }
}

/// What a one-shot command did.
#[derive(Debug, Clone)]
pub struct Output {
    command: String,
    /// How it ended.
    pub status: ExitStatus,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl Output {
    /// The standard output of a command that had to succeed.
    pub fn succeeded(self) -> Result<String, Error> {
        if self.status.success() {
            return Ok(self.stdout);
        }
        Err(Error::Command { command: self.command, status: self.status, stdout: self.stdout, stderr: self.stderr })
    }
}

/// Runs a command to its end, with `input` as its standard input.
pub async fn run(mut command: Command, input: String) -> Result<Output, Error> {
    let words: Vec<_> = std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy()).collect();
    let name = words.join(" ");
    let attempt = format!("run `{name}`");
    // Blocking, but not on the runtime's workers: the proxy that this command may talk to lives there.
    let ended = tokio::task::spawn_blocking(move || -> std::io::Result<std::process::Output> {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0).spawn()?;
        let pid = child.id();
        watchdog::watch(pid).map_err(std::io::Error::other)?;
        if let Some(mut pipe) = child.stdin.take() {
            // A command that does not read its input is no failure.
            let _ = pipe.write_all(input.as_bytes());
        }
        let output = child.wait_with_output();
        watchdog::forget(pid).map_err(std::io::Error::other)?;
        output
    });
    let output = ended.await.map_err(std::io::Error::other).flatten().map_err(Error::io(attempt))?;
    Ok(Output {
        command: name,
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}

/// First of the ports given out. Below the ephemeral ports of Linux (from 32768) and macOS (from 49152): the kernel gives none of them to an
/// outgoing connection between our look and the server's bind, or while a server is restarted.
const FIRST_PORT: u32 = 20_000;
const PORTS: u32 = 12_000;

/// A loopback port that nothing listens on and that this process gives out only once in a round of thousands.
pub fn free_port() -> Result<u16, Error> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Test processes that run at once begin at different places.
    let offset = std::process::id().wrapping_mul(97);
    for _ in 0..PORTS {
        let port = FIRST_PORT + offset.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % PORTS;
        if let Ok(port) = u16::try_from(port)
            && nothing_listens(port).map_err(Error::io("look for a free port"))?
        {
            return Ok(port);
        }
    }
    Err(Error::io("find a free port")(std::io::ErrorKind::AddrInUse.into()))
}

/// Binds, and does not listen: a child of another thread has our socket until its exec, and one that listens would keep the port from its user
/// for as long.
fn nothing_listens(port: u16) -> std::io::Result<bool> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    Ok(socket.bind(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).is_ok())
}
