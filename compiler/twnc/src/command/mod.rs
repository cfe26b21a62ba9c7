//! The command: arguments in, exit code out. Results go to standard output, everything else to standard error.

mod arguments;
mod bench;
mod compare;
mod compile;
mod data;
mod failure;
mod inspect;
mod lists;
mod opt;
mod progress;
mod run;

use arguments::{Cli, Command};
use clap::{CommandFactory as _, Parser as _};
use failure::Failure;
use std::process::ExitCode;

/// Parses the command line and does what it says.
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return refuse(&error),
    };
    let json = cli.json;
    match dispatch(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            let code = failure.exit_code();
            if json {
                eprintln!("{}", failure.json());
            } else {
                eprintln!("{:?}", miette::Report::new(failure));
            }
            ExitCode::from(code)
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let json = cli.json;
    match (cli.command, cli.compile) {
        (Some(Command::Run(options)), _) => run::run(&options, json),
        (Some(Command::Bench(options)), _) => bench::run(&options, json),
        (Some(Command::Inspect(options)), _) => inspect::run(&options, json),
        (Some(Command::Compare(options)), _) => compare::run(&options, json),
        (Some(Command::Opt(options)), _) => opt::run(&options),
        (Some(Command::Passes), _) => lists::passes(json),
        (Some(Command::Ops), _) => lists::operators(json),
        (None, Some(options)) => compile::run(&options, json),
        (None, None) => {
            let usage = Cli::command().render_usage().to_string();
            Err(Failure::usage("no model is given").help(format!("{usage}\ntwnc --help explains")))
        }
    }
}

/// What clap says of a command line: help and version are no failure.
fn refuse(error: &clap::Error) -> ExitCode {
    if !error.use_stderr() {
        // Nothing is lost when standard output is closed.
        let _ = error.print();
        return ExitCode::SUCCESS;
    }
    let failure = Failure::usage(error.render().to_string().trim_end());
    if std::env::args_os().any(|word| word == "--json") {
        eprintln!("{}", failure.json());
    } else {
        eprintln!("{failure}");
    }
    ExitCode::from(failure.exit_code())
}

/// Prints a result line; a closed standard output is no failure of ours.
macro_rules! out {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($argument)*);
    }};
}
pub(crate) use out;
