//! What a system's packages want beside the command: completions for shells and manual pages, both made of the definition of its arguments.

use super::arguments::Cli;
use super::failure::Failure;
use super::host::Host;
use super::out;
use clap::CommandFactory as _;
use clap_complete::Shell;
use std::path::Path;

/// Prints the script by which a shell completes command lines.
pub fn completions(host: &Host, shell: Shell) -> Result<(), Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "twnc", &mut script);
    out!(host, "{}", String::from_utf8_lossy(&script).trim_end());
    Ok(())
}

/// Writes `twnc.1`, and `twnc-run.1` and so on, into a folder.
pub fn pages(folder: &Path) -> Result<(), Failure> {
    std::fs::create_dir_all(folder).and_then(|()| clap_mangen::generate_to(Cli::command(), folder)).map_err(
        |e| {
            Failure::unacceptable(format!("manual pages cannot be written: {e}"))
                .in_file(folder.display())
                .help("name a folder that can be written to")
        },
    )
}
