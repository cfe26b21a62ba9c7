//! The command: arguments in, exit code out. Results go to standard output, everything else to standard error; or, where an application executes it
//! ([`execute`]), to its [`Host`], whose models and arrays need be in no file.

mod arguments;
mod bench;
mod calibrate;
mod checkpoint;
mod compare;
mod compile;
mod curve;
mod data;
mod dataset;
mod failure;
mod frontier;
mod host;
mod inspect;
mod lists;
mod manual;
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
use std::ffi::OsString;
use std::process::ExitCode;

pub use failure::{Failure, Kind};
pub use host::{Content, Event, Host, Listener};

/// Does what the process's command line says, on the terminal.
pub fn main() -> ExitCode {
    ExitCode::from(main_of(std::env::args_os()))
}

/// Does what a command line says, which begins with the name of the command, on the terminal; the exit code.
pub fn main_of(arguments: impl IntoIterator<Item = OsString>) -> u8 {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let host = Host::terminal();
    let (failure, json) = match Cli::try_parse_from(&arguments) {
        Ok(cli) => {
            let json = cli.json;
            match dispatch(&host, cli) {
                Ok(()) => return 0,
                Err(failure) => (failure, json),
            }
        }
        Err(error) if !error.use_stderr() => {
            // Help and version are no failure. Nothing is lost when standard output is closed.
            let _ = error.print();
            return 0;
        }
        Err(error) => (refused(&error), arguments.iter().any(|word| word == "--json")),
    };
    let code = failure.exit_code();
    match (json, failure.kind) {
        (true, _) => err!(&host, "{}", failure.json()),
        // What clap says is laid out as text of a terminal already.
        (false, Kind::Usage) if failure.message.starts_with("error: ") => err!(&host, "{failure}"),
        (false, _) => failure.show(),
    }
    code
}

/// Does what a command line says, which begins with the name of the command, for a host.
///
/// # Errors
/// What the command would print, with what its exit code says as the kind.
pub fn execute(arguments: impl IntoIterator<Item = OsString>, host: &Host) -> Result<(), Failure> {
    dispatch(host, Cli::try_parse_from(arguments).map_err(|error| refused(&error))?)
}

fn dispatch(host: &Host, cli: Cli) -> Result<(), Failure> {
    let json = cli.json;
    match cli.command {
        Some(Command::Run(options)) => run::run(host, &options, json),
        Some(Command::Bench(options)) => bench::run(host, &options, json),
        Some(Command::Inspect(options)) => inspect::run(host, &options, json),
        Some(Command::Compare(options)) => compare::run(host, &options, json),
        Some(Command::Train(options)) => train::run(host, &options, json),
        Some(Command::Opt(options)) => opt::run(host, &options),
        Some(Command::Passes) => lists::passes(host, json),
        Some(Command::Rules(options)) => rules::run(host, &options, json),
        Some(Command::Ops) => lists::operators(host, json),
        Some(Command::Completions { shell }) => manual::completions(host, shell),
        Some(Command::Man { folder }) => manual::pages(&folder),
        None => compile::run(host, &cli.compile, json),
    }
}

/// What clap says of a command line.
fn refused(error: &clap::Error) -> Failure {
    Failure::usage(error.render().to_string().trim_end())
}

/// `1 layer`, `2 layers`.
fn counted(number: usize, thing: &str) -> String {
    format!("{number} {thing}{}", if number == 1 { "" } else { "s" })
}

/// A line of the results, for a host.
macro_rules! out {
    ($host:expr, $($argument:tt)*) => { $host.result(format_args!($($argument)*)) };
}
use out;

/// Something that a host should hear of.
macro_rules! err {
    ($host:expr, $($argument:tt)*) => { $host.note(format_args!($($argument)*)) };
}
use err;

/// Something that a host should be warned of.
macro_rules! caution {
    ($host:expr, $($argument:tt)*) => { $host.warn(format_args!($($argument)*)) };
}
use caution;
