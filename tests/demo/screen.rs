//! What the demo prints: headings, commands as a person would type them, and what they really print.

use std::io::{IsTerminal, Write};
use std::process::Command;

use crate::Failure;
use crate::cluster::run;
use crate::operator::Operator;
use crate::place::Place;

/// Runs commands where the demo is, and shows them.
pub(crate) struct Screen {
    coloured: bool,
    environment: Vec<(&'static str, String)>,
    steps: std::sync::atomic::AtomicU32,
}

impl Screen {
    pub(crate) fn new(place: &Place) -> Self {
        let coloured = std::io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let environment = vec![
            ("KUBECONFIG", place.kubeconfig().display().to_string()),
            ("DEMO", place.folder().display().to_string()),
            ("PATH", place.path()),
        ];
        Self { coloured, environment, steps: Default::default() }
    }

    /// The next step begins.
    pub(crate) fn step(&self, title: &str, text: &str) {
        let number = self.steps.fetch_add(1, std::sync::atomic::Ordering::Relaxed) + 1;
        print!("\n{}", self.styled("1;36", &format!("━━ {number}. {title}")));
        self.say(text);
    }

    /// A few words between commands.
    pub(crate) fn say(&self, text: &str) {
        println!();
        for line in text.lines() {
            println!("   {line}");
        }
    }

    /// Shows a command, runs it, and shows what it prints. It has to succeed.
    pub(crate) async fn run(&self, line: &str) -> Result<String, Failure> {
        self.command_line(line);
        let output = run(self.command(line), String::new()).await?;
        print!("{}{}", output.stdout, output.stderr);
        if !output.stdout.is_empty() && !output.stdout.ends_with('\n') {
            println!();
        }
        std::io::stdout().flush()?;
        if output.status.success() { Ok(output.stdout) } else { Err(format!("`{line}` failed ({})", output.status).into()) }
    }

    /// Shows a command.
    pub(crate) fn command_line(&self, line: &str) {
        println!("\n{}", self.styled("1", &format!("$ {line}")));
    }

    /// Shows the variables that the commands use.
    pub(crate) fn exports(&self) {
        for (name, value) in self.environment.iter().filter(|(name, _)| *name != "PATH") {
            self.command_line(&format!("export {name}={value}"));
        }
    }

    /// Runs a command without showing it.
    pub(crate) async fn quietly(&self, line: &str) -> Result<String, Failure> {
        Ok(run(self.command(line), String::new()).await?.succeeded()?)
    }

    /// Says what is left running.
    pub(crate) fn how_to_use_it(&self, place: &Place, operator: Option<&Operator>) {
        println!("\n{}", self.styled("1;32", "━━ It goes on running. Ctrl-C here ends it. In another terminal:"));
        println!("\nexport KUBECONFIG={} DEMO={}", place.kubeconfig().display(), place.folder().display());
        println!("export PATH={}:$PATH      # kubectl keywright, and what had to be built", place.tools());
        println!("kubectl get oauthclients.keywright.dev,protectedresources.keywright.dev --all-namespaces\n");
        let Some(operator) = operator else {
            println!("kubectl logs --follow deployment/billing-worker --namespace billing");
            return;
        };
        println!("issuer     {}", operator.issuer);
        println!("metrics    {}/metrics", operator.health);
        println!("its CA     $DEMO/oauth/ca.crt");
        println!("its log    $DEMO/keywright.log");
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new("sh");
        command.args(["-c", line]).current_dir(env!("CARGO_MANIFEST_DIR"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    fn styled(&self, style: &str, text: &str) -> String {
        if self.coloured { format!("\x1b[{style}m{text}\x1b[0m") } else { text.to_owned() }
    }
}
