//! The command: arguments in, exit code out. Results go to standard output, everything else to standard error.

mod arguments;
mod bench;
mod calibrate;
mod compare;
mod compile;
mod curve;
mod data;
mod dataset;
mod failure;
mod frontier;
mod inspect;
mod lists;
mod opt;
mod progress;
mod report;
mod rules;
mod run;
mod sizes;
mod train;
mod training;
mod tuning;

use arguments::{Cli, Command};
use clap::Parser as _;
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
                err!("{}", failure.json());
            } else {
                err!("{:?}", miette::Report::new(failure));
            }
            ExitCode::from(code)
        }
    }
}

fn dispatch(cli: Cli) -> Result<(), Failure> {
    let json = cli.json;
    match cli.command {
        Some(Command::Run(options)) => run::run(&options, json),
        Some(Command::Bench(options)) => bench::run(&options, json),
        Some(Command::Inspect(options)) => inspect::run(&options, json),
        Some(Command::Compare(options)) => compare::run(&options, json),
        Some(Command::Train(options)) => train::run(&options, json),
        Some(Command::Opt(options)) => opt::run(&options),
        Some(Command::Passes) => lists::passes(json),
        Some(Command::Rules(options)) => rules::run(&options, json),
        Some(Command::Ops) => lists::operators(json),
        None => compile::run(&cli.compile, json),
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
        err!("{}", failure.json());
    } else {
        err!("{failure}");
    }
    ExitCode::from(failure.exit_code())
}

/// `1 layer`, `2 layers`.
fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// Prints a result line; a closed standard output is no failure of ours.
macro_rules! out {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stdout(), $($argument)*);
    }};
}
pub(crate) use out;

/// Prints to standard error; a closed one changes no exit code.
macro_rules! err {
    ($($argument:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($argument)*);
    }};
}
pub(crate) use err;
